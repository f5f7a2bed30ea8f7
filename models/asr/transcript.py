"""The transcript of one waveform, and the interface of decoders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data.speech.transcripts import Word

SHORTEST_S = 0.1  # a shorter waveform gives the network no frame to work on


@dataclass(frozen=True)
class Transcript:
    """The words recognised in one waveform.

    `confidence` is the mean of the words', or of the probability of silence where there are none.
    """

    text: str
    words: list[Word]
    confidence: float


# From the log-probabilities of one waveform, float32 [steps, labels + blank], and the seconds a
# step lasts.
Decoder = Callable[[np.ndarray, float], Transcript]
