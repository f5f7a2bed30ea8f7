"""Gate check: critical words (amounts, negation, leaving, names) are heard, and heard no worse.

Two recognisers with the same word error rate differ in use when one of them loses every "not".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence, Measurement, Verdict
from evaluation.gates.params import AsrGate
from evaluation.metrics.bootstrap import Interval, holm, ratio_of_sums
from evaluation.scorecard import Scorecard, gain
from evaluation.slices import loss_p_value
from models.kinds import kind_of

NAME = "critical_words"
PROMISE = (
    "No class of critical words (amounts, negation, leaving, names) is shown to be heard worse than "
    "by the reference, or less often than a floor. A class that could not be told apart is unproven."
)
PREFIX = "critical_"  # of the scorecard's metric: critical_<class> is the error rate of that class
PLANTED = "critical_sentences"  # the secondary test of planted sentences
_PLANTED_SUFFIX = " in planted sentences"
_ORDER: tuple[Verdict, ...] = ("fail", "unproven", "pass")


@dataclass(frozen=True)
class _Heard:
    """What both recognisers made of the words of one class in one test."""

    word_class: str
    planted: bool  # in planted sentences; else in the test calls
    said: int
    hits: int  # of the candidate
    gained: Interval | None = None  # None where no word of the class was said
    p: float | None = None  # of the candidate losing nothing; not corrected
    recall: Interval | None = None

    @property
    def what(self) -> str:
        """The class, and the test where it is not that of the calls."""
        return f"{self.word_class}{_PLANTED_SUFFIX if self.planted else ''}"

    @property
    def note(self) -> str:
        """How many words were heard, in words."""
        return f"{self.hits} of {self.said} heard" if self.said else "none said"


def applies(kind: str) -> bool:
    """Returns whether the kind names this check."""
    return NAME in kind_of(kind).checks


def check(evidence: Evidence) -> Check:
    """Tests each class in the test calls and, where they hold too few words, in planted sentences.

    A class fails where its loss is significant (Holm), or likely and beyond `max_critical_loss`
    (`critical_alpha`), or where its recall is surely below `min_critical_recall`. It is held where
    `min_critical_words` were said, a loss of `critical_margin` is ruled out and its recall is
    surely above the floor. Otherwise it is unproven. That alone refuses no candidate, except for
    a class of `required_critical` that is held in neither test.
    """
    params = evidence.asr
    if evidence.reference is None:
        return Check(NAME, "no_evidence", "There is no reference to compare critical words with.")
    heard = _heard(evidence.candidate, evidence.reference, evidence, planted=False)
    if not heard:
        return Check(
            NAME, "no_evidence", "The test set holds no critical word, or nobody counted them."
        )
    if PLANTED in evidence.secondary:
        test = evidence.secondary_test(PLANTED, "")
        planted = _heard(test.candidate, test.reference, evidence, planted=True)
        # Calls are the better evidence where they hold enough words of a class.
        short = {row.word_class for row in heard if row.said < params.min_critical_words}
        heard += [row for row in planted if row.word_class in short]
    tested = [row for row in heard if row.p is not None]
    adjusted = iter(holm([row.p for row in tested if row.p is not None]))
    rows = [(row, next(adjusted) if row.p is not None else None) for row in heard]
    measured = [(row, _measurement(row, params, adjusted_p)) for row, adjusted_p in rows]
    measured.sort(key=lambda pair: (_ORDER.index(pair[1].verdict), pair[1].estimate or 0.0))
    measurements = [measurement for _, measurement in measured]
    verdict = measurements[0].verdict
    lacking = _lacking_proof(measured, params)
    if lacking and verdict != "fail":
        verdict = "no_evidence"
    unproven = [
        f"words of {row.what} ({row.note})"
        for row, measurement in measured
        if measurement.verdict == "unproven"
    ]
    return Check.of_worst(
        NAME,
        verdict,
        _sentence(measurements, lacking, params),
        worst=measurements[0],
        measurements=measurements,
        metric=f"{PREFIX}{measured[0][0].word_class}",
        unproven=unproven,
    )


def is_planted(what: str) -> bool:
    """Returns whether a measurement of this check is about planted sentences."""
    return what.endswith(_PLANTED_SUFFIX)


def _heard(
    candidate: Scorecard, reference: Scorecard, evidence: Evidence, *, planted: bool
) -> list[_Heard]:
    """Returns the counts and gains of every class that the scorecards count; empty if none.

    A class that no planted sentence holds is left out.
    """
    seed, level = evidence.seed, evidence.params.level
    rows = []
    for name in sorted(name for name in candidate.ratios if name.startswith(PREFIX)):
        word_class = name.removeprefix(PREFIX)
        units = candidate.units
        said, hits = (int(units[f"{part}_{word_class}"].sum()) for part in ("said", "hits"))
        if not said:
            if not planted:
                rows.append(_Heard(word_class, planted, 0, 0))
            continue
        # Clusters that say no word of the class tell nothing of its recall.
        saying = units.filter(pl.col(f"said_{word_class}") > 0)
        rows.append(
            _Heard(
                word_class,
                planted,
                said,
                hits,
                gain(candidate, reference, name, seed=seed, level=level),
                loss_p_value(candidate, reference, name, seed=seed),
                ratio_of_sums(
                    saying[f"hits_{word_class}"].to_numpy(),
                    saying[f"said_{word_class}"].to_numpy(),
                    saying["cluster"].to_numpy(),
                    seed=seed,
                    level=level,
                ),
            )
        )
    return rows


def _measurement(row: _Heard, params: AsrGate, adjusted_p: float | None) -> Measurement:
    """Returns the measurement of one class; `adjusted_p` is corrected (Holm)."""
    threshold = -params.max_critical_loss
    if row.gained is None or row.recall is None:
        return Measurement(row.what, "unproven", threshold=threshold, note=row.note)
    return Measurement(
        row.what,
        _verdict(row, row.gained, row.recall, params, adjusted_p),
        row.gained.value,
        row.gained.low,
        row.gained.high,
        threshold,
        adjusted_p,
        row.gained.clusters,
        row.note,
    )


def _verdict(
    row: _Heard, gained: Interval, recall: Interval, params: AsrGate, adjusted_p: float | None
) -> Verdict:
    """Returns fail for a class shown to be worse or missed, pass for one shown to be held."""
    if row.p is None or adjusted_p is None:
        return "unproven"
    significant = adjusted_p <= params.slice_alpha
    likely = row.p <= params.critical_alpha and gained.value < -params.max_critical_loss
    if significant or likely:
        return "fail"
    enough = row.said >= params.min_critical_words
    floor = params.min_critical_recall
    if enough and recall.high is not None and recall.high < floor:
        return "fail"
    no_loss = gained.low is not None and gained.low > -params.critical_margin
    often = recall.low is not None and recall.low >= floor
    return "pass" if enough and no_loss and often else "unproven"


def _lacking_proof(measured: Sequence[tuple[_Heard, Measurement]], params: AsrGate) -> list[str]:
    """Returns the classes of `required_critical` that are held in neither test."""
    held = {row.word_class for row, measurement in measured if measurement.verdict == "pass"}
    return [name for name in params.required_critical if name not in held]


def _sentence(measurements: Sequence[Measurement], lacking: list[str], params: AsrGate) -> str:
    """Returns gain, p and words heard of each class, by verdict."""
    parts = {"fail": "Heard worse or too rarely", "unproven": "Unproven", "pass": "Held"}
    sentences = []
    for verdict, title in parts.items():
        figures = "; ".join(
            _describe(measurement) for measurement in measurements if measurement.verdict == verdict
        )
        if figures:
            sentences.append(f"{title}: {figures}.")
    if lacking:
        sentences.append(f"Proof is required of {', '.join(lacking)} and lacking.")
    sentences.append(
        f"Held needs {params.min_critical_words} words said, a loss of "
        f"{params.critical_margin:g} in the error rate ruled out, and {params.min_critical_recall:.0%}"
        " surely heard. Refused are losses that are significant (Holm, "
        f"{params.slice_alpha:g}), or likely (one-sided, {params.critical_alpha:g}) and over "
        f"{params.max_critical_loss:g}."
    )
    return " ".join(sentences)


def _describe(measurement: Measurement) -> str:
    if measurement.estimate is None:
        return f"{measurement.what} ({measurement.note})"
    p = f", p {measurement.p:.3g}" if measurement.p is not None else ""
    return f"{measurement.what} {measurement.estimate:+.3f} ({measurement.note}{p})"


ACCEPTS = (
    examples.evidence,
    lambda: examples.evidence(required_critical=("leaving", "negation")),
    # Calls with too few of the words prove nothing, the planted sentences do.
    lambda: examples.evidence(
        examples.asr(0.1, utterances=60),
        examples.asr(0.3, utterances=60),
        required_critical=("leaving",),
        min_critical_words=60,
        critical_sentences=(0.1, 0.3),
    ),
)
REFUSES = (
    # The same word error rate, and every "not" lost.
    lambda: examples.evidence(candidate=examples.asr(0.1, missed_word="not")),
    lambda: examples.evidence(candidate=examples.asr(0.3, missed_word="not")),
    lambda: examples.evidence(candidate=examples.without_metrics(examples.asr(0.1), "critical_")),
    lambda: examples.evidence(reference=None),
    # Better than a reference that misses as many, and still below the floor.
    lambda: examples.evidence(examples.asr(0.75), examples.asr(0.85)),
    lambda: examples.evidence(
        examples.asr(0.1, utterances=60),
        examples.asr(0.3, utterances=60),
        min_critical_words=100,
        critical_sentences=(0.8, 0.9),
    ),
    lambda: examples.evidence(required_critical=("names",)),
    lambda: examples.evidence(required_critical=("leaving",), min_critical_words=3000),
    lambda: examples.evidence(critical_sentences=(0.1, 0.3), foreign_bundle="critical_sentences"),
    lambda: examples.evidence(critical_sentences=(0.1, 0.3), foreign_data="critical_sentences"),
)
