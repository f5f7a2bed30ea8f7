"""Sets the level of one look at a test set, so that a whole sequence of candidates keeps a level.

A look is one decision with a scorecard. By the union bound, candidates that are no better than
their references are promoted at most as often as the levels of their looks add up to, however the
candidates depend on each other. Two sums are kept below a limit: of the levels spent on one test
unit in its life, and of the levels spent in any 365 days. Each look spends a share of what is left
(alpha spending; Lan and DeMets 1983), so nothing is ever used up. Units never looked at have spent
nothing (as in the quality preserving database; Aharoni, Neuvirth and Rosset 2011). Alternatives
were compared in benchmarks/bench_looks.py, see docs/decisions/0017-levels-of-looks.md.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

# Days after which a look no longer counts for the year.
YEAR_DAYS = 365


@dataclass(frozen=True)
class LookLevels:
    """What a sequence of looks at test units may spend; levels are one-sided."""

    # Chance of a promotion for nothing in the life of a test unit.
    life: float = 0.025
    # The same in any 365 days, however many new units come.
    year: float = 0.05
    # Share of what is left that one look spends.
    share: float = 0.04

    def __post_init__(self) -> None:
        """Raises ValueError for a level or share outside (0, 1), and a year below a life."""
        for name, value in vars(self).items():
            if not 0 < value < 1:
                raise ValueError(f"looks: {name} is {value}; it must lie between 0 and 1.")
        if self.year < self.life:
            raise ValueError(
                f"looks: a year ({self.year}) must allow at least as much as the life of a test "
                f"unit ({self.life})."
            )


@dataclass(frozen=True)
class Look:
    """One look at a test set: its level and the wear of the test set, as shares of 1.

    `number` counts the looks of this kind of model, this one included. `wear` and `year_spent` are
    the shares of the two limits that earlier looks have spent, `wear_after` includes this look.
    `units` are test clusters, `fresh_units` those that no earlier look used.
    """

    number: int
    level: float
    wear: float
    wear_after: float
    year_spent: float
    units: int
    fresh_units: int
    life_level: float
    year_level: float

    def sentence(self, noun: str) -> str:
        """Returns what people are told; `noun` is the plural of a test cluster ("voices")."""
        return (
            f"Look {self.number} at the test set, at a level of {percent(self.level)}. With it "
            f"{self.wear_after:.1%} of the {percent(self.life_level)} that these {self.units} {noun} "
            f"allow in their life is spent; {self.fresh_units} of them were never looked at before. "
            f"{self.restored(noun)}"
        )

    def restored(self, noun: str) -> str:
        """Returns what brings the level up again, in one sentence."""
        if self.year_level * (1 - self.year_spent) < self.life_level * (1 - self.wear):
            return f"The level rises again as the looks of the last {YEAR_DAYS} days grow old."
        more = self.units
        return (
            f"New {noun} restore the level: {more} more bring the spent share to "
            f"{self.wear_after * self.units / (self.units + more):.1%}."
        )


def look_at(
    units: Collection[str],
    *,
    spent: Mapping[str, float],
    spent_in_year: float,
    earlier: int,
    levels: LookLevels = LookLevels(),
    level: float | None = None,
) -> Look:
    """Returns the next look at the test clusters `units`.

    `spent` is the sum of levels that earlier looks have spent on each unit, `spent_in_year` the sum
    of those of the last YEAR_DAYS, `earlier` their number ever. `level` is what a look that was
    counted before has spent; None: it is set by what is left. Raises ValueError without units.
    """
    if not units:
        raise ValueError("looks: there is no test unit to look at.")
    shares = [min(1.0, spent.get(unit, 0.0) / levels.life) for unit in units]
    wear = math.fsum(shares) / len(shares)
    year_spent = min(1.0, spent_in_year / levels.year)
    if level is None:
        level = levels.share * min(levels.life * (1 - wear), levels.year * (1 - year_spent))
    after = [min(1.0, share + level / levels.life) for share in shares]
    return Look(
        number=earlier + 1,
        level=level,
        wear=wear,
        wear_after=math.fsum(after) / len(after),
        year_spent=year_spent,
        units=len(shares),
        fresh_units=sum(unit not in spent for unit in units),
        life_level=levels.life,
        year_level=levels.year,
    )


def percent(share: float) -> str:
    """Returns a share as a percentage with two significant digits, like 2.5 % or 0.043 %."""
    if 0 < share < 1e-6:
        return "less than 0.0001 %"
    return f"{float(f'{100 * share:.2g}'):g} %"
