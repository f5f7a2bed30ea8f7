"""Gate check: behaviour tests (invariance and direction) were made and kept their limits."""

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence, Measurement

NAME = "behaviour"
PROMISE = "The candidate passes its behaviour tests: invariance and direction."


def applies(kind: str) -> bool:
    """Returns True: every kind of model is checked."""
    return True


def check(evidence: Evidence) -> Check:
    """Requires every test that `behaviour` names, off by no more than its limit.

    The worst end of a probe's interval counts. Fails when the probes are of another bundle.
    """
    if (
        evidence.probes is not None
        and evidence.facts.probed_sha256 != evidence.candidate.bundle_sha256
    ):
        return Check(
            NAME,
            "fail",
            "The behaviour tests were made with another bundle than was scored. Probe again.",
        )
    probes = {probe.name: probe for probe in evidence.probes or ()}
    measurements = []
    for name, limit in evidence.params.behaviour.items():
        probe = probes.get(name)
        if probe is None:
            measurements.append(Measurement(name, "no_evidence", threshold=limit))
            continue
        measurements.append(
            Measurement(
                name,
                "pass" if probe.is_within(limit) else "fail",
                probe.value,
                probe.low,
                probe.high,
                limit if probe.kind == "invariance" else -limit,
                clusters=probe.clusters,
            )
        )
    missing = [row.what for row in measurements if row.verdict == "no_evidence"]
    failed = [row for row in measurements if row.verdict == "fail"]
    if failed:
        sentence = "; ".join(
            f"{probes[row.what].promise} Measured {probes[row.what].describe()}." for row in failed
        )
    elif missing:
        sentence = f"Nobody tested {', '.join(missing).replace('_', ' ')}."
    else:
        figures = (
            f"{row.what.replace('_', ' ')} {probes[row.what].describe()}" for row in measurements
        )
        sentence = "; ".join(figures) + "."
    return Check.of_worst(
        NAME,
        "fail" if failed else "no_evidence" if missing else "pass",
        sentence,
        worst=(failed or measurements)[0],
        measurements=measurements,
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
