"""Reads a bare folder of recordings, some with transcripts, to adapt a recogniser to a domain.

A recording's words stand in a `.txt` of the same name, or in `manifest.jsonl` (NeMo's:
audio_filepath, text and, where known, speaker): one voice, one channel. Recordings without words
are transcribed later; they may have two channels, of which `sources.customer_channel` and
`sources.agent_channel` say who is on which. Such a folder names no customers: each speaker, or each
recording without a named speaker, counts as one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from data.audio import SUFFIXES, AudioError, AudioInfo, probe
from data.records import ORIGIN_PERSON, OUTCOMES, Contact, Customer, frame
from data.sources import DeliveredRecording, Delivery, Refusal, SourceError, SourceParams, _files

LOOKS_FOR: tuple[str, ...] = ()  # nothing gives such a folder away: it is named as what it is
LONGEST_WITHOUT_TIMES_S = 30.0  # the words of a longer recording do not say where they are
WITH_TIMES = (
    "It is transcribed, its words are not learnt from. Cut it into utterances of one voice with "
    "their words, or make it a folder export (docs/pipeline.md) with "
    "transcripts/<contact_id>.json, whose turns have role, start_s, end_s and text."
)


@dataclass
class _Folder:
    """What has been read of a folder so far. `lines` are those of manifest.jsonl still unused."""

    lines: dict[Path, dict[str, Any]]
    refusals: list[Refusal]
    customers: dict[str, Customer] = field(default_factory=dict)
    contacts: list[Contact] = field(default_factory=list)
    recordings: list[DeliveredRecording] = field(default_factory=list)
    turns: list[dict[str, Any]] = field(default_factory=list)


def read(root: Path, options: SourceParams) -> Delivery:
    """Reads every recording under `root`. Raises SourceError when there is none."""
    refusals: list[Refusal] = []
    folder = _Folder(_listed(root, refusals), refusals)
    paths = sorted(
        path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()
    )
    if not paths:
        raise SourceError(
            f"{root}: no recordings. Give a folder with files in one of {' '.join(SUFFIXES)}."
        )
    for path in paths:
        contact_id = path.relative_to(root).with_suffix("").as_posix().replace("/", "_")
        _read_recording(folder, contact_id, path, options=options)
    refusals += [
        Refusal(
            f"recording {path.name}",
            "recording",
            "manifest.jsonl names it, but it is not here",
            "Add the file.",
        )
        for path in folder.lines
    ]
    return Delivery(
        frame("customers", list(folder.customers.values())),
        frame("contacts", folder.contacts),
        _files.turns_frame(folder.turns),
        pl.DataFrame(schema=OUTCOMES),
        folder.recordings,
        refusals,
        mono_ok=True,
    )


def _read_recording(folder: _Folder, contact_id: str, path: Path, *, options: SourceParams) -> None:
    """Adds one recording, its contact, its customer and its words to `folder`, or a refusal."""
    try:
        info = probe(path, contact_id)
    except AudioError as error:
        reason = str(error).removeprefix(f"{contact_id}: ")
        folder.refusals.append(_refused(contact_id, reason, path))
        return
    if info.channels > 2:
        reason = f"more than two channels ({info.channels})"
        next_step = "Deliver one channel a voice: the customer's, the agent's."
        folder.refusals.append(_refused(contact_id, reason, path, next_step=next_step))
        return
    line = folder.lines.pop(path.resolve(), {})
    voice = line.get("speaker")
    customer_id = str(voice or contact_id)
    folder.customers[customer_id] = Customer(customer_id)
    modified = datetime.fromtimestamp(int(path.stat().st_mtime), UTC)
    folder.contacts.append(
        Contact(contact_id, customer_id, "phone", modified, info.duration_s, source="recordings")
    )
    sides = (0, 0) if info.channels == 1 else (options.customer_channel, options.agent_channel)
    folder.recordings.append(DeliveredRecording(contact_id, path, *sides, voice))
    text, where = _words(path, line)
    unplaced = _why_unplaced(info, where)
    if text and unplaced:
        folder.refusals.append(Refusal(f"contact {contact_id}", "turns", unplaced, WITH_TIMES))
    elif text:
        turn = {"role": "customer", "text": text, "start_s": 0.0, "end_s": info.duration_s}
        folder.turns += _files.turn_rows(
            contact_id,
            [turn],
            origin=ORIGIN_PERSON,
            where=where,
            options=options,
            refusals=folder.refusals,
        )


def _why_unplaced(info: AudioInfo, where: str) -> str:
    """Why the words of a recording cannot be placed in it; empty where they can."""
    if info.channels == 2:
        return f"words that do not say who of two channels said them ({where})"
    if info.duration_s > LONGEST_WITHOUT_TIMES_S:
        limit = f"{LONGEST_WITHOUT_TIMES_S:g} s"
        return f"words without times in over {limit} ({info.duration_s:.0f} s, {where})"
    return ""


def _listed(root: Path, refusals: list[Refusal]) -> dict[Path, dict[str, Any]]:
    """The lines of manifest.jsonl, if there is one, by the file they name."""
    lines: dict[Path, dict[str, Any]] = {}
    if (root / "manifest.jsonl").exists():
        for where, line in _files.read_jsonl(root, "manifest.jsonl", refusals):
            if isinstance(line.get("audio_filepath"), str):
                lines[(root / line["audio_filepath"]).resolve()] = line
            else:
                refusals.append(
                    Refusal(where, "recording", "names no audio_filepath", "Correct the manifest.")
                )
    return lines


def _words(path: Path, line: dict[str, Any]) -> tuple[str, str]:
    """The words of a recording, empty if there are none, and the file that holds them."""
    text_file = path.with_suffix(".txt")
    if text_file.is_file():
        return text_file.read_text(encoding="utf-8", errors="replace").strip(), text_file.name
    return str(line.get("text") or ""), "manifest.jsonl"


def _refused(
    contact_id: str, reason: str, path: Path, *, next_step: str = "Export it again."
) -> Refusal:
    return Refusal(f"call {contact_id}", "recording", reason.partition(". ")[0], next_step, path)
