"""Behaviour tests of a churn model: a planted complaint raises the risk, ids and order do not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from evaluation.behaviour import ROWS_SCORED_ALONE, Probe, risk_matrix
from evaluation.metrics.bootstrap import ratio_of_sums


def churn_probes(
    predict: Callable[[pl.DataFrame], pl.DataFrame],
    rows: pl.DataFrame,
    *,
    unresolved: pl.DataFrame,
    resolved: pl.DataFrame,
    seed: int,
) -> list[Probe]:
    """Runs the behaviour tests of a churn model on feature `rows`.

    `unresolved` and `resolved` are the same customers and dates, each with one complaint more that
    ended so.
    """
    risks = risk_matrix(predict(rows))
    renamed = rows.with_columns(
        pl.format("renamed-{}", "customer_id").alias("customer_id")
    ).reverse()
    alone = np.concatenate(
        [risk_matrix(predict(row)) for row in rows.head(ROWS_SCORED_ALONE).iter_slices(1)]
    )
    keys = ["customer_id", "as_of"]
    rise = risk_matrix(predict(unresolved.sort(keys))) - risk_matrix(predict(resolved.sort(keys)))
    customers = unresolved.sort(keys)["customer_id"].to_numpy()
    mean_rise = ratio_of_sums(rise.mean(axis=1), np.ones(len(rise)), customers, seed=seed)
    return [
        Probe(
            "customer_renamed",
            "invariance",
            "Another customer id and another order of rows change no risk.",
            float(np.abs(risk_matrix(predict(renamed))[::-1] - risks).max()),
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
            mean_rise.value,
            mean_rise.low,
            mean_rise.high,
            mean_rise.clusters,
        ),
    ]
