"""Gate check: risks are not significantly miscalibrated, on the whole and in each slice.

Calibrated means that of 100 customers with a risk of 20 %, 20 leave.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence, Measurement, Verdict
from evaluation.gates.params import ChurnGate
from evaluation.metrics.bootstrap import holm, paired_p, ratio_of_sums
from evaluation.scorecard import Scorecard
from models.kinds import kind_of

NAME = "calibration"
PROMISE = (
    "Risks are not shown to be miscalibrated: neither on the whole, nor within any slice that is "
    "large enough to be tested."
)
PREFIX = "calibration_"  # of the figures in the scorecard's facts, e.g. calibration_slope_30
FIGURES = ("slope", "intercept")


def applies(kind: str) -> bool:
    """Returns whether the kind names this check."""
    return NAME in kind_of(kind).checks


def check(evidence: Evidence) -> Check:
    """Refuses what is significantly miscalibrated.

    That is: a slope or intercept (Cox) at a horizon whose whole 95 % interval lies outside its
    range, or, within a slice, mean risk and share that left apart by more than `max_slice_gap`
    (Holm). Slope and intercept have to be known at every horizon that has a Brier score; at others
    no outcome has matured.
    """
    params, candidate = evidence.churn, evidence.candidate
    figures = candidate.facts.get("calibration") or {}
    measurements = _figure_measurements(figures, params)
    missing = _missing_figures(candidate, figures) + [
        measurement.what for measurement in measurements if measurement.verdict == "no_evidence"
    ]
    if missing and not any(measurement.verdict == "fail" for measurement in measurements):
        names = ", ".join(name.removeprefix(PREFIX).replace("_", " at ") for name in missing)
        return Check(
            NAME,
            "no_evidence",
            f"Calibration was not measured, or has no interval: {names}. Test on more customers.",
            measurements=tuple(measurements),
        )
    measurements += _slice_measurements(candidate, params, evidence.seed)
    failed = [measurement for measurement in measurements if measurement.verdict == "fail"]
    shown = "; ".join(
        f"{measurement.what} {measurement.estimate:.3f} (95 % {measurement.low:.3f} to "
        f"{measurement.high:.3f}, limit {measurement.threshold:g})"
        for measurement in failed or measurements[:1]
    )
    return Check.of_worst(
        NAME,
        "fail" if failed else "pass",
        f"Significantly miscalibrated: {shown}."
        if failed
        else f"None of {len(measurements)} figures is significantly off; first: {shown}.",
        worst=(failed or measurements)[0],
        measurements=measurements,
    )


def _figure_measurements(
    figures: Mapping[str, Mapping[str, Any]], params: ChurnGate
) -> list[Measurement]:
    """Returns a measurement for each slope and intercept among the scorecard's figures."""
    measurements = []
    for name, figure in sorted(figures.items()):
        figure_kind = name.removeprefix(PREFIX).split("_")[0]
        if figure_kind not in FIGURES:
            continue
        lowest, highest = getattr(params, f"{PREFIX}{figure_kind}")
        low, high = figure["low"], figure["high"]
        verdict: Verdict = (
            "no_evidence" if low is None else "fail" if high < lowest or low > highest else "pass"
        )
        ideal = 1 if figure_kind == "slope" else 0
        days = " days" if name[-1].isdigit() else ""
        measurements.append(
            Measurement(
                name.removeprefix(PREFIX).replace("_", " at ") + days,
                verdict,
                figure["value"],
                low,
                high,
                lowest if figure["value"] < ideal else highest,
            )
        )
    return measurements


def _missing_figures(card: Scorecard, figures: Mapping[str, Any]) -> list[str]:
    """Returns the slopes and intercepts that are absent at a horizon with a Brier score."""
    horizons = [
        name.removeprefix("brier") for name in card.metrics if name.removeprefix("brier_").isdigit()
    ]
    required = {f"{PREFIX}{name}{horizon}" for name in FIGURES for horizon in horizons or [""]}
    return sorted(required - set(figures))


def _slice_measurements(card: Scorecard, params: ChurnGate, seed: int) -> list[Measurement]:
    """Returns mean risk minus share that left, in each slice and horizon large enough to test.

    Two-sided p-values, corrected for their number (Holm).
    """
    measurements: list[Measurement] = []
    ps: list[float] = []
    for what, part, suffix in _slices_by_horizon(card, params.min_slice_clusters):
        weight, cluster = part[f"weight{suffix}"].to_numpy(), part["cluster"].to_numpy()
        expected, left = part[f"expected{suffix}"].to_numpy(), part[f"left{suffix}"].to_numpy()
        gap = ratio_of_sums(expected - left, weight, cluster, seed=seed)
        limit = params.max_slice_gap
        # Two-sided: twice the smaller p of "no further above (below) than allowed".
        over = paired_p((left, weight), (expected, weight), cluster, seed=seed, at_least=-limit)
        under = paired_p((expected, weight), (left, weight), cluster, seed=seed, at_least=-limit)
        if over is None or under is None:
            continue
        ps.append(min(1.0, 2 * min(over, under)))
        threshold = limit if gap.value > 0 else -limit
        measurements.append(
            Measurement(what, "pass", gap.value, gap.low, gap.high, threshold, None, gap.clusters)
        )
    return _with_verdicts(measurements, holm(ps), params.slice_alpha)


def _with_verdicts(
    measurements: Sequence[Measurement], ps: Sequence[float], alpha: float
) -> list[Measurement]:
    return [
        replace(measurement, verdict="fail" if p <= alpha else "pass", p=p)
        for measurement, p in zip(measurements, ps, strict=True)
    ]


def _slices_by_horizon(
    card: Scorecard, min_clusters: int
) -> Iterator[tuple[str, pl.DataFrame, str]]:
    """Yields name, units and column suffix (_30, …) of each slice and horizon large enough."""
    suffixes = [
        name.removeprefix("expected") for name in card.units.columns if name.startswith("expected")
    ]
    for by in card.slices:
        if by not in card.units.columns:
            continue
        for (value,), part in card.units.filter(pl.col(by).is_not_null()).group_by(
            [by], maintain_order=True
        ):
            for suffix in suffixes:
                weighted = part.filter(pl.col(f"weight{suffix}") > 0)
                if weighted["cluster"].n_unique() >= max(2, min_clusters):
                    horizon = suffix.strip("_") or "the end"
                    yield f"gap at {horizon} in {by} {value}", weighted, suffix


def _card_with_figures(names: Sequence[str]) -> Scorecard:
    """A good churn model whose scorecard holds only the calibration figures `names`."""
    card = examples.churn(0.2)
    figures = {name: figure for name, figure in card.facts["calibration"].items() if name in names}
    return replace(card, facts={**card.facts, "calibration": figures})


ACCEPTS = (lambda: examples.evidence(candidate=examples.churn(0.2)),)
REFUSES = (
    # Ranks customers as well and is far too sure of itself.
    lambda: examples.evidence(candidate=examples.churn(0.2, overconfidence=2.5)),
    lambda: examples.evidence(candidate=examples.churn(0.2, shift=1.5)),
    lambda: examples.evidence(candidate=_card_with_figures(())),
    # Measured at one horizon of two.
    lambda: examples.evidence(
        candidate=_card_with_figures(("calibration_slope_30", "calibration_intercept_30"))
    ),
)
