"""Report section on backtests: trained on outcomes known by a day, scored on what came after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.metrics.churn import horizon_days
from evaluation.report.artefacts import ArtefactReader
from evaluation.report.sections.customers_at_risk import nearest_risk_column

COLUMNS = {
    "brier": "Brier score",
    "auc": "AUC",
    "c_index": "C-index",
    "calibration_slope": "Calibration slope",
}


def backtest_tables(
    artefacts: ArtefactReader, horizons_days: tuple[int, ...]
) -> list[dict[str, Any]]:
    """Returns a table for each horizon that is drawn, with a row a fold and one of all folds.

    Empty where no backtest has run. Figures are the network's, with its gains in Brier score over
    simple models trained likewise.
    """
    backtest = artefacts.json_or_none("backtest.json")
    if backtest is None:
        return []
    model, *references = backtest["pooled"]["metrics"]
    risks = list(backtest["pooled"]["metrics"][model])
    folds = [*((fold["as_of"], fold) for fold in backtest["folds"]), (None, backtest["pooled"])]
    columns = [nearest_risk_column(risks, days) for days in horizons_days if risks]
    return [
        {
            "horizon": horizon_days(risk),
            "columns": list(COLUMNS.values()),
            "references": references,
            "rows": [
                _row(as_of, fold, model, risk=risk, references=references) for as_of, fold in folds
            ],
        }
        for risk in dict.fromkeys(columns)
    ]


def _row(
    as_of: str | None,
    fold: Mapping[str, Any],
    model: str,
    *,
    risk: str,
    references: Sequence[str],
) -> dict[str, Any]:
    """Returns the figures of a fold at one horizon; None where outcomes do not reach so far."""
    figures = fold.get("metrics", {}).get(model, {}).get(risk)
    return {
        "as_of": as_of,
        "customers": figures["brier"]["customers"] if figures else None,
        "figures": [figures.get(name) for name in COLUMNS] if figures else None,
        "gains": [fold["gain_in_brier"][name].get(risk) for name in references]
        if figures
        else None,
        "says": fold.get("skipped", "Outcomes were not followed that far."),
    }
