"""A champion in one night, and what the night found out about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.monitoring import sequential
from evaluation.monitoring.observed import Observed
from evaluation.monitoring.panel import PanelResult
from evaluation.monitoring.sequential import Comparison, State

if TYPE_CHECKING:
    from evaluation.scorecard import Scorecard
    from models.kinds import ModelKind
    from models.registry.bundle import Bundle


@dataclass
class Champion:
    """A champion and what the night found out about it."""

    kind: ModelKind
    version: int
    bundle: Bundle
    folder: Path  # what nights keep of this version
    card: Scorecard | None = None
    observed: Observed = field(default_factory=Observed)
    drift: PanelResult | None = None
    compared: dict[str, Comparison] = field(default_factory=dict)
    promoted: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.kind.name} v{self.version}"

    def verdict(self) -> State:
        """Returns what is proven of the figures over all nights."""
        return sequential.overall([comparison.state for comparison in self.compared.values()])

    def sentence(self) -> str:
        """Returns what the verdict on a champion is and rests on, for people."""
        if not self.compared:
            return f"{self.name}: nothing with known truth came in yet, so nothing is proven."
        parts = []
        for name, found in self.compared.items():
            then = self.promoted[name]["value"]
            now = "not measured"
            if found.difference is not None:
                sign = 1 if self.kind.lower_is_better else -1
                now = f"{then + sign * found.difference:.4f}"
            said = {
                State.WORSE: "worse",
                State.HOLDS: f"holds within {found.margin:.4f}",
                State.UNPROVEN: "unproven: too little evidence either way",
            }[found.state]
            within = (
                ""
                if found.low is None or found.high is None
                else f", loss between {found.low:+.4f} and {found.high:+.4f}"
            )
            parts.append(
                f"{name} {now}, promoted with {then:.4f}{within} "
                f"({found.clusters} {self.kind.cluster_title}): {said}"
            )
        return f"{self.name}: {'; '.join(parts)}."
