"""The four to six numbers at the top of the report, each with a sentence."""

from __future__ import annotations

from typing import Any

from evaluation.report.formatting import count, duration, listing, plain, sentence, several, share

LEAVERS_DAYS = 90  # how many will leave is told for the horizon nearest to this one


def headline(found: dict[str, Any]) -> list[dict[str, str]]:
    """name, big and says of each figure; a section that is missing gives none."""
    numbers = []
    for name, say in (
        ("came_in", _contacts),
        ("about", _friction),
        ("hearing", _hearing),
        ("churn", _churn),
        ("at_risk", _leavers),
        ("verdicts", _verdicts),
    ):
        number = say(found[name]) if found.get(name) else None
        if number:
            numbers.append(dict(zip(("name", "big", "says"), number, strict=True)))
    return numbers


def _contacts(came: dict[str, Any]) -> tuple[str, str, str]:
    recorded = f"{several(came['recordings'], 'call is', 'calls are')} recorded: {duration(came['audio_s'])} of speech."
    return (
        "Contacts",
        count(came["contacts"]),
        f"from {several(came['in_touch'], 'customer')}. {recorded}",
    )


def _friction(about: dict[str, Any]) -> tuple[str, str, str] | None:
    if not about["frictions"] or about["friction_share"] is None:
        return None
    worst = about["frictions"][0]
    says = (
        f"met at least one obstacle. The most common: {worst['name']} ({share(worst['share'], 0)})."
    )
    return "Contacts with friction", share(about["friction_share"], 0), says


def _hearing(heard: dict[str, Any]) -> tuple[str, str, str] | None:
    before, after = heard["overall"]["before"], heard["overall"]["after"]
    if not after:
        return None
    earlier = f"; {share(before['value'])} before" if before else ""
    says = f"on {several(heard['voices'], 'voice')} kept out of training{earlier}."
    return "Words heard wrong", share(after["value"]), says


def _churn(foreseen: dict[str, Any]) -> tuple[str, str, str] | None:
    skill, truth = foreseen["skill"], foreseen["against_truth"]
    if skill or (truth and truth["rows"]):
        row = skill["rows"][-1] if skill else truth["rows"][-1]
        reached = row["shares"][0] if skill else row["skill"]
        ends = f"{share(0, 0)} is the base rate, {share(1, 0)} every true risk"
        says = f"of the attainable Brier skill at {row['horizon']} days: {ends}."
        return "Foreseen", share(reached, 0), says
    row = next(table for table in foreseen["tables"] if table["metric"] == "auc")["rows"][-1]
    if not row["figures"][0]:
        return None
    within = f" within {row['horizon']} days" if row["horizon"] else ""
    says = f"How often a customer who left{within} was ranked above one who stayed; chance is 0.5."
    return "AUC of leaving", plain(row["figures"][0]["value"], 2), says


def _leavers(risky: dict[str, Any]) -> tuple[str, str, str]:
    row = min(risky["expected"], key=lambda one: abs((one["days"] or 0) - LEAVERS_DAYS))
    within = f" within {row['days']} days" if row["days"] else ""
    says = f"of {several(risky['scored'], 'customer')}{within}, if nothing is done: the sum of their risks."
    return "Expected to leave", count(row["leavers"]), says


def _verdicts(decided: list[dict[str, Any]]) -> tuple[str, str, str]:
    accepted = sum(one["verdict"] == "accepted" for one in decided)
    says = listing([f"{one['name'].lower()} {one['verdict']}" for one in decided])
    return "Models accepted", f"{accepted} of {len(decided)}", f"{sentence(says)}."
