"""Transcribes waveforms and two-channel calls with a CTC network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data.audio import SAMPLE_RATE_HZ, blocks, probe, resample
from data.speech.transcripts import TranscriptTurn, Word
from models.asr import confidence
from models.asr.call_pieces import groups, pieces, speech
from models.asr.nemo import NemoNetwork
from models.asr.onnx_network import OnnxNetwork
from models.asr.segments import Segment, Segmentation
from models.asr.transcript import SHORTEST_S, Decoder, Transcript

BATCH_S = (
    30.0  # of padded audio at once; measured fastest on one core, larger batches leave the cache
)


GATHERED_S = 240.0  # of speech cut from a call before it is heard, so that pieces of like length meet in a batch


class Network(Protocol):
    """What hears: labels, and their log-probabilities at each step."""

    labels: list[str]

    @property
    def parameters(self) -> int: ...

    def log_probs(self, waves: list[np.ndarray]) -> tuple[list[np.ndarray], float]: ...


class Recognizer:
    """A CTC network ready to hear: a NeMo model, or what `export_onnx` made of one.

    Without a `decoder` (see models.decoding) the likeliest label of each step is taken, which is fastest. Without a
    `calibration` a word's confidence is the network's own score of it, which promises too much.
    """

    def __init__(
        self,
        model: Any,
        size_bytes: int = 0,
        decoder: Decoder | None = None,
        calibration: confidence.Calibration | None = None,
    ) -> None:
        self.network: Network = model if isinstance(model, OnnxNetwork) else NemoNetwork(model)
        self.size_bytes = size_bytes
        self.decoder = decoder
        self.calibration = calibration
        self.labels = self.network.labels

    @property
    def parameters(self) -> int:
        """Weights of the network."""
        return self.network.parameters

    def transcribe(self, waveforms: list[np.ndarray]) -> list[Transcript]:
        """Each waveform (16 kHz mono float32 [frames]) as words, in the given order.

        Waveforms of like length are heard together, up to 30 s of padded audio at once. What is shorter than 0.1 s
        comes back empty.
        """
        found = [Transcript("", [], 0.0)] * len(waveforms)
        order = sorted(
            (i for i, wave in enumerate(waveforms) if len(wave) >= SHORTEST_S * SAMPLE_RATE_HZ),
            key=lambda i: -len(waveforms[i]),
        )
        begin = 0
        while begin < len(order):
            count = max(1, int(BATCH_S * SAMPLE_RATE_HZ / len(waveforms[order[begin]])))
            chosen = order[begin : begin + count]
            begin += count
            for i, transcript in zip(
                chosen, self._hear([waveforms[i] for i in chosen]), strict=True
            ):
                found[i] = transcript
        return found

    def transcribe_call(
        self,
        samples: np.ndarray,
        sample_rate_hz: int,
        roles: dict[int, str],
        segmentation: Segmentation = Segmentation(),
    ) -> list[TranscriptTurn]:
        """A call (float32 [frames, channels]) as turns in order of their start; `roles` names the channels to hear.

        Raises ValueError when a channel in `roles` is not there.
        """
        size = 30 * sample_rate_hz
        return self._hear_call(
            lambda: (samples[begin : begin + size] for begin in range(0, len(samples), size)),
            sample_rate_hz,
            samples.shape[1],
            roles,
            segmentation,
        )

    def transcribe_file(
        self,
        source: Path | bytes,
        roles: dict[int, str],
        name: str | None = None,
        segmentation: Segmentation = Segmentation(),
    ) -> list[TranscriptTurn]:
        """As `transcribe_call`, of an audio file read in blocks: memory does not grow with its length.

        Raises AudioError when it cannot be decoded.
        """
        info = probe(source, name)
        return self._hear_call(
            lambda: blocks(source, name), info.sample_rate_hz, info.channels, roles, segmentation
        )

    def _hear_call(
        self,
        read: Callable[[], Iterable[np.ndarray]],
        sample_rate_hz: int,
        channels: int,
        roles: dict[int, str],
        segmentation: Segmentation,
    ) -> list[TranscriptTurn]:
        """Reads the call twice: where is speech, then what is said there."""
        missing = [channel for channel in roles if not 0 <= channel < channels]
        if missing:
            raise ValueError(
                f"channel {missing[0]} ({roles[missing[0]]}) is not among the {channels} there."
            )
        segments = speech(read(), sample_rate_hz, sorted(roles), segmentation)
        turns: list[TranscriptTurn] = []
        for group in groups(pieces(read(), sample_rate_hz, segments), GATHERED_S):
            heard = self.transcribe(
                [resample(piece, sample_rate_hz, SAMPLE_RATE_HZ) for _, _, piece in group]
            )
            turns += [
                _turn(roles[channel], segment, found)
                for (segment, channel, _), found in zip(group, heard, strict=True)
                if found.words
            ]
        return sorted(turns, key=lambda turn: (turn.start_s, turn.role))

    def _hear(self, waves: list[np.ndarray]) -> list[Transcript]:
        scores, step_s = self.network.log_probs(waves)
        return [
            self._sure(
                self.decoder(one, step_s) if self.decoder else _greedy(one, self.labels, step_s)
            )
            for one in scores
        ]

    def _sure(self, heard: Transcript) -> Transcript:
        """With the confidence of words as chances of being right, and of the whole as their mean."""
        if self.calibration is None or not heard.words:
            return heard
        chances = self.calibration(np.array([word.confidence for word in heard.words]))
        words = [
            replace(word, confidence=round(float(p), 4))
            for word, p in zip(heard.words, chances, strict=True)
        ]
        return replace(heard, words=words, confidence=round(float(chances.mean()), 4))


def _turn(role: str, segment: Segment, heard: Transcript) -> TranscriptTurn:
    """What was heard in a segment, its times from the start of the call; a word may reach into the padding."""
    begin_s, end_s = segment.from_s, segment.to_s
    words = [
        replace(
            word,
            start_s=round(begin_s + word.start_s, 3),
            end_s=round(min(begin_s + word.end_s, end_s), 3),
        )
        for word in heard.words
    ]
    return TranscriptTurn(
        role,
        min(segment.start_s, words[0].start_s),
        max(segment.end_s, words[-1].end_s),
        heard.text,
        heard.confidence,
        words,
    )


def _greedy(scores: np.ndarray, names: list[str], step_s: float) -> Transcript:
    """The likeliest label of each step of float32 [steps, labels + blank]."""
    return _transcript(scores.argmax(1), np.exp(scores.max(1)), names, step_s)


def _transcript(
    labels: np.ndarray, probability: np.ndarray, names: list[str], step_s: float
) -> Transcript:
    """Greedy CTC: repeats fall together, blanks (the last label) fall out, spaces (▁ in word pieces) part words."""
    if not len(labels):
        return Transcript("", [], 0.0)
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    ends = np.append(starts[1:], len(labels))
    words: list[Word] = []
    sure: list[float] = []
    text, first, last = "", 0, 0

    def close() -> None:
        nonlocal text, sure
        if text:
            confidence = float(np.mean(sure))
            words.append(
                Word(text, round(first * step_s, 3), round(last * step_s, 3), round(confidence, 4))
            )
        text, sure = "", []

    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if labels[start] >= len(names):
            continue
        piece = names[labels[start]].replace("▁", " ")
        if piece.startswith(" "):
            close()
            piece = piece[1:]
        if not piece:
            continue
        if not text:
            first = start
        text, last = text + piece, end
        sure.append(float(probability[start:end].max()))
    close()
    confidence = (
        float(np.mean([word.confidence for word in words])) if words else float(probability.mean())
    )
    return Transcript(" ".join(word.text for word in words), words, round(confidence, 4))
