"""Gate check: the gain over the reference is beyond sampling error (paired, by cluster)."""

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence
from evaluation.scorecard import gain, gain_p_value

NAME = "better"
PROMISE = "The candidate is better than the reference by more than sampling error."


def applies(kind: str) -> bool:
    """Returns True: every kind of model is checked."""
    return True


def check(evidence: Evidence) -> Check:
    """Requires the whole interval of the paired gain above `min_gain`, and a small p-value.

    Both at the same level. The interval says how large the gain is, but with few clusters it alone
    passes noise a little more often than stated; the randomisation test does not.
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
        p = gain_p_value(candidate, reference, metric, seed=seed)
        allowed = (1 - params.level) / 2
        passed = above and p <= allowed
        by_chance = f" Chance gives as much in {p:.1%} of cases; {allowed:.1%} are allowed."
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
