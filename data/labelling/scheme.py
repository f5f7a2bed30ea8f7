"""Defines the labels of a contact with their values, and the settings of labelling."""

from __future__ import annotations

from dataclasses import dataclass

FRICTIONS = (
    "ivr_dead_end",
    "pressed_zero",
    "system_hangup",
    "please_call",
    "repeated_contact",
    "transfer",
    "unresolved",
    "long_wait",
)
SCHEME: dict[str, tuple[str, ...]] = {
    "reason": (
        "billing",
        "outage",
        "cancel",
        "upgrade",
        "technical",
        "delivery",
        "payment",
        "complaint",
        "other",
    ),
    **{f"friction_{name}": ("no", "yes") for name in FRICTIONS},
    "sentiment": ("negative", "neutral", "positive"),
    "barrier": ("none", "authority", "knowledge", "tool", "policy"),
}

# Labels whose first value is one of these are about presence or absence: that no rule votes for
# presence is evidence of absence.
ABSENT = ("no", "none")


@dataclass(frozen=True)
class LabellingParams:
    """The section `labelling` of params.yaml."""

    repeat_days: int = 7  # an earlier contact within so many days makes this one a repeat
    # waiting longer than this for an agent on the phone is friction
    long_wait_phone_s: float = 600.0
    long_wait_written_s: float = 300.0  # … and in a chat
    # how often a vote is taken to be right before the votes themselves have been compared
    prior_accuracy: float = 0.8
    # how much that counts against the votes; 0 trusts the votes alone, 1 as much as both
    prior_weight: float = 0.5
    iterations: int = 50  # rounds of expectation maximisation at most
    # fit for each month (UTC) on the contacts before it, so that the past keeps its labels; off, one
    # fit on all contacts labels them all, and every later contact changes labels of the past
    walk_forward: bool = True
    # a contact whose best value is less likely stays without that label
    min_probability: float = 0.5
