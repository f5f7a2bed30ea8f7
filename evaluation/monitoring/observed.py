"""What a night measures of contacts whose truth nobody knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from evaluation.monitoring.panel import KEYS
from evaluation.monitoring.wer_without_words import WerEstimate


@dataclass(frozen=True)
class Observed:
    """A row a contact with KEYS of the panel and a column a metric; estimates by metric."""

    table: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(
            schema=dict(zip(KEYS, (pl.String, pl.String, pl.Date), strict=True))
        )
    )
    estimates: Mapping[str, WerEstimate] = field(default_factory=dict)
    says: str = ""  # why an estimate is missing
    # Tables by name that later nights of the same version need; kept for what came in tonight.
    keep: Mapping[str, pl.DataFrame] = field(default_factory=dict)
