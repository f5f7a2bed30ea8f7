"""Transcribes waveforms and two-channel calls with a CTC network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data.audio import SAMPLE_RATE_HZ, blocks, probe, resample
from data.speech.transcripts import TranscriptTurn, Word
from models.asr import confidence
from models.asr.call_pieces import cut_pieces, find_speech, group_pieces
from models.asr.nemo import NemoNetwork
from models.asr.onnx_network import OnnxNetwork
from models.asr.segments import Segment, Segmentation
from models.asr.transcript import SHORTEST_S, Decoder, Transcript

# Seconds of padded audio in a batch; measured fastest on one core, larger batches leave the cache.
BATCH_S = 30.0
# Seconds of speech cut from a call before it is recognised, so that pieces of like length share a
# batch.
GROUP_S = 240.0


class Network(Protocol):
    """A CTC network: its labels, and their log-probabilities at each step."""

    labels: list[str]

    @property
    def parameters(self) -> int: ...

    def log_probs(self, waves: list[np.ndarray]) -> tuple[list[np.ndarray], float]: ...


class Recognizer:
    """A CTC network with decoder and calibration: a NeMo model, or what `export_onnx` made of one.

    Without a `decoder` (see models.asr.decoding) the likeliest label of each step is taken, which
    is fastest. Without a `calibration` a word's confidence is the network's own score of it, which
    is overconfident.
    """

    def __init__(
        self,
        model: Any,
        size_bytes: int = 0,
        *,
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
        """Returns the transcript of each waveform (16 kHz mono float32 [frames]), in their order.

        Waveforms of like length share a batch of up to BATCH_S of padded audio. One shorter than
        0.1 s has an empty transcript.
        """
        transcripts = [Transcript("", [], 0.0)] * len(waveforms)
        order = sorted(
            (i for i, wave in enumerate(waveforms) if len(wave) >= SHORTEST_S * SAMPLE_RATE_HZ),
            key=lambda i: -len(waveforms[i]),
        )
        begin = 0
        while begin < len(order):
            count = max(1, int(BATCH_S * SAMPLE_RATE_HZ / len(waveforms[order[begin]])))
            chosen = order[begin : begin + count]
            begin += count
            batch = self._transcribe_batch([waveforms[i] for i in chosen])
            for i, transcript in zip(chosen, batch, strict=True):
                transcripts[i] = transcript
        return transcripts

    def transcribe_call(
        self,
        samples: np.ndarray,
        sample_rate_hz: int,
        roles: dict[int, str],
        *,
        segmentation: Segmentation = Segmentation(),
    ) -> list[TranscriptTurn]:
        """Returns a call (float32 [frames, channels]) as turns in order of their start.

        `roles` maps the channels to transcribe to who speaks on them. Raises ValueError when the
        call has no such channel.
        """
        size = 30 * sample_rate_hz
        call = _Call(
            lambda: (samples[begin : begin + size] for begin in range(0, len(samples), size)),
            sample_rate_hz,
            samples.shape[1],
        )
        return self._transcribe_call(call, roles, segmentation)

    def transcribe_file(
        self,
        source: Path | bytes,
        roles: dict[int, str],
        name: str | None = None,
        *,
        segmentation: Segmentation = Segmentation(),
    ) -> list[TranscriptTurn]:
        """Returns an audio file as turns, as `transcribe_call` does.

        The file (its path, or its content under `name`) is read in blocks, so memory does not grow
        with its length. Raises AudioError when it cannot be decoded.
        """
        info = probe(source, name)
        call = _Call(lambda: blocks(source, name), info.sample_rate_hz, info.channels)
        return self._transcribe_call(call, roles, segmentation)

    def _transcribe_call(
        self, call: _Call, roles: dict[int, str], segmentation: Segmentation
    ) -> list[TranscriptTurn]:
        """Reads the call twice: to find its speech, then to recognise it."""
        missing = [channel for channel in roles if not 0 <= channel < call.channels]
        if missing:
            raise ValueError(
                f"channel {missing[0]} ({roles[missing[0]]}) is not among "
                f"the {call.channels} there."
            )
        rate_hz = call.sample_rate_hz
        segments = find_speech(
            call.read(), rate_hz, channels=sorted(roles), segmentation=segmentation
        )
        turns: list[TranscriptTurn] = []
        for group in group_pieces(cut_pieces(call.read(), rate_hz, segments), GROUP_S):
            transcripts = self.transcribe(
                [resample(piece, rate_hz, SAMPLE_RATE_HZ) for _, _, piece in group]
            )
            turns += [
                _turn(roles[channel], segment, transcript)
                for (segment, channel, _), transcript in zip(group, transcripts, strict=True)
                if transcript.words
            ]
        return sorted(turns, key=lambda turn: (turn.start_s, turn.role))

    def _transcribe_batch(self, waves: list[np.ndarray]) -> list[Transcript]:
        outputs, step_s = self.network.log_probs(waves)
        decode = self.decoder or partial(greedy_decode, self.labels)
        return [self._calibrate(decode(log_probs, step_s)) for log_probs in outputs]

    def _calibrate(self, transcript: Transcript) -> Transcript:
        """The transcript with calibrated confidences of words, and their mean as its own."""
        if self.calibration is None or not transcript.words:
            return transcript
        confidences = self.calibration(np.array([word.confidence for word in transcript.words]))
        words = [
            replace(word, confidence=round(float(confidence), 4))
            for word, confidence in zip(transcript.words, confidences, strict=True)
        ]
        return replace(transcript, words=words, confidence=round(float(confidences.mean()), 4))


@dataclass(frozen=True)
class _Call:
    """A call that can be read more than once, block by block: float32 [frames, channels]."""

    read: Callable[[], Iterable[np.ndarray]]
    sample_rate_hz: int
    channels: int


def _turn(role: str, segment: Segment, transcript: Transcript) -> TranscriptTurn:
    """The transcript of a segment as a turn, with times from the start of the call.

    A word may reach into the padding of the segment.
    """
    begin_s, end_s = segment.from_s, segment.to_s
    words = [
        replace(
            word,
            start_s=round(begin_s + word.start_s, 3),
            end_s=round(min(begin_s + word.end_s, end_s), 3),
        )
        for word in transcript.words
    ]
    return TranscriptTurn(
        role,
        min(segment.start_s, words[0].start_s),
        max(segment.end_s, words[-1].end_s),
        transcript.text,
        transcript.confidence,
        words,
    )


def greedy_decode(names: list[str], log_probs: np.ndarray, step_s: float) -> Transcript:
    """Returns the likeliest label of each step of float32 [steps, labels + blank], as words."""
    best, probability = log_probs.argmax(1), np.exp(log_probs.max(1))
    return collapse_labels(best, probability, names=names, step_s=step_s)


def collapse_labels(
    labels: np.ndarray, probability: np.ndarray, *, names: list[str], step_s: float
) -> Transcript:
    """Collapses a CTC path, labels and their probabilities [steps], to words with times.

    Repeats become one label, blanks (the last label) are dropped, and spaces (▁ in word pieces)
    part words (Graves et al. 2006). A word's confidence is the mean over its labels of their
    highest probability.
    """
    if not len(labels):
        return Transcript("", [], 0.0)
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    ends = np.append(starts[1:], len(labels))
    words: list[Word] = []
    scores: list[float] = []  # of the labels of the word so far
    text, first, last = "", 0, 0

    def end_word() -> None:
        nonlocal text, scores
        if text:
            confidence = float(np.mean(scores))
            words.append(
                Word(text, round(first * step_s, 3), round(last * step_s, 3), round(confidence, 4))
            )
        text, scores = "", []

    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if labels[start] >= len(names):
            continue
        piece = names[labels[start]].replace("▁", " ")
        if piece.startswith(" "):
            end_word()
            piece = piece[1:]
        if not piece:
            continue
        if not text:
            first = start
        text, last = text + piece, end
        scores.append(float(probability[start:end].max()))
    end_word()
    confidence = (
        float(np.mean([word.confidence for word in words])) if words else float(probability.mean())
    )
    return Transcript(" ".join(word.text for word in words), words, round(confidence, 4))
