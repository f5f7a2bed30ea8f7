"""Reads NeMo manifests of cut speech and extends them by pseudo-transcripts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data.files import read_lines, write_lines
from data.labelling.pseudo import PseudoParams, sample_within_share, trainable_turns
from data.progress import Progress
from data.records import ORIGIN_MACHINE, ORIGIN_PERSON, TURNS
from data.speech.utterances import cut_utterances


def read_manifest(manifest: Path) -> list[dict[str, Any]]:
    """Returns the rows of a NeMo manifest; an empty list if there is no such file."""
    if not manifest.is_file():
        return []
    return read_lines(manifest)


def require_manifest(manifest: Path) -> list[dict[str, Any]]:
    """Returns the rows of a NeMo manifest. Raises ValueError when there is none."""
    rows = read_manifest(manifest)
    if not rows:
        raise ValueError(
            f"{manifest}: no held-out speech to score on. Deliver more transcripts, or raise "
            "splits.test_share."
        )
    return rows


def add_pseudo_transcripts(
    clean: dict[str, pl.DataFrame],
    splits: pl.DataFrame,
    *,
    speech: Path,
    chosen: Path,
    out: Path,
    read_audio: Callable[[str], tuple[np.ndarray, int]],
    params: PseudoParams,
    progress: Progress,
) -> dict[str, Any]:
    """Writes `out`/train.jsonl: the rows of `speech`/train.jsonl, then pseudo-transcribed cuts.

    The latter are cuts of the turns in the table `chosen`, only if `params.learn`, of calls
    that are on the training side and not transcribed by a person. Returns counts and seconds of
    both.
    """
    people = read_lines(speech / "train.jsonl")
    for row in people:
        row["audio_filepath"] = f"../{speech.name}/{row['audio_filepath']}"
    machine: list[dict[str, Any]] = []
    if params.learn and chosen.exists():
        typed = clean["turns"].filter(pl.col("origin") == ORIGIN_PERSON)
        turns = trainable_turns(pl.read_parquet(chosen), splits, typed)
        turns = sample_within_share(turns, sum(row["duration"] for row in people), params)
        # They are cut like a person's turns; the rows then name the origin and its confidence.
        cut_utterances(
            clean["recordings"],
            turns.select(list(TURNS)).with_columns(origin=pl.lit(ORIGIN_PERSON)),
            splits,
            read_audio=read_audio,
            out=out / "heard",
            progress=progress,
        )
        sure = {
            (row["contact_id"], row["role"], row["start_s"]): row["confidence"]
            for row in turns.iter_rows(named=True)
        }
        for row in read_lines(out / "heard" / "train.jsonl"):
            row |= {
                "audio_filepath": f"heard/{row['audio_filepath']}",
                "origin": ORIGIN_MACHINE,
                "confidence": sure[row["contact_id"], row["role"], row["start_s"]],
            }
            machine.append(row)
    write_lines(out / "train.jsonl", people + machine)
    return {
        "learn": params.learn,
        "transcribed": len(people),
        "transcribed_s": round(sum(row["duration"] for row in people), 3),
        "added": len(machine),
        "added_s": round(sum(row["duration"] for row in machine), 3),
    }
