"""Report section on churn risks: by horizon, against simple models and against the truth."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl

from evaluation.metrics.bootstrap import ratio_of_sums
from evaluation.metrics.churn import horizon_days, outcomes_by_horizon, risk_columns
from evaluation.report import charts
from evaluation.report.artefacts import ArtefactReader, MissingArtefactError
from evaluation.report.formatting import sentence, several, share, title
from evaluation.report.sections.asr import load_side
from evaluation.report.sections.customers_at_risk import latest_scores, nearest_risk_column
from evaluation.scorecard import Estimate, Scorecard, ScorecardError, gain
from models.kinds import CHURN

# customer_id, as_of, event, time_days, risk_… of test customers
PREDICTIONS = "scorecards/churn/predictions.parquet"
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
GROUPS = 10  # of equal size, of the charts
POINTS = 500  # single predictions drawn, at most
DRAWN = 0.98  # share of predictions inside the axes


def churn_summary(
    artefacts: ArtefactReader, horizons_days: tuple[int, ...], seed: int
) -> dict[str, Any]:
    """Returns metrics by horizon of every scorecard and baseline, and the calibration charts.

    Baselines are simple models on the same rows, from the candidate's scorecard (`facts`), without
    intervals. Raises MissingArtefactError without a scorecard of the candidate.
    """
    cards = _cards(artefacts)
    if "candidate" not in cards:
        raise MissingArtefactError(
            "The stage “evaluate_churn” has not run: there is no scorecard of a churn network in "
            "the store."
        )
    candidate = cards["candidate"]
    if len(cards) == 1:
        artefacts.notes.append(
            "There is no scorecard of a model to beat, so churn quality has nothing to be held "
            "against."
        )
    scored = {card.model for card in cards.values()}
    baselines = {
        name: figures
        for name, figures in candidate.facts.get("baselines", {}).items()
        if name not in scored
    }
    columns = [
        {"name": SIDES.get(side, title(side)), "model": card.model} for side, card in cards.items()
    ]
    columns += [{"name": sentence(name), "model": "baseline"} for name in baselines]
    return {
        "columns": columns,
        "others": [column["name"].lower() for column in columns[1 : len(cards)]],
        "tables": [
            _metric_table(artefacts, name, cards, baselines.values(), seed=seed) for name in METRICS
        ],
        "units": candidate.units.height,
        "customers": candidate.units["cluster"].n_unique(),
        "same_data": len({card.data_hash for card in cards.values()}) == 1,
        "ranking": _ranking(candidate),
        "slices": _slices(candidate, horizons_days),
        "skill": _skill(candidate),
        "against_truth": risks_against_truth(artefacts, horizons_days, seed),
        "calibration": calibration_charts(artefacts, horizons_days, seed),
    }


def _metric_table(
    artefacts: ArtefactReader,
    metric: str,
    cards: Mapping[str, Scorecard],
    baselines: Collection[Mapping[str, float]],
    *,
    seed: int,
) -> dict[str, Any]:
    """Returns a metric by horizon: of each scorecard and baseline, and the candidate's gains."""
    candidate = cards["candidate"]
    others = [card for side, card in cards.items() if side != "candidate"]
    rows = []
    for suffix in _suffixes(candidate):
        name = f"{metric}{suffix}"
        figures = [_estimate(card.metrics.get(name)) for card in cards.values()]
        figures += [_point(baseline.get(name)) for baseline in baselines]
        rows.append(
            {
                "horizon": int(suffix[1:]) if suffix else None,
                "figures": figures,
                "gains": [
                    _gain(artefacts, candidate, other, metric=name, seed=seed)
                    for other in (others if name in candidate.ratios else ())
                ],
            }
        )
    return {
        "metric": metric,
        "title": METRICS[metric],
        "lower_is_better": metric != "auc",
        "rows": rows,
    }


def _ranking(candidate: Scorecard) -> dict[str, Any] | None:
    """Returns the ranking figures by horizon, and the share of customers a campaign contacts."""
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
    """Returns the candidate's calibration within slices, at the horizons that are drawn."""
    entries = candidate.facts.get("calibration_slices") or []
    measured = sorted(
        {entry["horizon_days"] for entry in entries if entry["horizon_days"] is not None}
    )
    drawn = {
        min((abs(horizon - days), horizon) for horizon in measured)[1]
        for days in horizons_days
        if measured
    }
    return [entry for entry in entries if not measured or entry["horizon_days"] in drawn]


def _point(value: float | None) -> dict[str, Any] | None:
    return None if value is None else {"value": value, "low": None, "high": None}


