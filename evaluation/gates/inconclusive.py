"""Tells a check that measured too little from one that speaks against a recogniser."""

from __future__ import annotations

from evaluation.gates.evidence import NOT_REFUSING, Check, Measurement

# Checks that lack evidence where the test set is small, or where no test call has a friction.
_NEED_A_LARGE_TEST_SET = ("critical_words", "downstream", "enough_evidence", "slices")
_UPPER_LIMIT = ("behaviour", "floor")  # the whole interval has to lie below the limit
_LOWER_LIMIT = ("better", "downstream", "guardrail")  # the whole interval has to lie above it


def is_inconclusive(check: Check) -> bool:
    """Returns whether a check did not pass for want of data only.

    True where the estimate keeps its limit and its interval does not, or where the test set was
    too small to measure anything.
    """
    if check.verdict == "no_evidence" and check.name in _NEED_A_LARGE_TEST_SET:
        return True
    measured: list[Measurement | Check] = [
        measurement for measurement in check.measurements if measurement.verdict not in NOT_REFUSING
    ]
    return check.name in (*_UPPER_LIMIT, *_LOWER_LIMIT) and all(
        row.estimate is not None
        and row.threshold is not None
        and (
            row.estimate <= row.threshold
            if check.name in _UPPER_LIMIT
            else row.estimate > row.threshold
        )
        for row in measured or [check]
    )
