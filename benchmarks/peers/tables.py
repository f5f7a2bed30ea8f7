"""Trains peers with their defaults on splits and writes the risks of the test rows as JSON.

`python tables.py JOBS` with lines of {"model", "seed", "parts", "out"} in the file JOBS; `parts` is
a folder with train.parquet, valid.parquet and test.parquet, each with the column `churn`. As ours
does, all but TabM are trained again on train and valid together, for as long as was best on valid
(or at once, where there is no early stopping).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import torch

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
    return [str(name) for name in frame if frame[name].dtype.kind not in "biuf"]


def _train_and_valid(parts: Parts) -> tuple[pd.DataFrame, np.ndarray]:
    """Train and valid together."""
    (train, target), (valid, valid_target) = parts["train"], parts["valid"]
    return pd.concat([train, valid], ignore_index=True), np.concatenate([target, valid_target])


def _risks(model: Any, test: Any) -> np.ndarray:
    risks: np.ndarray = model.predict_proba(test)[:, 1]
    return risks


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
    encoded: tuple[np.ndarray, np.ndarray] = (encode.fit_transform(train), encode.transform(test))
    return encoded


def logistic_regression(parts: Parts, seed: int) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    train, test = _one_hot(parts)
    model = LogisticRegression(max_iter=2000).fit(train, _train_and_valid(parts)[1])
    return _risks(model, test)


def random_forest(parts: Parts, seed: int) -> np.ndarray:
    from sklearn.ensemble import RandomForestClassifier

    train, test = _one_hot(parts)
    model = RandomForestClassifier(n_estimators=300, random_state=seed)
    return _risks(model.fit(train, _train_and_valid(parts)[1]), test)


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
    return _risks(model, parts["test"][0])


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
    # It chose its learning rate by the number of rounds allowed; the second fit keeps that rate.
    rounds, rate = model.get_best_iteration() + 1, model.get_all_params()["learning_rate"]
    model = CatBoostClassifier(iterations=rounds, learning_rate=rate, **settings).fit(
        *_train_and_valid(parts)
    )
    return _risks(model, parts["test"][0])


def tabm(parts: Parts, seed: int) -> np.ndarray:
    """TabM with its package's defaults (k 32, 2 blocks, dropout 0.1).

    Piecewise-linear embeddings and the training of its example (AdamW 2e-3, batches of 256,
    patience 16), but blocks of 256 instead of 512: a quarter of the time.
    """
    import rtdl_num_embeddings
    import torch
    from tabm import TabM

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    tensors = _tensors(parts)
    train = parts["train"][0]
    bins = rtdl_num_embeddings.compute_bins(tensors["train"].numbers, n_bins=48)
    model = TabM.make(
        n_num_features=tensors["train"].numbers.shape[1],
        cat_cardinalities=[len(train[name].cat.categories) for name in text_columns(train)],
        d_out=1,
        d_block=256,
        num_embeddings=rtdl_num_embeddings.PiecewiseLinearEmbeddings(
            bins, 16, activation=False, version="B"
        ),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=3e-4)

    def risk(side: str) -> torch.Tensor:
        model.eval()
        part = tensors[side]
        with torch.inference_mode():
            members = [
                model(*part.rows(rows))[..., 0].sigmoid()
                for rows in torch.arange(len(part.target)).split(1024)
            ]
        return torch.cat(members).double().mean(1)

    best, best_loss, stale = {}, np.inf, 0
    learn, valid = tensors["train"], tensors["valid"]
    while stale < 16:
        model.train()
        for rows in torch.randperm(len(learn.target)).split(256):
            logits = model(*learn.rows(rows))[..., 0]
            target = learn.target[rows, None].expand_as(logits)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        valid_loss = torch.nn.functional.binary_cross_entropy(
            risk("valid"), valid.target.double()
        ).item()
        stale += 1
        if valid_loss < best_loss:
            best = {name: weight.clone() for name, weight in model.state_dict().items()}
            best_loss, stale = valid_loss, 0
    model.load_state_dict(best)
    risks: np.ndarray = risk("test").numpy()
    return risks


class _Tensors(NamedTuple):
    """A part as TabM takes it."""

    numbers: torch.Tensor  # float32 [rows, numbers], standardised
    categories: torch.Tensor | None  # int64 [rows, categories]
    target: torch.Tensor  # float32 [rows]

    def rows(self, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        categories = None if self.categories is None else self.categories[chosen]
        return self.numbers[chosen], categories


def _tensors(parts: Parts) -> dict[str, _Tensors]:
    """Returns the parts as tensors; numbers that are constant in train are left out."""
    import torch

    train = parts["train"][0]
    text = text_columns(train)
    names = [name for name in train if name not in text and train[name].nunique() > 1]
    mean, std = train[names].mean(), train[names].std()
    tensors = {}
    for side, (frame, target) in parts.items():
        codes = [frame[name].cat.codes for name in text]
        tensors[side] = _Tensors(
            torch.tensor(((frame[names] - mean) / std).fillna(0).to_numpy(np.float32)),
            torch.tensor(np.stack(codes, 1), dtype=torch.int64) if text else None,
            torch.tensor(target, dtype=torch.float32),
        )
    return tensors


MODELS: dict[str, Callable[[Parts, int], np.ndarray]] = {
    "logistic regression": logistic_regression,
    "random forest": random_forest,
    "LightGBM": lightgbm,
    "CatBoost": catboost,
    "TabM": tabm,
}


def main() -> None:
    """Runs the jobs of a file one after the other."""
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
