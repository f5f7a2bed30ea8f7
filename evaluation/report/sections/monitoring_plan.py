"""Contacts worth hearing, with a clip to play and the words beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from data.timeline import best_text
from evaluation.experience.monitoring_plan import RANDOM, WorthHearingParams, worth_hearing
from evaluation.metrics.churn import risk_columns
from evaluation.report import clips
from evaluation.report.artefacts import ArtefactReader, MissingArtefactError
from evaluation.report.formatting import several
from evaluation.report.sections.people import horizon, nearest, scores

ReadAudio = Callable[[str], tuple[np.ndarray, int]]
ORIGINS = {
    "person": "typed by a person",
    "written": "as it was written",
    "asr": "heard by the recogniser",
}
NO_RISKS = pl.DataFrame(schema={"customer_id": pl.String, "risk": pl.Float64})
_BEFORE_S = 0.5  # a turn that begins this little before the clip still counts as in it


def monitoring_plan(
    shelf: ArtefactReader,
    params: WorthHearingParams,
    read_audio: ReadAudio | None,
    clip_s: float,
    audio_bytes: int,
) -> dict[str, Any]:
    """The contacts to hear out of all recorded ones. Clips stop when they would take more than `audio_bytes`."""
    contacts, recordings = shelf.records("contacts"), shelf.records("recordings")
    labels = shelf.table("labels.parquet", "label")
    recorded = contacts.join(recordings.select("contact_id"), on="contact_id", how="semi")
    if recorded.is_empty():
        raise MissingArtefactError("No contact has a recording, so there is nothing to hear.")
    risks, params = _risks(shelf, params)
    found = worth_hearing(recorded, labels, risks, params)
    rows, left, silent = [], audio_bytes, 0
    about = {row["contact_id"]: row for row in recorded.iter_rows(named=True)}
    lengths = dict(recordings.select("contact_id", "duration_s").iter_rows())
    said = _said(shelf, found["contact_id"].to_list())
    for row in found.iter_rows(named=True):
        contact_id = row["contact_id"]
        turns, origin = said.get(contact_id, ([], None))
        start_s = clips.choose(turns, lengths[contact_id], clip_s)
        piece = _clip(shelf, contact_id, read_audio, start_s, clip_s) if read_audio else None
        if piece is not None and len(piece.uri) > left:
            piece, silent = None, silent + 1
        left -= len(piece.uri) if piece else 0
        end_s = piece.end_s if piece else start_s + clip_s
        inside = [
            turn
            for turn in turns
            if turn["start_s"] is None or start_s - _BEFORE_S <= turn["start_s"] < end_s
        ]
        rows.append(
            {
                **row,
                **about[contact_id],
                "random": row["stratum"] == RANDOM,
                "clip": piece,
                "start_s": start_s,
                "turns": inside,
                "more_turns": len(turns) - len(inside),
                "origin": ORIGINS.get(origin or "", origin),
                "audio_s": lengths[contact_id],
            }
        )
    if silent:
        shelf.notes.append(
            f"{several(silent, 'clip')} left out to keep the page small; the transcripts are there."
        )
    if read_audio is None:
        shelf.notes.append(
            "The report was written without access to the recordings: contacts cannot be played."
        )
    return {"contacts": rows, "recorded": recorded.height, "params": params}


def _risks(
    shelf: ArtefactReader, params: WorthHearingParams
) -> tuple[pl.DataFrame, WorthHearingParams]:
    """customer_id and risk by the horizon nearest to the one wanted; without scores everyone counts alike."""
    try:
        found = scores(shelf)
    except MissingArtefactError as missing:
        shelf.notes.append(f"{missing} Contacts worth hearing were chosen without risks.")
        return NO_RISKS, params
    if not risk_columns(found):
        shelf.notes.append(
            "Nobody has been scored: contacts worth hearing were chosen without risks."
        )
        return NO_RISKS, params
    column = nearest(risk_columns(found), params.horizon_days)
    return found.select("customer_id", pl.col(column).alias("risk")), replace(
        params, horizon_days=horizon(column) or 0
    )


def _clip(
    shelf: ArtefactReader, contact_id: str, read_audio: ReadAudio, start_s: float, clip_s: float
) -> clips.Clip | None:
    """A recording that cannot be read costs its clip, not the page."""
    try:
        audio, rate = read_audio(contact_id)
        return clips.clip(audio, rate, start_s, clip_s)
    except (ValueError, OSError, KeyError) as error:
        shelf.notes.append(f"Call {contact_id} cannot be played: {error}")
        return None


def _said(
    shelf: ArtefactReader, contact_ids: list[str]
) -> dict[str, tuple[list[dict[str, Any]], str]]:
    """contact_id → its turns and their origin: a person's transcript where there is one, else the recogniser's."""
    tables = [shelf.records("turns"), shelf.table_or_none("transcripts.parquet")]
    found: dict[str, tuple[list[dict[str, Any]], str]] = {}
    for table in tables:
        if table is None:
            shelf.notes.append(
                "The step “transcribe” has not run: only calls that a person typed have their words."
            )
            continue
        mine = best_text(table.filter(pl.col("contact_id").is_in(contact_ids)))
        for (contact_id,), turns in mine.group_by("contact_id", maintain_order=True):
            rows = turns.select("role", "text", "start_s", "end_s").to_dicts()
            found.setdefault(str(contact_id), (rows, turns["origin"][0]))
    return found
