"""The churn model's side of the street: scoring held-out customers, scoring everyone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl


def smoke_sample(current: pl.DataFrame) -> dict[str, Any]:
    """A few present customers as the body of a request, for the service to score before a release."""
    from models.churn.model import feature_columns

    names = feature_columns(current)
    return {
        "rows": [
            {"customer_id": row["customer_id"], "features": {name: row[name] for name in names}}
            for row in current.head(5).to_dicts()
        ]
    }


def score_all(model: str | None, current: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(risks, reasons) of every row of `current`, riskiest first; both empty when no model is in office."""
    if model is None:
        return (
            pl.DataFrame(schema={"customer_id": pl.String, "as_of": pl.Date}),
            pl.DataFrame(
                schema={"customer_id": pl.String, "rank": pl.Int64, "sentence": pl.String}
            ),
        )
    from models.churn.model import ChurnModel

    network = ChurnModel.load(Path(model))
    risks = network.predict(current)
    return risks.sort(risks.columns[-1], descending=True), network.reasons(current)


def unseen(model: str | None, current: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Categories of `current` that the model's training never saw, a feature, with how many customers have each."""
    if model is None:
        return {}
    from data.plain_table import unseen
    from models.churn.model import ChurnModel

    columns = ChurnModel.load(Path(model)).config.columns
    return unseen(
        current, {column.name: column.values for column in columns if column.kind == "categorical"}
    )
