"""Behaviour tests of a churn model: a planted complaint raises the risk, ids and order change nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from evaluation.behaviour import _ALONE, Probe, _matrix
from evaluation.metrics.bootstrap import ratio_of_sums


def churn_probes(
    predict: Callable[[pl.DataFrame], pl.DataFrame],
    rows: pl.DataFrame,
    unresolved: pl.DataFrame,
    resolved: pl.DataFrame,
    seed: int,
) -> list[Probe]:
    """Tests of a churn model on `rows` of features.

    `unresolved` and `resolved` are the same customers and dates with one more complaint each, which ended so.
    """
    risks = _matrix(predict(rows))
    renamed = rows.with_columns(
        pl.format("renamed-{}", "customer_id").alias("customer_id")
    ).reverse()
    alone = np.concatenate([_matrix(predict(one)) for one in rows.head(_ALONE).iter_slices(1)])
    keys = ["customer_id", "as_of"]
    rise = _matrix(predict(unresolved.sort(keys))) - _matrix(predict(resolved.sort(keys)))
    customers = unresolved.sort(keys)["customer_id"].to_numpy()
    found = ratio_of_sums(rise.mean(axis=1), np.ones(len(rise)), customers, seed)
    return [
        Probe(
            "customer_renamed",
            "invariance",
            "Another customer id and another order of rows change no risk.",
            float(np.abs(_matrix(predict(renamed))[::-1] - risks).max()),
        ),
        Probe(
            "scored_alone",
            "invariance",
            "A customer scored alone has the risk of one scored among others.",
            float(np.abs(alone - risks[: len(alone)]).max()),
        ),
        Probe(
            "complaint_unresolved",
            "direction",
            "The same complaint left unresolved instead of resolved does not lower the mean risk.",
            found.value,
            found.low,
            found.high,
            found.clusters,
        ),
    ]
