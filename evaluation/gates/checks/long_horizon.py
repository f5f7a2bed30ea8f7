"""Gate check: a gain at a short horizon (30 days) does not cost a long one (180 days)."""

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence
from evaluation.gates.non_inferiority import all_non_inferior, non_inferiority
from models.kinds import kind_of

NAME = "long_horizon"
PROMISE = (
    "At each long horizon with known outcomes the candidate loses less than a limit, whatever it "
    "gains at short ones."
)


def applies(kind: str) -> bool:
    """Returns whether the kind names this check."""
    return NAME in kind_of(kind).checks


def check(evidence: Evidence) -> Check:
    """Requires a loss in Brier score surely below `max_long_loss` at each long horizon.

    Long are those from `long_horizon_days` on. Horizons without matured outcomes are named.
    """
    candidate, reference, params = evidence.candidate, evidence.reference, evidence.churn
    if reference is None:
        return Check(NAME, "no_evidence", "There is no reference to compare long horizons with.")
    days = [
        int(name.removeprefix("brier_"))
        for name in candidate.ratios
        if name.removeprefix("brier_").isdigit()
    ]
    if not days:
        return Check(
            NAME,
            "pass",
            "The target has no dates, so there is one horizon and nothing to trade against.",
        )
    long = [day for day in sorted(days) if day >= params.long_horizon_days]
    missing = [
        day
        for day in long
        if f"brier_{day}" not in candidate.metrics or f"brier_{day}" not in reference.metrics
    ]
    if not long or len(missing) == len(long):
        return Check(
            NAME, "no_evidence", f"No outcome from {params.long_horizon_days} days on has matured."
        )
    measurements = [
        non_inferiority(
            candidate,
            reference,
            f"brier_{day}",
            margin=params.max_long_loss,
            seed=evidence.seed,
            level=params.level,
            what=f"Brier score at {day} days",
        )
        for day in long
        if day not in missing
    ]
    remark = f"At {', '.join(map(str, missing))} days nothing has matured." if missing else ""
    return all_non_inferior(NAME, measurements, params.level, remark=remark)


ACCEPTS = (
    lambda: examples.evidence(candidate=examples.churn(0.2)),
    lambda: examples.evidence(
        candidate=examples.churn(0.2, horizons=()), reference=examples.churn(2.0, horizons=())
    ),
)
REFUSES = (
    # Sees 30 days nearly perfectly and 180 hardly at all.
    lambda: examples.evidence(
        candidate=examples.churn(0.2, long_blur=6.0), reference=examples.churn(0.8)
    ),
    lambda: examples.evidence(
        candidate=examples.churn(0.2, horizons=(30,)), reference=examples.churn(2.0, horizons=(30,))
    ),
    lambda: examples.evidence(candidate=examples.churn(0.2), reference=None),
)
