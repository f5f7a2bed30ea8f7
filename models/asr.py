"""The only door to NeMo for inference: a recogniser that gives words with times and confidence."""

from __future__ import annotations

import contextlib
import logging
import tarfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.audio import resample
from models.segments import Segmentation, speech_segments

if TYPE_CHECKING:
    import torch

SAMPLE_RATE_HZ = 16000
SHORTEST_S = 0.1  # less gives the network no frame to work on


class ModelError(ValueError):
    """A file is not a recogniser we can load. The message names it and says what to do."""


@dataclass(frozen=True)
class Word:
    """One word, in seconds from the start of its waveform."""

    text: str
    start_s: float
    end_s: float
    confidence: float  # mean probability of its labels, 0 to 1


@dataclass(frozen=True)
class Transcript:
    """What was heard in one waveform. Without words the confidence is how sure the network is of silence."""

    text: str
    words: list[Word]
    confidence: float


@dataclass(frozen=True)
class HeardTurn:
    """One stretch of speech of one side of a call, in seconds from the start of the call."""

    role: str
    start_s: float
    end_s: float
    text: str
    confidence: float
    words: list[Word]


# What one waveform's log-probabilities say: float32 [steps, labels + blank] and the seconds a step lasts.
Decoder = Callable[[np.ndarray, float], Transcript]


class Recognizer:
    """A NeMo CTC model (or the CTC branch of a hybrid one) ready to hear.

    Without a `decoder` (see models.decoding) the likeliest label of each step is taken, which is fastest.
    """

    def __init__(self, model: Any, size_bytes: int = 0, decoder: Decoder | None = None) -> None:
        self.model = model
        self.size_bytes = size_bytes
        self.decoder = decoder
        self.labels = [str(label) for label in _decoder(model).vocabulary]

    @property
    def parameters(self) -> int:
        """Weights of the network."""
        return sum(weight.numel() for weight in self.model.parameters())

    def transcribe(self, waveforms: list[np.ndarray], batch_duration_s: float = 120.0) -> list[Transcript]:
        """Each waveform (16 kHz mono float32 [frames]) as words, in the given order.

        Waveforms of like length are heard together, up to `batch_duration_s` of padded audio at once. What is
        shorter than 0.1 s comes back empty.
        """
        found = [Transcript("", [], 0.0)] * len(waveforms)
        order = sorted(
            (i for i, wave in enumerate(waveforms) if len(wave) >= SHORTEST_S * SAMPLE_RATE_HZ),
            key=lambda i: -len(waveforms[i]),
        )
        self.model.eval()
        begin = 0
        while begin < len(order):
            count = max(1, int(batch_duration_s * SAMPLE_RATE_HZ / len(waveforms[order[begin]])))
            chosen = order[begin : begin + count]
            begin += count
            for i, transcript in zip(chosen, self._hear([waveforms[i] for i in chosen]), strict=True):
                found[i] = transcript
        return found

    def transcribe_call(
        self,
        samples: np.ndarray,
        sample_rate_hz: int,
        roles: dict[int, str],
        segmentation: Segmentation = Segmentation(),
        batch_duration_s: float = 120.0,
    ) -> list[HeardTurn]:
        """A call (float32 [frames, channels]) as turns in order of their start; `roles` names the channels to hear.

        Raises ValueError when a channel in `roles` is not there.
        """
        missing = [channel for channel in roles if not 0 <= channel < samples.shape[1]]
        if missing:
            raise ValueError(f"channel {missing[0]} ({roles[missing[0]]}) is not among the {samples.shape[1]} there.")
        places: list[tuple[str, float, float]] = []
        waves: list[np.ndarray] = []
        for channel, role in sorted(roles.items()):
            for start_s, end_s in speech_segments(samples[:, channel], sample_rate_hz, segmentation):
                piece = samples[int(start_s * sample_rate_hz) : int(end_s * sample_rate_hz), channel]
                places.append((role, start_s, end_s))
                waves.append(resample(piece, sample_rate_hz, SAMPLE_RATE_HZ))
        turns = [
            HeardTurn(
                role, start_s, end_s, heard.text, heard.confidence,
                [Word(w.text, start_s + w.start_s, start_s + w.end_s, w.confidence) for w in heard.words],
            )
            for (role, start_s, end_s), heard in zip(places, self.transcribe(waves, batch_duration_s), strict=True)
            if heard.words
        ]  # fmt: skip
        return sorted(turns, key=lambda turn: (turn.start_s, turn.role))

    def _hear(self, waves: list[np.ndarray]) -> list[Transcript]:
        import torch

        lengths = np.array([len(wave) for wave in waves])
        batch = np.zeros((len(waves), lengths.max()), np.float32)
        for row, wave in zip(batch, waves, strict=True):
            row[: len(wave)] = wave
        with torch.inference_mode():
            log_probs, steps = ctc_log_probs(self.model, torch.from_numpy(batch), torch.from_numpy(lengths))
            best, label = log_probs.max(-1)
        probability, labels, counts = best.exp().numpy(), label.numpy(), steps.numpy()
        # How long a step is follows from the longest row, whatever the network's subsampling.
        window_s = float(self.model.cfg.preprocessor.window_stride)
        step_s = window_s * max(1, round(lengths[0] / SAMPLE_RATE_HZ / window_s / max(1, int(counts[0]))))
        if self.decoder:
            scores = log_probs.numpy()
            return [self.decoder(scores[i, : counts[i]], step_s) for i in range(len(waves))]
        return [
            _transcript(labels[i, : counts[i]], probability[i, : counts[i]], self.labels, step_s)
            for i in range(len(waves))
        ]


