"""Customer records as they were known on a day: plan, region, price and attributes.

Ingest keeps every version of a record with the day it is valid from. As of the start of a day the
last version of an earlier day counts. A customer whose first version is later than that has it all
the same, because the history of a store begins with its first delivery: `share_first_known` counts
such rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from data.records import CUSTOMER_VERSIONS


@dataclass(frozen=True)
class AttributeParams:
    """Which attributes of customer records become features; see `FeatureParams`."""

    use: bool = True
    left_out: tuple[str, ...] = ()  # names, in any case
    max_categories: int = 50


def record_versions(
    customers: pl.DataFrame, versions: pl.DataFrame | None, params: AttributeParams
) -> pl.DataFrame:
    """Returns every version of every record, in order of customer and day.

    Columns: customer_id, valid_from (null where no day is known), since, plan, region,
    monthly_price, and `attr_<name>` typed over all versions. Of a customer without `versions` the
    one record there is counts. Raises ValueError where attributes are no JSON object.
    """
    said = list(CUSTOMER_VERSIONS)
    undated = customers.with_columns(valid_from=pl.lit(None, pl.Date))
    if versions is not None:
        versions = versions.join(customers, on="customer_id", how="semi")
        undated = undated.join(versions, on="customer_id", how="anti")
    rows = pl.concat(
        [undated.select(said), *([] if versions is None else [versions.select(said)])]
    ).sort("customer_id", "valid_from", nulls_last=False)
    base = rows.select("customer_id", "valid_from", "since", "plan", "region", "monthly_price")
    return base.with_columns(_attributes(rows, params)) if params.use else base


def records_as_of(versions: pl.DataFrame, day: date | None) -> pl.DataFrame:
    """Returns one row a customer of `record_versions`, without valid_from: what was known on `day`.

    That is the last version of a day before, else the first there is. `day` None takes the last.
    """
    is_known = pl.lit(True) if day is None else pl.col("valid_from").fill_null(day) < day
    known = versions.filter(is_known).unique("customer_id", keep="last", maintain_order=True)
    first = versions.unique("customer_id", keep="first", maintain_order=True)
    return pl.concat([known, first.join(known, on="customer_id", how="anti")]).drop("valid_from")


def share_first_known(rows: pl.DataFrame, versions: pl.DataFrame) -> float:
    """Returns the share of `rows` (customer_id, as_of) whose record is from the as-of date or later.

    `versions` are CUSTOMER_VERSIONS. These rows have the first record known of their customer.
    """
    first = versions.group_by("customer_id").agg(pl.col("valid_from").min())
    dated = rows.join(first, on="customer_id", how="left")
    later = (pl.col("valid_from") >= pl.col("as_of")).fill_null(True)
    return float(dated.select(later.mean()).item() or 0.0)


def _attributes(rows: pl.DataFrame, params: AttributeParams) -> list[pl.Series]:
    """A typed column `attr_<name>` for each attribute of the records that may be a feature."""
    parsed: list[dict[str, Any]] = []
    for customer_id, text in rows.select("customer_id", "attributes").iter_rows():
        try:
            attributes = json.loads(text or "{}")
        except json.JSONDecodeError as error:
            raise ValueError(
                f"customer {customer_id}: attributes are not JSON ({error}). Ingest it again."
            ) from error
        if not isinstance(attributes, dict):
            raise ValueError(
                f"customer {customer_id}: attributes are not a JSON object. Ingest it again."
            )
        parsed.append(attributes)
    left_out = {name.casefold() for name in params.left_out}
    columns = (
        _typed(f"attr_{name}", (row.get(name) for row in parsed), params.max_categories)
        for name in _names(parsed)
        if name.casefold() not in left_out
    )
    return [column for column in columns if column is not None]


def _names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted({name for row in rows for name in row})


def _typed(name: str, values: Iterable[Any], max_categories: int) -> pl.Series | None:
    """Numbers where every value given is one, else text.

    None where all values are missing or the text is an identifier.
    """
    texts = [
        None
        if value in (None, "")
        else str(int(value))
        if isinstance(value, bool)
        else str(value).strip()
        for value in values
    ]
    text = pl.Series(name, texts, dtype=pl.String)
    numbers = text.cast(pl.Float64, strict=False)
    if text.null_count() == len(text):
        return None
    if numbers.null_count() == text.null_count():
        return numbers
    return text if text.n_unique() <= max_categories else None
