"""What the gate demands of each kind of model: the `gates` section of params.yaml.

The defaults are meant for a model trained on recordings of one's own. A limit may always be
tighter, and looser only with a written reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar

from evaluation.gates.looks import LookLevels
from models.registry.approval import APPROVALS

# Limits that allow more when they are smaller. All others allow more when they are larger, and a
# range when it is wider.
_LOWER_IS_LOOSER = (
    "min_units",
    "min_clusters",
    "min_gain",
    "level",
    "slice_alpha",
    "intersection_alpha",
    "min_critical_recall",
    "min_critical_words",
    # Floors of metrics of which more is better.
    "floors.scaled_brier",
)
_RANGES = ("calibration_slope", "calibration_ratio")


@dataclass(frozen=True)
class KindGate:
    """Limits for one kind of model. All of them change who becomes champion."""

    # Old keys of params.yaml, still read for one release (data.params.section).
    RENAMED: ClassVar[dict[str, str]] = {"loosened": "relaxation_reason"}

    # The metric a candidate has to be better in.
    metric: str
    # Metric → the worst value allowed, compared with the worst end of its interval. Added to the
    # default ones, as is `behaviour`.
    floors: dict[str, float]
    # Test units with a weight in the metric, at least.
    min_units: int
    # Different voices or customers among them, at least. With fewer than 10 no gain can reach the
    # level of a first look (2^-10 = 0.1 %).
    min_clusters: int
    # Of the bundle.
    max_size_mib: float
    # Of the smoke test's answer.
    max_latency_s: float
    # Behaviour test → how far it may be off. Each test named here has to be made.
    behaviour: dict[str, float]
    # The whole interval of the gain has to lie above this, in units of the metric.
    min_gain: float = 0.0
    # Of the two-sided interval of the gain. One side, 2.5 %, is also the chance of a promotion for
    # nothing that all looks at a test unit together may have (evaluation.gates.looks).
    level: float = 0.95
    # The same chance in any 365 days, however many new test units come; never less than one side.
    year_level: float = 0.05
    # Share of what is left of both that one look spends.
    look_share: float = 0.04
    # A gain worth proving, in units of the metric. A refusal for lack of evidence tells what it
    # takes to prove this one; 0: the one that was measured.
    worthwhile_gain: float = 0.0
    # Chance of refusing, for any slice, a candidate that is worse in none (Holm).
    slice_alpha: float = 0.05
    # Loss within a slice, in units of the metric, that does not count against a candidate.
    max_slice_loss: float = 0.0
    # Voices or customers in a slice, at least, for it to be tested.
    min_slice_clusters: int = 5
    # A slice is held only where a loss as large as this is ruled out; else it is unproven.
    slice_margin: float = 0.05
    # Chance of refusing, for any intersection of slices, a candidate that is worse in none.
    intersection_alpha: float = 0.025
    # Checks that have to be proven: an unproven one refuses, where it otherwise is only stated.
    required_proof: tuple[str, ...] = ()
    # Allowed licences. Empty: any, as long as one is named.
    licences: tuple[str, ...] = ()
    # Check → why it is skipped. The reason goes on the record.
    skip: dict[str, str] = field(default_factory=dict)
    # Why limits are looser than their defaults, where any is. The reason goes on the record.
    relaxation_reason: str = ""
    # "required": nothing is promoted until someone who did not train the model approves it.
    approval: str = "none"

    def __post_init__(self) -> None:
        """Adds the default floors and behaviour limits, and validates every setting.

        Raises ValueError for a level or approval that is none, a limit that is infinite, a negative
        count or margin, a range without two ends, a skip without a reason, and limits looser than
        their defaults without a reason.
        """
        for name in ("floors", "behaviour"):  # naming one must not drop another
            object.__setattr__(self, name, {**self._defaults()[name], **getattr(self, name)})
        self._check_limits()
        if self.approval not in APPROVALS:
            raise ValueError(
                f"gate: approval is '{self.approval}'; it is one of {', '.join(APPROVALS)}."
            )
        for name, reason in self.skip.items():
            if not isinstance(reason, str) or not reason.strip():
                raise ValueError(
                    f"gate: {name} is skipped without a reason. Write one, it goes on the record."
                )
        if (relaxed := self.relaxed_limits()) and not self.relaxation_reason.strip():
            raise ValueError(
                f"gate: {', '.join(relaxed)} {'is' if len(relaxed) == 1 else 'are'} looser than by "
                "default, without a reason. Write one under relaxation_reason, it goes on the "
                "record."
            )

    def _check_limits(self) -> None:
        """Raises ValueError for a level outside its range and a limit that is none."""
        for name in ("level", "slice_alpha", "intersection_alpha"):
            value = getattr(self, name)
            lowest = 0.5 if name == "level" else 0
            if not lowest < value < 1:
                raise ValueError(f"gate: {name} is {value}; it must lie between {lowest} and 1.")
        _ = self.look_levels  # raises ValueError for levels that are none
        for name, value in _limits(vars(self)).items():
            if not math.isfinite(value):
                raise ValueError(
                    f"gate: {name} is {value}, which is no limit. To leave a check out, skip it."
                )
            if value < 0 and name.startswith(("min_", "max_")) and name != "min_gain":
                raise ValueError(f"gate: {name} is {value}; it must not be negative.")

    @property
    def look_levels(self) -> LookLevels:
        """What a sequence of looks at the test set may spend."""
        life = round((1 - self.level) / 2, 12)
        return LookLevels(life=life, year=max(life, self.year_level), share=self.look_share)

    def relaxed_limits(self) -> list[str]:
        """Returns the limits that allow more than their defaults, by their names in params.yaml."""
        limits = _limits(vars(self))
        return [
            name
            for name, default in _limits(self._defaults()).items()
            if (
                limits[name] < default
                if name in _LOWER_IS_LOOSER or name.endswith(".from")
                else limits[name] > default
            )
        ]

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        return {
            setting.name: setting.default
            if setting.default_factory is MISSING
            else setting.default_factory()
            for setting in fields(cls)
        }


def _limits(values: Mapping[str, Any]) -> dict[str, float]:
    """Returns every number among `values`, by name.

    A number in a mapping is named like `floors.wer`, the ends of a range `….from` and `….to`.
    Raises ValueError for a range without two ends.
    """
    limits: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, (int, float)) and name != "worthwhile_gain":
            limits[name] = value
        elif name in ("floors", "behaviour"):
            limits |= {f"{name}.{key}": limit for key, limit in value.items()}
        elif name in _RANGES:
            if len(value) != 2:
                raise ValueError(
                    f"gate: {name} is {list(value)}; it must be two numbers, from and to."
                )
            limits |= {f"{name}.from": value[0], f"{name}.to": value[1]}
    return limits


@dataclass(frozen=True)
class AsrGate(KindGate):
    """Limits for a recogniser. Metrics are wer and cer.

    A loss (of guardrail, labels, frictions, Brier score) is allowed only if its whole interval is
    smaller than the limit.
    """

    metric: str = "wer"
    floors: dict[str, float] = field(default_factory=lambda: {"wer": 0.5})
    min_units: int = 100
    min_clusters: int = 10
    max_size_mib: float = 600.0
    max_latency_s: float = 10.0
    behaviour: dict[str, float] = field(
        default_factory=lambda: {"louder": 0.05, "quieter": 0.05, "silence_before": 0.15}
    )
    # Likely loss in the error rate of each class of critical words; a significant one never passes.
    max_critical_loss: float = 0.03
    # A loss is likely where chance makes as large a one less often than this.
    critical_alpha: float = 0.1
    # Words of a class that have to be said, in calls or in planted sentences, to prove anything.
    min_critical_words: int = 30
    # A class is held only where a loss as large as this in its error rate is ruled out.
    critical_margin: float = 0.1
    # Share of the words of each class that has to be heard. A class surely below it is a refusal.
    min_critical_recall: float = 0.5
    # Classes that have to be proven, in calls or in planted sentences.
    required_critical: tuple[str, ...] = ()
    # In WER on general speech.
    max_guardrail_loss: float = 0.03
    # Share of labels that are wrong on its text but not on the reference's.
    max_reading_loss: float = 0.03
    # Additional wrong friction flags, for each friction there is.
    max_friction_loss: float = 0.15
    # In the Brier score of the champion churn model on its text.
    max_brier_loss: float = 0.003


@dataclass(frozen=True)
class ChurnGate(KindGate):
    """Limits for a churn network. Metrics are named in evaluation.churn.scorecard."""

    metric: str = "brier"
    slice_margin: float = 0.01  # in the Brier score
    floors: dict[str, float] = field(default_factory=lambda: {"scaled_brier": 0.0})
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
    # Horizons from here on are long.
    long_horizon_days: int = 180
    # In the Brier score at each long horizon.
    max_long_loss: float = 0.003
    # Of logit(risk). Proven where the whole interval is inside, failed where all of it is outside.
    calibration_slope: tuple[float, ...] = (0.7, 1.4)
    # Customers who left over those expected to. Proven and failed as the slope.
    calibration_ratio: tuple[float, ...] = (0.8, 1.25)
    # Customers who leave by a horizon, for a proof to be likely (Riley et al. 2021).
    calibration_events: int = 200
    # Horizons in days at which calibration has to be proven.
    required_calibration: tuple[int, ...] = ()
    # Mean risk minus share that left, within a slice. Significantly more means miscalibrated; a
    # slice is held only where more is ruled out.
    max_slice_gap: float = 0.03


@dataclass(frozen=True)
class ReaderGate(KindGate):
    """Limits for a contact reader. Metrics are named in evaluation.reader.scorecard."""

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
    # The gates of kinds that a plugin adds.
    others: Mapping[str, KindGate] = field(default_factory=dict)
    seed: int = 0  # of the bootstrap draws
    # How long a flow on a Prefect server waits for a required approval.
    approval_wait_s: float = 86400.0

    def of(self, kind: str) -> KindGate:
        """Returns the limits for `kind`. Raises KeyError where neither a field nor `others` has it."""
        limits = getattr(self, kind, None)
        return limits if isinstance(limits, KindGate) else self.others[kind]
