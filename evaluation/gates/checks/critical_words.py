"""Amounts, names, "cancel" and "not" weigh more than other words: no class of them may be heard worse."""

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence, Measurement, Verdict
from evaluation.metrics.bootstrap import holm
from evaluation.scorecard import gain
from evaluation.slices import loss_p
from models.kinds import kind_of

NAME = "critical_words"
PROMISE = (
    "No class of critical words (amounts, negation, leaving, names) is heard worse than before."
)
PREFIX = "critical_"  # a metric of the scorecard by this name is the error rate of one class of critical words


def applies(kind: str) -> bool:
    """For the kinds that name this check."""
    return NAME in kind_of(kind).checks


def check(evidence: Evidence) -> Check:
    """Refuses a class that is surely heard worse (Holm over the classes) or likely worse by `max_critical_loss`.

    Classes are small, so a sure proof of no loss would refuse nearly everyone, and a limit on the likeliest value alone
    whoever misses one word of seven; so a likely loss is enough (`critical_alpha`, each class by itself). A class that
    the test set lacks is left out.
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
    gains = [gain(candidate, reference, name, evidence.seed, params.level) for name in metrics]
    ps = [loss_p(candidate, reference, name, evidence.seed) for name in metrics]
    adjusted = holm([1.0 if p is None else p for p in ps])
    looks = [
        Measurement(
            name.removeprefix(PREFIX),
            "no_evidence"
            if p is None
            else "fail"
            if q <= params.slice_alpha
            or (p <= params.critical_alpha and found.value < -params.max_critical_loss)
            else "pass",
            found.value,
            found.low,
            found.high,
            -params.max_critical_loss,
            None if p is None else q,
            found.clusters,
        )
        for name, found, p, q in zip(metrics, gains, ps, adjusted, strict=True)
    ]
    looks.sort(key=lambda look: (look.verdict != "fail", look.estimate))
    lost = [look for look in looks if look.verdict == "fail"]
    silent = all(look.verdict == "no_evidence" for look in looks)
    said = "; ".join(
        f"{look.what} {look.estimate:+.3f}" + (f" (p {look.p:.3g})" if look.p is not None else "")
        for look in looks
    )
    verdict: Verdict = "fail" if lost else "no_evidence" if silent else "pass"
    worst = looks[0]
    return Check(
        NAME,
        verdict,
        f"Gain in the error rate of each class: {said}. Refused are losses over {params.max_critical_loss:g} that are "
        f"likely (one-sided, {params.critical_alpha:g}, each by itself), and sure ones (Holm, {params.slice_alpha:g}).",
        f"{PREFIX}{worst.what}",
        worst.estimate,
        worst.low,
        worst.high,
        worst.threshold,
        tuple(looks),
    )


ACCEPTS = (examples.evidence,)
REFUSES = (
    # The same word error rate, and every "not" lost.
    lambda: examples.evidence(candidate=examples.asr(0.1, deaf_to="not")),
    lambda: examples.evidence(candidate=examples.asr(0.3, deaf_to="not")),
    lambda: examples.evidence(candidate=examples.without(examples.asr(0.1), "critical_")),
    lambda: examples.evidence(reference=None),
)
