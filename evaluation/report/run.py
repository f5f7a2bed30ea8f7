"""The report of a run: one self-contained page of what came in, was heard and foreseen, and was decided."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from data.files import write_text
from evaluation.experience.monitoring_plan import WorthHearingParams
from evaluation.report.artefacts import UNREADABLE, ArtefactReader, MissingArtefactError
from evaluation.report.page import page
from evaluation.report.sections import (
    arrival,
    asr,
    backtest,
    churn,
    contacts,
    monitoring_plan,
    people,
    treatment,
    verdicts,
)
from evaluation.report.sections.headline import headline
from models.kinds import kinds

PAGE = "report/index.html"
MARKUP_BYTES = 1_000_000  # room kept for everything that is not audio


@dataclass(frozen=True)
class ReportParams:
    """Section `report` of params.yaml."""

    at_risk: int = 15  # customers listed as most at risk
    horizon_days: int = 180  # they are ranked by the risk of the horizon nearest to this one
    chart_horizons_days: tuple[int, ...] = (30, 180)  # horizons drawn against truth or outcomes
    examples: int = 6  # utterances shown word by word
    refusals: int = 12  # reasons of refusal listed in full
    clip_s: float = 20.0  # length of a clip, at most
    page_mb: float = 6.0  # of the whole page, at most; clips stop before
    seed: int = 0  # of the bootstrap and of what is drawn by lot
    worth_hearing: WorthHearingParams = field(
        default_factory=WorthHearingParams
    )  # how contacts to hear are chosen


def write_report(
    store: Path,
    truth: Path | None,
    out: Path,
    read_audio: Callable[[str], tuple[np.ndarray, int]] | None,
    now: datetime,
    params: ReportParams,
) -> dict[str, Any]:
    """Writes the page to `out` (atomically) and returns what it says in short.

    `store` is laid out as in docs/street.md; `truth` is the simulator's folder of that name or None; `read_audio`
    gives float [frames, channels] and the rate in Hz of a contact's recording. What is missing or cannot be read is
    told on the page and in `notes`; it never stops the report.
    """
    shelf = ArtefactReader(store, truth)
    sections: dict[str, Any] = {}
    missing: dict[str, str] = {}
    read = {
        "came_in": lambda: arrival.came_in(shelf),
        "refused": lambda: arrival.refused(shelf),
        "version": lambda: arrival.version(shelf),
        "about": lambda: contacts.about(shelf),
        "hearing": lambda: asr.asr(shelf, params.examples, params.seed),
        "churn": lambda: churn.churn(shelf, params.chart_horizons_days, params.seed),
        "backtest": lambda: backtest.backtest(shelf, params.chart_horizons_days),
        "verdicts": lambda: verdicts.verdicts(shelf),
        "at_risk": lambda: people.at_risk(shelf, params.at_risk, params.horizon_days),
        "treatment": lambda: treatment.treatment(shelf, params.at_risk),
        "worth": lambda: monitoring_plan.monitoring_plan(
            shelf,
            params.worth_hearing,
            read_audio,
            params.clip_s,
            int(params.page_mb * 1e6) - MARKUP_BYTES,
        ),
    }
    for name, section in read.items():
        try:
            sections[name] = section()
        except MissingArtefactError as absent:
            missing[name] = str(absent)
        except UNREADABLE as error:  # a report that fails after an hour's run helps nobody: say what is wrong instead
            missing[name] = f"This section cannot be written: {type(error).__name__}, {error}"
    numbers = headline(sections)
    notes = list(dict.fromkeys([*missing.values(), *shelf.notes]))
    html = page(
        "run.html.j2",
        {
            **{name: sections.get(name) for name in read},
            "missing": missing,
            "headline": numbers,
            "notes": notes,
            "models": _models(shelf),
            "store": str(store),
            "now": now,
            "simulated": truth is not None and truth.exists(),
            "params": params,
        },
    )
    write_text(out, html)
    return {
        "page": str(out),
        "size_bytes": len(html.encode()),
        "headline": {number["name"]: number["big"] for number in numbers},
        "worth_hearing": [
            row["contact_id"] for row in sections.get("worth", {}).get("contacts", [])
        ],
        "clips": sum(
            row["clip"] is not None for row in sections.get("worth", {}).get("contacts", [])
        ),
        "missing": missing,
        "notes": notes,
        "written_at": now.isoformat(),
    }


def _models(shelf: ArtefactReader) -> list[dict[str, Any]]:
    """What the footer says of each model: run, bundle and the hash of its training parameters."""
    rows = []
    for kind, name in ((kind.name, kind.title) for kind in kinds()):
        trained = _json(shelf, f"train_{kind}.json")
        bundle = _json(shelf, f"{kind}/bundle/bundle.json")
        if not trained and not bundle:
            continue
        said = bundle.get("params")
        digest = (
            hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()
            if said
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


def _json(shelf: ArtefactReader, name: str) -> dict[str, Any]:
    try:
        return dict(shelf.json_or_none(name) or {})
    except UNREADABLE as error:
        shelf.notes.append(f"{name} cannot be read: {error}")
        return {}
