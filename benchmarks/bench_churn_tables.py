"""P3: the churn model on plain tables with a yes/no target, against peers as they come, on the same splits.

Each split is 70 % train, 10 % valid (stopping, calibration) and 20 % test, stratified. Settings were chosen inside the
training parts of other seeds (docs/log.md). Peers run in an environment of their own (benchmarks/peers/tables.txt),
made on first use with `uv`. What every model said of a split is kept in --work and used again, so it can be cut short.
`--seeds 10 11 12 13 14 --tables ibm_telco … --models keepline CatBoost …`
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _walk import ROOT, real_data

TABLES = ("ibm_telco", "mlc_churn", "iranian_telecom")
PEERS = ("logistic regression", "random forest", "LightGBM", "CatBoost", "TabM")
OURS = "keepline"
Parts = dict[str, pl.DataFrame]  # by side, each with the bool column churn


def read(folder: Path, table: str) -> pl.DataFrame:
    """One of the tables described in the data folder's README, its target as bool."""
    frame = pl.read_csv(folder / "churn" / f"{table}.csv", infer_schema_length=None)
    return frame.with_columns(
        pl.col("churn").cast(pl.String).str.to_lowercase().is_in(["yes", "1"])
    )


def divide(frame: pl.DataFrame, seed: int) -> Parts:
    """Train, valid and test of a seed."""
    from sklearn.model_selection import train_test_split

    left = frame["churn"].to_numpy()
    most, test = train_test_split(
        np.arange(len(left)), test_size=0.2, random_state=seed, stratify=left
    )
    train, valid = train_test_split(most, test_size=0.125, random_state=seed, stratify=left[most])
    return {
        name: frame[rows.tolist()]
        for name, rows in (("train", train), ("valid", valid), ("test", test))
    }


def keepline(parts: Parts, seed: int) -> np.ndarray:
    """Risks of the test rows by the model that `keepline fit-table` trains, on these parts."""
    from dataclasses import replace

    from models.churn.model import ChurnModel
    from training.churn.settings import TABLE
    from training.churn.table import to_churn_rows
    from training.churn.train import train
    from training.run import UnrecordedRun

    def known(side: str) -> pl.DataFrame:
        frame = parts[side]
        ids = pl.Series([f"{side} {n}" for n in range(len(frame))])
        rows = to_churn_rows(frame.drop("churn").cast({pl.Int64: pl.Float64}), ids)
        return rows.with_columns(pl.lit(side).alias("split"), frame["churn"].alias("event"))

    with tempfile.TemporaryDirectory() as work:
        rows = pl.concat([known("train"), known("valid")])
        found = train(replace(TABLE, seed=seed), rows, Path(work), run=UnrecordedRun())
        return ChurnModel.load(Path(found["model"])).predict(known("test"))["risk"].to_numpy()


def version() -> str:
    """Changes with the code and settings of our model, so that what an older one said is not used."""
    files = [
        ROOT / "training" / f"{name}.py"
        for name in ("churn", "passes", "tabular", "boosting", "likelihood")
    ]
    files += [
        ROOT / "models" / f"{name}.py"
        for name in ("churn", "encoding", "tabular", "trees", "hazard")
    ]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:10]


def peers_python(work: Path) -> Path:
    """The peers' interpreter, in an environment made from benchmarks/peers/tables.txt on first use."""
    python = work / "peers" / "bin" / "python"
    if not python.exists():
        uv = Path(sys.executable).with_name("uv")
        listed = ROOT / "benchmarks" / "peers" / "tables.txt"
        subprocess.run(
            [uv, "venv", "--quiet", "--python", sys.executable, work / "peers"], check=True
        )
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", python, "-r", listed], check=True
        )
    return python


