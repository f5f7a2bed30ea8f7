"""P3: the churn model on plain tables with a yes/no target, against peers with their defaults.

All models have the same splits: 70 % train, 10 % valid (stopping, calibration) and 20 % test,
stratified. Settings were chosen inside the training parts of other seeds (docs/log.md). Peers run
in an environment of their own (benchmarks/peers/tables.txt), made on first use with `uv`. The risks
of every model on a split are kept in --work and used again, so a run can be interrupted.
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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _walk import ROOT, require_real_data

TABLES = ("ibm_telco", "mlc_churn", "iranian_telecom")
PEERS = ("logistic regression", "random forest", "LightGBM", "CatBoost", "TabM")
OURS = "keepline"
Parts = dict[str, pl.DataFrame]  # by side, each with the bool column churn


def read(data_folder: Path, table: str) -> pl.DataFrame:
    """Returns one of the tables described in the data folder's README, its target as bool."""
    frame = pl.read_csv(data_folder / "churn" / f"{table}.csv", infer_schema_length=None)
    return frame.with_columns(
        pl.col("churn").cast(pl.String).str.to_lowercase().is_in(["yes", "1"])
    )


def split(frame: pl.DataFrame, seed: int) -> Parts:
    """Returns train, valid and test of a seed."""
    from sklearn.model_selection import train_test_split

    target = frame["churn"].to_numpy()
    rest, test = train_test_split(
        np.arange(len(target)), test_size=0.2, random_state=seed, stratify=target
    )
    train, valid = train_test_split(rest, test_size=0.125, random_state=seed, stratify=target[rest])
    return {
        name: frame[rows.tolist()]
        for name, rows in (("train", train), ("valid", valid), ("test", test))
    }


def predict_keepline(parts: Parts, seed: int) -> np.ndarray:
    """Returns the risks of the test rows by the model that `keepline fit-table` trains."""
    from dataclasses import replace

    from models.churn.model import ChurnModel
    from training.churn.settings import TABLE
    from training.churn.table import to_churn_rows
    from training.churn.train import train
    from training.run import UnrecordedRun

    def require_manifest(side: str) -> pl.DataFrame:
        frame = parts[side]
        ids = pl.Series([f"{side} {n}" for n in range(len(frame))])
        rows = to_churn_rows(frame.drop("churn").cast({pl.Int64: pl.Float64}), ids)
        return rows.with_columns(pl.lit(side).alias("split"), frame["churn"].alias("event"))

    with tempfile.TemporaryDirectory() as work:
        rows = pl.concat([require_manifest("train"), require_manifest("valid")])
        summary = train(replace(TABLE, seed=seed), rows, Path(work), run=UnrecordedRun())
        return (
            ChurnModel.load(Path(summary["model"]))
            .predict(require_manifest("test"))["risk"]
            .to_numpy()
        )


def code_version() -> str:
    """Returns a hash of our model's code and settings, so that risks of older code are not used."""
    training, models = ROOT / "training" / "churn", ROOT / "models" / "churn"
    names = ("train", "settings", "passes", "tabular", "boosting", "likelihood")
    files = [training / f"{name}.py" for name in names]
    files += [models / f"{name}.py" for name in ("model", "encoding", "tabular", "trees", "hazard")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:10]


def peers_python(work: Path) -> Path:
    """Returns the peers' interpreter; installs benchmarks/peers/tables.txt on first use."""
    python = work / "peers" / "bin" / "python"
    if not python.exists():
        uv = Path(sys.executable).with_name("uv")
        requirements = ROOT / "benchmarks" / "peers" / "tables.txt"
        subprocess.run(
            [uv, "venv", "--quiet", "--python", sys.executable, work / "peers"], check=True
        )
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", python, "-r", requirements], check=True
        )
    return python


