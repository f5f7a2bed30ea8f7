"""What a decision record has to hold before a model may become champion by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.kinds import kind_names, kind_of
from models.registry.approval import APPROVALS


def lacking(decision: Mapping[str, Any]) -> str:
    """What an accepted record leaves out, in words; empty when it is whole."""
    # The gate finds its checks by itself. What it has to ask of a kind stands in models.kinds once more, so that a
    # record which leaves a check out is no way to become champion.
    if decision.get("kind") not in kind_names():
        return "does not say which kind of model it is about"
    asked = kind_of(str(decision["kind"])).all_checks
    answered = {check["name"] for check in decision.get("checks") or ()}
    silent = [name for name in asked if name not in answered]
    if silent:
        return f"says nothing about {', '.join(silent)}"
    if (decision.get("params") or {}).get("approval") not in APPROVALS:
        return "does not say whether a person has to approve"
    return ""
