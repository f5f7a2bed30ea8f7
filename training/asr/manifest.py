"""Reads NeMo manifests into training speech, and reports the utterances left out, with reasons."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.audio import SAMPLE_RATE_HZ, AudioError, probe, read, resample
from training.asr.speech import Corpus, Utterances

UNREADABLE_AUDIO = "unreadable audio"
EXPORT_AGAIN = "Export it again."


class ManifestError(ValueError):
    """A manifest cannot be trained on. The message names the file, the line and what to do."""


@dataclass(frozen=True)
class Limits:
    """Which utterances are used."""

    shortest_s: float  # shorter ones are skipped
    longest_s: float  # longer ones are skipped
    defect_share: float  # more broken lines than this share refuse the manifest
    in_memory_hours: float  # more speech than this is read from its files while training


@dataclass
class ManifestReport:
    """Counts a manifest's speech: hours given = hours used + hours skipped, with reasons."""

    manifest: str
    utterances: int = 0  # used
    used_s: float = 0.0
    # Reason → utterances, seconds, first (its utterance id).
    skipped: dict[str, dict[str, Any]] = field(default_factory=dict)
    # For people to repair: thing (utterance id), kind, reason, next_step.
    defects: list[dict[str, str]] = field(default_factory=list)

    def skip(self, reason: str, utterance_id: str, duration_s: float) -> None:
        """Counts an utterance that is in order but not used."""
        entry = self.skipped.setdefault(
            reason, {"utterances": 0, "seconds": 0.0, "first": utterance_id}
        )
        entry["utterances"] += 1
        entry["seconds"] += duration_s

    def quarantine(
        self, category: str, utterance_id: str, duration_s: float, *, reason: str, next_step: str
    ) -> None:
        """Counts and lists an utterance that is broken."""
        self.skip(category, utterance_id, duration_s)
        self.defects.append(
            {"thing": utterance_id, "kind": category, "reason": reason, "next_step": next_step}
        )

    def mark_unreadable(self, utterance_id: str, duration_s: float, reason: str) -> None:
        """Moves an utterance that proved unreadable while training from used to broken."""
        self.utterances -= 1
        self.used_s -= duration_s
        self.quarantine(
            UNREADABLE_AUDIO, utterance_id, duration_s, reason=reason, next_step=EXPORT_AGAIN
        )

    def summary(self) -> dict[str, Any]:
        """Returns manifest (folder and name), utterances, hours (used), hours_given and skipped.

        `skipped` is {reason: {utterances, hours, first}}.
        """
        skipped_s = sum(entry["seconds"] for entry in self.skipped.values())
        return {
            "manifest": self._without_place(self.manifest),
            "utterances": self.utterances,
            "hours": self.used_s / 3600,
            "hours_given": (self.used_s + skipped_s) / 3600,
            "skipped": {
                reason: {
                    "utterances": entry["utterances"],
                    "hours": entry["seconds"] / 3600,
                    "first": self._without_place(entry["first"]),
                }
                for reason, entry in sorted(self.skipped.items())
            },
        }

    def _without_place(self, text: str) -> str:
        """Returns a name without the folders that depend on where the store lies."""
        path = Path(self.manifest)
        return text.replace(self.manifest, f"{path.parent.name}/{path.name}", 1)


