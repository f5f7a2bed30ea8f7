"""A small store that passes validation, to be spoilt one thing at a time."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from data.audio import to_wav_bytes
from data.files import write_table
from data.records import Contact, Customer, Intervention, Outcome, Recording, Turn, frame

NOW = datetime(2026, 6, 1, tzinfo=UTC)
START = datetime(2026, 5, 1, 9, tzinfo=UTC)


def a_call(
    seed: int = 0,
    duration_s: float = 3.0,
    rate_hz: int = 8000,
    channels: int = 2,
    gain: float = 0.2,
    silent: int = -1,
) -> bytes:
    """A µ-law WAV with something to hear on each channel (but for channel `silent`)."""
    rng = np.random.default_rng(seed)
    audio = rng.standard_normal((int(duration_s * rate_hz), channels)).astype("float32") * gain
    if silent >= 0:
        audio[:, silent] = 0.0
    return to_wav_bytes(audio, rate_hz, "ULAW")


class AStore:
    """Rows and recordings in memory; `write` puts the tables where validation reads them."""

    def __init__(self, root: Path, calls: int = 12) -> None:
        self.root = root
        self.fetched: list[str] = []
        self.audio = {f"k{number}": a_call(seed=number) for number in range(calls)}
        self.customers = [
            Customer(f"c{number}", since=date(2025, 1, 1), monthly_price=20.0)
            for number in range(calls)
        ]
        self.contacts = [
            Contact(f"k{number}", f"c{number}", "phone", START + timedelta(hours=number), 3.0, 10.0)
            for number in range(calls)
        ]
        self.turns = [
            Turn(f"k{number}", turn, role, "my bill is wrong", 0.1 + turn, 0.9 + turn)
            for number in range(calls)
            for turn, role in enumerate(("agent", "customer"))
        ]
        self.outcomes = [
            Outcome(f"c{number}", "churn", False, None, date(2026, 5, 31))
            for number in range(calls)
        ]
        self.interventions: list[Intervention] = []

    def read_audio(self, contact_id: str) -> bytes:
        self.fetched.append(contact_id)
        return self.audio[contact_id]

    def write(self, duration_s: float = 3.0) -> AStore:
        recordings = [
            Recording(
                contact_id,
                "00000.tar",
                f"{contact_id}.wav",
                "ULAW",
                8000,
                2,
                duration_s,
                0,
                1,
                hashlib.sha256(content).hexdigest(),
                len(content),
            )
            for contact_id, content in self.audio.items()
        ]
        rows: dict[str, list[Any]] = {
            "customers": self.customers,
            "contacts": self.contacts,
            "recordings": recordings,
            "turns": self.turns,
            "outcomes": self.outcomes,
            "interventions": self.interventions,
        }
        for table, values in rows.items():
            write_table(self.root / "tables" / f"{table}.parquet", frame(table, values))
        return self
