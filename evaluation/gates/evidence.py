"""What a check sees and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from evaluation.gates.params import AsrGate, KindGate
from evaluation.scorecard import Scorecard

Verdict = Literal["pass", "fail", "no_evidence", "skipped"]


@dataclass(frozen=True)
class Facts:
    """What is known of the candidate beside its scorecard. None means nobody looked, and a check then says no."""

    reference_is_champion: bool = False  # False: the reference is the base or the baseline, this is a first model
    card: str | None = None  # text of the model card
    licence: str | None = None
    size_bytes: int | None = None  # of the bundle
    smoke_ok: bool | None = None  # the service answered a sample with this bundle
    latency_s: float | None = None  # how long that answer took
    contract_ok: bool | None = None  # the test and training data kept the data contract
    contract_says: str = ""  # what the contract found, in words


@dataclass(frozen=True)
class Evidence:
    """Everything a check may look at."""

    candidate: Scorecard
    reference: Scorecard | None
    facts: Facts
    params: KindGate = field(default_factory=AsrGate)
    seed: int = 0


@dataclass(frozen=True)
class Check:
    """One answer. `sentence` says it to a person; the figures are None where there is nothing to measure."""

    name: str
    verdict: Verdict
    sentence: str
    metric: str | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    promise: str = ""
