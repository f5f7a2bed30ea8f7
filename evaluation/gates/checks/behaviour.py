"""What must not matter does not, and what must matter points the right way."""

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence, Measurement

NAME = "behaviour"
PROMISE = "The candidate passes its behaviour tests: invariance and direction."


def applies(kind: str) -> bool:
    """For every kind of model."""
    return True


def check(evidence: Evidence) -> Check:
    """Every test that `behaviour` names has to have been made, and to be off by no more than its limit."""
    limits = evidence.params.behaviour
    if (
        evidence.probes is not None
        and evidence.facts.probed_sha256 != evidence.candidate.bundle_sha256
    ):
        return Check(
            NAME,
            "fail",
            "The behaviour tests were made with another bundle than was scored. Probe again.",
        )
    made = {probe.name: probe for probe in evidence.probes or ()}
    looks = []
    for name, limit in limits.items():
        probe = made.get(name)
        if probe is None:
            looks.append(Measurement(name, "no_evidence", threshold=limit))
            continue
        looks.append(
            Measurement(
                name,
                "pass" if probe.keeps(limit) else "fail",
                probe.value,
                probe.low,
                probe.high,
                limit if probe.kind == "invariance" else -limit,
                clusters=probe.clusters,
            )
        )
    missing = [look.what for look in looks if look.verdict == "no_evidence"]
    broken = [look for look in looks if look.verdict == "fail"]
    if broken:
        said = "; ".join(
            f"{made[look.what].promise} Found {made[look.what].said()}." for look in broken
        )
    elif missing:
        said = f"Nobody tested {', '.join(missing).replace('_', ' ')}."
    else:
        said = (
            "; ".join(f"{look.what.replace('_', ' ')} {made[look.what].said()}" for look in looks)
            + "."
        )
    worst = (broken or looks)[0]
    return Check(
        NAME,
        "fail" if broken else "no_evidence" if missing else "pass",
        said,
        worst.what,
        worst.estimate,
        worst.low,
        worst.high,
        worst.threshold,
        tuple(looks),
    )


ACCEPTS = (
    examples.evidence,
    lambda: examples.evidence(candidate=examples.churn(0.2)),
)
REFUSES = (
    lambda: examples.evidence(probes={"louder": 0.4}),
    lambda: examples.evidence(
        candidate=examples.churn(0.2), probes={"complaint_unresolved": -0.05}
    ),
    lambda: examples.evidence(candidate=examples.churn(0.2), probes={"customer_renamed": 0.01}),
    lambda: examples.evidence(probes=None),
    lambda: examples.evidence(facts={"probed_sha256": "f" * 64}),
    lambda: examples.evidence(facts={"probed_sha256": None}),
    lambda: examples.evidence(behaviour={"louder": 0.05, "upside_down": 0.1}),
)
