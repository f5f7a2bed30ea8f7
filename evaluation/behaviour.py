"""Behaviour tests of a model: what must not matter (invariance), and what must point the right way (direction).

After CheckList (Ribeiro et al., 2020). A test only measures; how far off is too far, the gate's settings say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from evaluation.metrics.churn import risk_columns

_FRAME_S = 0.02
_ALONE = 20  # rows scored one by one


@dataclass(frozen=True)
class Probe:
    """What one behaviour test found: how much changed (invariance), or by how much it moved the right way (direction).

    `low` and `high` are the ends of a 95 % interval over voices or customers; None where every case was looked at and
    `value` is the worst of them.
    """

    name: str
    kind: Literal["invariance", "direction"]
    promise: str
    value: float
    low: float | None = None
    high: float | None = None
    clusters: int | None = None

    def keeps(self, limit: float) -> bool:
        """Whether it is off by no more than `limit`, at the worst end of its interval."""
        if self.kind == "invariance":
            return (self.value if self.high is None else self.high) <= limit
        return (self.value if self.low is None else self.low) >= -limit

    def said(self) -> str:
        """The figure as words."""
        ends = "" if self.low is None else f" (95 % {self.low:.4g} to {self.high:.4g})"
        return f"{self.value:.4g}{ends}"


def _matrix(risks: pl.DataFrame) -> np.ndarray:
    return risks.select(risk_columns(risks)).to_numpy()
