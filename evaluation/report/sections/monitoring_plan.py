"""Report section with contacts to listen to: a clip of each, and its words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from data.timeline import best_text
from evaluation.experience.monitoring_plan import RANDOM, MonitoringPlanParams, monitoring_plan
from evaluation.metrics.churn import horizon_days, risk_columns
from evaluation.report import clips
from evaluation.report.artefacts import ArtefactReader, MissingArtefactError
from evaluation.report.formatting import several
from evaluation.report.sections.customers_at_risk import latest_scores, nearest_risk_column

ReadAudio = Callable[[str], tuple[np.ndarray, int]]
ORIGINS = {
    "person": "typed by a person",
    "written": "as it was written",
    "asr": "heard by the recogniser",
}
NO_RISKS = pl.DataFrame(schema={"customer_id": pl.String, "risk": pl.Float64})
_BEFORE_S = 0.5  # a turn that begins this little before the clip still counts as in it


@dataclass(frozen=True)
class _Words:
    """The turns of a contact (role, text, start_s, end_s), and where their text is from."""

    turns: Sequence[Mapping[str, Any]] = ()
    origin: str | None = None


def contacts_to_hear(
    artefacts: ArtefactReader,
    params: MonitoringPlanParams,
    read_audio: ReadAudio | None,
    *,
    clip_s: float,
    audio_bytes: int,
) -> dict[str, Any]:
    """Returns the monitoring plan out of all recorded contacts, with clips and turns.

    A clip that would take the page beyond `audio_bytes` of audio is left out. Raises
    MissingArtefactError where no contact has a recording.
    """
    contacts, recordings = artefacts.records("contacts"), artefacts.records("recordings")
    labels = artefacts.table("labels.parquet", "label")
    recorded = contacts.join(recordings.select("contact_id"), on="contact_id", how="semi")
    if recorded.is_empty():
        raise MissingArtefactError("No contact has a recording, so there is nothing to hear.")
    risks, params = _risks(artefacts, params)
    plan = monitoring_plan(recorded, labels, risks, params=params)
    details = {row["contact_id"]: row for row in recorded.iter_rows(named=True)}
    durations_s = dict(recordings.select("contact_id", "duration_s").iter_rows())
    words_of = _words(artefacts, plan["contact_id"].to_list())
    rows, bytes_left, without_clip = [], audio_bytes, 0
    for row in plan.iter_rows(named=True):
        contact_id = row["contact_id"]
        words, duration_s = words_of.get(contact_id, _Words()), durations_s[contact_id]
        start_s = clips.clip_start_s(words.turns, duration_s, clip_s)
        clip = (
            _clip(artefacts, contact_id, read_audio, start_s=start_s, clip_s=clip_s)
            if read_audio
            else None
        )
        if clip is not None and len(clip.uri) > bytes_left:
            clip, without_clip = None, without_clip + 1
        bytes_left -= len(clip.uri) if clip else 0
        inside = _turns_within(words.turns, start_s, clip.end_s if clip else start_s + clip_s)
        rows.append(
            {
                **row,
                **details[contact_id],
                "random": row["stratum"] == RANDOM,
                "clip": clip,
                "start_s": start_s,
                "turns": inside,
                "more_turns": len(words.turns) - len(inside),
                "origin": ORIGINS.get(words.origin or "", words.origin),
                "audio_s": duration_s,
            }
        )
    if without_clip:
        artefacts.notes.append(
            f"{several(without_clip, 'clip')} left out to keep the page small; the transcripts are "
            "there."
        )
    if read_audio is None:
        artefacts.notes.append(
            "The report was written without access to the recordings: contacts cannot be played."
        )
    return {"contacts": rows, "recorded": recorded.height, "params": params}


def _turns_within(
    turns: Sequence[Mapping[str, Any]], start_s: float, end_s: float
) -> list[Mapping[str, Any]]:
    """Returns the turns that begin within a clip, and those without times."""
    return [
        turn
        for turn in turns
        if turn["start_s"] is None or start_s - _BEFORE_S <= turn["start_s"] < end_s
    ]


def _risks(
    artefacts: ArtefactReader, params: MonitoringPlanParams
) -> tuple[pl.DataFrame, MonitoringPlanParams]:
    """Returns customer_id and risk at the horizon nearest to that of params, and params with it.

    Without scores the frame is empty, and every customer counts alike.
    """
    try:
        scores = latest_scores(artefacts)
    except MissingArtefactError as missing:
        artefacts.notes.append(f"{missing} Contacts worth hearing were chosen without risks.")
        return NO_RISKS, params
    if not risk_columns(scores):
        artefacts.notes.append(
            "Nobody has been scored: contacts worth hearing were chosen without risks."
        )
        return NO_RISKS, params
    column = nearest_risk_column(risk_columns(scores), params.horizon_days)
    return scores.select("customer_id", pl.col(column).alias("risk")), replace(
        params, horizon_days=horizon_days(column) or 0
    )


def _clip(
    artefacts: ArtefactReader,
    contact_id: str,
    read_audio: ReadAudio,
    *,
    start_s: float,
    clip_s: float,
) -> clips.Clip | None:
    """Returns a clip of the recording; None, with a note, where it cannot be read."""
    try:
        audio, rate = read_audio(contact_id)
        return clips.cut_clip(audio, rate, start_s=start_s, longest_s=clip_s)
    except (ValueError, OSError, KeyError) as error:
        artefacts.notes.append(f"Call {contact_id} cannot be played: {error}")
        return None


def _words(artefacts: ArtefactReader, contact_ids: list[str]) -> dict[str, _Words]:
    """Returns the words of contacts: a person's transcript where there is one, else recognised."""
    words: dict[str, _Words] = {}
    for table in (artefacts.records("turns"), artefacts.table_or_none("transcripts.parquet")):
        if table is None:
            artefacts.notes.append(
                "The stage “transcribe” has not run: only calls that a person typed have their "
                "words."
            )
            continue
        best = best_text(table.filter(pl.col("contact_id").is_in(contact_ids)))
        for (contact_id,), turns in best.group_by("contact_id", maintain_order=True):
            rows = turns.select("role", "text", "start_s", "end_s").to_dicts()
            words.setdefault(str(contact_id), _Words(rows, turns["origin"][0]))
    return words
