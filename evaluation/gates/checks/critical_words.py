"""Gate check: no class of critical words (amounts, negation, leaving, names) is recognised worse.

Two recognisers with the same word error rate differ in use when one of them loses every "not".
"""

from collections.abc import Sequence

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence, Measurement, Verdict
from evaluation.gates.params import AsrGate
from evaluation.metrics.bootstrap import Interval, holm
from evaluation.scorecard import Scorecard, gain
from evaluation.slices import loss_p_value
from models.kinds import kind_of

NAME = "critical_words"
PROMISE = (
    "In no class of critical words (amounts, negation, leaving, names) is the candidate shown to "
    "be worse than the reference; how many words of a class were spoken is stated with it."
)
PREFIX = "critical_"  # of the scorecard's metric: critical_<class> is the error rate of that class
FEW_WORDS = 30  # with fewer words of a class, the sentence says that a pass shows little


def applies(kind: str) -> bool:
    """Returns whether the kind names this check."""
    return NAME in kind_of(kind).checks


def check(evidence: Evidence) -> Check:
    """Refuses a significant loss in any class (Holm), or a likely one beyond `max_critical_loss`.

    Classes are small. Asking for proof of no loss would refuse nearly every candidate, and a limit
    on the estimate alone whoever misses one word of seven. So a likely loss is enough
    (`critical_alpha`, each class by itself). A class without a spoken word cannot be measured, and
    is named in the sentence.
    """
    candidate, reference, params = evidence.candidate, evidence.reference, evidence.asr
    if reference is None:
        return Check(NAME, "no_evidence", "There is no reference to compare critical words with.")
    metrics = sorted(
        name for name in candidate.metrics if name.startswith(PREFIX) and name in reference.metrics
    )
    if not metrics:
        return Check(
            NAME, "no_evidence", "The test set holds no critical word, or nobody counted them."
        )
    seed = evidence.seed
    gains = [gain(candidate, reference, name, seed=seed, level=params.level) for name in metrics]
    ps = [loss_p_value(candidate, reference, name, seed=seed) for name in metrics]
    adjusted = holm([1.0 if p is None else p for p in ps])
    measurements = [
        _measurement(name.removeprefix(PREFIX), interval, params, p=p, adjusted_p=adjusted_p)
        for name, interval, p, adjusted_p in zip(metrics, gains, ps, adjusted, strict=True)
    ]
    measurements.sort(key=lambda measurement: (measurement.verdict != "fail", measurement.estimate))
    verdict: Verdict = (
        "fail"
        if any(measurement.verdict == "fail" for measurement in measurements)
        else "no_evidence"
        if all(measurement.verdict == "no_evidence" for measurement in measurements)
        else "pass"
    )
    return Check.of_worst(
        NAME,
        verdict,
        _sentence(candidate, measurements, params),
        worst=measurements[0],
        measurements=measurements,
        metric=f"{PREFIX}{measurements[0].what}",
    )


def _measurement(
    word_class: str, interval: Interval, params: AsrGate, *, p: float | None, adjusted_p: float
) -> Measurement:
    """Returns the measurement of one class; `p` is not corrected, `adjusted_p` is (Holm)."""
    verdict: Verdict
    if p is None:
        verdict = "no_evidence"
    else:
        significant = adjusted_p <= params.slice_alpha
        likely = p <= params.critical_alpha and interval.value < -params.max_critical_loss
        verdict = "fail" if significant or likely else "pass"
    return Measurement(
        word_class,
        verdict,
        interval.value,
        interval.low,
        interval.high,
        -params.max_critical_loss,
        None if p is None else adjusted_p,
        interval.clusters,
    )


def _sentence(card: Scorecard, measurements: Sequence[Measurement], params: AsrGate) -> str:
    """Returns gain, p and spoken words of each class, and which classes were hardly tested."""
    words = {
        name.removeprefix(PREFIX): int(card.units[ratio.denominator].sum())
        for name, ratio in card.ratios.items()
        if name.startswith(PREFIX)
    }
    gains = "; ".join(
        f"{measurement.what} {measurement.estimate:+.3f} ("
        + (f"p {measurement.p:.3g}, " if measurement.p is not None else "")
        + f"{words[measurement.what]} words)"
        for measurement in measurements
    )
    sentence = (
        f"Gain in the error rate of each class: {gains}. Refused are losses over "
        f"{params.max_critical_loss:g} that are likely (one-sided, {params.critical_alpha:g}, each "
        f"by itself), and significant ones (Holm, {params.slice_alpha:g})."
    )
    few = [
        f"{name} ({count or 'no'} word{'s' * (count != 1)})"
        for name, count in words.items()
        if count < FEW_WORDS
    ]
    if few:
        sentence += f" Too few words to show that there is no loss: {', '.join(few)}."
    return sentence


ACCEPTS = (examples.evidence,)
REFUSES = (
    # The same word error rate, and every "not" lost.
    lambda: examples.evidence(candidate=examples.asr(0.1, missed_word="not")),
    lambda: examples.evidence(candidate=examples.asr(0.3, missed_word="not")),
    lambda: examples.evidence(candidate=examples.without_metrics(examples.asr(0.1), "critical_")),
    lambda: examples.evidence(reference=None),
)