def _skill(candidate: Scorecard) -> dict[str, Any] | None:
    """Returns the share of attainable Brier skill by model and horizon, from the scorecard."""
    skill = candidate.facts.get("attainable_skill")
    if not skill:
        return None
    # JSON keeps no order: the candidate first.
    models = [candidate.model, *(model for model in skill if model != candidate.model)]
    names = sorted(skill[candidate.model], key=lambda name: horizon_days(name) or 0)
    rows = [
        {"horizon": horizon_days(name), "shares": [skill[model].get(name) for model in models]}
        for name in names
    ]
    return {"models": models, "rows": rows}


def _cards(artefacts: ArtefactReader) -> dict[str, Scorecard]:
    """Returns every churn scorecard in the store by side: candidate and reference first."""
    folder = artefacts.store / "scorecards"
    names = {path.stem.removeprefix("churn-") for path in folder.glob("churn-*.json")}
    names |= {path.stem for path in (folder / CHURN.name).glob("*.json")}
    order = [*SIDES, *sorted(names - set(SIDES))]
    cards = {side: load_side(artefacts, CHURN.name, side) for side in order if side in names}
    return {side: card for side, card in cards.items() if card is not None}


def _suffixes(scorecard: Scorecard) -> list[str]:
    """Returns _30, _90, … of the horizons measured; one empty suffix without dates."""
    days = sorted(
        int(name.removeprefix("brier_"))
        for name in scorecard.metrics
        if name.removeprefix("brier_").isdigit()
    )
    return [f"_{horizon}" for horizon in days] or [""]