def compute_metrics(target: np.ndarray, risk: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

    risk = np.clip(risk, 1e-6, 1 - 1e-6)
    metrics = {
        "log_loss": log_loss(target, risk),
        "auc": roc_auc_score(target, risk),
        "average_precision": average_precision_score(target, risk),
    }
    return {name: round(float(value), 5) for name, value in metrics.items()}


def ranks(splits: pl.DataFrame) -> pl.DataFrame:
    """Returns the mean rank of each model over tables and both measures, of means over splits."""
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


def paired_differences(splits: pl.DataFrame) -> list[dict[str, Any]]:
    """Returns our metric less each peer's, split by split: mean, standard error, splits won.

    Splits of one table share rows, so the standard errors are somewhat too small.
    """
    ours = splits.filter(model=OURS).select("table", "seed", "log_loss", "auc")
    differences = []
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
            differences.append(row)
    return differences


@dataclass(frozen=True)
class Job:
    """One model on one split, and the file that keeps its risks on the test rows."""

    table: str
    seed: int
    model: str
    folder: Path  # with train.parquet, valid.parquet and test.parquet
    out: Path


def write_splits(
    data_folder: Path, work: Path, *, tables: Sequence[str], seeds: Sequence[int], models: list[str]
) -> list[Job]:
    """Writes the parts of every split and returns a job for each model on it."""
    jobs = []
    for table in tables:
        frame = read(data_folder, table)
        for seed in seeds:
            folder = work / f"{table}-{seed}"
            folder.mkdir(exist_ok=True)
            for side, rows in split(frame, seed).items():
                rows.write_parquet(folder / f"{side}.parquet")
            for model in models:
                version = f"-{code_version()}" if model == OURS else ""
                out = folder / f"{model.replace(' ', '_')}{version}.json"
                jobs.append(Job(table, seed, model, folder, out))
    return jobs


def run_ours(job: Job) -> None:
    """Trains our model on a split and writes its risks."""
    parts = {
        side: pl.read_parquet(job.folder / f"{side}.parquet") for side in ("train", "valid", "test")
    }
    started = time.process_time()
    risk = predict_keepline(parts, job.seed)
    cpu_s = round(time.process_time() - started, 1)
    job.out.write_text(json.dumps({"risk": risk.round(9).tolist(), "cpu_s": cpu_s}))
    print(job.out.name, job.table, job.seed, cpu_s, file=sys.stderr, flush=True)


def run_peers(jobs: list[Job], work: Path) -> str | None:
    """Runs the peers in their environment; returns why they were skipped, if they were."""
    lines = [
        {"model": job.model, "seed": job.seed, "parts": str(job.folder), "out": str(job.out)}
        for job in jobs
    ]
    (work / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    script = ROOT / "benchmarks" / "peers" / "tables.py"
    try:
        subprocess.run([peers_python(work), script, work / "jobs.jsonl"], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"peers of benchmarks/peers/tables.txt are missing: {error}"
    return None


def read_results(jobs: list[Job]) -> list[dict[str, Any]]:
    """Returns table, seed, model, cpu_s and metrics of every finished job."""
    rows = []
    for job in jobs:
        if job.out.exists():
            result = json.loads(job.out.read_text())
            target = pl.read_parquet(job.folder / "test.parquet")["churn"].to_numpy()
            row = {
                "table": job.table,
                "seed": job.seed,
                "model": job.model,
                "cpu_s": result["cpu_s"],
            }
            rows.append(row | compute_metrics(target, np.array(result["risk"])))
    return rows


def main() -> None:
    """Prints metrics of each split, their means, mean ranks, and paired differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12, 13, 14])
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--models", nargs="+", default=[OURS, *PEERS], choices=[OURS, *PEERS])
    parser.add_argument("--work", type=Path, default=ROOT / "data" / "store" / "bench_churn_tables")
    arguments = parser.parse_args()
    data_folder = require_real_data("P3 churn on plain tables", "churn")
    arguments.work.mkdir(parents=True, exist_ok=True)
    jobs = write_splits(
        data_folder,
        arguments.work,
        tables=arguments.tables,
        seeds=arguments.seeds,
        models=arguments.models,
    )
    unfinished = [job for job in jobs if not job.out.exists()]
    for job in unfinished:
        if job.model == OURS:
            run_ours(job)
    of_peers = [job for job in unfinished if job.model != OURS]
    skipped = run_peers(of_peers, arguments.work) if of_peers else None
    rows = read_results(jobs)
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
                "seeds": arguments.seeds,
                "peers_skipped": skipped,
                "mean_ranks": ranks(splits).to_dicts(),
                "means": means.sort("table", "log_loss").to_dicts(),
                "ours_less_peers": paired_differences(splits) if OURS in arguments.models else [],
                "splits": rows,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
