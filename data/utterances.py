"""Cuts the turns that people transcribed out of the recordings: speech to train and judge a recogniser on."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data.audio import resample, to_wav_bytes
from data.splits import ASIDE, SPLITS
from data.store import write_text
from data.text import normalise

SAMPLE_RATE_HZ = 16000
SHORTEST_S = 0.1
_HEADER_BYTES = 44


def cut(
    recordings: pl.DataFrame,
    turns: pl.DataFrame,
    splits: pl.DataFrame,
    read_audio: Callable[[str], tuple[np.ndarray, int]],
    out: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Writes `out`/{train,valid,test}.jsonl (NeMo manifests) and 16 kHz mono PCM16 cuts in `out`/audio.

    `read_audio` takes a contact_id and returns float32 [frames, channels] and its rate; a call is decoded only when
    a cut of it is missing. Rows hold audio_filepath (relative to the manifest), duration, text, contact_id, role,
    voice, codec and start_s. Agents serve customers on every side of the split, so their turns are only trained on:
    valid and test hold voices that training has not heard.

    Returns {"splits": {name: {"utterances", "duration_s"}}, "skipped": {reason: count}, "written", "reused"}.
    A turn that cannot be used is counted under its reason.
    """
    side = {
        contact: (voice, split)
        for contact, voice, split in splits.select("contact_id", "voice_group", "split").iter_rows()
        if contact is not None
    }
    skipped: Counter[str] = Counter()
    spoken = turns.filter(pl.col("origin") == "person").sort("contact_id", "turn")
    known = set(recordings["contact_id"].to_list())
    skipped["no recording"] = spoken.filter(~pl.col("contact_id").is_in(list(known))).height
    by_call = {key[0]: rows for key, rows in spoken.partition_by("contact_id", as_dict=True).items()}
    manifests: dict[str, list[dict[str, Any]]] = {name: [] for name in SPLITS}
    kept: set[str] = set()
    written = reused = 0
    calls = recordings.sort("contact_id").to_dicts()
    for done, call in enumerate(calls, start=1):
        plan = _plan(call, by_call.get(call["contact_id"]), side.get(call["contact_id"]), skipped)
        missing = [row for row, _ in plan if not _there(out, row)]
        if missing:
            samples, rate = read_audio(call["contact_id"])
            for row, channel in plan:
                if row in missing:
                    _write(out / row["audio_filepath"], samples[:, channel], rate, row)
        written, reused = written + len(missing), reused + len(plan) - len(missing)
        for row, _ in plan:
            kept.add(Path(row["audio_filepath"]).name)
            split = row.pop("split")
            manifests[split].append(row)
        progress(done, len(calls))
    for name, rows in manifests.items():
        write_text(out / f"{name}.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    if (out / "audio").is_dir():
        for path in (out / "audio").iterdir():
            if path.name not in kept:
                path.unlink()
    return {
        "splits": {
            name: {"utterances": len(rows), "duration_s": round(sum(row["duration"] for row in rows), 3)}
            for name, rows in manifests.items()
        },
        "skipped": {reason: count for reason, count in sorted(skipped.items()) if count},
        "written": written,
        "reused": reused,
    }


def _plan(
    call: dict[str, Any], turns: pl.DataFrame | None, side: tuple[str | None, str] | None, skipped: Counter[str]
) -> list[tuple[dict[str, Any], int]]:
    """The manifest rows (with their split) of one call, each with its channel."""
    if turns is None:
        return []
    if side is None or side[1] == ASIDE:
        skipped["call set aside by the split"] += turns.height
        return []
    voice, split = side
    plan = []
    for turn in turns.iter_rows(named=True):
        start_s, end_s, text = turn["start_s"], turn["end_s"], normalise(turn["text"] or "")
        reason = None
        if turn["role"] not in ("customer", "agent"):
            reason = "neither customer nor agent"
        elif turn["role"] == "agent" and split != "train":
            reason = "agent outside train"
        elif start_s is None or end_s is None:
            reason = "no times"
        elif not text:
            reason = "no words"
        elif end_s - start_s < SHORTEST_S:
            reason = f"shorter than {SHORTEST_S} s"
        elif start_s < 0 or end_s > call["duration_s"] + 0.5:
            reason = "beyond the recording"
        if reason:
            skipped[reason] += 1
            continue
        end_s = min(end_s, call["duration_s"])
        channel = int(call[f"{turn['role']}_channel"])
        source = f"{call['sha256']}|{channel}|{start_s:.3f}|{end_s:.3f}"
        name = f"{call['contact_id']}-{turn['turn']:04d}-{hashlib.sha256(source.encode()).hexdigest()[:10]}.wav"
        plan.append((
            {
                "audio_filepath": f"audio/{name}", "duration": round(end_s - start_s, 3), "text": text,
                "contact_id": call["contact_id"], "role": turn["role"],
                "voice": voice if turn["role"] == "customer" else None, "codec": call["codec"],
                "start_s": start_s, "split": split,
            },
            channel,
        ))  # fmt: skip
    return plan


def _frames(row: dict[str, Any]) -> int:
    return round(row["duration"] * SAMPLE_RATE_HZ)


def _there(out: Path, row: dict[str, Any]) -> bool:
    """A cut's name says what it was cut from, so a file of that name and the right size is that cut."""
    path = out / row["audio_filepath"]
    return path.is_file() and path.stat().st_size == _HEADER_BYTES + 2 * _frames(row)


def _write(path: Path, channel: np.ndarray, rate: int, row: dict[str, Any]) -> None:
    begin = int(row["start_s"] * rate)
    piece = resample(channel[begin : begin + int(np.ceil(row["duration"] * rate)) + 1], rate, SAMPLE_RATE_HZ)
    exact = np.zeros(_frames(row), np.float32)
    exact[: len(piece)] = piece[: len(exact)]
    path.parent.mkdir(parents=True, exist_ok=True)
    # Thousands of small files: renamed but not flushed one by one; `_there` sees a torn one by its size.
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(to_wav_bytes(exact, SAMPLE_RATE_HZ))
    temporary.replace(path)
