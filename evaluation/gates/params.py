"""What the gate demands, per kind of model: the `gate` section of params.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class KindGate:
    """Limits for one kind of model. All of them change who becomes champion."""

    metric: str  # the metric a candidate has to be better in
    floors: dict[str, float]  # metric -> the worst value allowed, held against the worst end of its interval
    min_units: int  # test units that weigh something, at least
    min_clusters: int  # different voices or customers among them, at least
    max_size_mib: float  # of the bundle
    max_latency_s: float  # of the smoke test's answer
    min_gain: float = 0.0  # the whole interval of the gain has to lie above this, in units of the metric
    level: float = 0.95  # of the two-sided interval of the gain
    licences: tuple[str, ...] = ()  # allowed licences; empty: any, as long as one is named
    skip: dict[str, str] = field(default_factory=dict)  # check -> why it is skipped; the reason goes on the record

    def __post_init__(self) -> None:
        """Raises ValueError for a level that is none and for a skip without a reason."""
        if not 0.5 < self.level < 1:
            raise ValueError(f"gate: level is {self.level}; it must lie between 0.5 and 1.")
        for name, reason in self.skip.items():
            if not isinstance(reason, str) or not reason.strip():
                raise ValueError(f"gate: {name} is skipped without a reason. Write one, it goes on the record.")


@dataclass(frozen=True)
class AsrGate(KindGate):
    """Limits for a recogniser; metrics are wer and cer."""

    metric: str = "wer"
    floors: dict[str, float] = field(default_factory=lambda: {"wer": 0.5})
    min_units: int = 100
    min_clusters: int = 5
    max_size_mib: float = 600.0
    max_latency_s: float = 10.0


@dataclass(frozen=True)
class ChurnGate(KindGate):
    """Limits for a churn network; metrics are named in evaluation.scorecard.churn_scorecard."""

    metric: str = "brier"
    floors: dict[str, float] = field(default_factory=lambda: {"brier": 0.25})
    min_units: int = 100
    min_clusters: int = 50
    max_size_mib: float = 50.0
    max_latency_s: float = 2.0


@dataclass(frozen=True)
class GateParams:
    """The gate of each kind, and the seed of its bootstrap."""

    asr: AsrGate = field(default_factory=AsrGate)
    churn: ChurnGate = field(default_factory=ChurnGate)
    seed: int = 0  # of the bootstrap draws

    def of(self, kind: str) -> KindGate:
        """The limits for `kind`."""
        return {"asr": self.asr, "churn": self.churn}[kind]
