"""What a recogniser returns for one waveform, and the interface of decoders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data.speech.transcripts import Word

SHORTEST_S = 0.1  # less gives the network no frame to work on


@dataclass(frozen=True)
class Transcript:
    """What was heard in one waveform. Without words the confidence is how sure the network is of silence."""

    text: str
    words: list[Word]
    confidence: float


# What one waveform's log-probabilities say: float32 [steps, labels + blank] and the seconds a step lasts.
Decoder = Callable[[np.ndarray, float], Transcript]
