"""Gate check: a gain on the centre's own calls does not cost speech in general."""

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence
from evaluation.gates.non_inferiority import all_non_inferior, non_inferiority
from models.kinds import kind_of

NAME = "guardrail"
PROMISE = "On general speech the candidate is no worse than the reference by more than a limit."


def applies(kind: str) -> bool:
    """Returns whether the kind names this check."""
    return NAME in kind_of(kind).checks


def check(evidence: Evidence) -> Check:
    """Requires a loss on the guardrail set surely below `max_guardrail_loss`."""
    params = evidence.asr
    test = evidence.secondary_test(
        "guardrail", "Nobody scored general speech. Name a guardrail set."
    )
    measurement = non_inferiority(
        test.candidate,
        test.reference,
        params.metric,
        margin=params.max_guardrail_loss,
        seed=evidence.seed,
        level=params.level,
        what=f"{params.metric} on general speech",
    )
    return all_non_inferior(NAME, [measurement], params.level)


ACCEPTS = (examples.evidence,)
REFUSES = (
    # Better on the domain, worse on general speech.
    lambda: examples.evidence(guardrail=(0.4, 0.3)),
    lambda: examples.evidence(guardrail=None),
    lambda: examples.evidence(foreign_bundle="guardrail"),
    lambda: examples.evidence(foreign_data="guardrail"),
)
