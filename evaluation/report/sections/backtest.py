"""How well leaving would have been foreseen earlier: trained before a day, scored after it."""

from __future__ import annotations

from typing import Any

from evaluation.report.artefacts import ArtefactReader
from evaluation.report.sections.people import horizon, nearest

COLUMNS = {
    "brier": "Brier score",
    "auc": "AUC",
    "c_index": "C-index",
    "calibration_slope": "Calibration slope",
}


def backtest(shelf: ArtefactReader, horizons_days: tuple[int, ...]) -> list[dict[str, Any]]:
    """A table a horizon that is drawn, with a row a fold and one of all folds; empty where nobody has run backtests.

    A figure is that of the network; beside it stand its gains in Brier score over simple models trained likewise.
    """
    found = shelf.json_or_none("backtest.json")
    if found is None:
        return []
    model, *references = found["pooled"]["metrics"]
    risks = list(found["pooled"]["metrics"][model])
    tables = []
    for risk in dict.fromkeys(nearest(risks, days) for days in horizons_days if risks):
        rows = []
        for name, fold in [
            *((one["as_of"], one) for one in found["folds"]),
            (None, found["pooled"]),
        ]:
            figures = fold.get("metrics", {}).get(model, {}).get(risk)
            rows.append(
                {
                    "as_of": name,
                    "customers": figures["brier"]["customers"] if figures else None,
                    "figures": [figures.get(one) for one in COLUMNS] if figures else None,
                    "gains": [fold["gain_in_brier"][one].get(risk) for one in references]
                    if figures
                    else None,
                    "says": fold.get("skipped", "Outcomes were not followed that far."),
                }
            )
        tables.append(
            {
                "horizon": horizon(risk),
                "columns": list(COLUMNS.values()),
                "references": references,
                "rows": rows,
            }
        )
    return tables
