"""What is learned for one's own calls may not be paid for with speech in general."""

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence
from evaluation.gates.non_inferiority import non_inferiority, together
from models.kinds import kind_of

NAME = "guardrail"
PROMISE = "On general speech the candidate is no worse than the reference by more than a limit."


def applies(kind: str) -> bool:
    """For the kinds that name this check."""
    return NAME in kind_of(kind).checks


def check(evidence: Evidence) -> Check:
    """The loss on the guardrail set has to be surely below `max_guardrail_loss`."""
    params = evidence.asr
    beside = evidence.second("guardrail", "Nobody scored general speech. Name a guardrail set.")
    look = non_inferiority(
        beside.candidate,
        beside.reference,
        params.metric,
        params.max_guardrail_loss,
        evidence.seed,
        params.level,
        f"{params.metric} on general speech",
    )
    return together(NAME, [look], params.level)


ACCEPTS = (examples.evidence,)
REFUSES = (
    # Better on the domain, worse on general speech.
    lambda: examples.evidence(guardrail=(0.4, 0.3)),
    lambda: examples.evidence(guardrail=None),
    lambda: examples.evidence(stranger="guardrail"),
    lambda: examples.evidence(elsewhere="guardrail"),
)
