"""Small things with defaults for tests: rows, audio, and whole exports with real two-channel WAV
files.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from data.records import Contact, Customer, Outcome, Recording, Turn

NOW = datetime(2026, 8, 10, 9, 0, tzinfo=UTC)
START = datetime(2026, 8, 3, 8, 0, tzinfo=UTC)


def a_customer(customer_id: str = "C1", **changes: Any) -> Customer:
    values = {
        "phone": f"+1555{customer_id[1:]:0>7}",
        "plan": "basic",
        "region": "north",
        "since": date(2024, 1, 1),
    }
    return Customer(customer_id, **{**values, "monthly_price": 20.0, **changes})


def a_contact(contact_id: str = "call-1", customer_id: str = "C1", **changes: Any) -> Contact:
    values: dict[str, Any] = {
        "channel": "phone",
        "started_at": START,
        "duration_s": 2.0,
        "queue": "support",
    }
    return Contact(contact_id, customer_id, **{**values, **changes})


def a_recording(contact_id: str = "call-1", **changes: Any) -> Recording:
    values: dict[str, Any] = {
        "shard": "00000.tar",
        "member": f"{contact_id}.wav",
        "codec": "PCM_16",
        "sample_rate_hz": 8000,
        "channels": 2,
        "duration_s": 2.0,
        "customer_channel": 0,
        "agent_channel": 1,
        "sha256": "0" * 64,
        "size_bytes": 64044,
    }
    return Recording(contact_id, **{**values, **changes})


def a_turn(
    contact_id: str = "call-1",
    turn: int = 0,
    role: str = "customer",
    text: str = "hello",
    **changes: Any,
) -> Turn:
    return Turn(contact_id, turn, role, text, **changes)


def an_outcome(customer_id: str = "C1", happened: bool = True, **changes: Any) -> Outcome:
    return Outcome(
        customer_id, **{"event": "churn", "happened": happened, "on": date(2026, 8, 5), **changes}
    )


def a_call(
    duration_s: float = 2.0, seed: int = 0, channels: int = 2, sample_rate_hz: int = 8000
) -> np.ndarray:
    """A call's sound: one tone a channel, the channels in turns, with a little noise. float32 [frames,
    channels].
    """
    rng = np.random.default_rng(seed)
    at = np.arange(int(duration_s * sample_rate_hz)) / sample_rate_hz
    sides = []
    for channel in range(channels):
        # The channels take turns of half a second.
        speaks = (np.floor(at / 0.5) % max(2, channels)) == channel
        sides.append(
            0.2 * np.sin(2 * np.pi * (200 + 30 * seed % 300 + 170 * channel) * at) * speaks
        )
    sound = np.stack(sides, axis=1) + rng.normal(0, 0.002, (len(at), channels))
    return np.asarray(np.clip(sound, -1, 1), dtype=np.float32)


def a_wav(path: Path, codec: str = "PCM_16", sample_rate_hz: int = 8000, **call: Any) -> Path:
    """Writes `a_call` as a WAV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(
        path,
        a_call(sample_rate_hz=sample_rate_hz, **call),
        sample_rate_hz,
        subtype=codec,
        format="WAV",
    )
    return path


def a_truncated_wav(path: Path, share: float = 0.5) -> Path:
    """A WAV file that ends before its header says."""
    whole = a_wav(path).read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    return path


TEXTS = [
    ("agent", "how can i help"),
    ("customer", "i want to cancel my plan"),
    ("agent", "i am sorry to hear that"),
]


def an_export(
    folder: Path,
    calls: int = 3,
    chats: int = 1,
    *,
    first: int = 1,
    duration_s: float = 2.0,
    codec: str = "PCM_16",
) -> Path:
    """A folder export (docs/pipeline.md): customers C1…, calls call-1… with audio and transcripts,
    chats chat-1….

    Calls are numbered from `first`: a second export with `first` after the end of the one before
    holds new ones only.
    """
    numbers = range(first, first + calls)
    customers = sorted(
        {_customer_of(number) for number in numbers} | {f"C{n}" for n in range(1, 3)}
    )
    _csv(
        folder / "customers.csv",
        [
            {
                "customer_id": c,
                "phone": f"+1555{c[1:]:0>7}",
                "plan": "basic",
                "region": "north",
                "since": "2024-01-01",
                "monthly_price": "20.5",
                "tenure": "31",
            }
            for c in customers
        ],
    )
    rows = [
        {
            "contact_id": f"call-{n}",
            "customer_id": _customer_of(n),
            "channel": "phone",
            "started_at": _started(n),
            "duration_s": f"{duration_s}",
            "wait_s": "5.0",
            "queue": "support",
            "agent_id": "agent01",
            "disposition": "ANSWERED",
            "recording": f"recordings/call-{n}.wav",
            "customer_channel": "0",
            "agent_channel": "1",
        }
        for n in numbers
    ]
    rows += [
        {
            **dict.fromkeys(rows[0] if rows else CONTACT_COLUMNS, ""),
            "contact_id": f"chat-{n}",
            "channel": "chat",
            "customer_id": _customer_of(n),
            "started_at": _started(n, minutes=7),
        }
        for n in range(first, first + chats)
    ]
    _csv(folder / "contacts.csv", rows, CONTACT_COLUMNS)
    _csv(
        folder / "outcomes.csv",
        [
            {
                "customer_id": c,
                "event": "churn",
                "happened": "true" if c == "C1" else "false",
                "on": "2026-08-05" if c == "C1" else "",
                "observed_until": "2026-08-09",
            }
            for c in customers
        ],
    )
    for n in numbers:
        a_wav(folder / "recordings" / f"call-{n}.wav", codec=codec, duration_s=duration_s, seed=n)
        _json(
            folder / "transcripts" / f"call-{n}.json",
            {"contact_id": f"call-{n}", "turns": _spoken()},
        )
    messages = [
        {"contact_id": f"chat-{n}", "turns": _written()} for n in range(first, first + chats)
    ]
    (folder / "messages.jsonl").write_text(
        "".join(json.dumps(message) + "\n" for message in messages)
    )
    return folder


