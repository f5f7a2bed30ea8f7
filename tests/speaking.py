"""Small spoken corpora and a tiny NeMo network for tests of the recogniser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from data.simulator.voice import Synthesizer, voices

WORDS = ("yes", "no", "stop", "bill", "pay", "cancel", "card", "agent", "refund", "line")


def a_manifest(
    path: Path, count: int = 24, seed: int = 0, sample_rate_hz: int = 16000, words: int = 2, **changes: Any
) -> Path:
    """A NeMo manifest at `path` with `count` synthesised utterances of `words` words beside it."""
    rng = np.random.default_rng(seed)
    synthesizer, speakers, lines = Synthesizer(), voices(4, seed), []
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        text = " ".join(rng.choice(WORDS, words))
        samples = synthesizer.speak(text, speakers[number % len(speakers)], sample_rate_hz)
        audio = path.parent / f"{path.stem}-{number:03d}.wav"
        soundfile.write(audio, samples, sample_rate_hz)
        row = {"audio_filepath": audio.name, "duration": len(samples) / sample_rate_hz, "text": text, **changes}
        lines.append(json.dumps(row))
    path.write_text("\n".join(lines) + "\n")
    return path


def a_network(**changes: Any) -> Any:
    """A fresh NeMo CTC model small enough to learn a little within seconds."""
    from training.base import BaseTraining, network

    return network(BaseTraining(**{"channels": 48, "kernels": (7, 9), "repeat": 1, "dropout": 0.0, **changes}))


def a_nemo(path: Path, **changes: Any) -> Path:
    """The `.nemo` of such a network."""
    path.parent.mkdir(parents=True, exist_ok=True)
    a_network(**changes).save_to(str(path))
    return path
