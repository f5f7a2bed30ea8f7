"""The four to six figures at the top of the report, each with a sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evaluation.report.formatting import count, duration, listing, plain, sentence, several, share
from models.kinds import ASR, CHURN

LEAVERS_DAYS = 90  # expected leavers are those at the horizon nearest to this one

Figure = tuple[str, str, str]  # name, the figure itself, and a sentence about it


def key_figures(sections: Mapping[str, Any]) -> list[dict[str, str]]:
    """Returns name, big (the figure) and says of each key figure; a missing section gives none."""
    figures = []
    for name, figure_of in _FIGURES.items():
        figure = figure_of(sections[name]) if sections.get(name) else None
        if figure:
            figures.append(dict(zip(("name", "big", "says"), figure, strict=True)))
    return figures


def _contacts(ingestion: Mapping[str, Any]) -> Figure:
    calls = several(ingestion["recordings"], "call is", "calls are")
    recorded = f"{calls} recorded: {duration(ingestion['audio_s'])} of speech."
    return (
        "Contacts",
        count(ingestion["contacts"]),
        f"from {several(ingestion['in_touch'], 'customer')}. {recorded}",
    )


def _friction(labels: Mapping[str, Any]) -> Figure | None:
    if not labels["frictions"] or labels["friction_share"] is None:
        return None
    worst = labels["frictions"][0]
    says = (
        f"met at least one obstacle. The most common: {worst['name']} ({share(worst['share'], 0)})."
    )
    return "Contacts with friction", share(labels["friction_share"], 0), says


def _word_errors(asr: Mapping[str, Any]) -> Figure | None:
    before, after = asr["overall"]["before"], asr["overall"]["after"]
    if not after:
        return None
    earlier = f"; {share(before['value'])} before" if before else ""
    says = f"on {several(asr['voices'], 'voice')} kept out of training{earlier}."
    return "Words heard wrong", share(after["value"]), says


def _churn_skill(churn: Mapping[str, Any]) -> Figure | None:
    """The share of attainable Brier skill where the truth is known, else the AUC."""
    skill, truth = churn["skill"], churn["against_truth"]
    if skill or (truth and truth["rows"]):
        row = skill["rows"][-1] if skill else truth["rows"][-1]
        reached = row["shares"][0] if skill else row["skill"]
        ends = f"{share(0, 0)} is the base rate, {share(1, 0)} every true risk"
        says = f"of the attainable Brier skill at {row['horizon']} days: {ends}."
        return "Foreseen", share(reached, 0), says
    row = next(table for table in churn["tables"] if table["metric"] == "auc")["rows"][-1]
    if not row["figures"][0]:
        return None
    within = f" within {row['horizon']} days" if row["horizon"] else ""
    says = f"How often a customer who left{within} was ranked above one who stayed; chance is 0.5."
    return "AUC of leaving", plain(row["figures"][0]["value"], 2), says


def _expected_leavers(at_risk: Mapping[str, Any]) -> Figure:
    row = min(at_risk["expected"], key=lambda expected: abs((expected["days"] or 0) - LEAVERS_DAYS))
    within = f" within {row['days']} days" if row["days"] else ""
    says = (
        f"of {several(at_risk['scored'], 'customer')}{within}, if nothing is done: the sum of "
        "their risks."
    )
    return "Expected to leave", count(row["leavers"]), says


def _accepted_models(decisions: Sequence[Mapping[str, Any]]) -> Figure:
    accepted = sum(decision["verdict"] == "accepted" for decision in decisions)
    says = listing(
        [
            f"{decision['name'].lower()} {decision['verdict']}"
            + (f" with {several(len(open_points), 'point')} unproven" if open_points else "")
            for decision in decisions
            for open_points in [decision.get("unproven", ())]
        ]
    )
    return "Models accepted", f"{accepted} of {len(decisions)}", f"{sentence(says)}."


# The section that a key figure is made of → how.
_FIGURES: Mapping[str, Callable[[Any], Figure | None]] = {
    "ingestion": _contacts,
    "labels": _friction,
    ASR.name: _word_errors,
    CHURN.name: _churn_skill,
    "at_risk": _expected_leavers,
    "decisions": _accepted_models,
}
