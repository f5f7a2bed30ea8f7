"""Transcribes files and folders to JSON, VTT, CTM, Lhotse and NeMo formats."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from data.audio import SAMPLE_RATE_HZ, SUFFIXES, blocks, probe, resample, to_wav_bytes
from data.files import write_text
from data.speech.transcripts import (
    CallTranscript,
    from_json,
    to_ctm,
    to_json,
    to_lhotse,
    to_nemo,
    to_vtt,
)
from evaluation.experience.conversation import SIDES, Span, measure_conversation
from flows.stages.transcription.workers import DIED, TranscriberConfig, _ready, _spread
from models.asr.call_pieces import cut_pieces
from models.asr.segments import Segment


class FilesFailedError(RuntimeError):
    """Some of many files could not be transcribed."""


SHORT_S = 0.5  # about what a word takes, with a margin around it


# Format → suffix, and what makes it of the call alone.
FORMATS: dict[str, tuple[str, Callable[[CallTranscript], str] | None]] = {
    "vtt": (".vtt", to_vtt),
    "ctm": (".ctm", to_ctm),
    "lhotse": (".cuts.jsonl", to_lhotse),
    "nemo": (".nemo.jsonl", None),
    "json": (".json", to_json),
}


@dataclass(frozen=True)
class TranscriptionJob:
    """One file to transcribe.

    It says where the file lies, where its transcripts go (without suffix), and who is on which
    channel.
    """

    audio: Path
    out: Path
    name: str
    formats: tuple[str, ...]
    channels: tuple[str, ...]
    stamp: str  # of model and settings (see model_stamp)


@dataclass(frozen=True)
class JobResult:
    """What became of a job: done, kept (it was transcribed before) or failed.

    `says` is the reason, or a note.
    """

    job: TranscriptionJob
    state: str
    says: str = ""
    audio_s: float = 0.0
    words: int = 0


def transcription_jobs(
    source: Path,
    out: Path,
    *,
    formats: Sequence[str],
    channels: Sequence[str],
    config: TranscriberConfig,
) -> list[TranscriptionJob]:
    """Returns a job for the file `source`, or for each audio file below it, longest first.

    Raises ValueError for a format nobody knows, roles that are not distinct, or where there is no
    recording.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown or not formats:
        raise ValueError(
            f"--format {unknown[0] if unknown else ''}: not known. Formats: {', '.join(FORMATS)}."
        )
    if not channels or len(set(channels)) != len(channels) or not all(channels):
        raise ValueError(
            f"--channels {','.join(channels)}: name each channel once, such as customer,agent."
        )
    if source.is_dir():
        files = sorted(
            path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()
        )
        if not files:
            raise ValueError(f"{source}: no recording in it. Looked for {', '.join(SUFFIXES)}.")
    elif source.is_file():
        files = [source]
    else:
        raise ValueError(
            f"{source}: no such file or folder. Name a recording, or a folder of them."
        )
    root = source if source.is_dir() else source.parent
    stems = [path.relative_to(root).with_suffix("") for path in files]
    count, stamp = Counter(stems), model_stamp(config)
    made = []
    for path, stem in zip(files, stems, strict=True):
        # Two files that differ in their suffix only keep it, so that neither writes over the other.
        place = path.relative_to(root) if count[stem] > 1 else stem
        made.append(
            TranscriptionJob(
                path, out / place, place.as_posix(), tuple(formats), tuple(channels), stamp
            )
        )
    return sorted(made, key=lambda job: -job.audio.stat().st_size)


def model_stamp(config: TranscriberConfig) -> str:
    """Returns a hash of what decides the words.

    That is the model, the files beside it for decoding and calibration, and the settings.
    """
    from data.files import file_sha256
    from models.asr import confidence, decoding

    side_files = [config.model.parent / name for name in (confidence.FILE, *decoding.FILES)]
    inputs = {
        "model": file_sha256(config.model),
        "settings": asdict(config.params),
        "beside": {path.name: file_sha256(path) for path in side_files if path.is_file()},
    }
    return hashlib.blake2b(json.dumps(inputs, sort_keys=True).encode(), digest_size=8).hexdigest()


def transcribe_files(
    config: TranscriberConfig, planned: Sequence[TranscriptionJob], jobs: int
) -> Iterator[JobResult]:
    """Transcribes what is not there yet; yields a result for each job as it is done.

    A file that fails stops no other.
    """
    waiting = []
    for job in planned:
        earlier = _earlier_transcript(job)
        if earlier and all(path.exists() for path in _output_paths(job)):
            yield JobResult(job, "kept", _note(job, earlier), earlier.duration_s)
        else:
            waiting.append(job)
    for (job,), outcome in _spread(_transcribe_file, [(job,) for job in waiting], config, jobs):
        yield outcome or JobResult(job, "failed", f"{job.audio}: {DIED}")


