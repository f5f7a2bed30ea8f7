"""Reference models for churn: the life table, and a logistic regression for each horizon."""

from __future__ import annotations

import numpy as np
import polars as pl

from evaluation.metrics.churn import outcomes_by_horizon


def kaplan_meier(
    train: pl.DataFrame, test: pl.DataFrame, horizons_days: tuple[int, ...]
) -> pl.DataFrame:
    """Returns the share of `train` that left by each horizon, for every row of `test`.

    Kaplan and Meier (1958). Both are feature frames; without horizons it is the plain share that
    left. Returns customer_id, as_of, risk_<days> (or risk).
    """
    with_outcome = train.filter(pl.col("event").is_not_null())
    if not horizons_days:
        return test.select(
            "customer_id", "as_of", pl.lit(with_outcome["event"].mean(), pl.Float64).alias("risk")
        )
    time, event = with_outcome["time_days"].to_numpy(), with_outcome["event"].to_numpy()
    moments, place = np.unique(time[time > 0], return_inverse=True)
    left = np.bincount(place, event[time > 0], len(moments))
    at_risk = np.cumsum(np.bincount(place, minlength=len(moments))[::-1])[::-1]
    stays = np.concatenate([[1.0], np.cumprod(1 - left / at_risk)])
    return test.select(
        "customer_id",
        "as_of",
        *(
            pl.lit(1 - stays[np.searchsorted(moments, days, side="right")], pl.Float64).alias(
                f"risk_{days}"
            )
            for days in horizons_days
        ),
    )


def logistic(
    train: pl.DataFrame, test: pl.DataFrame, features: list[str], *, horizons_days: tuple[int, ...]
) -> pl.DataFrame:
    """Returns the risks of a logistic regression for each horizon, weighted by IPCW.

    On standardised numbers and one-hot categories; missing numbers take the median of `train`.
    Returns customer_id, as_of, risk_<days> (or risk) for `test`.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    text = [name for name in features if train.schema[name] == pl.String]
    numbers = [
        name for name in features if name not in text and train[name].null_count() < train.height
    ]
    rows = {
        name: frame.select(*numbers, pl.col(text).fill_null("")).to_pandas()
        for name, frame in (("train", train), ("test", test))
    }
    predicted = test.select("customer_id", "as_of")
    for days in horizons_days or (None,):
        left, weight = outcomes_by_horizon(train, days)
        weighted = weight > 0
        encode = ColumnTransformer(
            [
                (
                    "numbers",
                    make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
                    numbers,
                ),
                ("text", OneHotEncoder(handle_unknown="ignore"), text),
            ]
        )
        model = LogisticRegression(max_iter=2000)
        model.fit(
            encode.fit_transform(rows["train"][weighted]),
            left[weighted],
            sample_weight=weight[weighted],
        )
        risk = model.predict_proba(encode.transform(rows["test"]))[:, 1]
        predicted = predicted.with_columns(pl.Series(f"risk_{days}" if days else "risk", risk))
    return predicted
