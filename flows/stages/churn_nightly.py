"""What a night measures of customers who were in touch: their features, and the risks they get."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from data import artefacts
from data.files import read_tables
from data.progress import Progress
from evaluation.monitoring.observed import Observed
from evaluation.monitoring.panel import FEATURE

if TYPE_CHECKING:
    from flows.runtime.context import RunContext
    from models.registry.bundle import Bundle


def observe(
    context: RunContext, bundle: Bundle, contacts: pl.DataFrame, progress: Progress
) -> Observed:
    """Returns features and risks of the customers of `contacts`, on the day after each contact.

    A day later the same customers would differ by time alone, so each day has its own.
    """
    from data.features.features import features
    from models.churn.model import ChurnModel

    labels = context.path(artefacts.LABELS)
    days = sorted({day for day in contacts["day"].to_list() if day is not None})
    if not labels.exists() or not days:
        return Observed()
    tables = read_tables(context.path(artefacts.CLEAN))
    of_these = {
        name: table.join(contacts, on="customer_id", how="semi")
        if "customer_id" in table.columns
        else table
        for name, table in tables.items()
    }
    rows = features(
        of_these,
        pl.read_parquet(labels),
        [day + timedelta(days=1) for day in days],
        params=context.params.features,
        progress=progress,
    )
    asked = contacts.group_by("customer_id", "day").agg(pl.col("contact_id").first())
    rows = rows.with_columns((pl.col("as_of") - pl.duration(days=1)).alias("day")).join(
        asked, on=["customer_id", "day"], how="inner"
    )
    network = ChurnModel.load(bundle.path)
    risks = network.predict(rows).drop("customer_id", "as_of")
    ignored = context.params.monitoring.ignored_features
    numeric = [
        column.name
        for column in network.config.columns
        if column.name not in ignored and rows.schema.get(column.name, pl.String).is_numeric()
    ]
    table = rows.select(
        "contact_id",
        "customer_id",
        "day",
        *(pl.col(name).alias(f"{FEATURE}{name}") for name in numeric),
    )
    return Observed(pl.concat([table, risks.select(risks.columns[-1:])], how="horizontal"))