def _transcribe_file(job: TranscriptionJob) -> JobResult:
    recognizer, config = _ready()
    try:
        call = _earlier_transcript(job)
        if call is None:
            info = probe(job.audio)
            roles = _roles(job, info.channels)
            turns = recognizer.transcribe_file(
                job.audio, roles, None, segmentation=config.params.segmentation
            )
            spans = [Span(turn.role, turn.start_s, turn.end_s, len(turn.words)) for turn in turns]
            call = CallTranscript(
                job.name,
                str(job.audio.resolve()),
                info.sample_rate_hz,
                info.channels,
                info.frames,
                roles,
                turns,
                job.stamp,
                recognizer.calibration is not None,
                measure_conversation(spans, info.duration_s, config.params.conversation)
                if set(SIDES) <= set(roles.values())
                else {},
            )
        _write(job, call)
    except (ValueError, OSError) as error:
        return JobResult(job, "failed", str(error))
    except Exception as error:
        # Memory ran out, or a library met what it does not know: the other files go on.
        return JobResult(job, "failed", f"{job.audio}: {type(error).__name__}: {error}")
    words = sum(len(turn.words) for turn in call.turns)
    return JobResult(job, "done", _note(job, call), call.duration_s, words)


def _note(job: TranscriptionJob, call: CallTranscript) -> str:
    """Returns what a person should know of a file in which no word was recognised."""
    if call.turns:
        return ""
    if call.duration_s < SHORT_S:
        return (
            f"{job.audio}: too short to hear ({call.duration_s:.2f} s; a word takes about "
            f"{SHORT_S:g} s)."
        )
    return f"{job.audio}: no word in it ({call.duration_s:.1f} s)."


def _roles(job: TranscriptionJob, channels: int) -> dict[int, str]:
    if channels == 1 and len(job.channels) > 1:
        return {0: "speaker"}  # both sides in one channel: nobody can say who is who
    if channels < len(job.channels):
        raise ValueError(
            f"{job.audio}: {channels} channels, {len(job.channels)} roles. Name them with "
            "--channels."
        )
    return dict(enumerate(job.channels))


def _output_paths(job: TranscriptionJob) -> list[Path]:
    """Returns the files of a job.

    The JSON is always among them and written last: it says that all is there.
    """
    return [
        _path_with(job, suffix)
        for name, (suffix, _) in FORMATS.items()
        if name in (*job.formats, "json")
    ]


def _path_with(job: TranscriptionJob, suffix: str) -> Path:
    return job.out.with_name(job.out.name + suffix)


def _earlier_transcript(job: TranscriptionJob) -> CallTranscript | None:
    """Returns an earlier transcript of this very file by this very model, if there is one."""
    try:
        call = from_json(_path_with(job, ".json").read_text(encoding="utf-8"))
        info = probe(job.audio)
    except (OSError, ValueError):
        return None
    same = call.model == job.stamp and call.roles == _roles(job, info.channels)
    unchanged = (call.frames, call.sample_rate_hz) == (info.frames, info.sample_rate_hz)
    newer = job.audio.stat().st_mtime <= _path_with(job, ".json").stat().st_mtime
    return replace(call, name=job.name) if same and unchanged and newer else None


def _write(job: TranscriptionJob, call: CallTranscript) -> None:
    for name, (suffix, make) in FORMATS.items():
        if name in (*job.formats, "json"):
            write_text(
                _path_with(job, suffix), make(call) if make else to_nemo(call, _cuts(job, call))
            )


def _cuts(job: TranscriptionJob, call: CallTranscript) -> list[str]:
    """Writes each turn as 16 kHz mono WAV; returns the files' names relative to the manifest."""
    folder = _path_with(job, ".cuts")
    folder.mkdir(parents=True, exist_ok=True)
    numbers = sorted(range(len(call.turns)), key=lambda number: call.turns[number].end_s)
    spans = [call.turns[number] for number in numbers]
    segments = [
        (Segment(turn.start_s, turn.end_s, turn.start_s, turn.end_s), call.channel_of(turn.role))
        for turn in spans
    ]
    read = cut_pieces(blocks(job.audio), call.sample_rate_hz, segments)
    for number, (_, _, samples) in zip(numbers, read, strict=True):
        cut = resample(samples, call.sample_rate_hz, SAMPLE_RATE_HZ)
        (folder / f"{number:05d}.wav").write_bytes(to_wav_bytes(cut, SAMPLE_RATE_HZ))
    for path in folder.glob("*.wav"):  # of an earlier transcript with more turns
        if int(path.stem) >= len(call.turns):
            path.unlink()
    return [f"{folder.name}/{number:05d}.wav" for number in range(len(call.turns))]
