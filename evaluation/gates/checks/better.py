"""A gain counts only beyond sampling error: paired bootstrap clustered by voice or customer."""

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence
from evaluation.scorecard import chance, gain

NAME = "better"
PROMISE = "The candidate is better than the reference by more than sampling error."


def applies(kind: str) -> bool:
    """For every kind of model."""
    return True


def check(evidence: Evidence) -> Check:
    """The whole interval of the paired gain has to lie above `min_gain`, and chance must hardly ever give as much.

    Both at the same level: the interval says how large the gain is, but alone it passes noise a little more often.
    """
    params = evidence.params
    if evidence.reference is None:
        return Check(
            NAME,
            "no_evidence",
            "There is no reference to be better than. Score the champion, or the base.",
        )
    found = gain(evidence.candidate, evidence.reference, params.metric, evidence.seed, params.level)
    noun = "champion" if evidence.facts.reference_is_champion else "reference"
    said = f"Gain in {params.metric} over the {noun}: {found.value:+.4f}"
    if found.low is None or found.high is None:
        return Check(
            NAME,
            "no_evidence",
            f"{said}, from a single cluster: no interval.",
            params.metric,
            found.value,
            threshold=params.min_gain,
        )
    passed = beyond = found.low > params.min_gain
    by_chance = ""
    if params.min_gain >= 0:  # who allows a loss does not ask for a gain that chance could not give
        luck = chance(evidence.candidate, evidence.reference, params.metric, evidence.seed)
        most = (1 - params.level) / 2
        passed = beyond and luck <= most
        by_chance = f" Chance gives as much in {luck:.1%} of cases; {most:.1%} are allowed."
    return Check(
        NAME,
        "pass" if passed else "fail",
        f"{said} ({params.level:.0%} interval {found.low:+.4f} to {found.high:+.4f}, {found.clusters} clusters); "
        + ("all of it is" if beyond else "not all of it is")
        + f" above {params.min_gain:g}.{by_chance}",
        params.metric,
        found.value,
        found.low,
        found.high,
        params.min_gain,
    )


ACCEPTS = (
    examples.evidence,
    lambda: examples.evidence(candidate=examples.churn(0.2)),
)
REFUSES = (
    lambda: examples.evidence(candidate=examples.churn(0.5), reference=examples.churn(0.5, seed=2)),
    lambda: examples.evidence(candidate=examples.asr(0.3, seed=2)),  # the same quality, other luck
    lambda: examples.evidence(candidate=examples.asr(0.45)),
    lambda: examples.evidence(reference=None),
    lambda: examples.evidence(
        candidate=examples.asr(0.05, voices=1), reference=examples.asr(0.3, voices=1)
    ),
)
