"""Cuts the turns that people transcribed out of the recordings, to train and test a recogniser."""

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
from data.files import atomic, file_name, write_lines
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
    """Writes `out`/{train,valid,test}.jsonl (NeMo manifests) and 16 kHz mono PCM16 cuts.

    `read_audio` takes a contact_id and returns float32 [frames, channels] and its rate; a call
    is decoded only when a cut of it is missing. Rows hold audio_filepath (relative to the
    manifest, in `out`/audio), duration, text, contact_id, role, voice, codec, start_s and,
    where `recordings` has those columns, queue, region and load. Agents serve customers on
    every side of the split, so their turns are only trained on: valid and test hold voices that
    training does not have.

    The test set is not filtered: whatever of it has a place in a recording is cut, also a turn
    without words.

    Returns {"splits": {name: {"utterances", "duration_s"}}, "skipped": {reason: count},
    "written", "reused", "refused": [a line for the quarantine], "ms": {reason: milliseconds of
    one side of a call}}. A turn that cannot be used is counted under its reason, and so is a
    call that cannot be decoded. `ms` adds up to the recordings given.
    """
    side_of = {
        contact_id: (voice, split)
        for contact_id, voice, split in splits.select(
            "contact_id", "voice_group", "split"
        ).iter_rows()
        if contact_id is not None
    }
    transcribed = turns.filter(pl.col("origin") == ORIGIN_PERSON).sort("contact_id", "turn")
    tally = _Tally()
    is_recorded = pl.col("contact_id").is_in(recordings["contact_id"].implode())
    tally.skipped["no recording"] = transcribed.filter(~is_recorded).height
    turns_of = {
        key[0]: rows for key, rows in transcribed.partition_by("contact_id", as_dict=True).items()
    }
    calls = recordings.sort("contact_id").to_dicts()
    for done, call in enumerate(calls, start=1):
        call_turns = turns_of.get(call["contact_id"])
        side = side_of.get(call["contact_id"])
        plan = [
            _plan_turn(call, turn, side)
            for turn in ([] if call_turns is None else call_turns.to_dicts())
        ]
        _cut_call(call, plan, side, read_audio=read_audio, out=out, tally=tally)
        progress(done, len(calls))
    assert_manifests_apart(tally.manifests, splits)
    for name, lines in tally.manifests.items():
        write_lines(out / f"{name}.jsonl", lines)
    if (out / "audio").is_dir():
        for path in (out / "audio").iterdir():
            if path.name not in tally.cut_names:
                path.unlink()
    return tally.summary()


@dataclass
class _Tally:
    """What the cutting has come to so far: manifest rows by split, counts, hours and refusals."""

    manifests: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {name: [] for name in SPLITS}
    )
    cut_names: set[str] = field(default_factory=set)
    skipped: Counter[str] = field(default_factory=Counter)
    ms: Counter[str] = field(default_factory=Counter)
    refused: list[dict[str, str]] = field(default_factory=list)
    written: int = 0
    reused: int = 0

    def summary(self) -> dict[str, Any]:
        """What `cut_utterances` returns."""
        return {
            "splits": {
                name: {
                    "utterances": len(lines),
                    "duration_s": round(sum(row["duration"] for row in lines), 3),
                }
                for name, lines in self.manifests.items()
            },
            "skipped": {reason: count for reason, count in sorted(self.skipped.items()) if count},
            "written": self.written,
            "reused": self.reused,
            "refused": self.refused,
            "ms": dict(sorted(self.ms.items())),
        }


def _cut_call(
    call: dict[str, Any],
    plan: list[_Piece],
    side: tuple[str | None, str] | None,
    *,
    read_audio: Callable[[str], tuple[np.ndarray, int]],
    out: Path,
    tally: _Tally,
) -> None:
    """Writes the cuts of one call that are missing and counts all of its turns."""
    used = [piece for piece in plan if piece.row]
    missing = [piece for piece in used if not _is_cut(out, piece.row)]
    if missing:
        try:
            samples, rate = read_audio(call["contact_id"])
        except AudioError as error:
            tally.refused.append(_refusal(call, error))
            plan = [replace(piece, reason="unreadable", row={}) for piece in plan]
            used = missing = []
    for piece in missing:
        path = out / piece.row["audio_filepath"]
        _write(path, samples[:, piece.channel], rate=rate, row=piece.row)
    tally.written += len(missing)
    tally.reused += len(used) - len(missing)
    tally.skipped.update(piece.reason for piece in plan if not piece.row)
    tally.ms.update(_spent(call, plan, side))
    for piece in used:
        tally.cut_names.add(Path(piece.row["audio_filepath"]).name)
        tally.manifests[piece.reason].append(piece.row)


def _refusal(call: dict[str, Any], error: AudioError) -> dict[str, str]:
    """The quarantine line of a call that cannot be decoded."""
    reason, _, next_step = str(error).partition(". ")
    return {
        "thing": f"call {call['contact_id']}",
        "kind": "recording",
        "reason": reason,
        "next_step": next_step or "Ingest it again.",
    }


@dataclass(frozen=True)
class _Piece:
    """What becomes of a turn: `reason` is its split, or why it is left out.

    Only a piece that is used has a manifest row.
    """

    reason: str
    channel: int = 0
    start_s: float = 0.0
    end_s: float = 0.0
    row: dict[str, Any] = field(default_factory=dict)


def _plan_turn(
    call: dict[str, Any], turn: dict[str, Any], side: tuple[str | None, str] | None
) -> _Piece:
    """Returns the piece of one turn: its manifest row, or the reason why there is none."""
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
    digest = hashlib.sha256(source.encode()).hexdigest()[:10]
    name = file_name(call["contact_id"], f"-{turn['turn']:04d}-{digest}.wav")
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
    """Milliseconds of each side of a call by reason; used turns count before those left out."""
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
    duration_s: float = row["duration"]
    return round(duration_s * SAMPLE_RATE_HZ)


def _is_cut(out: Path, row: dict[str, Any]) -> bool:
    """Whether the cut of a manifest row is written.

    Its name depends on what it is cut from, so a file of that name and the right size is that
    cut.
    """
    path: Path = out / row["audio_filepath"]
    return path.is_file() and path.stat().st_size == _HEADER_BYTES + 2 * _frames(row)


def _write(path: Path, channel: np.ndarray, *, rate: int, row: dict[str, Any]) -> None:
    begin = int(row["start_s"] * rate)
    piece = resample(
        channel[begin : begin + int(np.ceil(row["duration"] * rate)) + 1], rate, SAMPLE_RATE_HZ
    )
    exact = np.zeros(_frames(row), np.float32)
    exact[: len(piece)] = piece[: len(exact)]
    with atomic(path, flush=False) as temporary:  # `_is_cut` sees a torn one by its size
        temporary.write_bytes(to_wav_bytes(exact, SAMPLE_RATE_HZ))


def recordings_with_slices(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Returns the recordings with each call's SLICE_COLUMNS, as `cut_utterances` takes them.

    They are its queue, its customer's region and how busy the centre was.
    """
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
    """Returns the recordings of calls on one side of the split that people transcribed.

    The customer's words are joined as `text`.
    """
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
