"""Finds values that those who left have and nobody else has: written down afterwards, so a leak.

A status of the customer system ("closing", an end date, a last invoice) that is filled for 80 % of
those who left has an AUC of .89 only, so a limit on the AUC lets it pass. What gives it away is the
shift between two groups (adversarial validation): common among those who left, absent among present
customers. A cause of leaving, however strong, is also found among customers who stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from data.splits import LeakError

MIN_SHARE = 0.1  # of those who left; a rarer value leaks little
# The value is so many times as frequent among those who left as it can at most be among the others.
MIN_RATIO = 50.0
# If the two groups were alike, so many present customers with the value would be expected.
MIN_EXPECTED = 30.0


@dataclass(frozen=True)
class LeakingValue:
    """A value, or a range of values, of a column that tells who has left."""

    column: str
    value: str  # in words: "is filled", "is 'closing'", "is above 12"
    left: int  # customers who left and have it
    of_left: int
    present: int  # present customers who have it
    of_present: int

    def describe(self) -> str:
        """Returns the finding in one sentence part."""
        return (
            f"{self.column.removeprefix('attr_')} {self.value} for {self.left} of {self.of_left} who "
            f"left and for {self.present} of {self.of_present} who are there"
        )


def leaking_values(
    left: pl.DataFrame, present: pl.DataFrame, names: Sequence[str]
) -> list[LeakingValue]:
    """Returns, for each column that has one, the leaking value that most of those who left have.

    `left` and `present` hold one row a customer. Text is searched by value, numbers by range, both
    by filled and empty. A value leaks if MIN_SHARE of those who left have it, at least MIN_RATIO
    times as large a share as of those present (who count one more than they are, so that absence in
    a small group proves little), and if MIN_EXPECTED present ones had it were the groups alike.
    """
    if left.is_empty() or present.is_empty():
        return []
    found = []
    for name in names:
        values = [
            LeakingValue(name, words, n_left, left.height, n_present, present.height)
            for words, n_left, n_present in _values(left[name], present[name])
        ]
        leaking = [value for value in values if _is_leaking(value)]
        if leaking:
            found.append(max(leaking, key=lambda value: (value.left, -value.present)))
    return sorted(found, key=lambda value: (-value.left, value.column))


def assert_record_knows_no_outcome(
    rows: pl.DataFrame, current: pl.DataFrame, *, known_beforehand: Sequence[str] = ()
) -> None:
    """Raises LeakError naming a column of the customer record that tells who has left.

    `rows` are features with customer_id, as_of and event, `current` those of the customers who are
    present today. Columns of the record are plan, region, monthly_price and attr_<name>.
    """
    names = [
        name
        for name in rows.columns
        if (name in ("plan", "region", "monthly_price") or name.startswith("attr_"))
        and name in current.columns
        and name.removeprefix("attr_") not in known_beforehand
    ]
    left = (
        rows.filter(pl.col("event"))
        .sort("as_of")
        .unique("customer_id", keep="last", maintain_order=True)
    )
    leaks = leaking_values(left, current.unique("customer_id"), names)
    if leaks:
        column = leaks[0].column.removeprefix("attr_")
        raise LeakError(
            f"customer record: {leaks[0].describe()}, as only what is written down afterwards can "
            f"be. Put {column!r} in features.exclude, or in features.known_beforehand if it is known "
            "before a customer leaves."
        )


def _is_leaking(value: LeakingValue) -> bool:
    share = value.left / value.of_left
    expected = share * value.of_present
    return (
        share >= MIN_SHARE
        and expected >= MIN_EXPECTED
        and expected >= MIN_RATIO * (value.present + 1)
    )


def _values(left: pl.Series, present: pl.Series) -> Iterator[tuple[str, int, int]]:
    """Yields values in words, with the numbers of those who left and of those present who have it."""
    missing = left.null_count(), present.null_count()
    yield "is filled", len(left) - missing[0], len(present) - missing[1]
    yield "is empty", missing[0], missing[1]
    if left.dtype.is_numeric():
        yield from _ranges(left.drop_nulls().to_numpy(), present.drop_nulls().to_numpy())
        return
    counts = present.cast(pl.String).value_counts(name="count")
    in_present = dict(zip(counts[present.name], counts["count"], strict=True))
    for value, count in left.cast(pl.String).drop_nulls().value_counts(name="count").iter_rows():
        yield f"is {value!r}", count, in_present.get(value, 0)


def _ranges(left: np.ndarray, present: np.ndarray) -> Iterator[tuple[str, int, int]]:
    """Yields ranges of numbers in which hardly a present customer is: gaps, and both tails."""
    left, present = np.sort(left[np.isfinite(left)]), np.sort(present[np.isfinite(present)])
    if not len(left) or not len(present):
        return
    edges = np.unique(present)
    # Those who left strictly between two values of present customers, all gaps at once.
    after, before = np.searchsorted(left, edges, "right"), np.searchsorted(left, edges, "left")
    if len(edges) > 1:
        inside = before[1:] - after[:-1]
        widest = int(inside.argmax())
        yield (
            f"is between {edges[widest]:g} and {edges[widest + 1]:g}",
            int(inside[widest]),
            0,
        )
    # A tail may hold a few present ones: those who have given notice already.
    for allowed in sorted({0, *(int(len(present) * share) for share in (0.002, 0.005, 0.01))}):
        highest, lowest = present[len(present) - 1 - allowed], present[allowed]
        yield f"is above {highest:g}", int((left > highest).sum()), int((present > highest).sum())
        yield f"is below {lowest:g}", int((left < lowest).sum()), int((present < lowest).sum())
