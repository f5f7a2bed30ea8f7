"""Hands out a simulated export day by day, as the folder of a source system grows.

A finished export covers the whole window. `Deliveries.until` writes what its source system would
hold on the evening of a day. Changes that begin on a day can be planted.
"""

from __future__ import annotations

import csv
import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from data import audio
from data.files import atomic, read_lines, write_lines

_FILES = ("customers", "contacts", "outcomes", "interventions")


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What changes at the centre, and from which day on. None: never.

    A change of codec sends the recordings through GSM and stores them as A-law. A shift of topic
    drops `topic_share` of the contacts about anything but `topic`.
    """

    codec_from: date | None = None
    topic_from: date | None = None
    topic: str = "outage"
    topic_share: float = 0.6
    transcript_delay_days: int = 1  # until a person has written down a call


class Deliveries:
    """A finished export and its truth, to be delivered day by day.

    `export` and `truth` are what `simulate` wrote. Raises FileNotFoundError without them.
    """

    def __init__(self, export: Path, truth: Path, changes: Changes | None = None) -> None:
        self.export, self.changes = export, changes or Changes()
        self._rows = {
            name: _read_csv(export / f"{name}.csv")
            for name in _FILES
            if name != "interventions" or (export / "interventions.csv").exists()
        }
        self._messages = read_lines(export / "messages.jsonl")
        contacts = pl.read_parquet(truth / "contacts.parquet")
        self._reason = dict(
            zip(contacts["contact_id"].to_list(), contacts["reason"].to_list(), strict=True)
        )

    def until(self, day: date, out: Path) -> int:
        """Writes to `out` what the source holds on the evening of `day`; returns its contacts.

        Recordings and transcripts already in `out` stay as they are. Tables are replaced, each
        whole. Days may be skipped, not gone back.
        """
        contacts = [row for row in self._rows["contacts"] if self._is_there(row, day)]
        ids = {row["contact_id"] for row in contacts}
        (out / "recordings").mkdir(parents=True, exist_ok=True)
        (out / "transcripts").mkdir(exist_ok=True)
        for row in contacts:
            self._deliver_recording(row, day, out)
        tables = {
            "customers": [r for r in self._rows["customers"] if r["since"] <= day.isoformat()],
            "contacts": contacts,
            "outcomes": [_outcome_on(row, day) for row in self._rows["outcomes"]],
            "interventions": [
                row
                for row in self._rows.get("interventions", [])
                if row["decided_on"] <= day.isoformat()
            ],
        }
        customers = {row["customer_id"] for row in tables["customers"]}
        tables["outcomes"] = [r for r in tables["outcomes"] if r["customer_id"] in customers]
        for name, rows in tables.items():
            if name in self._rows:
                _write_csv(out / f"{name}.csv", list(self._rows[name][0]), rows)
        write_lines(
            out / "messages.jsonl", (line for line in self._messages if line["contact_id"] in ids)
        )
        return len(contacts)

    def days(self, first: date, last: date) -> Iterable[date]:
        """Returns the days from `first` to `last`, both included."""
        return (first + timedelta(days=n) for n in range((last - first).days + 1))

    def _is_there(self, row: dict[str, str], day: date) -> bool:
        """Returns whether a contact has happened by `day` and is no victim of the topic shift."""
        began = row["started_at"][:10]
        if began > day.isoformat():
            return False
        changes = self.changes
        if changes.topic_from is None or began < changes.topic_from.isoformat():
            return True
        about = self._reason.get(row["contact_id"], changes.topic)
        return about == changes.topic or _place(row["contact_id"]) >= changes.topic_share

    def _deliver_recording(self, row: dict[str, str], day: date, out: Path) -> None:
        if not row["recording"]:
            return
        source, target = self.export / row["recording"], out / row["recording"]
        if source.exists() and not target.exists():
            changed_from = self.changes.codec_from
            with atomic(target, flush=False) as temporary:
                if changed_from and row["started_at"][:10] >= changed_from.isoformat():
                    temporary.write_bytes(_through_gsm(source.read_bytes()))
                else:
                    shutil.copyfile(source, temporary)
        transcript = Path("transcripts") / f"{row['contact_id']}.json"
        written_on = date.fromisoformat(row["started_at"][:10]) + timedelta(
            days=self.changes.transcript_delay_days
        )
        if written_on <= day and (self.export / transcript).exists():
            with atomic(out / transcript, flush=False) as temporary:
                shutil.copyfile(self.export / transcript, temporary)


def _outcome_on(row: dict[str, str], day: date) -> dict[str, str]:
    """Returns an outcome as it is known on the evening of `day`."""
    if row["happened"] == "true" and row["on"] <= day.isoformat():
        return {**row, "observed_until": day.isoformat()}
    return {**row, "happened": "false", "on": "", "observed_until": day.isoformat()}


def _through_gsm(wav: bytes) -> bytes:
    """Returns a recording that went through GSM, as A-law. What is no sound stays as it is."""
    try:
        samples, rate_hz = audio.read(wav, "recording")
    except audio.AudioError:
        return wav
    return audio.to_wav_bytes(audio.codec_roundtrip(samples, rate_hz, "GSM610"), rate_hz, "ALAW")


def _place(contact_id: str) -> float:
    """Returns a number in [0, 1) that depends on the id alone."""
    return int.from_bytes(hashlib.sha256(contact_id.encode()).digest()[:8], "big") / 2**64


def _read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def _write_csv(path: Path, columns: list[str], rows: Iterable[dict[str, Any]]) -> None:
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
