"""Tells how busy the centre was when a contact came in."""

from __future__ import annotations

import polars as pl

PEAK_SHARE = 0.5  # of all contacts, whatever their channel


def load_bands(contacts: pl.DataFrame) -> pl.DataFrame:
    """Returns contact_id and `load`: "peak" in the busiest hours of the day (UTC), else "off-peak".

    The busiest are the fewest hours that together hold PEAK_SHARE of `contacts`; of equal ones
    the earlier.
    """
    hours = contacts.select("contact_id", pl.col("started_at").dt.hour().alias("hour"))
    counts = (
        hours.group_by("hour").len("contacts").sort(["contacts", "hour"], descending=[True, False])
    )
    before = pl.col("contacts").cum_sum() - pl.col("contacts")
    peak = counts.filter(before < PEAK_SHARE * contacts.height)["hour"].to_list()
    load = pl.when(pl.col("hour").is_in(peak)).then(pl.lit("peak")).otherwise(pl.lit("off-peak"))
    return hours.select("contact_id", load.alias("load"))
