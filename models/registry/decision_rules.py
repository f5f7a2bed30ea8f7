"""What a decision record has to hold before a model may become champion by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.registry.approval import APPROVALS

_ALWAYS = (
    "behaviour",
    "better",
    "card_and_licence",
    "data_contract",
    "enough_evidence",
    "floor",
    "same_bundle",
    "same_data",
    "size_and_latency",
    "slices",
)
# The checks a record has to name, passed or skipped. The gate finds its checks by itself; what it asks of a model today
# is written down here once more, so that a record which leaves one out is no way to the title.
CHECKS = {
    "asr": (*_ALWAYS, "critical_words", "downstream", "guardrail"),
    "churn": (*_ALWAYS, "calibration", "long_horizon"),
    "reader": _ALWAYS,
}


def lacking(decision: Mapping[str, Any]) -> str:
    """What an accepted record leaves out, in words; empty when it is whole."""
    asked = CHECKS.get(str(decision.get("kind")))
    if asked is None:
        return "does not say which kind of model it is about"
    answered = {check["name"] for check in decision.get("checks") or ()}
    silent = [name for name in asked if name not in answered]
    if silent:
        return f"says nothing about {', '.join(silent)}"
    if (decision.get("params") or {}).get("approval") not in APPROVALS:
        return "does not say whether a person has to approve"
    return ""
