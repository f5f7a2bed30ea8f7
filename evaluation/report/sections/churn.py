"""How well leaving is foreseen: by horizon, against simple models, and against the truth where it is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from evaluation.metrics.bootstrap import ratio_of_sums
from evaluation.metrics.churn import known_by, risk_columns
from evaluation.report import charts
from evaluation.report.artefacts import ArtefactReader, MissingArtefactError
from evaluation.report.formatting import sentence, several, share, title
from evaluation.report.sections.asr import card
from evaluation.report.sections.people import horizon, nearest, scores
from evaluation.scorecard import Estimate, Scorecard, ScorecardError, gain

PREDICTIONS = "scorecards/churn/predictions.parquet"  # customer_id, as_of, event, time_days, risk_… of test customers
METRICS = {"brier": "Brier score", "log_loss": "Log loss", "auc": "AUC"}
RANKING = {
    "c_index": "C-index",
    "average_precision": "Average precision",
    "lift_5": "Lift at 5 %",
    "lift_10": "Lift at 10 %",
    "lift_20": "Lift at 20 %",
    "empc": "Profit a customer (EMPC)",
}
SIDES = {
    "candidate": "Candidate",
    "reference": "Reference",
    "champion": "Champion",
    "kaplan_meier": "Kaplan–Meier",
    "logistic": "Logistic regression",
}
GROUPS, POINTS, DRAWN = (
    10,
    500,
    0.98,
)  # of the charts: groups of equal size, single points, share of points inside


def churn(shelf: ArtefactReader, horizons_days: tuple[int, ...], seed: int) -> dict[str, Any]:
    """Brier score, log loss and AUC by horizon of every scorecard and baseline, and both kinds of calibration chart.

    Baselines are what the candidate's scorecard says of simple models on the same rows (`facts`), without intervals.
    """
    cards = _cards(shelf)
    if "candidate" not in cards:
        raise MissingArtefactError(
            "The step “evaluate_churn” has not run: there is no scorecard of a churn network in the store."
        )
    candidate = cards["candidate"]
    others = {side: one for side, one in cards.items() if side != "candidate"}
    if not others:
        shelf.notes.append(
            "There is no scorecard of a model to beat, so churn quality has nothing to be held against."
        )
    known = {one.model for one in cards.values()}
    baselines = {
        who: found
        for who, found in candidate.facts.get("baselines", {}).items()
        if who not in known
    }
    tables = []
    for name in METRICS:
        rows = []
        for suffix in _suffixes(candidate):
            figures = [_estimate(one.metrics.get(f"{name}{suffix}")) for one in cards.values()]
            figures += [_point(found.get(f"{name}{suffix}")) for found in baselines.values()]
            compared = others.values() if f"{name}{suffix}" in candidate.ratios else ()
            rows.append(
                {
                    "horizon": int(suffix[1:]) if suffix else None,
                    "figures": figures,
                    "gains": [
                        _gain(shelf, candidate, one, f"{name}{suffix}", seed) for one in compared
                    ],
                }
            )
        tables.append(
            {"metric": name, "title": METRICS[name], "lower_is_better": name != "auc", "rows": rows}
        )
    columns = [
        {"name": SIDES.get(side, title(side)), "model": one.model} for side, one in cards.items()
    ]
    columns += [{"name": sentence(who), "model": "baseline"} for who in baselines]
    return {
        "columns": columns,
        "others": [column["name"].lower() for column in columns[1 : len(cards)]],
        "tables": tables,
        "units": candidate.units.height,
        "customers": candidate.units["cluster"].n_unique(),
        "same_data": len({one.data_hash for one in cards.values()}) == 1,
        "ranking": _ranking(candidate),
        "slices": _slices(candidate, horizons_days),
        "skill": _skill(candidate),
        "against_truth": against_truth(shelf, horizons_days, seed),
        "calibration": calibration(shelf, horizons_days, seed),
    }


def _ranking(candidate: Scorecard) -> dict[str, Any] | None:
    """How well the candidate finds those who leave, by horizon, and how many of all customers a campaign contacts."""
    names = [
        name
        for name in RANKING
        if any(f"{name}{suffix}" in candidate.metrics for suffix in _suffixes(candidate))
    ]
    if not names:
        return None
    rows = []
    for suffix in _suffixes(candidate):
        contacted = candidate.facts.get("calibration", {}).get(f"empc_contacted{suffix}")
        rows.append(
            {
                "horizon": int(suffix[1:]) if suffix else None,
                "figures": [_estimate(candidate.metrics.get(f"{name}{suffix}")) for name in names],
                "contacted": contacted["value"] if contacted else None,
            }
        )
    return {"titles": [RANKING[name] for name in names], "rows": rows}


def _slices(candidate: Scorecard, horizons_days: tuple[int, ...]) -> list[dict[str, Any]]:
    """Calibration of the candidate within each slice, at the horizons that are drawn."""
    found = candidate.facts.get("calibration_slices") or []
    measured = sorted({one["horizon_days"] for one in found if one["horizon_days"] is not None})
    drawn = {
        min((abs(there - days), there) for there in measured)[1]
        for days in horizons_days
        if measured
    }
    return [one for one in found if not measured or one["horizon_days"] in drawn]


def _point(value: float | None) -> dict[str, Any] | None:
    return None if value is None else {"value": value, "low": None, "high": None}


def _skill(candidate: Scorecard) -> dict[str, Any] | None:
    """Share of the attainable Brier skill by model and horizon on the test rows, as the scorecard measured it."""
    found = candidate.facts.get("attainable_skill")
    if not found:
        return None
    models = [
        candidate.model,
        *(model for model in found if model != candidate.model),
    ]  # JSON keeps no order
    names = sorted(found[candidate.model], key=lambda name: horizon(name) or 0)
    rows = [
        {"horizon": horizon(name), "shares": [found[model].get(name) for model in models]}
        for name in names
    ]
    return {"models": models, "rows": rows}


def _cards(shelf: ArtefactReader) -> dict[str, Scorecard]:
    """Every churn scorecard in the store by side: candidate and reference first."""
    folder = shelf.store / "scorecards"
    names = {path.stem.removeprefix("churn-") for path in folder.glob("churn-*.json")}
    names |= {path.stem for path in (folder / "churn").glob("*.json")}
    order = [*SIDES, *sorted(names - set(SIDES))]
    found = {side: card(shelf, "churn", side) for side in order if side in names}
    return {side: one for side, one in found.items() if one is not None}


def _suffixes(scorecard: Scorecard) -> list[str]:
    """_30, _90, … of the horizons that were measured, or the empty one of a target without dates."""
    found = sorted(
        int(name.removeprefix("brier_"))
        for name in scorecard.metrics
        if name.removeprefix("brier_").isdigit()
    )
    return [f"_{days}" for days in found] or [""]


def _estimate(found: Estimate | None) -> dict[str, Any] | None:
    return {"value": found.value, "low": found.low, "high": found.high} if found else None


def _gain(
    shelf: ArtefactReader, candidate: Scorecard, other: Scorecard, metric: str, seed: int
) -> dict[str, Any] | None:
    try:
        found = gain(candidate, other, metric, seed)
    except ScorecardError as error:
        shelf.notes.append(str(error))
        return None
    return {"value": found.value, "low": found.low, "high": found.high}


def against_truth(
    shelf: ArtefactReader, horizons_days: tuple[int, ...], seed: int
) -> dict[str, Any] | None:
    """Predicted against true risk and the share of attainable Brier skill; None where there is no truth.

    The expected Brier score of p under the true risk q is E[q(1-q)] + E[(p-q)^2], so no outcome has to be drawn: the
    share of the way from the base rate to the true risk is 1 - sum (p-q)^2 / sum (mean q - q)^2. Customers in train
    and valid are left out where splits.parquet says who they are.
    """
    truth = shelf.true("customers.parquet")
    if (shelf.json_or_none("features.json") or {}).get("lead_days"):
        return None  # true risks begin at the as-of date, these after the lead time
    found = _predictions(shelf)
    if truth is None or found is None:
        return None
    predicted, held_out, source = found
    columns = [name for name in risk_columns(predicted) if name in truth.columns]
    both = predicted.join(truth, on=["customer_id", "as_of"], how="inner", suffix="_true")
    if both.height < 2 or not columns:
        shelf.notes.append(
            "No prediction is about a customer and date of the truth, so the two cannot be compared."
        )
        return None
    rows = []
    for name in columns:
        risk, true = both[name].to_numpy(), both[f"{name}_true"].to_numpy()
        if not np.var(true) > 0:
            continue
        missed, spread = (risk - true) ** 2, (true.mean() - true) ** 2
        lost = ratio_of_sums(missed, spread, both["customer_id"].to_numpy(), seed)
        rows.append(
            {
                "horizon": horizon(name),
                "skill": 1 - lost.value,
                "low": None if lost.high is None else 1 - lost.high,
                "high": None if lost.low is None else 1 - lost.low,
                "mean_risk": float(risk.mean()),
                "mean_true": float(true.mean()),
                "correlation": float(np.corrcoef(risk, true)[0, 1]) if np.ptp(risk) > 0 else None,
            }
        )
    pictures = []
    for name in _chosen(columns, horizons_days):
        risk, true = both[name].to_numpy(), both[f"{name}_true"].to_numpy()
        some = np.random.default_rng(seed).permutation(len(risk))[:POINTS]
        # A few extreme risks would squeeze all others into a corner: they are counted instead of drawn.
        end = max(np.quantile(risk, DRAWN), np.quantile(true, DRAWN))
        inside = some[(risk[some] <= end) & (true[some] <= end)]
        groups = [
            (float(risk[g].mean()), charts.Estimate(float(true[g].mean()))) for g in _groups(risk)
        ]
        label = f"Predicted against true risk within {horizon(name)} days, {several(len(inside), 'prediction')} drawn."
        pictures.append(
            {
                "horizon": horizon(name),
                "beyond": len(some) - len(inside),
                "svg": charts.against(
                    list(zip(risk[inside].tolist(), true[inside].tolist(), strict=True)),
                    groups,
                    "predicted risk",
                    "true risk",
                    label,
                ),
            }
        )
    return {
        "rows": rows,
        "pictures": pictures,
        "customers": both["customer_id"].n_unique(),
        "held_out": held_out,
        "source": source,
    }


def calibration(
    shelf: ArtefactReader, horizons_days: tuple[int, ...], seed: int
) -> list[dict[str, Any]]:
    """Predicted risk against the share that really left, in groups of equal size; empty without test predictions."""
    found = shelf.table_or_none(PREDICTIONS)
    if found is None:
        return []
    pictures = []
    for name in _chosen(risk_columns(found), horizons_days):
        left, weight = known_by(found, horizon(name))
        known = weight > 0
        if known.sum() < GROUPS:
            continue
        risk, who = found[name].to_numpy()[known], found["customer_id"].to_numpy()[known]
        gone, weight = left[known], weight[known]
        groups, rows = [], []
        for g in _groups(risk):
            rate = ratio_of_sums(gone[g] * weight[g], weight[g], who[g], seed)
            mean = float(np.average(risk[g], weights=weight[g]))
            groups.append((mean, charts.Estimate(rate.value, rate.low, rate.high)))
            rows.append(
                {"risk": mean, "left": rate.value, "low": rate.low, "high": rate.high, "n": len(g)}
            )
        within = f"within {horizon(name)} days" if horizon(name) else "at all"
        label = (
            f"Predicted risk against the share of customers that left {within}, in {len(groups)} groups. "
            + "; ".join(
                f"{share(row['risk'])} predicted, {share(row['left'])} left" for row in rows
            )
        )
        svg = charts.against([], groups, "predicted risk", "share that left", label)
        pictures.append({"horizon": horizon(name), "svg": svg, "rows": rows})
    return pictures


def _predictions(shelf: ArtefactReader) -> tuple[pl.DataFrame, bool, str] | None:
    """Predictions to hold against the truth, whether they are of held-out customers only, and which file they are."""
    tested = shelf.table_or_none(PREDICTIONS)
    if tested is not None:
        return tested, True, PREDICTIONS
    if not shelf.has("scores.parquet"):
        return None
    found = scores(shelf)
    if "as_of" not in found.columns:
        return None
    splits = shelf.table_or_none("splits.parquet")
    if splits is None:
        return found, False, "scores.parquet"
    tested_on = splits.filter(pl.col("contact_id").is_null() & (pl.col("split") == "test")).select(
        "customer_id"
    )
    return found.join(tested_on, on="customer_id", how="semi"), True, "scores.parquet"


def _chosen(columns: list[str], horizons_days: tuple[int, ...]) -> list[str]:
    return list(dict.fromkeys(nearest(columns, days) for days in horizons_days)) if columns else []


def _groups(risk: np.ndarray) -> list[np.ndarray]:
    """Positions of rows in groups of equal size by rising risk."""
    return [part for part in np.array_split(np.argsort(risk, kind="stable"), GROUPS) if len(part)]
