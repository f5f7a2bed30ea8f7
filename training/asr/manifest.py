"""Reads a NeMo manifest into speech to train on; what cannot be used is left out with its reason, hours and place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.audio import AudioError, probe, read, resample
from training.asr.speech import SAMPLE_RATE_HZ, Corpus, Utterances


class ManifestError(ValueError):
    """A manifest cannot be trained on. The message names the file, the line and what to do."""


@dataclass(frozen=True)
class Limits:
    """Which utterances are taken."""

    shortest_s: float  # shorter ones are skipped
    longest_s: float  # longer ones are skipped
    defect_share: float  # more broken lines than this share refuse the manifest
    in_memory_hours: float  # more speech than this is read from its files while training


@dataclass
class ManifestReport:
    """What became of a manifest's speech: hours given = hours used + hours skipped, each with its reason."""

    manifest: str
    utterances: int = 0  # used
    used_s: float = 0.0
    skipped: dict[str, dict[str, Any]] = field(
        default_factory=dict
    )  # reason → utterances, seconds, first
    defects: list[dict[str, str]] = field(
        default_factory=list
    )  # for people to repair: thing, reason, next_step

    def skip(self, reason: str, thing: str, duration_s: float) -> None:
        """Counts an utterance that is in order but not wanted."""
        entry = self.skipped.setdefault(reason, {"utterances": 0, "seconds": 0.0, "first": thing})
        entry["utterances"] += 1
        entry["seconds"] += duration_s

    def quarantine(
        self, kind: str, thing: str, duration_s: float, reason: str, next_step: str
    ) -> None:
        """Counts and lists an utterance that is broken."""
        self.skip(kind, thing, duration_s)
        self.defects.append(
            {"thing": thing, "kind": kind, "reason": reason, "next_step": next_step}
        )

    def lose(self, thing: str, duration_s: float, reason: str) -> None:
        """Counts an utterance that was taken and proved unreadable while training."""
        self.utterances -= 1
        self.used_s -= duration_s
        self.quarantine("unreadable audio", thing, duration_s, reason, "Export it again.")

    def summary(self) -> dict[str, Any]:
        """manifest, utterances and hours used, hours given, and skipped {reason: utterances, hours, first}."""
        lost_s = sum(entry["seconds"] for entry in self.skipped.values())
        return {
            "manifest": self.manifest,
            "utterances": self.utterances,
            "hours": self.used_s / 3600,
            "hours_given": (self.used_s + lost_s) / 3600,
            "skipped": {
                reason: {
                    "utterances": entry["utterances"],
                    "hours": entry["seconds"] / 3600,
                    "first": entry["first"],
                }
                for reason, entry in sorted(self.skipped.items())
            },
        }


@dataclass
class FileCorpus(Utterances):
    """Speech left in its files, for more of it than memory holds. Used as a `Corpus`."""

    paths: list[str]
    offset_s: np.ndarray  # float64 [utterances], where in its file each begins
    frames: np.ndarray  # int64 [utterances], length in samples at 16 kHz, as the manifest has it
    texts: list[str]
    bearable: int  # more unreadable files than this end the training
    unreadable: set[int] = field(default_factory=set)

    def wave(self, index: int, speed: float = 1.0) -> np.ndarray:
        """As `Corpus.wave`, decoded now.

        Raises AudioError for audio that is broken or not as long as promised, ManifestError when there is too much
        of that.
        """
        promised_s = self.frames[index] / SAMPLE_RATE_HZ
        try:
            samples = _decode(Path(self.paths[index]), float(self.offset_s[index]), promised_s)
            there_s = len(samples) / SAMPLE_RATE_HZ
            if abs(there_s - promised_s) > 0.1 + 0.1 * promised_s:
                raise AudioError(
                    f"{self.paths[index]}: lasts {there_s:.1f} s, its manifest says {promised_s:.1f}."
                )
        except (AudioError, OSError) as error:
            self.unreadable.add(index)
            if len(self.unreadable) > self.bearable:
                raise ManifestError(
                    f"{error} It is one of {len(self.unreadable)} unreadable of {len(self)} utterances; "
                    "asr.defect_share allows fewer."
                ) from error
            raise AudioError(str(error)) from error
        return Corpus(samples, np.array([0]), np.array([len(samples)]), [""]).wave(0, speed)