def load(path: str | Path) -> Recognizer:
    """The recogniser in a local `.nemo`, on the CPU. Raises ModelError when it is not one, naming the file."""
    path = Path(path)
    model = restore(path)
    model.eval()
    return Recognizer(model, path.stat().st_size)


def restore(path: Path) -> Any:
    """The NeMo model in a local `.nemo`, on the CPU, weights only. Raises ModelError."""
    if not path.is_file():
        raise ModelError(f"{path}: no such file. Name a local .nemo.")
    try:
        with tarfile.open(path) as archive:
            members = {Path(name).name for name in archive.getnames()}
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ModelError(f"{path}: not a .nemo (not a tar archive). Export it with NeMo's save_to.") from error
    missing = {"model_config.yaml", "model_weights.ckpt"} - members
    if missing:
        raise ModelError(f"{path}: not a .nemo ({min(missing)} is missing in it). Export it with NeMo's save_to.")
    models = nemo_asr()
    try:
        with quiet():
            model = models.ASRModel.restore_from(str(path), map_location="cpu")
    except Exception as error:  # NeMo raises whatever the damaged part happens to raise
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ModelError(f"{path}: NeMo cannot restore it ({type(error).__name__}: {reason}).") from error
    check(model, str(path))
    return model


def fetch(name: str) -> Any:
    """The NeMo model of that name on the hub (Hugging Face or NGC), on the CPU. Raises ModelError."""
    models = nemo_asr()
    try:
        with quiet():
            model = models.ASRModel.from_pretrained(model_name=name, map_location="cpu")
    except Exception as error:  # no network, no such name, not a speech model: all the same to the caller
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ModelError(
            f"{name}: cannot be fetched from the hub ({type(error).__name__}: {reason}). Name a local .nemo instead."
        ) from error
    check(model, name)
    return model


def check(model: Any, name: str) -> None:
    """Raises ModelError unless `model` has a CTC decoder and listens at 16 kHz."""
    if getattr(_decoder(model), "vocabulary", None) is None or not hasattr(model, "encoder"):
        raise ModelError(f"{name}: {type(model).__name__} has no CTC decoder. Use a CTC or hybrid checkpoint.")
    rate = int(model.cfg.preprocessor.sample_rate)
    if rate != SAMPLE_RATE_HZ:
        raise ModelError(f"{name}: listens at {rate} Hz. Use a checkpoint made for {SAMPLE_RATE_HZ} Hz.")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """NeMo and its friends announce a lot while they load; the person in front wants to read only our words."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def nemo_asr() -> Any:
    """The module `nemo.collections.asr.models`, imported on first use (about 20 s) without its announcements."""
    with quiet():
        from nemo.collections.asr import models
        from nemo.utils import logging as nemo_logging

        nemo_logging.setLevel(logging.ERROR)
    return models


def ctc_log_probs(model: Any, signal: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """float32 [batch, steps, labels + blank] and int64 [batch]; of a hybrid model its CTC branch."""
    if hasattr(model, "ctc_decoder"):
        encoded, steps = model(input_signal=signal, input_signal_length=lengths)
        return model.ctc_decoder(encoder_output=encoded), steps
    log_probs, steps, _ = model(input_signal=signal, input_signal_length=lengths)
    return log_probs, steps


def _decoder(model: Any) -> Any:
    return getattr(model, "ctc_decoder", None) or getattr(model, "decoder", None)


def _transcript(labels: np.ndarray, probability: np.ndarray, names: list[str], step_s: float) -> Transcript:
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
            words.append(Word(text, round(first * step_s, 3), round(last * step_s, 3), round(confidence, 4)))
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
    confidence = float(np.mean([word.confidence for word in words])) if words else float(probability.mean())
    return Transcript(" ".join(word.text for word in words), words, round(confidence, 4))