@dataclass
class FileCorpus(Utterances):
    """Speech left in its files, for more of it than memory holds. Used as a `Corpus`."""

    paths: list[str]
    offset_s: np.ndarray  # float64 [utterances], where in its file each begins
    frames: np.ndarray  # int64 [utterances], samples at 16 kHz, as the manifest has it
    texts: list[str]
    max_unreadable: int  # more unreadable files than this end the training
    unreadable: set[int] = field(default_factory=set)

    def wave(self, index: int, speed: float = 1.0) -> np.ndarray:
        """Decodes an utterance now and returns it as `Corpus.wave` does.

        Raises AudioError for audio that is broken or not as long as the manifest says,
        ManifestError when more than `max_unreadable` utterances are.
        """
        expected_s = self.frames[index] / SAMPLE_RATE_HZ
        try:
            samples = _decode(Path(self.paths[index]), float(self.offset_s[index]), expected_s)
            actual_s = len(samples) / SAMPLE_RATE_HZ
            if abs(actual_s - expected_s) > 0.1 + 0.1 * expected_s:
                raise AudioError(
                    f"{self.paths[index]}: lasts {actual_s:.1f} s, its manifest says "
                    f"{expected_s:.1f}."
                )
        except (AudioError, OSError) as error:
            self.unreadable.add(index)
            if len(self.unreadable) > self.max_unreadable:
                raise ManifestError(
                    f"{error} It is one of {len(self.unreadable)} unreadable of {len(self)} "
                    "utterances; asr.defect_share allows fewer."
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
        """Returns an utterance as `Corpus.wave` does."""
        part = int(np.searchsorted(self._begins, index, "right")) - 1
        wave: np.ndarray = self._parts[part].wave(index - int(self._begins[part]), speed)
        return wave


@dataclass
class TrainingSpeech:
    """The usable utterances of one manifest or several, and their labels."""

    corpus: Corpus | FileCorpus | JoinedCorpus
    tokens: list[np.ndarray]  # int32 [labels] an utterance
    utterance_ids: list[str]  # manifest:line


Encode = Callable[[str], tuple[list[int], str]]


class _Row(NamedTuple):
    """A line of a manifest."""

    utterance_id: str  # manifest:line
    audio: str
    text: str
    offset_s: float
    duration_s: float


def read_manifest(
    path: Path,
    encode: Encode,
    *,
    step_s: float,
    limits: Limits,
    report: ManifestReport,
    for_training: bool = True,
) -> TrainingSpeech:
    """Returns the utterances of a NeMo manifest in the order of its lines; fills `report`.

    `encode` returns a text's label numbers and the characters without a label, `step_s` is the
    audio behind one output step of the network. For training a text must fit its audio; for
    measuring it need not. Paths are relative to the manifest; `offset` and `duration`, either or
    both, cut a longer file as NeMo does. Up to `in_memory_hours` all audio is decoded now, so that
    broken audio is reported now; beyond, durations come from the manifest and audio is decoded
    batch by batch.

    Raises ManifestError when the file cannot be read, when more than `defect_share` of its lines
    are broken, and when nothing is left.
    """
    rows = list(_read_rows(path, report))
    total_s = sum(row.duration_s for row in rows)
    builder: _MemoryBuilder | _FileBuilder = (
        _MemoryBuilder() if total_s <= limits.in_memory_hours * 3600 else _FileBuilder()
    )
    label_step_s = step_s if for_training else None
    tokens: list[np.ndarray] = []
    utterance_ids: list[str] = []
    for row in rows:
        labels, unknown = encode(row.text)
        if unknown:
            report.quarantine(
                "text outside the labels",
                row.utterance_id,
                row.duration_s,
                reason=f"{unknown!r} in {row.text!r} is not among the model's labels",
                next_step="Normalise the text (data.text.normalise), or set asr.vocabulary to "
                "learn other labels.",
            )
        elif _add_row(row, labels, builder, limits=limits, step_s=label_step_s, report=report):
            tokens.append(np.array(labels, np.int32))
            utterance_ids.append(row.utterance_id)
    _assert_usable(path, len(tokens), limits=limits, report=report)
    report.utterances = len(tokens)
    return TrainingSpeech(builder.build(limits.defect_share), tokens, utterance_ids)


def _add_row(
    row: _Row,
    labels: Sequence[int],
    builder: _MemoryBuilder | _FileBuilder,
    *,
    limits: Limits,
    step_s: float | None,
    report: ManifestReport,
) -> bool:
    """Adds an utterance to `builder` and returns True, or tells `report` why it is left out."""
    duration_s = row.duration_s
    reason = _skip_reason(duration_s, labels, limits, step_s=step_s)
    if reason is None:
        try:
            duration_s = builder.add(row)
        except (AudioError, OSError) as error:
            report.quarantine(
                UNREADABLE_AUDIO,
                row.utterance_id,
                duration_s,
                reason=str(error),
                next_step=EXPORT_AGAIN,
            )
            return False
        # Decoded audio may be shorter or longer than its manifest line says.
        reason = _skip_reason(duration_s, labels, limits, step_s=step_s)
        if reason:
            builder.drop_last()
    if reason:
        report.skip(reason, row.utterance_id, duration_s)
        return False
    report.used_s += duration_s
    return True


def texts_of(path: Path) -> list[str]:
    """Returns the texts of a manifest's valid lines. Raises ManifestError if it cannot be read."""
    return [row.text for row in _read_rows(path, ManifestReport(str(path)))]


def _assert_usable(path: Path, n_used: int, *, limits: Limits, report: ManifestReport) -> None:
    """Raises ManifestError when too many lines are broken, or no utterance is left."""
    n_lines = n_used + sum(entry["utterances"] for entry in report.skipped.values())
    if len(report.defects) > limits.defect_share * n_lines:
        first = report.defects[0]
        raise ManifestError(
            f"{first['thing']}: {first['reason'].rstrip('.')}. {first['next_step']} "
            f"{len(report.defects)} of {n_lines} lines are broken; asr.defect_share allows "
            f"{limits.defect_share:.0%}."
        )
    if not n_used:
        reasons = "; ".join(
            f"{entry['utterances']} {reason}" for reason, entry in sorted(report.skipped.items())
        )
        raise ManifestError(
            f"{path}: no utterance to use among {n_lines} lines{f' ({reasons})' * bool(reasons)}. "
            "Deliver more transcribed speech, or relax asr.shortest_s and asr.longest_s."
        )


def _read_rows(path: Path, report: ManifestReport) -> Iterator[_Row]:
    """Yields the valid lines of a manifest; quarantines the others in `report`."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(
            f"{path}: cannot be read ({error}). Give a NeMo manifest, one JSON object a line."
        ) from error
    for number, line in enumerate(lines, start=1):
        utterance_id = f"{path}:{number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            audio, text = str(path.parent / row["audio_filepath"]), row["text"]
            if not isinstance(text, str):
                raise ValueError(f"text is {json.dumps(text)}")
            offset_s, duration_s = _seconds(row, "offset") or 0.0, _seconds(row, "duration")
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            report.quarantine(
                "not a manifest line",
                utterance_id,
                0.0,
                reason=f"not a manifest line ({error})",
                next_step="It needs audio_filepath and text; offset and duration are seconds.",
            )
            continue
        if duration_s is None:
            try:
                duration_s = probe(Path(audio)).duration_s - offset_s
            except (AudioError, OSError) as error:
                report.quarantine(
                    UNREADABLE_AUDIO, utterance_id, 0.0, reason=str(error), next_step=EXPORT_AGAIN
                )
                continue
        yield _Row(utterance_id, audio, text, offset_s, duration_s)


def _seconds(row: dict[str, Any], name: str) -> float | None:
    """Returns a field of a line in seconds, None where it is missing or null.

    Raises ValueError for what is no length of time.
    """
    if row.get(name) is None:
        return None
    value = float(row[name])
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} is {value}")
    return value


def _skip_reason(
    duration_s: float, labels: Sequence[int], limits: Limits, *, step_s: float | None
) -> str | None:
    """Returns why an utterance is not used, None if it is.

    With `step_s` None the text need not fit the audio.
    """
    if duration_s < limits.shortest_s:
        return f"shorter than {limits.shortest_s} s"
    if duration_s > limits.longest_s:
        return f"longer than {limits.longest_s} s"
    if step_s is not None and not labels:
        return "no text"
    if step_s is not None and len(labels) > duration_s / step_s:
        return "more text than fits its audio"
    return None


class _MemoryBuilder:
    """Collects decoded speech into a `Corpus`."""

    def __init__(self) -> None:
        self._waves: list[np.ndarray] = []
        self._texts: list[str] = []

    def add(self, row: _Row) -> float:
        wave = _decode(Path(row.audio), row.offset_s, row.duration_s)
        self._waves.append(wave)
        self._texts.append(row.text)
        return len(wave) / SAMPLE_RATE_HZ

    def drop_last(self) -> None:
        self._waves.pop()
        self._texts.pop()

    def build(self, defect_share: float) -> Corpus:
        frames = np.array([len(wave) for wave in self._waves], np.int64)
        return Corpus(np.concatenate(self._waves), np.cumsum(frames) - frames, frames, self._texts)


class _FileBuilder:
    """Collects the places of speech in files into a `FileCorpus`."""

    def __init__(self) -> None:
        self._rows: list[_Row] = []

    def add(self, row: _Row) -> float:
        if not Path(row.audio).is_file():
            raise AudioError(f"{row.audio}: no such file")
        self._rows.append(row)
        return row.duration_s

    def drop_last(self) -> None:
        self._rows.pop()

    def build(self, defect_share: float) -> FileCorpus:
        durations_s = np.array([row.duration_s for row in self._rows])
        frames = np.round(durations_s * SAMPLE_RATE_HZ).astype(np.int64)
        return FileCorpus(
            paths=[row.audio for row in self._rows],
            offset_s=np.array([row.offset_s for row in self._rows]),
            frames=frames,
            texts=[row.text for row in self._rows],
            max_unreadable=int(defect_share * len(frames)),
        )


def _decode(audio: Path, offset_s: float, duration_s: float) -> np.ndarray:
    """Returns int16 [samples] at 16 kHz. Raises AudioError."""
    samples, rate_hz = read(audio)
    if samples.shape[1] != 1:
        raise AudioError(f"{audio} has {samples.shape[1]} channels. Cut one channel first.")
    wave = samples[round(offset_s * rate_hz) : round((offset_s + duration_s) * rate_hz), 0]
    if not len(wave):
        raise AudioError(f"{audio}: has nothing at {offset_s} s")
    resampled = np.clip(resample(wave, rate_hz, SAMPLE_RATE_HZ), -1, 1)
    pcm: np.ndarray = np.round(resampled * 32767).astype(np.int16)
    return pcm
