"""What a check sees and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from evaluation.behaviour import Probe
from evaluation.gates.params import AsrGate, ChurnGate, KindGate
from evaluation.scorecard import Scorecard

Verdict = Literal["pass", "fail", "no_evidence", "skipped"]


@dataclass(frozen=True)
class Facts:
    """What is known of the candidate beside its scorecard. None means nobody looked, and a check then says no."""

    reference_is_champion: bool = (
        False  # False: the reference is the base or the baseline, this is a first model
    )
    card: str | None = None  # text of the model card
    licence: str | None = None
    size_bytes: int | None = None  # of the bundle
    bundle_sha256: str | None = None  # of the bundle that would be released, verified just now
    bundle_says: str = ""  # what is wrong with that bundle, in words
    smoke_ok: bool | None = None  # the service answered a sample with this bundle
    latency_s: float | None = None  # how long that answer took
    contract_ok: bool | None = None  # the test and training data kept the data contract
    contract_says: str = ""  # what the contract found, in words
    # The champions that read a recogniser's text, churn and reader → checksum, empty where there is none: those that
    # read it for the second tests, and those of this moment.
    read_by: Mapping[str, str] | None = None
    readers_now: Mapping[str, str] | None = None
    probed_sha256: str | None = None  # of the bundle whose behaviour was tested
    trained_by: str = ""  # whoever started the training; may not approve it


class EvidenceError(ValueError):
    """What a check needs is missing ("no_evidence"), or is not what it says it is ("fail")."""

    def __init__(self, verdict: Verdict, sentence: str) -> None:
        super().__init__(sentence)
        self.verdict = verdict


@dataclass(frozen=True)
class SecondaryTest:
    """A second test that both models took: candidate first. The names known are in `Evidence.beside`."""

    candidate: Scorecard
    reference: Scorecard


@dataclass(frozen=True)
class Evidence:
    """Everything a check may look at.

    `beside` may hold `guardrail` (general speech), `reading` (the labels of each recogniser's text as features see
    them, against those of people's), `reader_on_text` (what the contact reader in office reads in it, against the same)
    and `churn_on_text` (the champion churn model on features of that text). `probes` are the behaviour tests of the
    candidate; None means nobody made them.
    """

    candidate: Scorecard
    reference: Scorecard | None
    facts: Facts
    params: KindGate = field(default_factory=AsrGate)
    seed: int = 0
    beside: Mapping[str, SecondaryTest] = field(default_factory=dict)
    probes: Sequence[Probe] | None = None

    def second(self, name: str, missing: str, same_test: bool = False) -> SecondaryTest:
        """The second test `name`, taken by the very models compared, both on the same data.

        With `same_test` that data is also the one of the scorecards. Raises EvidenceError otherwise; `missing` is what
        to say when nobody made the test.
        """
        two = self.beside.get(name)
        if two is None:
            raise EvidenceError("no_evidence", missing)
        said = f"The test '{name}'"
        hashes = {two.candidate.data_hash, two.reference.data_hash}
        if len(hashes) > 1 or "" in hashes:
            raise EvidenceError(
                "fail", f"{said} was taken on different data by candidate and reference."
            )
        if same_test and two.candidate.data_hash != self.candidate.data_hash:
            raise EvidenceError(
                "fail",
                f"{said} was taken on other data than the scorecards are about. Probe again.",
            )
        compared = (
            self.candidate.bundle_sha256,
            self.reference.bundle_sha256 if self.reference else "",
        )
        if (two.candidate.bundle_sha256, two.reference.bundle_sha256) != compared:
            raise EvidenceError(
                "fail", f"{said} was taken by other models than those compared. Make it again."
            )
        return two

    @property
    def asr(self) -> AsrGate:
        """The gate's settings, for checks that only recognisers take."""
        if not isinstance(self.params, AsrGate):
            raise TypeError(f"{type(self.params).__name__} is no gate for a recogniser.")
        return self.params

    @property
    def churn(self) -> ChurnGate:
        """The gate's settings, for checks that only churn networks take."""
        if not isinstance(self.params, ChurnGate):
            raise TypeError(f"{type(self.params).__name__} is no gate for a churn network.")
        return self.params


@dataclass(frozen=True)
class Measurement:
    """One of several things a check looked at. `p` is already corrected for the number of looks."""

    what: str
    verdict: Verdict
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    p: float | None = None
    clusters: int | None = None


@dataclass(frozen=True)
class Check:
    """One answer. `sentence` says it to a person; the figures are None where there is nothing to measure.

    A check that looks at several things lists them in `looks`; its own figures are those of the worst.
    """

    name: str
    verdict: Verdict
    sentence: str
    metric: str | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    looks: tuple[Measurement, ...] = ()
    promise: str = ""