def figures(left: np.ndarray, risk: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

    risk = np.clip(risk, 1e-6, 1 - 1e-6)
    found = {
        "log_loss": log_loss(left, risk),
        "auc": roc_auc_score(left, risk),
        "average_precision": average_precision_score(left, risk),
    }
    return {name: round(float(value), 5) for name, value in found.items()}


def ranks(splits: pl.DataFrame) -> pl.DataFrame:
    """The mean rank of each model over tables and both measures, of means over splits."""
    means = splits.group_by("table", "model").agg(pl.col("log_loss", "auc").mean())
    ranked = means.with_columns(
        pl.col("log_loss").rank().over("table"), pl.col("auc").rank(descending=True).over("table")
    )
    return (
        ranked.group_by("model")
        .agg(
            pl.mean_horizontal(pl.col("log_loss").mean(), pl.col("auc").mean())
            .round(3)
            .alias("mean_rank"),
            pl.col("log_loss").mean().round(3).alias("log_loss_rank"),
            pl.col("auc").mean().round(3).alias("auc_rank"),
        )
        .sort("mean_rank")
    )


def differences(splits: pl.DataFrame) -> list[dict[str, Any]]:
    """Ours less each peer's figure, split by split: mean, standard error, and on how many splits ours is better.

    Splits of one table share rows, so the standard errors are somewhat too small.
    """
    ours = splits.filter(model=OURS).select("table", "seed", "log_loss", "auc")
    found = []
    for peer in [name for name in PEERS if name in splits["model"]]:
        both = ours.join(splits.filter(model=peer), on=["table", "seed"], suffix="_peer")
        for (table,), rows in both.group_by("table", maintain_order=True):
            row: dict[str, Any] = {"peer": peer, "table": table}
            for name, sign in (("log_loss", -1), ("auc", 1)):
                gap = (rows[name] - rows[f"{name}_peer"]).to_numpy()
                spread = gap.std(ddof=1) / len(gap) ** 0.5 if len(gap) > 1 else float("nan")
                row[name] = {
                    "mean": round(float(gap.mean()), 5),
                    "se": round(float(spread), 5),
                    "better_on": f"{int((sign * gap > 0).sum())} of {len(gap)}",
                }
            found.append(row)
    return found


def main() -> None:
    """Prints figures a split, their means, mean ranks, and paired differences."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12, 13, 14])
    ask.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    ask.add_argument("--models", nargs="+", default=[OURS, *PEERS], choices=[OURS, *PEERS])
    ask.add_argument("--work", type=Path, default=ROOT / "data" / "store" / "bench_churn_tables")
    asked = ask.parse_args()
    folder = real_data("P3 churn on plain tables", "churn")
    asked.work.mkdir(parents=True, exist_ok=True)
    skipped = None
    jobs, places = [], {}
    for table in asked.tables:
        frame = read(folder, table)
        for seed in asked.seeds:
            parts = divide(frame, seed)
            place = asked.work / f"{table}-{seed}"
            place.mkdir(exist_ok=True)
            for side, rows in parts.items():
                rows.write_parquet(place / f"{side}.parquet")
            for model in asked.models:
                out = (
                    place
                    / f"{model.replace(' ', '_')}{'-' + version() if model == OURS else ''}.json"
                )
                places[table, seed, model] = (out, parts["test"]["churn"].to_numpy())
                if out.exists():
                    continue
                if model != OURS:
                    jobs.append(
                        {"model": model, "seed": seed, "parts": str(place), "out": str(out)}
                    )
                    continue
                began = time.process_time()
                risk = keepline(parts, seed)
                found = {
                    "risk": risk.round(9).tolist(),
                    "cpu_s": round(time.process_time() - began, 1),
                }
                out.write_text(json.dumps(found))
                print(out.name, table, seed, found["cpu_s"], file=sys.stderr, flush=True)
    if jobs:
        (asked.work / "jobs.jsonl").write_text("".join(json.dumps(job) + "\n" for job in jobs))
        try:
            script = ROOT / "benchmarks" / "peers" / "tables.py"
            subprocess.run(
                [peers_python(asked.work), script, asked.work / "jobs.jsonl"], check=True
            )
        except (OSError, subprocess.CalledProcessError) as error:
            skipped = f"peers of benchmarks/peers/tables.txt are missing: {error}"
    rows = []
    for (table, seed, model), (out, left) in places.items():
        if out.exists():
            found = json.loads(out.read_text())
            row = {"table": table, "seed": seed, "model": model, "cpu_s": found["cpu_s"]}
            rows.append(row | figures(left, np.array(found["risk"])))
    if not rows:
        print(json.dumps({"benchmark": "P3 churn on plain tables", "skipped": skipped}))
        return
    splits = pl.DataFrame(rows)
    means = splits.group_by("table", "model").agg(
        pl.col("log_loss", "auc", "average_precision", "cpu_s").mean().round(4)
    )
    print(
        json.dumps(
            {
                "benchmark": "P3 churn on plain tables",
                "seeds": asked.seeds,
                "peers_skipped": skipped,
                "mean_ranks": ranks(splits).to_dicts(),
                "means": means.sort("table", "log_loss").to_dicts(),
                "ours_less_peers": differences(splits) if OURS in asked.models else [],
                "splits": rows,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
