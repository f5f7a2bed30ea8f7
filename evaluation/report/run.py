"""The report of a run: one self-contained page of its data, labels, models and decisions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from data.files import write_text
from evaluation.experience.monitoring_plan import MonitoringPlanParams
from evaluation.report.artefacts import UNREADABLE, ArtefactReader, MissingArtefactError
from evaluation.report.page import page
from evaluation.report.sections import (
    asr,
    backtest,
    churn,
    customers_at_risk,
    decisions,
    ingestion,
    labels,
    monitoring_plan,
    treatment,
    trends,
)
from evaluation.report.sections.key_figures import key_figures
from models.kinds import ASR, CHURN, kinds

PAGE = "report/index.html"
MARKUP_BYTES = 1_000_000  # room kept for everything that is not audio

ReadAudio = Callable[[str], tuple[np.ndarray, int]]


@dataclass(frozen=True)
class ReportParams:
    """Section `report` of params.yaml."""

    # Old keys of params.yaml, still read for one release (data.params.section).
    RENAMED: ClassVar[dict[str, str]] = {"worth_hearing": "monitoring_plan"}

    at_risk: int = 15  # customers listed as most at risk
    horizon_days: int = 180  # they are ranked by the risk of the horizon nearest to this one
    chart_horizons_days: tuple[int, ...] = (30, 180)  # horizons drawn against truth or outcomes
    examples: int = 6  # utterances shown word by word
    refusals: int = 12  # reasons of refusal listed in full
    clip_s: float = 20.0  # length of a clip, at most
    page_mb: float = 6.0  # of the whole page, at most; clips stop before
    seed: int = 0  # of the bootstrap and of random samples
    # How contacts to listen to are chosen.
    monitoring_plan: MonitoringPlanParams = field(default_factory=MonitoringPlanParams)


def write_report(
    store: Path,
    *,
    truth: Path | None,
    out: Path,
    read_audio: ReadAudio | None,
    now: datetime,
    params: ReportParams,
) -> dict[str, Any]:
    """Writes the page to `out` (atomically) and returns a summary of it.

    `store` is laid out as in docs/store.md; `truth` is the simulator's folder of that name or
    None; `read_audio` gives float [frames, channels] and the rate in Hz of a contact's recording.
    What is missing or cannot be read is stated on the page and in `notes`; it never stops the
    report.
    """
    artefacts = ArtefactReader(store, truth)
    sections, missing = _read_sections(artefacts, read_audio, params)
    figures = key_figures(sections)
    notes = list(dict.fromkeys([*missing.values(), *artefacts.notes]))
    html = page(
        "run.html.j2",
        {
            **{name: sections.get(name) for name in SECTIONS},
            "missing": missing,
            "key_figures": figures,
            "notes": notes,
            "models": _models(artefacts),
            "store": str(store),
            "now": now,
            "simulated": truth is not None and truth.exists(),
            "params": params,
        },
    )
    write_text(out, html)
    planned = sections.get("monitoring_plan", {}).get("contacts", [])
    return {
        "page": str(out),
        "size_bytes": len(html.encode()),
        "headline": {figure["name"]: figure["big"] for figure in figures},
        "worth_hearing": [row["contact_id"] for row in planned],
        "clips": sum(row["clip"] is not None for row in planned),
        "missing": missing,
        "notes": notes,
        "written_at": now.isoformat(),
    }


# Each section in the order of its reading: the name that the template knows it by, and its reader.
SECTIONS: Mapping[str, Callable[[ArtefactReader, ReadAudio | None, ReportParams], Any]] = {
    "ingestion": lambda artefacts, _, params: ingestion.ingestion_summary(artefacts),
    "quarantine": lambda artefacts, _, params: ingestion.quarantine_summary(artefacts),
    "dataset": lambda artefacts, _, params: ingestion.dataset_version(artefacts),
    "labels": lambda artefacts, _, params: labels.label_summary(artefacts),
    ASR.name: lambda artefacts, _, params: asr.asr_summary(artefacts, params.examples, params.seed),
    CHURN.name: lambda artefacts, _, params: churn.churn_summary(
        artefacts, params.chart_horizons_days, params.seed
    ),
    "backtest": lambda artefacts, _, params: backtest.backtest_tables(
        artefacts, params.chart_horizons_days
    ),
    "trends": lambda artefacts, _, params: trends.night_trends(artefacts),
    "decisions": lambda artefacts, _, params: decisions.latest_decisions(artefacts),
    "at_risk": lambda artefacts, _, params: customers_at_risk.customers_at_risk(
        artefacts, params.at_risk, params.horizon_days
    ),
    "treatment": lambda artefacts, _, params: treatment.treatment_summary(
        artefacts, params.at_risk
    ),
    "monitoring_plan": lambda artefacts, read_audio, params: monitoring_plan.contacts_to_hear(
        artefacts,
        params.monitoring_plan,
        read_audio,
        clip_s=params.clip_s,
        audio_bytes=int(params.page_mb * 1e6) - MARKUP_BYTES,
    ),
}


def _read_sections(
    artefacts: ArtefactReader, read_audio: ReadAudio | None, params: ReportParams
) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns the sections that could be read, and for the others the sentence that says why."""
    sections: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for name, read_section in SECTIONS.items():
        try:
            sections[name] = read_section(artefacts, read_audio, params)
        except MissingArtefactError as absent:
            missing[name] = str(absent)
        # A report that fails after an hour's run helps nobody: it states what is wrong instead.
        except UNREADABLE as error:
            missing[name] = f"This section cannot be written: {type(error).__name__}, {error}"
    return sections, missing


def _models(artefacts: ArtefactReader) -> list[dict[str, Any]]:
    """Returns the footer's row of each model: run, bundle and hash of its training parameters."""
    rows = []
    for kind, name in ((row.name, row.title) for row in kinds()):
        trained = _json(artefacts, f"train_{kind}.json")
        bundle = _json(artefacts, f"{kind}/bundle/bundle.json")
        if not trained and not bundle:
            continue
        params = bundle.get("params")
        digest = (
            hashlib.sha256(json.dumps(params, sort_keys=True, default=str).encode()).hexdigest()
            if params
            else None
        )
        rows.append(
            {
                "name": name,
                "run_id": trained.get("run_id") or bundle.get("run_id"),
                "params_hash": digest[:12] if digest else None,
                "git_commit": bundle.get("git_commit"),
                "data_hash": bundle.get("data_hash"),
                "created_at": bundle.get("created_at"),
                "licence": bundle.get("licence"),
            }
        )
    return rows


def _json(artefacts: ArtefactReader, name: str) -> dict[str, Any]:
    """Returns a JSON artefact, empty where it is missing; a damaged one leaves a note."""
    try:
        return dict(artefacts.json_or_none(name) or {})
    except UNREADABLE as error:
        artefacts.notes.append(f"{name} cannot be read: {error}")
        return {}
