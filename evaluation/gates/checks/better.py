"""Gate check: the gain over the reference is beyond sampling error (paired, by cluster)."""

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence
from evaluation.gates.looks import percent
from evaluation.scorecard import gain, gain_p_value

NAME = "better"
PROMISE = (
    "The candidate is better than the reference by more than sampling error, also when every "
    "earlier look at the test set is counted."
)


def applies(kind: str) -> bool:
    """Returns True: every kind of model is checked."""
    return True


def check(evidence: Evidence) -> Check:
    """Requires the whole interval of the paired gain above `min_gain`, and a small p-value.

    The interval says how large the gain is. The randomisation test decides at the level of this
    look, which keeps the level of the whole sequence of candidates (evaluation.gates.looks).
    """
    candidate, reference, params = evidence.candidate, evidence.reference, evidence.params
    if reference is None:
        return Check(
            NAME,
            "no_evidence",
            "There is no reference to be better than. Score the champion, or the base.",
        )
    metric, seed = params.metric, evidence.seed
    gained = gain(candidate, reference, metric, seed=seed, level=params.level)
    noun = "champion" if evidence.facts.reference_is_champion else "reference"
    sentence = f"Gain in {metric} over the {noun}: {gained.value:+.4f}"
    if gained.low is None or gained.high is None:
        return Check(
            NAME,
            "no_evidence",
            f"{sentence}, from a single cluster: no interval.",
            metric,
            gained.value,
            threshold=params.min_gain,
        )
    passed = above = gained.low > params.min_gain
    by_chance = ""
    # Where params allow a loss, a gain that chance could not give is not asked for.
    if params.min_gain >= 0:
        p = gain_p_value(candidate, reference, metric, seed=seed, at_least=params.min_gain)
        allowed = evidence.look_level
        passed = above and p <= allowed
        by_chance = (
            f" Chance gives as much in {percent(p)} of cases; {percent(allowed)} are allowed"
        )
        by_chance += f" at look {evidence.look.number}." if evidence.look else "."
    return Check(
        NAME,
        "pass" if passed else "fail",
        f"{sentence} ({params.level:.0%} interval {gained.low:+.4f} to {gained.high:+.4f}, "
        f"{gained.clusters} clusters); {'all of it is' if above else 'not all of it is'} above "
        f"{params.min_gain:g}.{by_chance}",
        metric,
        gained.value,
        gained.low,
        gained.high,
        params.min_gain,
    )


ACCEPTS = (
    examples.evidence,
    lambda: examples.evidence(candidate=examples.churn(0.2)),
)
REFUSES = (
    lambda: examples.evidence(candidate=examples.churn(0.5), reference=examples.churn(0.5, seed=2)),
    lambda: examples.evidence(
        candidate=examples.asr(0.3, seed=2)
    ),  # the same quality, another seed
    lambda: examples.evidence(candidate=examples.asr(0.45)),
    lambda: examples.evidence(reference=None),
    lambda: examples.evidence(
        candidate=examples.asr(0.05, voices=1), reference=examples.asr(0.3, voices=1)
    ),
)
