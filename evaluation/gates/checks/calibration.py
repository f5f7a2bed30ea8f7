"""Gate check: risks are calibrated, shown by equivalence on the whole and tested in each slice.

Calibrated means that of 100 customers with a risk of 20 %, 20 leave. Not to be proven wrong is not
to be right: with few customers who left, hardly any model is proven wrong. So the burden of proof is
turned round (equivalence test, Schuirmann 1987; limits as in Van Calster et al. 2016).
"""

from __future__ import annotations

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
    "Risks are not shown to be miscalibrated: neither on the whole, nor within a slice. Where the "
    "data cannot show that they are calibrated, within limits, this is unproven."
)
PREFIX = "calibration_"  # of the figures in the scorecard's facts, e.g. calibration_slope_30
FIGURES = ("ratio", "slope")
_TITLES = {"ratio": "left over expected", "slope": "slope"}


def applies(kind: str) -> bool:
    """Returns whether the kind names this check."""
    return NAME in kind_of(kind).checks


def check(evidence: Evidence) -> Check:
    """Tests, at each horizon, customers who left over those expected to, and the slope (Cox).

    Each is proven where its whole 95 % interval lies within its range, failed where the interval
    lies wholly outside, and unproven otherwise. Within a slice mean risk and share that left must
    not be significantly apart by more than `max_slice_gap` (Holm). Figures have to be known at
    every horizon that has a Brier score; at others no outcome has matured. What is unproven refuses
    only at the horizons of `required_calibration`.
    """
    params, candidate = evidence.churn, evidence.candidate
    figures = candidate.facts.get("calibration") or {}
    measurements = _figure_measurements(candidate, figures, params)
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
    in_slices = _slice_measurements(candidate, params, evidence.seed)
    failed = [row for row in (*measurements, *in_slices) if row.verdict == "fail"]
    unproven = [row for row in measurements if row.verdict == "unproven"]
    unproven_slices = [row for row in in_slices if row.verdict == "unproven"]
    lacking = _lacking_proof(candidate, params, unproven)
    verdict: Verdict = "unproven" if unproven or unproven_slices else "pass"
    verdict = "fail" if failed else "no_evidence" if lacking else verdict
    return Check.of_worst(
        NAME,
        verdict,
        _sentence(failed, measurements, in_slices, lacking),
        worst=(failed or unproven or measurements)[0],
        measurements=[*measurements, *in_slices],
        unproven=[
            *_horizons_in_words(candidate, unproven, params),
            *(
                [f"calibration in {len(unproven_slices)} of {len(in_slices)} slices and horizons"]
                if unproven_slices
                else []
            ),
        ],
    )


def _figure_measurements(
    card: Scorecard, figures: Mapping[str, Mapping[str, Any]], params: ChurnGate
) -> list[Measurement]:
    """Returns a measurement for each ratio and slope among the scorecard's figures."""
    measurements = []
    for name, figure in sorted(figures.items()):
        figure_kind, _, horizon = name.removeprefix(PREFIX).partition("_")
        if figure_kind not in FIGURES or not name.startswith(PREFIX):
            continue
        lowest, highest = getattr(params, f"{PREFIX}{figure_kind}")
        low, high = figure["low"], figure["high"]
        verdict: Verdict = "unproven"
        if low is None or high is None:
            verdict = "no_evidence"
        elif high < lowest or low > highest:
            verdict = "fail"
        elif low >= lowest and high <= highest:
            verdict = "pass"
        measurements.append(
            Measurement(
                f"{_TITLES[figure_kind]}{f' at {horizon} days' if horizon else ''}",
                verdict,
                figure["value"],
                low,
                high,
                lowest if figure["value"] < 1 else highest,
                note=f"{_leavers(card, horizon)} left",
            )
        )
    return measurements


def _leavers(card: Scorecard, horizon: str) -> int:
    """Returns how many customers of the test left by the horizon ("" without dates)."""
    name = f"left_{horizon}" if horizon else "left"
    if name not in card.units.columns:
        return 0
    return int(card.units.filter(pl.col(name) > 0)["cluster"].n_unique())


def _lacking_proof(
    card: Scorecard, params: ChurnGate, unproven: Sequence[Measurement]
) -> list[str]:
    """Returns the horizons of `required_calibration` that are not proven, in words."""
    lacking = []
    for days in params.required_calibration:
        title = f" at {days} days"
        if f"brier_{days}" not in card.metrics or any(row.what.endswith(title) for row in unproven):
            lacking.append(title.strip())
    return lacking


def _horizons_in_words(
    card: Scorecard, unproven: Sequence[Measurement], params: ChurnGate
) -> list[str]:
    """Returns the horizons at which calibration is unproven, with who left and how many are needed."""
    horizons = {row.what.rpartition(" at ")[2] for row in unproven if " at " in row.what}
    if not horizons and unproven:
        return [f"calibration ({_needed(_leavers(card, ''), params)})"]
    return [
        f"calibration at {horizon} ({_needed(_leavers(card, horizon.split()[0]), params)})"
        for horizon in sorted(horizons, key=lambda horizon: int(horizon.split()[0]))
    ]


def _needed(left: int, params: ChurnGate) -> str:
    if left < params.calibration_events:
        return f"{left} left, about {params.calibration_events} needed"
    return f"{left} left, and the interval still reaches beyond its range"


def _sentence(
    failed: Sequence[Measurement],
    measurements: Sequence[Measurement],
    in_slices: Sequence[Measurement],
    lacking: Sequence[str],
) -> str:
    """Returns which figures are off, or else which are proven and which are not."""
    if failed:
        return f"Significantly miscalibrated: {'; '.join(map(_describe, failed))}."
    parts = []
    for verdict, title in (("pass", "Proven"), ("unproven", "Unproven")):
        figures = "; ".join(_describe(row) for row in measurements if row.verdict == verdict)
        parts += [f"{title}: {figures}."] if figures else []
    held = sum(row.verdict == "pass" for row in in_slices)
    if in_slices:
        parts.append(
            f"Of {len(in_slices)} slices and horizons none is significantly off; {held} are held."
        )
    if lacking:
        parts.append(f"Proof is required {', '.join(lacking)} and lacking.")
    return " ".join(parts)


def _describe(row: Measurement) -> str:
    return (
        f"{row.what} {row.estimate:.3f} (95 % {row.low:.3f} to {row.high:.3f}, limit "
        f"{row.threshold:g})"
    )


def _missing_figures(card: Scorecard, figures: Mapping[str, Any]) -> list[str]:
    """Returns the ratios and slopes that are absent at a horizon with a Brier score."""
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
        replace(measurement, verdict="fail" if p <= alpha else _held(measurement), p=p)
        for measurement, p in zip(measurements, ps, strict=True)
    ]


def _held(measurement: Measurement) -> Verdict:
    """Returns pass where the interval rules out a gap beyond the limit, else unproven."""
    low, high, limit = measurement.low, measurement.high, abs(measurement.threshold or 0.0)
    inside = low is not None and high is not None and -limit <= low and high <= limit
    return "pass" if inside else "unproven"


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
        candidate=_card_with_figures(("calibration_slope_30", "calibration_ratio_30"))
    ),
    lambda: examples.evidence(candidate=examples.churn(0.2), required_calibration=(90,)),
)
