"""Fits one peer to one split after another, as it comes, and leaves each risk of the test rows as JSON.

`python tables.py JOBS` with lines of {"model", "seed", "parts", "out"} on file JOBS; `parts` is a folder with
train.parquet, valid.parquet and test.parquet, each with the column `churn`. As ours does, all but TabM learn once more
from train and valid together when valid has said for how long (or at once, where it need not say).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Parts = dict[str, tuple[pd.DataFrame, np.ndarray]]


def read(folder: Path) -> Parts:
    frames = {
        side: pd.read_parquet(folder / f"{side}.parquet") for side in ("train", "valid", "test")
    }
    for name in text_columns(frames["train"]):
        values = sorted(set(frames["train"][name]))
        for frame in frames.values():
            frame[name] = pd.Categorical(
                frame[name].where(frame[name].isin(values), values[0]), values
            )
    return {
        side: (frame.drop(columns="churn"), frame["churn"].to_numpy(bool))
        for side, frame in frames.items()
    }


def text_columns(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame if frame[name].dtype.kind not in "biuf"]


def _train_and_valid(parts: Parts) -> tuple[pd.DataFrame, np.ndarray]:
    """Train and valid together."""
    (train, target), (valid, valid_target) = parts["train"], parts["valid"]
    return pd.concat([train, valid], ignore_index=True), np.concatenate([target, valid_target])


def _one_hot(parts: Parts) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    train, test = _train_and_valid(parts)[0], parts["test"][0]
    text = text_columns(train)
    encode = make_column_transformer(
        (
            make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
            [name for name in train if name not in text],
        ),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), text),
    )
    return encode.fit_transform(train), encode.transform(test)


def logistic_regression(parts: Parts, seed: int) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    train, test = _one_hot(parts)
    return (
        LogisticRegression(max_iter=2000)
        .fit(train, _train_and_valid(parts)[1])
        .predict_proba(test)[:, 1]
    )


def random_forest(parts: Parts, seed: int) -> np.ndarray:
    from sklearn.ensemble import RandomForestClassifier

    train, test = _one_hot(parts)
    model = RandomForestClassifier(n_estimators=300, random_state=seed)
    return model.fit(train, _train_and_valid(parts)[1]).predict_proba(test)[:, 1]


def lightgbm(parts: Parts, seed: int) -> np.ndarray:
    import lightgbm as lgb

    settings = {"learning_rate": 0.03, "random_state": seed, "verbose": -1, "n_jobs": 1}
    model = lgb.LGBMClassifier(n_estimators=2000, **settings)
    model.fit(
        *parts["train"],
        eval_set=[parts["valid"]],
        callbacks=[lgb.early_stopping(50, verbose=False)],
    )
    model = lgb.LGBMClassifier(n_estimators=model.best_iteration_, **settings).fit(
        *_train_and_valid(parts)
    )
    return model.predict_proba(parts["test"][0])[:, 1]


def catboost(parts: Parts, seed: int) -> np.ndarray:
    from catboost import CatBoostClassifier

    settings = {
        "random_seed": seed,
        "verbose": False,
        "thread_count": 1,
        "allow_writing_files": False,
        "cat_features": text_columns(parts["train"][0]),
    }
    model = CatBoostClassifier(early_stopping_rounds=50, **settings)
    model.fit(*parts["train"], eval_set=parts["valid"])
    # The step is the one it chose for itself, which follows from the number of rounds that it was allowed.
    rounds, rate = model.get_best_iteration() + 1, model.get_all_params()["learning_rate"]
    model = CatBoostClassifier(iterations=rounds, learning_rate=rate, **settings).fit(
        *_train_and_valid(parts)
    )
    return model.predict_proba(parts["test"][0])[:, 1]


def tabm(parts: Parts, seed: int) -> np.ndarray:
    """The package's defaults (k 32, 2 blocks, dropout 0.1) with piecewise-linear embeddings and its example's training
    (AdamW 2e-3, batches of 256, patience 16), but blocks of 256 instead of 512: a quarter of the time."""
    import rtdl_num_embeddings
    import torch
    from tabm import TabM

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    train = parts["train"][0]
    text = text_columns(train)
    numbers = [name for name in train if name not in text and train[name].nunique() > 1]
    mean, std = train[numbers].mean(), train[numbers].std()
    x = {
        side: torch.tensor(((frame[numbers] - mean) / std).fillna(0).to_numpy(np.float32))
        for side, (frame, _) in parts.items()
    }
    c = {
        side: torch.tensor(np.stack([frame[name].cat.codes for name in text], 1), dtype=torch.int64)
        if text
        else None
        for side, (frame, _) in parts.items()
    }
    y = {side: torch.tensor(target, dtype=torch.float32) for side, (_, target) in parts.items()}
    bins = rtdl_num_embeddings.compute_bins(x["train"], n_bins=48)
    model = TabM.make(
        n_num_features=len(numbers),
        cat_cardinalities=[len(train[name].cat.categories) for name in text],
        d_out=1,
        d_block=256,
        num_embeddings=rtdl_num_embeddings.PiecewiseLinearEmbeddings(
            bins, 16, activation=False, version="B"
        ),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=3e-4)

    def risk(side: str) -> torch.Tensor:
        model.eval()
        with torch.inference_mode():
            rows = torch.arange(len(x[side])).split(1024)
            members = [
                model(x[side][n], None if c[side] is None else c[side][n])[..., 0].sigmoid()
                for n in rows
            ]
        return torch.cat(members).double().mean(1)

    best, best_loss, stale = {}, np.inf, 0
    while stale < 16:
        model.train()
        for rows in torch.randperm(len(y["train"])).split(256):
            logits = model(x["train"][rows], None if c["train"] is None else c["train"][rows])[
                ..., 0
            ]
            target = y["train"][rows, None].expand_as(logits)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        valid = torch.nn.functional.binary_cross_entropy(risk("valid"), y["valid"].double()).item()
        stale += 1
        if valid < best_loss:
            best, best_loss, stale = (
                {name: w.clone() for name, w in model.state_dict().items()},
                valid,
                0,
            )
    model.load_state_dict(best)
    return risk("test").numpy()


MODELS: dict[str, Callable[[Parts, int], np.ndarray]] = {
    "logistic regression": logistic_regression,
    "random forest": random_forest,
    "LightGBM": lightgbm,
    "CatBoost": catboost,
    "TabM": tabm,
}


def main() -> None:
    jobs: list[dict[str, Any]] = [
        json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()
    ]
    for job in jobs:
        parts = read(Path(job["parts"]))
        began = time.process_time()
        risk = MODELS[job["model"]](parts, job["seed"])
        result = {
            "risk": [round(float(value), 9) for value in risk],
            "cpu_s": round(time.process_time() - began, 1),
        }
        temporary = Path(job["out"] + ".tmp")
        temporary.write_text(json.dumps(result))
        temporary.replace(job["out"])
        print(job["out"], result["cpu_s"], file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
