"""Tells a check that found too little from one that holds something against a recogniser."""

from __future__ import annotations

from evaluation.gates.evidence import Check, Measurement

# Without evidence where the test set is small, or nobody in it meets with friction.
SILENT = ("critical_words", "downstream", "enough_evidence", "slices")
AT_MOST = ("behaviour", "floor")  # a figure has to be surely below its limit …
ABOVE = ("better", "downstream", "guardrail")  # … a gain surely above it


def is_inconclusive(check: Check) -> bool:
    """Whether a check did not pass for want of proof alone: the likeliest value keeps its limit, the interval not."""
    if check.verdict == "no_evidence" and check.name in SILENT:
        return True
    looks: list[Measurement | Check] = [look for look in check.looks if look.verdict != "pass"]
    return check.name in (*AT_MOST, *ABOVE) and all(
        look.estimate is not None
        and look.threshold is not None
        and (
            look.estimate <= look.threshold
            if check.name in AT_MOST
            else look.estimate > look.threshold
        )
        for look in looks or [check]
    )
