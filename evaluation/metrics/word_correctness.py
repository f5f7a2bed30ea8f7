"""Tells which recognised words are right, by alignment with people's transcripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from data.text import normalise
from evaluation.metrics.wer import alignment

if TYPE_CHECKING:
    from models.asr.transcript import Transcript


def word_correctness(
    rows: Sequence[Mapping[str, Any]], transcripts: Sequence[Transcript]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns, of every recognised word, its confidence, whether it is right, and its call.

    Words are compared after normalisation, so "Yes," may stand for "yes" and "20" for "twenty";
    words without letters are left out.
    """
    scores, right, calls = [], [], []
    for row, transcript in zip(rows, transcripts, strict=True):
        plain = [normalise(word.text).split() for word in transcript.words]
        pairs = alignment(
            normalise(row["text"]), " ".join(part for parts in plain for part in parts)
        )
        matches = iter([ref == part for ref, part in pairs if part is not None])
        for word, parts in zip(transcript.words, plain, strict=True):
            if parts:
                scores.append(word.confidence)
                right.append(sum(next(matches) for _ in parts) == len(parts))
                calls.append(str(row.get("contact_id") or row["audio_filepath"]))
    return np.array(scores, float), np.array(right, bool), np.array(calls, str)
