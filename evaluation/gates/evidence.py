"""What a gate check is given (Evidence) and what it returns (Check)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from evaluation.behaviour import Probe
from evaluation.gates.looks import Look
from evaluation.gates.params import AsrGate, ChurnGate, KindGate
from evaluation.scorecard import Scorecard

# `unproven`: measured, and the data can tell neither that it holds nor that it does not.
# `no_evidence`: what the check needs was not measured at all.
Verdict = Literal["pass", "fail", "unproven", "no_evidence", "skipped"]
# Verdicts that do not refuse. What is unproven is stated in the summary.
NOT_REFUSING: tuple[Verdict, ...] = ("pass", "unproven", "skipped")


@dataclass(frozen=True)
class Facts:
    """What is recorded of the candidate besides its scorecard. None: not measured, so a check
    that needs it finds no evidence."""

    # False: the reference is the base or the baseline, and the candidate would be a first model.
    reference_is_champion: bool = False
    card: str | None = None  # text of the model card
    licence: str | None = None
    size_bytes: int | None = None  # of the bundle
    bundle_sha256: str | None = None  # of the bundle that would be released, verified just now
    bundle_says: str = ""  # what is wrong with that bundle, in words
    smoke_ok: bool | None = None  # the service answered a sample with this bundle
    latency_s: float | None = None  # how long that answer took
    contract_ok: bool | None = None  # the test and training data kept the data contract
    contract_says: str = ""  # the result of the contract, in words
    # The champions that read a recogniser's text (churn and reader): kind → checksum, empty where
    # there is none. `read_by` made the secondary tests, `readers_now` are those of this moment.
    read_by: Mapping[str, str] | None = None
    readers_now: Mapping[str, str] | None = None
    next_quarter_says: str = ""  # why a churn model's last quarter could not be asked, in words
    probed_sha256: str | None = None  # of the bundle whose behaviour was tested
    trained_by: str = ""  # whoever started the training; may not approve it
    # Test units of calls, voices or customers that candidate and reference learned from; None for a
    # model that does not say what it learned from.
    seen_units: Mapping[str, int | None] | None = None
    # What the evaluation left out for that reason (flows.candidate.learned.LeftOut.as_facts).
    left_out: Mapping[str, Any] | None = None


class EvidenceError(ValueError):
    """What a check needs is missing ("no_evidence"), or is about something else ("fail")."""

    def __init__(self, verdict: Verdict, sentence: str) -> None:
        super().__init__(sentence)
        self.verdict = verdict


@dataclass(frozen=True)
class SecondaryTest:
    """A further test set that candidate and reference were both scored on.

    `Evidence.secondary` lists the names that checks look for.
    """

    candidate: Scorecard
    reference: Scorecard


@dataclass(frozen=True)
class Evidence:
    """Everything a check may use.

    `secondary` may hold `guardrail` (general speech), `critical_sentences` (planted sentences with
    critical words), `next_quarter` (risks of what came after training, by models trained as known
    then), `reading` (the labels the rules give to each
    recogniser's text, against those of people's text), `reader_on_text` (the labels the active
    contact reader gives to it, against the same) and `churn_on_text` (the champion churn model on
    features of that text). `probes` are the behaviour tests of the candidate; None: not made.
    `look` is the look at the test set that this decision is; None: nobody counts the looks, and
    the level is that of a single one.
    """

    candidate: Scorecard
    reference: Scorecard | None
    facts: Facts
    params: KindGate = field(default_factory=AsrGate)
    seed: int = 0
    secondary: Mapping[str, SecondaryTest] = field(default_factory=dict)
    probes: Sequence[Probe] | None = None
    look: Look | None = None

    @property
    def look_level(self) -> float:
        """The one-sided level at which a gain has to be proven in this look."""
        return self.look.level if self.look else self.params.look_levels.life

    def secondary_test(self, name: str, missing: str, same_test: bool = False) -> SecondaryTest:
        """Returns the secondary test `name`, made with the two bundles compared, on equal data.

        With `same_test` that data is also the one of the scorecards. Raises EvidenceError
        otherwise; `missing` is the sentence for a test that was not made.
        """
        test = self.secondary.get(name)
        if test is None:
            raise EvidenceError("no_evidence", missing)
        subject = f"The test '{name}'"
        hashes = {test.candidate.data_hash, test.reference.data_hash}
        if len(hashes) > 1 or "" in hashes:
            raise EvidenceError(
                "fail", f"{subject} was taken on different data by candidate and reference."
            )
        if same_test and test.candidate.data_hash != self.candidate.data_hash:
            raise EvidenceError(
                "fail",
                f"{subject} was taken on other data than the scorecards are about. Probe again.",
            )
        compared = (
            self.candidate.bundle_sha256,
            self.reference.bundle_sha256 if self.reference else "",
        )
        if (test.candidate.bundle_sha256, test.reference.bundle_sha256) != compared:
            raise EvidenceError(
                "fail", f"{subject} was taken by other models than those compared. Make it again."
            )
        return test

    @property
    def asr(self) -> AsrGate:
        """The gate's settings, for checks of recognisers only."""
        if not isinstance(self.params, AsrGate):
            raise TypeError(f"{type(self.params).__name__} is no gate for a recogniser.")
        return self.params

    @property
    def churn(self) -> ChurnGate:
        """The gate's settings, for checks of churn networks only."""
        if not isinstance(self.params, ChurnGate):
            raise TypeError(f"{type(self.params).__name__} is no gate for a churn network.")
        return self.params


@dataclass(frozen=True)
class Measurement:
    """One of several quantities a check measured: a slice, a class of words, a behaviour test.

    `p` is one-sided and already corrected for the number of measurements (Holm).
    """

    what: str
    verdict: Verdict
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    p: float | None = None
    clusters: int | None = None
    note: str = ""  # what the figures rest on, in a few words: "1 of 7 heard"


@dataclass(frozen=True)
class Check:
    """The result of one check. `sentence` is for people; figures are None where none was measured.

    A check of several quantities lists them in `measurements`; its own figures are the worst one's.
    """

    name: str
    verdict: Verdict
    sentence: str
    metric: str | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    measurements: tuple[Measurement, ...] = ()
    promise: str = ""
    # What is unproven, in words for the summary: "words of leaving (1 of 7 heard)".
    unproven: tuple[str, ...] = ()

    @classmethod
    def of_worst(
        cls,
        name: str,
        verdict: Verdict,
        sentence: str,
        *,
        worst: Measurement,
        measurements: Sequence[Measurement],
        metric: str | None = None,
        unproven: Sequence[str] = (),
    ) -> Check:
        """Returns a check with the figures of its `worst` measurement (`metric`: by that name)."""
        return cls(
            name,
            verdict,
            sentence,
            metric or worst.what,
            worst.estimate,
            worst.low,
            worst.high,
            worst.threshold,
            tuple(measurements),
            unproven=tuple(unproven),
        )
