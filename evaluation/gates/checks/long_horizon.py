"""Long before short: a gain at 30 days may not cost 180."""

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence
from evaluation.gates.non_inferiority import non_inferiority, together
from models.kinds import kind_of

NAME = "long_horizon"
PROMISE = "The candidate is no worse at any long horizon, whatever it gains at short ones."


def applies(kind: str) -> bool:
    """For the kinds that name this check."""
    return NAME in kind_of(kind).checks


def check(evidence: Evidence) -> Check:
    """At each horizon from `long_horizon_days` on, the loss in Brier score has to be surely below `max_long_loss`."""
    candidate, reference, params = evidence.candidate, evidence.reference, evidence.churn
    if reference is None:
        return Check(NAME, "no_evidence", "There is no reference to compare long horizons with.")
    days = [
        int(name[6:])
        for name in candidate.ratios
        if name.startswith("brier_") and name[6:].isdigit()
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
    looks = [
        non_inferiority(
            candidate,
            reference,
            f"brier_{day}",
            params.max_long_loss,
            evidence.seed,
            params.level,
            f"Brier score at {day} days",
        )
        for day in long
        if day not in missing
    ]
    said = f"At {', '.join(map(str, missing))} days nothing has matured." if missing else ""
    return together(NAME, looks, params.level, said)


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
