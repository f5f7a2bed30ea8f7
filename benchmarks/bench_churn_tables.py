"""P3: the churn model on plain tables with a yes/no target, against peers as they come, on the same splits.

Each split is 70 % train, 10 % valid (stopping, calibration) and 20 % test, stratified. LightGBM and CatBoost take
part where they are installed; the answer says who did not. `--seeds 0 1 2 3 4 --tables ibm_telco …`
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from _walk import real_data

TABLES = ("ibm_telco", "mlc_churn", "iranian_telecom")
Parts = dict[str, tuple[pl.DataFrame, np.ndarray]]


class Unrecorded:
    """A run that nobody reads."""

    run_id = "none"

    def log_params(self, params: dict[str, Any]) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int) -> None: ...


def read(folder: Path, table: str) -> tuple[pl.DataFrame, np.ndarray]:
    """(features, whether they left) of one of the tables described in the data folder's README."""
    frame = pl.read_csv(folder / "churn" / f"{table}.csv", infer_schema_length=None)
    left = frame["churn"].cast(pl.String).str.to_lowercase().is_in(["yes", "1"]).to_numpy()
    return frame.drop("churn"), left


def divide(frame: pl.DataFrame, left: np.ndarray, seed: int) -> Parts:
    from sklearn.model_selection import train_test_split

    most, test = train_test_split(np.arange(len(left)), test_size=0.2, random_state=seed, stratify=left)
    train, valid = train_test_split(most, test_size=0.125, random_state=seed, stratify=left[most])
    return {name: (frame[rows], left[rows]) for name, rows in (("train", train), ("valid", valid), ("test", test))}


def keepline(parts: Parts, seed: int) -> np.ndarray:
    from dataclasses import replace

    from models.churn import ChurnModel
    from training.churn import TABLE, train

    rows = pl.concat(
        frame.rename({name: f"attr_{name}" for name in frame.columns}).with_columns(
            pl.lit(side).alias("split"), pl.Series("event", left)
        )
        for side, (frame, left) in parts.items()
    ).with_columns(
        pl.format("c{}", pl.int_range(pl.len())).alias("customer_id"),
        pl.lit(None, pl.Date).alias("as_of"),
        pl.lit(None, pl.Float64).alias("time_days"),
        pl.col(pl.Int64).cast(pl.Float64),
    )
    with tempfile.TemporaryDirectory() as work:
        found = train(replace(TABLE, seed=seed), rows, Path(work), Unrecorded())
        risks = ChurnModel.load(Path(found["model"])).predict(rows.filter(split="test"))
    return risks["risk"].to_numpy()


def _encoded(parts: Parts) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    encode = make_column_transformer(
        (StandardScaler(), make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), make_column_selector(dtype_exclude="number")),
    )
    return encode.fit_transform(parts["train"][0].to_pandas()), encode.transform(parts["test"][0].to_pandas())


def logistic_regression(parts: Parts, seed: int) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    train, test = _encoded(parts)
    return LogisticRegression(max_iter=2000).fit(train, parts["train"][1]).predict_proba(test)[:, 1]


def random_forest(parts: Parts, seed: int) -> np.ndarray:
    from sklearn.ensemble import RandomForestClassifier

    train, test = _encoded(parts)
    model = RandomForestClassifier(n_estimators=300, random_state=seed)
    return model.fit(train, parts["train"][1]).predict_proba(test)[:, 1]


def _pandas(parts: Parts) -> dict[str, Any]:
    frames = {side: frame.to_pandas() for side, (frame, _) in parts.items()}
    text = [name for name in frames["train"].columns if frames["train"][name].dtype.kind not in "biuf"]
    for name in text:
        known = sorted(set().union(*(frame[name] for frame in frames.values())))
        for frame in frames.values():
            frame[name] = frame[name].astype("category").cat.set_categories(known)
    return frames


def lightgbm(parts: Parts, seed: int) -> np.ndarray:
    import lightgbm as lgb

    frames = _pandas(parts)
    model = lgb.LGBMClassifier(n_estimators=2000, learning_rate=0.03, random_state=seed, verbose=-1)
    model.fit(
        frames["train"], parts["train"][1], eval_set=[(frames["valid"], parts["valid"][1])],
        callbacks=[lgb.early_stopping(50, verbose=False)],
    )  # fmt: skip
    return model.predict_proba(frames["test"])[:, 1]


def catboost(parts: Parts, seed: int) -> np.ndarray:
    from catboost import CatBoostClassifier

    frames = _pandas(parts)
    text = [name for name in frames["train"].columns if frames["train"][name].dtype.name == "category"]
    model = CatBoostClassifier(random_seed=seed, verbose=False, early_stopping_rounds=50, cat_features=text,
                               allow_writing_files=False)  # fmt: skip
    model.fit(frames["train"], parts["train"][1], eval_set=(frames["valid"], parts["valid"][1]))
    return model.predict_proba(frames["test"])[:, 1]


MODELS: dict[str, Callable[[Parts, int], np.ndarray]] = {
    "keepline": keepline, "logistic regression": logistic_regression, "random forest": random_forest,
    "LightGBM": lightgbm, "CatBoost": catboost,
}  # fmt: skip


def main() -> None:
    """Prints figures a split, their means, and the mean rank of each model over tables and measures."""
    from sklearn.metrics import log_loss, roc_auc_score

    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    ask.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    ask.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    asked = ask.parse_args()
    folder = real_data("P3", "churn")
    splits, absent = [], set()
    for table in asked.tables:
        frame, left = read(folder, table)
        for seed in asked.seeds:
            parts = divide(frame, left, seed)
            for name in asked.models:
                began = time.process_time()
                try:
                    risk = np.clip(MODELS[name](parts, seed), 1e-6, 1 - 1e-6)
                except ImportError:
                    absent.add(name)
                    continue
                true = parts["test"][1]
                figures = {"log_loss": log_loss(true, risk), "auc": roc_auc_score(true, risk)}
                splits.append({"table": table, "seed": seed, "model": name,
                               **{key: round(float(value), 4) for key, value in figures.items()},
                               "cpu_s": round(time.process_time() - began, 1)})  # fmt: skip
                print(json.dumps(splits[-1]), file=sys.stderr, flush=True)
    found = pl.DataFrame(splits)
    means = found.group_by("table", "model").agg(pl.col("log_loss", "auc", "cpu_s").mean().round(4))
    ranks = means.with_columns(
        pl.col("log_loss").rank().over("table").alias("a"), pl.col("auc").rank(descending=True).over("table").alias("b")
    )
    ranks = ranks.group_by("model").agg(((pl.col("a") + pl.col("b")) / 2).mean().round(3).alias("mean_rank"))
    print(json.dumps({
        "benchmark": "P3 churn on plain tables", "seeds": asked.seeds, "splits": splits,
        "means": means.sort("table", "log_loss").to_dicts(), "mean_ranks": ranks.sort("mean_rank").to_dicts(),
        "not_installed": sorted(absent),
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
