"""Gate check: a churn model's recipe, trained before the last quarter, predicts that quarter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence, Measurement, SecondaryTest, Verdict
from evaluation.metrics.bootstrap import Interval
from evaluation.metrics.two_way import MIN_DATES, two_way_ratio
from evaluation.scorecard import Scorecard, pair
from models.kinds import kind_of

NAME = "next_quarter"
PROMISE = (
    "Trained on what was known before the last quarter, the candidate's recipe predicts that quarter "
    "better than the life table, and is not shown to be worse than a logistic regression or the "
    "champion's recipe. What the quarter cannot tell is unproven."
)
_ORDER: tuple[Verdict, ...] = ("fail", "unproven", "pass")


def applies(kind: str) -> bool:
    """Returns whether the kind names this check."""
    return NAME in kind_of(kind).checks


def check(evidence: Evidence) -> Check:
    """Requires skill over the life table, and no significant loss against the other two.

    Intervals are clustered both ways, by customer and as-of date (evaluation.metrics.two_way). Not
    better than the life table even in the estimate is a refusal, and so is an interval wholly below
    0 against logistic regression or the champion's recipe.
    """
    if NAME not in evidence.secondary and evidence.facts.next_quarter_says:
        return Check(
            NAME,
            "unproven",
            f"The last quarter could not be asked. {evidence.facts.next_quarter_says}",
            unproven=("the next quarter (it could not be asked)",),
        )
    test = evidence.secondary_test(
        NAME, "Nobody asked the last quarter. Evaluate again, or say why it cannot be asked."
    )
    measurements = [
        _measurement(
            "scaled Brier over the life table", _own(test, "scaled_brier", evidence), True
        ),
        _measurement("gain over logistic regression", _own(test, "gain_over_logistic", evidence)),
    ]
    facts = test.candidate.facts
    if evidence.facts.reference_is_champion and not facts.get("same_recipe"):
        measurements.append(
            _measurement("gain over the champion's recipe", _paired(test, evidence))
        )
    measurements.sort(key=lambda row: _ORDER.index(row.verdict))
    worst = measurements[0]
    return Check.of_worst(
        NAME,
        worst.verdict,
        _sentence(test.candidate, measurements, evidence),
        worst=worst,
        measurements=measurements,
        unproven=[
            f"{row.what} in the next quarter ({leavers(test.candidate)} left in it)"
            for row in measurements
            if row.verdict == "unproven"
        ],
    )


def leavers(card: Scorecard) -> int:
    """Returns how many customers left within a horizon of the quarter."""
    names = [name for name in card.units.columns if name.startswith("left")]
    left = card.units.filter(
        np.logical_or.reduce([card.units[name].to_numpy() > 0 for name in names])
    )
    return int(left["cluster"].n_unique())


def _own(test: SecondaryTest, metric: str, evidence: Evidence) -> Interval | None:
    """Returns a metric of the candidate's recipe, clustered both ways; None where it was not scored."""
    card = test.candidate
    ratio = card.ratios.get(metric)
    if ratio is None:
        return None
    units = card.units
    return two_way_ratio(
        units[ratio.numerator].to_numpy(),
        units[ratio.denominator].to_numpy(),
        units["customer_id"].to_numpy(),
        units["as_of"].cast(str).to_numpy(),
        level=evidence.params.level,
    )


def _paired(test: SecondaryTest, evidence: Evidence) -> Interval:
    """Returns the gain in Brier score over the champion's recipe, clustered both ways."""
    rows = pair(test.candidate, test.reference, evidence.params.metric)
    dates = test.candidate.units.select("unit", "as_of")
    rows = rows.join(dates, on="unit", how="left", maintain_order="left")
    return two_way_ratio(
        (rows["num_b"] - rows["num_a"]).to_numpy(),
        rows["den_a"].to_numpy(),
        rows["cluster"].to_numpy(),
        rows["as_of"].cast(str).to_numpy(),
        level=evidence.params.level,
    )


def _measurement(what: str, gained: Interval | None, needs_skill: bool = False) -> Measurement:
    """Returns the verdict on one gain; with `needs_skill` an estimate of 0 or less fails."""
    if gained is None:
        return Measurement(what, "unproven", threshold=0.0, note="not scored")
    verdict: Verdict = "unproven"
    if gained.low is not None and gained.low > 0:
        verdict = "pass"
    elif (needs_skill and gained.value <= 0) or (gained.high is not None and gained.high < 0):
        verdict = "fail"
    return Measurement(
        what, verdict, gained.value, gained.low, gained.high, 0.0, clusters=gained.clusters
    )


def _sentence(card: Scorecard, measurements: Sequence[Measurement], evidence: Evidence) -> str:
    """Returns what was found of each gain, and what the quarter rests on."""
    words = {"pass": "above 0", "unproven": "unproven", "fail": "refused"}
    figures = "; ".join(
        f"{row.what}: {row.estimate:+.4f} ({row.low:+.4f} to {row.high:+.4f}, {words[row.verdict]})"
        if row.estimate is not None and row.low is not None and row.high is not None
        else f"{row.what}: {words[row.verdict]}"
        for row in measurements
    )
    dates = int(card.facts.get("dates", 0))
    sentence = (
        f"Trained before {card.facts.get('day', 'it')} and asked on {dates} as-of dates, "
        f"{leavers(card)} customers left. {figures[:1].upper()}{figures[1:]}."
    )
    if card.facts.get("same_recipe"):
        sentence += " The champion's recipe is the same, so there is nothing to compare with it."
    if dates < MIN_DATES:
        sentence += (
            f" With {dates} dates the intervals do not hold what one date does to all customers."
        )
    return sentence


ACCEPTS = (
    lambda: examples.evidence(candidate=examples.churn(0.2)),
    lambda: examples.evidence(
        candidate=examples.churn(0.2),
        next_quarter=None,
        facts={"next_quarter_says": "a history of two months"},
    ),
)
REFUSES = (
    # Good on the past, and the next quarter is another world.
    lambda: examples.evidence(candidate=examples.churn(0.2), next_quarter=(9.0, 2.0)),
    lambda: examples.evidence(candidate=examples.churn(0.2), next_quarter=None),
    lambda: examples.evidence(candidate=examples.churn(0.2), foreign_bundle="next_quarter"),
    lambda: examples.evidence(candidate=examples.churn(0.2), foreign_data="next_quarter"),
    # Worse than the champion's recipe, and still better than knowing nobody.
    lambda: examples.evidence(
        candidate=examples.churn(0.2),
        next_quarter=(1.1, 0.2),
        facts={"reference_is_champion": True},
    ),
)