class JoinedCorpus(Utterances):
    """Several corpora as one."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts = parts
        self._begins = np.cumsum([0, *(len(part) for part in parts)])
        self.frames = np.concatenate([part.frames for part in parts])
        self.texts = [text for part in parts for text in part.texts]

    def wave(self, index: int, speed: float = 1.0) -> np.ndarray:
        """As `Corpus.wave`."""
        part = int(np.searchsorted(self._begins, index, "right")) - 1
        return self._parts[part].wave(index - int(self._begins[part]), speed)


@dataclass
class TrainingSpeech:
    """The usable utterances of one manifest or several, and their labels."""

    corpus: Corpus | FileCorpus | JoinedCorpus
    tokens: list[np.ndarray]  # int32 [labels] an utterance
    things: list[str]  # manifest:line, to name an utterance by


Encode = Callable[[str], tuple[list[int], str]]


def read_manifest(
    path: Path,
    encode: Encode,
    *,
    step_s: float,
    limits: Limits,
    account: ManifestReport,
    learn: bool = True,
) -> TrainingSpeech:
    """The utterances of a NeMo manifest in the order of its lines; `account` tells what was left out and why.

    `encode` gives a text's label numbers and the characters it has none for, `step_s` is the audio behind a step of
    the network. To `learn`, text must fit its audio; to measure, it need not. Paths are relative to the manifest;
    `offset` and `duration`, either or both, cut a longer file as NeMo does. Up to `in_memory_hours` everything is
    decoded now, so that broken audio is found now; beyond, durations are taken from the manifest and audio is decoded
    batch by batch.

    Raises ManifestError when the file cannot be read, when more than `defect_share` of its lines are broken, and when
    nothing is left.
    """
    rows = list(_rows(path, account))
    total_s = sum(duration_s for *_, duration_s in rows)
    corpus_of: _InMemory | _InFiles = (
        _InMemory() if total_s <= limits.in_memory_hours * 3600 else _InFiles()
    )
    tokens: list[np.ndarray] = []
    things: list[str] = []
    for where, audio, text, offset_s, duration_s in rows:
        labels, unknown = encode(text)
        if unknown:
            account.quarantine(
                "text outside the labels",
                where,
                duration_s,
                f"{unknown!r} in {text!r} is not among the model's labels",
                "Normalise the text (data.text.normalise), or set asr.vocabulary to learn other labels.",
            )
            continue
        reason = _unwanted(duration_s, len(labels), step_s, limits, learn)
        if reason is None:
            try:
                duration_s = corpus_of.take(audio, text, offset_s, duration_s)
            except (AudioError, OSError) as error:
                account.quarantine(
                    "unreadable audio", where, duration_s, str(error), "Export it again."
                )
                continue
            reason = _unwanted(duration_s, len(labels), step_s, limits, learn)
            if reason:
                corpus_of.drop()
        if reason:
            account.skip(reason, where, duration_s)
            continue
        tokens.append(np.array(labels, np.int32))
        things.append(where)
        account.used_s += duration_s
    lines = len(tokens) + sum(entry["utterances"] for entry in account.skipped.values())
    if len(account.defects) > limits.defect_share * lines:
        first = account.defects[0]
        raise ManifestError(
            f"{first['thing']}: {first['reason'].rstrip('.')}. {first['next_step']} {len(account.defects)} of {lines} "
            f"lines are broken; asr.defect_share allows {limits.defect_share:.0%}."
        )
    if not tokens:
        reasons = "; ".join(
            f"{entry['utterances']} {reason}" for reason, entry in sorted(account.skipped.items())
        )
        raise ManifestError(
            f"{path}: no utterance to use among {lines} lines{f' ({reasons})' * bool(reasons)}. "
            "Deliver more transcribed speech, or relax asr.shortest_s and asr.longest_s."
        )
    account.utterances = len(tokens)
    return TrainingSpeech(corpus_of.corpus(limits.defect_share), tokens, things)


def texts_of(path: Path) -> list[str]:
    """The text of each line of a manifest that has one. Raises ManifestError when the file cannot be read."""
    return [text for _, _, text, _, _ in _rows(path, ManifestReport(str(path)))]


def _rows(path: Path, account: ManifestReport) -> Iterator[tuple[str, str, str, float, float]]:
    """(manifest:line, audio, text, offset_s, duration_s) of each line that is one."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(
            f"{path}: cannot be read ({error}). Give a NeMo manifest, one JSON object a line."
        ) from error
    for number, line in enumerate(lines, start=1):
        where = f"{path}:{number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            audio, text = str(path.parent / row["audio_filepath"]), row["text"]
            if not isinstance(text, str):
                raise ValueError(f"text is {json.dumps(text)}")
            offset_s, duration_s = _seconds(row, "offset") or 0.0, _seconds(row, "duration")
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            account.quarantine(
                "not a manifest line",
                where,
                0.0,
                f"not a manifest line ({error})",
                "It needs audio_filepath and text; offset and duration are seconds.",
            )
            continue
        if duration_s is None:
            try:
                duration_s = probe(Path(audio)).duration_s - offset_s
            except (AudioError, OSError) as error:
                account.quarantine("unreadable audio", where, 0.0, str(error), "Export it again.")
                continue
        yield where, audio, text, offset_s, duration_s


