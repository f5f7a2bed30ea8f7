"""Cuts the turns that people transcribed out of the recordings: speech to train and judge a recogniser on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data.audio import SAMPLE_RATE_HZ, AudioError, resample, to_wav_bytes
from data.contact_load import load_bands
from data.files import atomic, write_lines
from data.hours import TRAIN, milliseconds, side_count, side_ms
from data.leaks import assert_manifests_apart
from data.progress import Progress
from data.records import ORIGIN_PERSON
from data.splits import EXCLUDED, SPLITS
from data.text import normalise

SHORTEST_S = 0.1
# of a call, where they are known: slices to judge a recogniser in
SLICE_COLUMNS = (
    "queue",
    "region",
    "load",
)
_HEADER_BYTES = 44


def cut_utterances(
    recordings: pl.DataFrame,
    turns: pl.DataFrame,
    splits: pl.DataFrame,
    *,
    read_audio: Callable[[str], tuple[np.ndarray, int]],
    out: Path,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Writes `out`/{train,valid,test}.jsonl (NeMo manifests) and 16 kHz mono PCM16 cuts in `out`/audio.

    `read_audio` takes a contact_id and returns float32 [frames, channels] and its rate; a call is decoded only when
    a cut of it is missing. Rows hold audio_filepath (relative to the manifest), duration, text, contact_id, role,
    voice, codec, start_s and, where `recordings` has those columns, queue, region and load. Agents serve customers
    on every side of the split, so their turns are only trained on: valid and test hold voices that training has not
    heard.

    The test set is not filtered: whatever of it has a place in a recording is cut, also a turn without words.

    Returns {"splits": {name: {"utterances", "duration_s"}}, "skipped": {reason: count}, "written", "reused",
    "refused": [a line for the quarantine], "ms": {reason: milliseconds of one side of a call}}. A turn that cannot be
    used is counted under its reason, and so is a call that cannot be decoded. `ms` adds up to the recordings given.
    """
    side = {
        contact: (voice, split)
        for contact, voice, split in splits.select("contact_id", "voice_group", "split").iter_rows()
        if contact is not None
    }
    skipped: Counter[str] = Counter()
    spoken = turns.filter(pl.col("origin") == ORIGIN_PERSON).sort("contact_id", "turn")
    recorded = set(recordings["contact_id"].to_list())
    skipped["no recording"] = spoken.filter(~pl.col("contact_id").is_in(list(recorded))).height
    by_call = {
        key[0]: rows for key, rows in spoken.partition_by("contact_id", as_dict=True).items()
    }
    manifests: dict[str, list[dict[str, Any]]] = {name: [] for name in SPLITS}
    cut_names: set[str] = set()
    refused: list[dict[str, str]] = []
    ms: Counter[str] = Counter()
    written = reused = 0
    calls = recordings.sort("contact_id").to_dicts()
    for done, call in enumerate(calls, start=1):
        plan = [_planned(call, turn, side.get(call["contact_id"])) for turn in _rows(by_call, call)]
        rows = [piece for piece in plan if piece.row]
        missing = [piece for piece in rows if not _there(out, piece.row)]
        try:
            samples, rate = (
                read_audio(call["contact_id"]) if missing else (np.zeros((0, 2), np.float32), 0)
            )
        except AudioError as error:
            reason, _, step = str(error).partition(". ")
            refused.append(
                {
                    "thing": f"call {call['contact_id']}",
                    "kind": "recording",
                    "reason": reason,
                    "next_step": step or "Ingest it again.",
                }
            )
            plan = [replace(piece, reason="unreadable", row={}) for piece in plan]
            rows = missing = []
        for piece in missing:
            _write(
                out / piece.row["audio_filepath"],
                samples[:, piece.channel],
                rate=rate,
                row=piece.row,
            )
        written, reused = written + len(missing), reused + len(rows) - len(missing)
        skipped.update(piece.reason for piece in plan if not piece.row)
        ms.update(_spent(call, plan, side.get(call["contact_id"])))
        for piece in rows:
            cut_names.add(Path(piece.row["audio_filepath"]).name)
            manifests[piece.reason].append(piece.row)
        progress(done, len(calls))
    assert_manifests_apart(manifests, splits)
    for name, lines in manifests.items():
        write_lines(out / f"{name}.jsonl", lines)
    if (out / "audio").is_dir():
        for path in (out / "audio").iterdir():
            if path.name not in cut_names:
                path.unlink()
    return {
        "splits": {
            name: {
                "utterances": len(lines),
                "duration_s": round(sum(row["duration"] for row in lines), 3),
            }
            for name, lines in manifests.items()
        },
        "skipped": {reason: count for reason, count in sorted(skipped.items()) if count},
        "written": written,
        "reused": reused,
        "refused": refused,
        "ms": dict(sorted(ms.items())),
    }


@dataclass(frozen=True)
class _Piece:
    """What becomes of a turn: `reason` is its split, or why it is left out; only the former has a manifest row."""

    reason: str
    channel: int = 0
    start_s: float = 0.0
    end_s: float = 0.0
    row: dict[str, Any] = field(default_factory=dict)


def _rows(by_call: dict[Any, pl.DataFrame], call: dict[str, Any]) -> list[dict[str, Any]]:
    turns = by_call.get(call["contact_id"])
    return [] if turns is None else turns.to_dicts()


