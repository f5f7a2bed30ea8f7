"""Keeps the first machine transcript of each call, so that a later recogniser changes no past day."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl

from data.records import TURNS, UTC

# TURNS, and of which recording, by which recogniser and when.
HEARD: dict[str, Any] = {**TURNS, "sha256": pl.String, "model": pl.String, "heard_at": UTC}


def keep_first_heard(
    kept: pl.DataFrame | None,
    turns: pl.DataFrame,
    recordings: pl.DataFrame,
    *,
    model: str,
    now: datetime,
) -> pl.DataFrame:
    """Returns HEARD: `kept`, and from `turns` (TURNS) the calls that nobody has heard before.

    A call whose recording has changed since counts as new. What a later recogniser hears of a call
    does not replace what was known of it.
    """
    content = recordings.select("contact_id", "sha256")
    kept = pl.DataFrame(schema=HEARD) if kept is None else kept
    kept = kept.join(content, on=["contact_id", "sha256"], how="semi")
    new = (
        turns.select(list(TURNS))
        .join(kept, on="contact_id", how="anti")
        .join(content, on="contact_id", how="inner")
        .with_columns(model=pl.lit(model), heard_at=pl.lit(now, dtype=UTC))
    )
    return pl.concat([kept, new.select(list(HEARD))]).sort("contact_id", "turn")
