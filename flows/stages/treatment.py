"""The stage that chooses whom to treat."""

from __future__ import annotations

import shutil
from typing import Any

import polars as pl

from data import artefacts
from data.files import read_tables, write_json, write_table
from data.progress import Progress
from flows.candidate import active_model
from flows.runtime.context import RunContext
from models.kinds import CHURN


def treat(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Chooses whom to treat within the budget and returns the summary of today's choice.

    The choice rests on what the log of interventions shows about offers, else on risk.
    """
    from flows.stages.treatment_choice import plan_treatment

    clean, model = (
        read_tables(context.path(artefacts.CLEAN)),
        active_model.active_model_path(context, CHURN.name),
    )
    plan = plan_treatment(
        clean,
        pl.read_parquet(context.path(artefacts.LABELS)),
        pl.read_parquet(context.path(artefacts.CURRENT)),
        churn_model=model,
        params=context.params.treatment,
        feature_params=context.params.features,
        progress=progress,
    )
    folder = context.path(artefacts.TREATMENT)
    shutil.rmtree(folder, ignore_errors=True)  # a model of an earlier log
    write_table(
        folder / "decisions.parquet", pl.DataFrame() if plan.decisions is None else plan.decisions
    )
    if plan.model is not None:
        plan.model.save(folder / "model")
    write_table(context.path(artefacts.TREATMENTS), plan.treatments)
    write_json(context.path(artefacts.TREAT), plan.summary)
    return {"basis": plan.summary["basis"], **plan.summary["today"]}
