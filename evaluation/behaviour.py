"""Behaviour tests of a model: invariance (what must not matter) and direction (what must).

After CheckList (Ribeiro et al., 2020). A test only measures; the gate's settings hold the limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from evaluation.metrics.churn import risk_columns

ROWS_SCORED_ALONE = 20  # of the test that scores rows one by one


@dataclass(frozen=True)
class Probe:
    """The result of one behaviour test.

    `value` is how much changed (invariance), or how far it moved the right way (direction). `low`
    and `high` are the ends of a 95 % interval over voices or customers; None where every case was
    tested and `value` is the worst of them.
    """

    name: str
    kind: Literal["invariance", "direction"]
    promise: str
    value: float
    low: float | None = None
    high: float | None = None
    clusters: int | None = None

    def is_within(self, limit: float) -> bool:
        """Returns whether it is off by no more than `limit`, at the worst end of its interval."""
        if self.kind == "invariance":
            return (self.value if self.high is None else self.high) <= limit
        return (self.value if self.low is None else self.low) >= -limit

    def describe(self) -> str:
        """Returns the value and its interval in words."""
        ends = "" if self.low is None else f" (95 % {self.low:.4g} to {self.high:.4g})"
        return f"{self.value:.4g}{ends}"


def risk_matrix(risks: pl.DataFrame) -> np.ndarray:
    """Returns the risk columns of `risks` as float64 [rows, horizons]."""
    return risks.select(risk_columns(risks)).to_numpy()
