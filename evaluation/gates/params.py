"""What the gate demands, per kind of model: the `gates` section of params.yaml.

The defaults are what a model of one's own should keep. A limit may always be tighter; looser only for a written reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from models.registry.approval import APPROVALS

# Limits that allow more when they are smaller. All others allow more when they are larger; a range when it is wider.
_LEAST = ("min_units", "min_clusters", "min_gain", "level", "slice_alpha")


@dataclass(frozen=True)
class KindGate:
    """Limits for one kind of model. All of them change who becomes champion."""

    metric: str  # the metric a candidate has to be better in
    floors: dict[
        str, float
    ]  # metric -> the worst value allowed, held against the worst end of its interval; added to
    # the default ones, as is behaviour
    min_units: int  # test units that weigh something, at least
    min_clusters: int  # different voices or customers among them, at least
    max_size_mib: float  # of the bundle
    max_latency_s: float  # of the smoke test's answer
    behaviour: dict[
        str, float
    ]  # behaviour test -> how far it may be off; each named here has to be made
    min_gain: float = (
        0.0  # the whole interval of the gain has to lie above this, in units of the metric
    )
    level: float = 0.95  # of the two-sided interval of the gain
    slice_alpha: float = (
        0.05  # chance of refusing for any slice a candidate that is worse in none (Holm)
    )
    max_slice_loss: float = (
        0.0  # loss within a slice, in units of the metric, that is not held against a candidate
    )
    min_slice_clusters: int = 5  # voices or customers in a slice, at least, for it to be tested
    licences: tuple[str, ...] = ()  # allowed licences; empty: any, as long as one is named
    skip: dict[str, str] = field(
        default_factory=dict
    )  # check -> why it is skipped; the reason goes on the record
    loosened: str = (
        ""  # why limits are looser than their defaults, if any is; the reason goes on the record
    )
    approval: str = "none"  # required: nothing moves until someone who did not train it approves

    def __post_init__(self) -> None:
        """Raises ValueError for a level or an approval that is none, a limit that is infinite, a negative count or
        margin, a range without two ends, a skip without a reason, and limits looser than their defaults without one."""
        for name in ("floors", "behaviour"):  # naming one must not drop another
            object.__setattr__(self, name, {**self._defaults()[name], **getattr(self, name)})
        for name in ("level", "slice_alpha"):
            value = getattr(self, name)
            if not (0.5 if name == "level" else 0) < value < 1:
                raise ValueError(
                    f"gate: {name} is {value}; it must lie between {0.5 if name == 'level' else 0} and 1."
                )
        for name, value in _limits(vars(self)).items():
            if not math.isfinite(value):
                raise ValueError(
                    f"gate: {name} is {value}, which is no limit. To leave a check out, skip it."
                )
            if value < 0 and name.startswith(("min_", "max_")) and name != "min_gain":
                raise ValueError(f"gate: {name} is {value}; it must not be negative.")
        if self.approval not in APPROVALS:
            raise ValueError(
                f"gate: approval is '{self.approval}'; it is one of {', '.join(APPROVALS)}."
            )
        for name, reason in self.skip.items():
            if not isinstance(reason, str) or not reason.strip():
                raise ValueError(
                    f"gate: {name} is skipped without a reason. Write one, it goes on the record."
                )
        if (loose := self.looser()) and not self.loosened.strip():
            raise ValueError(
                f"gate: {', '.join(loose)} {'is' if len(loose) == 1 else 'are'} looser than by default, without a "
                "reason. Write one under loosened, it goes on the record."
            )

    def looser(self) -> list[str]:
        """The limits that allow more than their defaults, by their names in params.yaml."""
        ours = _limits(vars(self))
        return [
            name
            for name, default in _limits(self._defaults()).items()
            if (
                ours[name] < default
                if name in _LEAST or name.endswith(".from")
                else ours[name] > default
            )
        ]

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        return {
            one.name: one.default if one.default_factory is MISSING else one.default_factory()
            for one in fields(cls)
        }


def _limits(values: Mapping[str, Any]) -> dict[str, float]:
    """Every number among `values`; one in a mapping as `floors.wer`, the ends of a range as `….from` and `….to`."""
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, (int, float)):
            found[name] = value
        elif name in ("floors", "behaviour"):
            found |= {f"{name}.{key}": limit for key, limit in value.items()}
        elif name in ("calibration_slope", "calibration_intercept"):
            if len(value) != 2:
                raise ValueError(
                    f"gate: {name} is {list(value)}; it must be two numbers, from and to."
                )
            found |= {f"{name}.from": value[0], f"{name}.to": value[1]}
    return found


@dataclass(frozen=True)
class AsrGate(KindGate):
    """Limits for a recogniser; metrics are wer and cer. A loss is allowed only if its whole interval is smaller."""

    metric: str = "wer"
    floors: dict[str, float] = field(default_factory=lambda: {"wer": 0.5})
    min_units: int = 100
    min_clusters: int = 5
    max_size_mib: float = 600.0
    max_latency_s: float = 10.0
    behaviour: dict[str, float] = field(
        default_factory=lambda: {"louder": 0.05, "quieter": 0.05, "silence_before": 0.15}
    )
    max_critical_loss: float = (
        0.03  # likely loss in the error rate of each class of critical words; sure ones never
    )
    critical_alpha: float = (
        0.1  # a loss is likely where chance makes as large a one less often than this
    )
    max_guardrail_loss: float = 0.03  # in WER on general speech
    max_reading_loss: float = (
        0.03  # share of labels read wrongly in its text but not in the reference's
    )
    max_friction_loss: float = 0.15  # wrong friction flags more, for each friction there is
    max_brier_loss: float = 0.003  # in the Brier score of the champion churn model on its text


@dataclass(frozen=True)
class ChurnGate(KindGate):
    """Limits for a churn network; metrics are named in evaluation.scorecard.churn_scorecard."""

    metric: str = "brier"
    floors: dict[str, float] = field(default_factory=lambda: {"brier": 0.25})
    min_units: int = 100
    min_clusters: int = 50
    max_size_mib: float = 50.0
    max_latency_s: float = 2.0
    behaviour: dict[str, float] = field(
        default_factory=lambda: {
            "customer_renamed": 1e-6,
            "scored_alone": 1e-6,
            "complaint_unresolved": 0.001,
        }
    )
    long_horizon_days: int = 180  # horizons from here on are long
    max_long_loss: float = 0.003  # in the Brier score at each long horizon
    calibration_slope: tuple[float, ...] = (
        0.67,
        1.5,
    )  # of logit(risk); surely outside is miscalibrated
    calibration_intercept: tuple[float, ...] = (
        -0.3,
        0.3,
    )  # of logit(risk) at slope 1; surely outside likewise
    max_slice_gap: float = (
        0.03  # mean risk minus share that left, within a slice; surely more is miscalibrated
    )


@dataclass(frozen=True)
class ReaderGate(KindGate):
    """Limits for a contact reader; metrics are named in evaluation.reader.reader_scorecard."""

    metric: str = "log_loss"
    floors: dict[str, float] = field(default_factory=lambda: {"label_errors": 0.12})
    min_units: int = 500
    min_clusters: int = 50
    max_size_mib: float = 50.0
    max_latency_s: float = 2.0
    behaviour: dict[str, float] = field(
        default_factory=lambda: {"written_loudly": 1e-6, "read_alone": 1e-5, "anger_added": 0.0}
    )
    max_slice_loss: float = 0.01


@dataclass(frozen=True)
class GateParams:
    """The gate of each kind, and the seed of its bootstrap."""

    asr: AsrGate = field(default_factory=AsrGate)
    churn: ChurnGate = field(default_factory=ChurnGate)
    reader: ReaderGate = field(default_factory=ReaderGate)
    others: Mapping[str, KindGate] = field(default_factory=dict)  # of kinds that a plugin adds
    seed: int = 0  # of the bootstrap draws
    approval_wait_s: float = (
        86400.0  # how long a flow on a Prefect server waits for a required approval
    )

    def of(self, kind: str) -> KindGate:
        """The limits for `kind`. Raises KeyError where neither a field nor `others` has that name."""
        limits = getattr(self, kind, None)
        return limits if isinstance(limits, KindGate) else self.others[kind]
