"""The row and the gate of a model kind that only tests have."""

from __future__ import annotations

from dataclasses import dataclass, field

from evaluation.gates.params import KindGate
from models.kinds import ModelKind

TOY = "toy"


def a_toy_kind(stages: str, unit_title: str) -> ModelKind:
    """Returns the row of a kind whose stages are the functions of the module `stages`."""
    return ModelKind(
        name=TOY,
        title="Toy model",
        description=f"Foresees one number for every {unit_title}.",
        limits="It knows nothing.",
        licence="MIT",
        stages=stages,
        primary_metric="error",
        metric="error",
        metric_title="error",
        metric_format="{:.3f}",
        unit="unit",
        unit_title=unit_title,
        cluster_title="customers",
    )


@dataclass(frozen=True)
class ToyGate(KindGate):
    """What the gate demands of the toy."""

    metric: str = "error"
    floors: dict[str, float] = field(default_factory=lambda: {"error": 0.9})
    min_units: int = 50
    min_clusters: int = 50
    max_size_mib: float = 1.0
    max_latency_s: float = 1.0
    behaviour: dict[str, float] = field(default_factory=lambda: {"asked_twice": 1e-9})
