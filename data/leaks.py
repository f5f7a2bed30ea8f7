"""Stops a run in which training has seen a customer, voice, recording or day it is tested on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from data.features.contact_marks import parse_feature_name
from data.splits import LeakError


def assert_manifests_apart(
    manifests: Mapping[str, Iterable[Mapping[str, Any]]], splits: pl.DataFrame
) -> None:
    """Raises LeakError when a recording, customer or voice is in two speech manifests.

    `manifests` are rows by split, `splits` the frame of `data.splits.split`. The error names
    the first one.
    """
    customer_of = dict(
        splits.drop_nulls("contact_id").select("contact_id", "customer_id").iter_rows()
    )
    seen: dict[tuple[str, str], str] = {}
    for split, rows in manifests.items():
        for row in rows:
            contact = row.get("contact_id")
            cut = row.get("audio_filepath")
            named = {
                "call": contact,
                "customer": customer_of.get(contact),
                "voice": row.get("voice"),
                "cut": cut and Path(cut).name,
            }
            for noun, name in named.items():
                if name is not None and seen.setdefault((noun, str(name)), split) != split:
                    raise LeakError(
                        f"{noun} {name}: in the speech of {seen[noun, str(name)]} and of {split}. "
                        "Divide again (`keepline run`), and move no lines between manifests by "
                        "hand."
                    )


def assert_customers_apart(rows: pl.DataFrame) -> None:
    """Raises LeakError naming a customer of a features table that is in two splits."""
    both = (
        rows.group_by("customer_id")
        .agg(pl.col("split").unique().sort())
        .filter(pl.col("split").list.len() > 1)
    )
    if both.height:
        name, names = both.sort("customer_id").row(0)
        raise LeakError(
            f"customer {name}: in the features of {' and '.join(names)}, {both.height} such in "
            "all. Divide again."
        )


def assert_no_future(
    rows: pl.DataFrame, contacts: pl.DataFrame, outcomes: pl.DataFrame, *, event: str = "churn"
) -> None:
    """Raises LeakError naming a row of a features table that knows what came after its as-of date.

    Contacts within each window before the date are counted again, independently of
    data.features. A customer who is in the table at a date must not have left before it. `rows`
    has customer_id, as_of and columns contacts_<days>d.
    """
    gone = outcomes.filter(
        (pl.col("event") == event) & pl.col("happened") & pl.col("on").is_not_null()
    )
    late = rows.join(gone.select("customer_id", "on"), on="customer_id").filter(
        pl.col("on") < pl.col("as_of")
    )
    if late.height:
        row = late.row(0, named=True)
        raise LeakError(
            f"customer {row['customer_id']}: left on {row['on']} and is in the features of "
            f"{row['as_of']}, {late.height} such rows. Take as-of dates before the event."
        )
    named = {name: parse_feature_name(name) for name in rows.columns}
    windows = {
        name: feature.days
        for name, feature in named.items()
        if feature.base == "contacts" and feature.days is not None
    }
    keys = rows.select("customer_id", "as_of").unique()
    age_s = (
        pl.col("as_of").cast(pl.Datetime("us", "UTC")) - pl.col("started_at")
    ).dt.total_seconds(fractional=True)
    past = keys.join(contacts.select("customer_id", "started_at"), on="customer_id").with_columns(
        age_s.alias("age_s")
    )
    counted = (
        past.filter(pl.col("age_s") > 0)
        .group_by("customer_id", "as_of")
        .agg(
            ((pl.col("age_s") // 1) <= days * 86400).sum().alias(f"counted_{days}")
            for days in windows.values()
        )
    )
    both = rows.join(counted, on=["customer_id", "as_of"], how="left")
    for name, days in windows.items():
        more = both.filter(pl.col(name) > pl.col(f"counted_{days}").fill_null(0) + 1e-6)
        if more.height:
            row = more.sort("customer_id", "as_of").row(0, named=True)
            raise LeakError(
                f"customer {row['customer_id']} on {row['as_of']}: {name} is {row[name]:g}, but "
                f"only {row[f'counted_{days}'] or 0} contacts had begun by then. A feature has "
                "seen the future."
            )


def assert_no_leakage(
    parts: Iterable[pl.DataFrame],
    divided: pl.DataFrame,
    *,
    tables: Mapping[str, pl.LazyFrame],
    event: str,
) -> Iterator[pl.DataFrame]:
    """Yields each part of the features with the split of its customers, once checked for leaks.

    `divided` is customer_id, split. Raises LeakError before anything of the part is passed on.
    """

    for part in parts:
        rows = part.join(divided, on="customer_id", maintain_order="left")
        customers = rows.lazy().select("customer_id").unique()
        contacts, outcomes = (
            tables[name].join(customers, on="customer_id", how="semi").collect()
            for name in ("contacts", "outcomes")
        )
        assert_customers_apart(rows)
        assert_no_future(rows, contacts, outcomes, event=event)
        yield rows