def _seconds(row: dict[str, Any], name: str) -> float | None:
    """None where a line has no such field, or null in it. Raises ValueError for what is no length of time."""
    if row.get(name) is None:
        return None
    value = float(row[name])
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} is {value}")
    return value


def _unwanted(
    duration_s: float, labels: int, step_s: float, limits: Limits, learn: bool
) -> str | None:
    if duration_s < limits.shortest_s:
        return f"shorter than {limits.shortest_s} s"
    if duration_s > limits.longest_s:
        return f"longer than {limits.longest_s} s"
    if learn and not labels:
        return "no text"
    if learn and labels > duration_s / step_s:
        return "more text than fits its audio"
    return None


class _InMemory:
    """Gathers decoded speech."""

    def __init__(self) -> None:
        self._pieces: list[np.ndarray] = []
        self._texts: list[str] = []

    def take(self, audio: str, text: str, offset_s: float, duration_s: float) -> float:
        piece = _decode(Path(audio), offset_s, duration_s)
        self._pieces.append(piece)
        self._texts.append(text)
        return len(piece) / SAMPLE_RATE_HZ

    def drop(self) -> None:
        self._pieces.pop()
        self._texts.pop()

    def corpus(self, defect_share: float) -> Corpus:
        frames = np.array([len(piece) for piece in self._pieces], np.int64)
        return Corpus(np.concatenate(self._pieces), np.cumsum(frames) - frames, frames, self._texts)


class _InFiles:
    """Gathers where speech lies."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, float, float, str]] = []

    def take(self, audio: str, text: str, offset_s: float, duration_s: float) -> float:
        if not Path(audio).is_file():
            raise AudioError(f"{audio}: no such file")
        self._rows.append((audio, offset_s, duration_s, text))
        return duration_s

    def drop(self) -> None:
        self._rows.pop()

    def corpus(self, defect_share: float) -> FileCorpus:
        paths, offsets, durations, texts = zip(*self._rows, strict=True)
        frames = np.round(np.array(durations) * SAMPLE_RATE_HZ).astype(np.int64)
        return FileCorpus(
            list(paths), np.array(offsets), frames, list(texts), int(defect_share * len(frames))
        )


def _decode(audio: Path, offset_s: float, duration_s: float) -> np.ndarray:
    """int16 [frames] at 16 kHz. Raises AudioError."""
    samples, rate_hz = read(audio)
    if samples.shape[1] != 1:
        raise AudioError(f"{audio} has {samples.shape[1]} channels. Cut one channel first.")
    wave = samples[round(offset_s * rate_hz) : round((offset_s + duration_s) * rate_hz), 0]
    if not len(wave):
        raise AudioError(f"{audio}: has nothing at {offset_s} s")
    return np.round(np.clip(resample(wave, rate_hz, SAMPLE_RATE_HZ), -1, 1) * 32767).astype(
        np.int16
    )