def an_asterisk_export(
    folder: Path, calls: int = 3, chats: int = 1, *, duration_s: float = 2.0, codec: str = "PCM_16"
) -> Path:
    """The same contact centre as `an_export`, as Asterisk and its CRM leave it (times in UTC)."""
    numbers = range(1, calls + 1)
    customers = sorted(
        {_customer_of(number) for number in numbers} | {f"C{n}" for n in range(1, 3)}
    )
    _csv(
        folder / "crm" / "customers.csv",
        [
            {
                "customer_id": c,
                "phone": f"+1555{c[1:]:0>7}",
                "churn": "Yes" if c == "C1" else "No",
                "tenure": "31",
                "contract": "basic",
                "monthly_charges": "20.5",
                "region": "north",
                "since": "2024-01-01",
            }
            for c in customers
        ],
    )
    (folder / "cdr").mkdir(parents=True)
    with (folder / "cdr" / "Master.csv").open("w", newline="") as handle:
        lines = csv.writer(handle, quoting=csv.QUOTE_ALL)
        for n in numbers:
            customer, phone = _customer_of(n), f"+1555{_customer_of(n)[1:]:0>7}"
            start = START + timedelta(hours=n)
            answer = start + timedelta(seconds=5)
            stamps = [
                f"{at:%Y-%m-%d %H:%M:%S}"
                for at in (start, answer, answer + timedelta(seconds=duration_s))
            ]
            lines.writerow(
                [
                    "",
                    phone,
                    "600",
                    "support",
                    f'"{customer}" <{phone}>',
                    f"SIP/trunk-{n:08x}",
                    f"SIP/agent01-{n:08x}",
                    "Queue",
                    "support",
                    *stamps,
                    int(5 + duration_s),
                    int(duration_s),
                    "ANSWERED",
                    "DOCUMENTATION",
                    f"call-{n}",
                    "",
                ]
            )
    for n in numbers:
        a_wav(folder / "monitor" / f"call-{n}.wav", codec=codec, duration_s=duration_s, seed=n)
        _json(folder / "transcripts" / f"call-{n}.json", {"call": f"call-{n}", "turns": _spoken()})
    (folder / "chat").mkdir()
    talks = [
        {
            "chat_id": f"chat-{n}",
            "customer_id": _customer_of(n),
            "started_at": _started(n, minutes=7)[:19],
            "messages": _written(),
        }
        for n in range(1, chats + 1)
    ]
    (folder / "chat" / "chats.jsonl").write_text("".join(json.dumps(talk) + "\n" for talk in talks))
    return folder


CONTACT_COLUMNS = (
    "contact_id",
    "customer_id",
    "channel",
    "started_at",
    "duration_s",
    "wait_s",
    "queue",
    "agent_id",
    "disposition",
    "recording",
    "customer_channel",
    "agent_channel",
)


def _customer_of(number: int) -> str:
    return f"C{(number - 1) % 2 + 1}"


def _started(number: int, minutes: int = 0) -> str:
    return (START + timedelta(hours=number, minutes=minutes)).isoformat()


def _spoken() -> list[dict[str, Any]]:
    return [
        {"role": role, "text": text, "start_s": 0.5 * index, "end_s": 0.5 * index + 0.5}
        for index, (role, text) in enumerate(TEXTS)
    ]


def _written() -> list[dict[str, Any]]:
    return [{"role": role, "text": text} for role, text in TEXTS]


def _csv(path: Path, rows: list[dict[str, str]], columns: Sequence[str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns or list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def edit(path: Path, old: str, new: str) -> None:
    """Replaces text in a file of an export; the text must be there."""
    text = path.read_text(encoding="utf-8")
    if old not in text:
        raise ValueError(f"{path} has no {old!r}")
    path.write_text(text.replace(old, new), encoding="utf-8")
