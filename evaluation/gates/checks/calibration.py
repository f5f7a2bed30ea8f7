"""A risk of 20 % means that 20 of 100 leave, on the whole and in each slice."""

from collections.abc import Iterator
from dataclasses import replace

import polars as pl

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence, Measurement, Verdict
from evaluation.gates.params import ChurnGate
from evaluation.metrics.bootstrap import holm, paired_p, ratio_of_sums
from evaluation.scorecard import Scorecard
from models.kinds import kind_of

NAME = "calibration"
PROMISE = (
    "Risks are calibrated: on the whole and within each slice, as many leave as were expected to."
)


def applies(kind: str) -> bool:
    """For the kinds that name this check."""
    return NAME in kind_of(kind).checks


def check(evidence: Evidence) -> Check:
    """Refuses what is surely miscalibrated: slope or intercept (Cox) at a horizon outside its range with the whole of
    its 95 % interval, or within a slice mean risk and share that left apart by more than `max_slice_gap` (Holm).

    Both figures have to be there at every horizon that has a Brier score; at others nothing has matured.
    """
    params = evidence.churn
    figures = evidence.candidate.facts.get("calibration") or {}
    days = [
        name[5:]
        for name in evidence.candidate.metrics
        if name.startswith("brier_") and name[6:].isdigit()
    ]
    looks = []
    for name, found in sorted(figures.items()):
        kind = name.removeprefix("calibration_").split("_")[0]
        if kind not in ("slope", "intercept"):
            continue
        lowest, highest = getattr(params, f"calibration_{kind}")
        low, high = found["low"], found["high"]
        what = name.removeprefix("calibration_").replace("_", " at ") + (
            " days" if name[-1].isdigit() else ""
        )
        verdict: Verdict = (
            "no_evidence" if low is None else "fail" if high < lowest or low > highest else "pass"
        )
        threshold = lowest if found["value"] < (1 if kind == "slope" else 0) else highest
        looks.append(Measurement(what, verdict, found["value"], low, high, threshold))
    wanted = {
        f"calibration_{kind}{horizon}"
        for kind in ("slope", "intercept")
        for horizon in days or [""]
    }
    silent = sorted(wanted - set(figures)) + [
        look.what for look in looks if look.verdict == "no_evidence"
    ]
    if silent and not any(look.verdict == "fail" for look in looks):
        named = ", ".join(name.removeprefix("calibration_").replace("_", " at ") for name in silent)
        said = f"Calibration was not measured, or has no interval: {named}. Test on more customers."
        return Check(NAME, "no_evidence", said, looks=tuple(looks))
    looks += _slices(evidence.candidate, params, evidence.seed)
    lost = [look for look in looks if look.verdict == "fail"]
    at = "; ".join(
        f"{look.what} {look.estimate:.3f} (95 % {look.low:.3f} to {look.high:.3f}, limit {look.threshold:g})"
        for look in lost or looks[:1]
    )
    said = (
        f"Surely miscalibrated: {at}."
        if lost
        else f"None of {len(looks)} figures is surely off; first: {at}."
    )
    worst = (lost or looks)[0]
    return Check(
        NAME,
        "fail" if lost else "pass",
        said,
        worst.what,
        worst.estimate,
        worst.low,
        worst.high,
        worst.threshold,
        tuple(looks),
    )


def _slices(card: Scorecard, params: ChurnGate, seed: int) -> list[Measurement]:
    """Mean risk minus share that left in each slice and horizon that has enough customers."""
    looks: list[Measurement] = []
    ps: list[float] = []
    for what, part, suffix in _parts(card, params.min_slice_clusters):
        weight, cluster = part[f"weight{suffix}"].to_numpy(), part["cluster"].to_numpy()
        expected, left = part[f"expected{suffix}"].to_numpy(), part[f"left{suffix}"].to_numpy()
        gap = ratio_of_sums(expected - left, weight, cluster, seed)
        # Twice the smaller p of "no further above (below) than allowed": two-sided.
        over = paired_p((left, weight), (expected, weight), cluster, seed, -params.max_slice_gap)
        under = paired_p((expected, weight), (left, weight), cluster, seed, -params.max_slice_gap)
        if over is None or under is None:
            continue
        ps.append(min(1.0, 2 * min(over, under)))
        threshold = params.max_slice_gap if gap.value > 0 else -params.max_slice_gap
        looks.append(
            Measurement(what, "pass", gap.value, gap.low, gap.high, threshold, None, gap.clusters)
        )
    return [
        Measurement(
            look.what,
            "fail" if p <= params.slice_alpha else "pass",
            look.estimate,
            look.low,
            look.high,
            look.threshold,
            p,
            look.clusters,
        )
        for look, p in zip(looks, holm(ps), strict=True)
    ]


def _parts(card: Scorecard, min_clusters: int) -> Iterator[tuple[str, pl.DataFrame, str]]:
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
                known = part.filter(pl.col(f"weight{suffix}") > 0)
                if known["cluster"].n_unique() >= max(2, min_clusters):
                    yield f"gap at {suffix.strip('_') or 'the end'} in {by} {value}", known, suffix


def _measured(names: tuple[str, ...]) -> Scorecard:
    """A good churn model of whose calibration only the figures `names` are known."""
    card = examples.churn(0.2)
    known = {name: figure for name, figure in card.facts["calibration"].items() if name in names}
    return replace(card, facts={**card.facts, "calibration": known})


ACCEPTS = (lambda: examples.evidence(candidate=examples.churn(0.2)),)
REFUSES = (
    # Ranks customers as well and is far too sure of itself.
    lambda: examples.evidence(candidate=examples.churn(0.2, overconfidence=2.5)),
    lambda: examples.evidence(candidate=examples.churn(0.2, shift=1.5)),
    lambda: examples.evidence(candidate=_measured(())),
    # Measured at one horizon of two.
    lambda: examples.evidence(
        candidate=_measured(("calibration_slope_30", "calibration_intercept_30"))
    ),
)