def _estimate(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _gain(
    artefacts: ArtefactReader, candidate: Scorecard, other: Scorecard, *, metric: str, seed: int
) -> dict[str, Any] | None:
    """Returns the paired gain; None, with a note, where the two cannot be paired."""
    try:
        interval = gain(candidate, other, metric, seed=seed)
    except ScorecardError as error:
        artefacts.notes.append(str(error))
        return None
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def risks_against_truth(
    artefacts: ArtefactReader, horizons_days: tuple[int, ...], seed: int
) -> dict[str, Any] | None:
    """Compares predicted with true risks; None without a simulator's truth.

    The expected Brier score of p under the true risk q is E[q(1-q)] + E[(p-q)^2], so no outcome has
    to be drawn: the share of the way from the base rate to the true risk is
    1 - sum (p-q)^2 / sum (mean q - q)^2. Customers in train and valid are left out where
    splits.parquet says who they are.
    """
    truth = artefacts.ground_truth("customers.parquet")
    if (artefacts.json_or_none("features.json") or {}).get("lead_days"):
        return None  # true risks begin at the as-of date, these after the lead time
    predictions = _predictions(artefacts)
    if truth is None or predictions is None:
        return None
    predicted, held_out, source = predictions
    columns = [name for name in risk_columns(predicted) if name in truth.columns]
    both = predicted.join(truth, on=["customer_id", "as_of"], how="inner", suffix="_true")
    if both.height < 2 or not columns:
        artefacts.notes.append(
            "No prediction is about a customer and date of the truth, so the two cannot be "
            "compared."
        )
        return None
    rows = [_skill_row(both, name, seed) for name in columns]
    return {
        "rows": [row for row in rows if row is not None],
        "pictures": [_truth_chart(both, name, seed) for name in _drawn(columns, horizons_days)],
        "customers": both["customer_id"].n_unique(),
        "held_out": held_out,
        "source": source,
    }


def _skill_row(both: pl.DataFrame, name: str, seed: int) -> dict[str, Any] | None:
    """Returns the skill at one horizon with its interval; None where all true risks are equal."""
    risk, true_risk = both[name].to_numpy(), both[f"{name}_true"].to_numpy()
    if not np.var(true_risk) > 0:
        return None
    missed, spread = (risk - true_risk) ** 2, (true_risk.mean() - true_risk) ** 2
    loss = ratio_of_sums(missed, spread, both["customer_id"].to_numpy(), seed=seed)
    return {
        "horizon": horizon_days(name),
        "skill": 1 - loss.value,
        "low": None if loss.high is None else 1 - loss.high,
        "high": None if loss.low is None else 1 - loss.low,
        "mean_risk": float(risk.mean()),
        "mean_true": float(true_risk.mean()),
        "correlation": float(np.corrcoef(risk, true_risk)[0, 1]) if np.ptp(risk) > 0 else None,
    }


def _truth_chart(both: pl.DataFrame, name: str, seed: int) -> dict[str, Any]:
    """Returns a chart of predicted against true risks, of a random sample of predictions."""
    risk, true_risk = both[name].to_numpy(), both[f"{name}_true"].to_numpy()
    sample = np.random.default_rng(seed).permutation(len(risk))[:POINTS]
    # A few extreme risks would squeeze all others into a corner: they are counted, not drawn.
    end = max(np.quantile(risk, DRAWN), np.quantile(true_risk, DRAWN))
    inside = sample[(risk[sample] <= end) & (true_risk[sample] <= end)]
    groups = [
        (float(risk[group].mean()), charts.Estimate(float(true_risk[group].mean())))
        for group in _groups(risk)
    ]
    label = (
        f"Predicted against true risk within {horizon_days(name)} days, "
        f"{several(len(inside), 'prediction')} drawn."
    )
    return {
        "horizon": horizon_days(name),
        "beyond": len(sample) - len(inside),
        "svg": charts.prediction_chart(
            list(zip(risk[inside].tolist(), true_risk[inside].tolist(), strict=True)),
            groups,
            across="predicted risk",
            up="true risk",
            label=label,
        ),
    }


def calibration_charts(
    artefacts: ArtefactReader, horizons_days: tuple[int, ...], seed: int
) -> list[dict[str, Any]]:
    """Returns charts of predicted risk against the share that left, in groups of equal size.

    Empty without test predictions; horizons with few known outcomes are left out.
    """
    predictions = artefacts.table_or_none(PREDICTIONS)
    if predictions is None:
        return []
    pictures = []
    for name in _drawn(risk_columns(predictions), horizons_days):
        left, weight = outcomes_by_horizon(predictions, horizon_days(name))
        weighted = weight > 0
        if weighted.sum() < GROUPS:
            continue
        rows = _calibration_rows(
            predictions[name].to_numpy()[weighted],
            left[weighted],
            weight[weighted],
            customer=predictions["customer_id"].to_numpy()[weighted],
            seed=seed,
        )
        days = horizon_days(name)
        label = (
            "Predicted risk against the share of customers that left "
            f"{f'within {days} days' if days else 'at all'}, in {len(rows)} groups. "
            + "; ".join(
                f"{share(row['risk'])} predicted, {share(row['left'])} left" for row in rows
            )
        )
        svg = charts.prediction_chart(
            [],
            [(row["risk"], charts.Estimate(row["left"], row["low"], row["high"])) for row in rows],
            across="predicted risk",
            up="share that left",
            label=label,
        )
        pictures.append({"horizon": days, "svg": svg, "rows": rows})
    return pictures


def _calibration_rows(
    risk: np.ndarray, left: np.ndarray, weight: np.ndarray, *, customer: np.ndarray, seed: int
) -> list[dict[str, Any]]:
    """Returns mean risk and share that left, with its interval, of groups by rising risk."""
    rows = []
    for group in _groups(risk):
        rate = ratio_of_sums(left[group] * weight[group], weight[group], customer[group], seed=seed)
        rows.append(
            {
                "risk": float(np.average(risk[group], weights=weight[group])),
                "left": rate.value,
                "low": rate.low,
                "high": rate.high,
                "n": len(group),
            }
        )
    return rows


def _predictions(artefacts: ArtefactReader) -> tuple[pl.DataFrame, bool, str] | None:
    """Returns predictions to compare with the truth, whether all are held out, and their file."""
    tested = artefacts.table_or_none(PREDICTIONS)
    if tested is not None:
        return tested, True, PREDICTIONS
    if not artefacts.has("scores.parquet"):
        return None
    scores = latest_scores(artefacts)
    if "as_of" not in scores.columns:
        return None
    splits = artefacts.table_or_none("splits.parquet")
    if splits is None:
        return scores, False, "scores.parquet"
    held_out = splits.filter(pl.col("contact_id").is_null() & (pl.col("split") == "test")).select(
        "customer_id"
    )
    return scores.join(held_out, on="customer_id", how="semi"), True, "scores.parquet"


def _drawn(columns: list[str], horizons_days: Iterable[int]) -> list[str]:
    """Returns the risk columns nearest to the horizons that are to be drawn."""
    if not columns:
        return []
    return list(dict.fromkeys(nearest_risk_column(columns, days) for days in horizons_days))


def _groups(risk: np.ndarray) -> list[np.ndarray]:
    """Returns positions of rows in groups of equal size by rising risk."""
    return [part for part in np.array_split(np.argsort(risk, kind="stable"), GROUPS) if len(part)]
