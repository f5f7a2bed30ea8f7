"""Gate check: the bundle is small enough and the service answers with it in time."""

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence

NAME = "size_and_latency"
PROMISE = "The bundle is small enough, and the service answered a sample with it in time."


def applies(kind: str) -> bool:
    """Returns True: every kind of model is checked."""
    return True


def check(evidence: Evidence) -> Check:
    """Requires a bundle within `max_size_mib` and a smoke test within `max_latency_s`."""
    facts, params = evidence.facts, evidence.params
    if facts.size_bytes is None or facts.smoke_ok is None:
        return Check(
            NAME,
            "no_evidence",
            "Size or smoke test is missing. Run models.serving.smoke_test on the bundle.",
        )
    size_mib = facts.size_bytes / 2**20
    if size_mib > params.max_size_mib:
        return Check(
            NAME,
            "fail",
            f"The bundle has {size_mib:.1f} MiB, {params.max_size_mib:g} are allowed.",
            "size_mib",
            size_mib,
            threshold=params.max_size_mib,
        )
    if not facts.smoke_ok:
        return Check(
            NAME, "fail", "The service could not answer a sample with this bundle.", "latency_s"
        )
    if facts.latency_s is None:
        return Check(NAME, "no_evidence", "Nobody measured how long an answer takes.", "latency_s")
    return Check(
        NAME,
        "pass" if facts.latency_s <= params.max_latency_s else "fail",
        f"{size_mib:.1f} MiB ({params.max_size_mib:g} allowed); a sample took "
        f"{facts.latency_s:.3f} s ({params.max_latency_s:g} allowed).",
        "latency_s",
        facts.latency_s,
        threshold=params.max_latency_s,
    )


ACCEPTS = (examples.evidence,)
REFUSES = (
    lambda: examples.evidence(facts={"size_bytes": None}),
    lambda: examples.evidence(facts={"size_bytes": 2**40}),
    lambda: examples.evidence(facts={"smoke_ok": None}),
    lambda: examples.evidence(facts={"smoke_ok": False}),
    lambda: examples.evidence(facts={"latency_s": None}),
    lambda: examples.evidence(facts={"latency_s": 60.0}),
)