def _planned(
    call: dict[str, Any], turn: dict[str, Any], side: tuple[str | None, str] | None
) -> _Piece:
    """The manifest row of one turn, or the reason why there is none."""
    voice, split = side or (None, EXCLUDED)
    start_s, end_s, text = turn["start_s"], turn["end_s"], normalise(turn["text"] or "")
    if turn["role"] not in ("customer", "agent"):
        return _Piece("neither customer nor agent")
    channel = int(call[f"{turn['role']}_channel"])
    if start_s is None or end_s is None:
        return _Piece("no times", channel)
    begin_s, stop_s = max(0.0, start_s), min(end_s, call["duration_s"])
    place = (channel, begin_s, stop_s)
    if split == EXCLUDED:
        return _Piece("call set aside by the split", *place)
    if turn["role"] == "agent" and split != TRAIN:
        return _Piece("agent outside train", *place)
    if begin_s >= call["duration_s"] or (
        split != "test" and (start_s < 0 or end_s > call["duration_s"] + 0.5)
    ):
        return _Piece("beyond the recording", *place)
    if stop_s - begin_s < (SHORTEST_S if split != "test" else 0.001):
        return _Piece(f"shorter than {SHORTEST_S} s", *place)
    if not text and split != "test":
        return _Piece("no words", *place)
    source = f"{call['sha256']}|{channel}|{begin_s:.3f}|{stop_s:.3f}"
    name = f"{call['contact_id']}-{turn['turn']:04d}-{hashlib.sha256(source.encode()).hexdigest()[:10]}.wav"
    row = {
        "audio_filepath": f"audio/{name}",
        "duration": round(stop_s - begin_s, 3),
        "text": text,
        "contact_id": call["contact_id"],
        "role": turn["role"],
        "voice": voice if turn["role"] == "customer" else None,
        "codec": call["codec"],
        "start_s": begin_s,
        **{name: call[name] for name in SLICE_COLUMNS if call.get(name)},
    }
    return _Piece(split, *place, row)


def _spent(
    call: dict[str, Any], plan: list[_Piece], side: tuple[str | None, str] | None
) -> Counter[str]:
    """Milliseconds of each side of a call by reason; what is used counts before what is left out."""
    if not plan:
        return Counter({"not transcribed": side_count(call) * milliseconds(call["duration_s"])})
    spent: Counter[str] = Counter()
    unplaced = any(piece.reason == "no times" for piece in plan)
    plan = sorted(plan, key=lambda piece: not piece.row)
    if all(piece.reason == "unreadable" for piece in plan):
        rest = "unreadable"
    elif side is None or side[1] == EXCLUDED:
        rest = "call set aside by the split"
    else:
        rest = "no times" if unplaced else "between turns"
    for channel in {int(call["customer_channel"]), int(call["agent_channel"])}:
        claims = [
            (piece.start_s, piece.end_s, piece.reason) for piece in plan if piece.channel == channel
        ]
        spent += side_ms(call["duration_s"], claims, rest)
    return spent


def _frames(row: dict[str, Any]) -> int:
    return round(row["duration"] * SAMPLE_RATE_HZ)


def _there(out: Path, row: dict[str, Any]) -> bool:
    """A cut's name says what it was cut from, so a file of that name and the right size is that cut."""
    path = out / row["audio_filepath"]
    return path.is_file() and path.stat().st_size == _HEADER_BYTES + 2 * _frames(row)


def _write(path: Path, channel: np.ndarray, *, rate: int, row: dict[str, Any]) -> None:
    begin = int(row["start_s"] * rate)
    piece = resample(
        channel[begin : begin + int(np.ceil(row["duration"] * rate)) + 1], rate, SAMPLE_RATE_HZ
    )
    exact = np.zeros(_frames(row), np.float32)
    exact[: len(piece)] = piece[: len(exact)]
    with atomic(path, flush=False) as temporary:  # `_there` sees a torn one by its size
        temporary.write_bytes(to_wav_bytes(exact, SAMPLE_RATE_HZ))


def recordings_with_slices(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The recordings with each call's queue, its customer's region and how busy the centre was, as the cut wants."""
    contacts = tables["contacts"].join(load_bands(tables["contacts"]), on="contact_id")
    contacts = contacts.join(
        tables["customers"].select("customer_id", "region"), on="customer_id", how="left"
    )
    return tables["recordings"].join(
        contacts.select("contact_id", *SLICE_COLUMNS), on="contact_id", how="left"
    )


def transcribed_calls(
    clean: Mapping[str, pl.DataFrame], splits: pl.DataFrame, side: str
) -> list[dict[str, Any]]:
    """The recordings of calls on one side of the split whose customers' words people typed, with these as `text`."""
    on_side = splits.filter((pl.col("split") == side) & pl.col("contact_id").is_not_null()).select(
        "contact_id"
    )
    typed = (
        clean["turns"]
        .filter((pl.col("origin") == ORIGIN_PERSON) & (pl.col("role") == "customer"))
        .sort("turn")
    )
    texts = typed.group_by("contact_id", maintain_order=True).agg(
        pl.col("text").fill_null("").str.join(" ")
    )
    return (
        clean["recordings"]
        .join(on_side, on="contact_id", how="semi")
        .join(texts, on="contact_id")
        .sort("contact_id")
    ).to_dicts()
