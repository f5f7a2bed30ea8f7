"""A5: long two-channel calls come out as words with times, confidence and roles; memory does not
grow with length.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.simulator.voice import Synthesizer, voices
from data.speech.transcripts import CallTranscript, from_json
from flows.runtime.transcription_params import HearingParams
from flows.stages.transcription.files import JobResult, transcribe_files, transcription_jobs
from flows.stages.transcription.workers import TranscriberConfig
from models.asr.load import cached_export
from models.asr.nemo import ExportError
from models.asr.recognizer import Recognizer
from tests.speech_helpers import a_nemo

ROOT = Path(__file__).resolve().parents[2]
MINUTE_S = 60
TEXTS = (
    (2.0, 1, "good morning how can i help you today"),
    (7.5, 0, "i want to cancel my plan at the end of the month"),
    (13.0, 1, "may i ask why"),
    (16.5, 0, "it is too expensive"),
    (17.2, 1, "i see"),
    (49.0, 1, "thank you for waiting"),
    (54.0, 0, "all right then"),
)


def a_minute() -> tuple[np.ndarray, list[tuple[float, float, int]]]:
    """A minute of a call (8 kHz, two channels) and when which channel speaks."""
    call = np.random.default_rng(0).normal(0, 0.001, (8000 * MINUTE_S, 2)).astype(np.float32)
    spans = []
    for begin_s, channel, text in TEXTS:
        speech = Synthesizer().speak(text, voices(4, 3)[channel], 8000)
        loud = np.flatnonzero(np.abs(speech) > 0.05 * np.abs(speech).max())
        call[int(8000 * begin_s) :][: len(speech), channel] += 0.4 * speech
        spans.append((begin_s + loud[0] / 8000, begin_s + loud[-1] / 8000, channel))
    return call, spans


def a_long_call(path: Path, minutes: int) -> list[tuple[float, float, int]]:
    """Writes that minute again and again as a G.711 file; returns when which channel speaks."""
    call, spans = a_minute()
    with soundfile.SoundFile(path, "w", 8000, 2, subtype="ULAW", format="WAV") as handle:
        for _ in range(minutes):
            handle.write(call)
    return [
        (MINUTE_S * n + begin, MINUTE_S * n + end, channel)
        for n in range(minutes)
        for begin, end, channel in spans
    ]


@pytest.fixture(scope="module")
def transcriber(tmp_path_factory: pytest.TempPathFactory) -> TranscriberConfig:
    folder = tmp_path_factory.mktemp("transcriber")
    return TranscriberConfig(
        a_nemo(folder / "model.nemo", channels=16, kernels=(5,)),
        folder / "exports",
        HearingParams(),
    )


def transcribe(
    transcriber: TranscriberConfig,
    source: Path,
    out: Path,
    *formats: str,
    channels: str = "customer,agent",
) -> list[JobResult]:
    jobs = transcription_jobs(
        source, out, formats=formats or ("json",), channels=channels.split(","), config=transcriber
    )
    return sorted(transcribe_files(transcriber, jobs, 1), key=lambda outcome: outcome.job.name)


def read_transcript(path: Path) -> CallTranscript:
    return from_json(path.read_text())


# The peak of getrusage would begin with that of the process which tests run in; this one begins
# with the program.
PEAKS = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from models.asr.load import load
recognizer = load(sys.argv[1], Path(sys.argv[2]))
for path in sys.argv[3:]:
    turns = recognizer.transcribe_file(Path(path), {0: "customer", 1: "agent"})
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(int(peak.split()[1]) // 1024)
print(json.dumps([asdict(turn) for turn in turns]))
assert not {"torch", "nemo"} & set(sys.modules), "hearing through an export needs neither"
"""


def test_A5_an_hour_long_call_is_heard_whole_in_order_and_in_bounded_memory(
    transcriber: TranscriberConfig, tmp_path: Path
) -> None:
    a_long_call(tmp_path / "five.wav", 5)
    spoken = a_long_call(tmp_path / "hour.wav", 60)
    assert transcriber.exports is not None
    assert cached_export(transcriber.model, transcriber.exports)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PEAKS,
            transcriber.model,
            transcriber.exports,
            tmp_path / "five.wav",
            tmp_path / "hour.wav",
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert not done.returncode, done.stderr
    short_mb, long_mb, turns_json = done.stdout.splitlines()
    assert int(long_mb) < int(short_mb) + 60, "an hour takes as much memory as five minutes"
    assert int(long_mb) < 1500
    read_transcript = json.loads(turns_json)
    assert [turn["start_s"] for turn in read_transcript] == sorted(
        turn["start_s"] for turn in read_transcript
    )
    for role, channel in (("customer", 0), ("agent", 1)):
        turns = [turn for turn in read_transcript if turn["role"] == role]
        covered = np.zeros(36000, bool)
        for turn in turns:
            covered[int(turn["start_s"] * 10) : int(turn["end_s"] * 10) + 1] = True
        expected = [(begin, end) for begin, end, side in spoken if side == channel]
        assert (
            np.mean(
                [covered[int(begin * 10 + 1) : int(end * 10)].mean() for begin, end in expected]
            )
            > 0.98
        )
        spoken_s = sum(end - begin for begin, end in expected)
        assert covered.sum() / 10 < spoken_s + 0.7 * len(expected), (
            "more than speech and a margin around it"
        )
        words = [word for turn in turns for word in turn["words"]]
        assert len(words) >= len(expected)
        times = [time for word in words for time in (word["start_s"], word["end_s"])]
        assert times == sorted(times)
        assert times[-1] <= 3600
        assert all(0 <= word["confidence"] <= 1 for word in words)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings as people have them: a call, one in a sub-folder, mixed to mono, too short, not
    audio, cut off.
    """
    place = tmp_path / "calls"
    (place / "monday").mkdir(parents=True)
    a_long_call(place / "call.wav", 1)
    minute, _ = a_minute()
    soundfile.write(place / "monday" / "late.flac", minute[: 8000 * 20], 8000)
    soundfile.write(place / "mixed.wav", minute[: 8000 * 20].mean(1), 8000)
    soundfile.write(place / "short.wav", minute[8000 * 8 :][:800], 8000)
    (place / "letter.wav").write_text("not a recording")
    (place / "torn.wav").write_bytes((place / "call.wav").read_bytes()[:200_000])
    (place / "notes.txt").write_text("not asked for")
    return place


def test_A5_a_folder_is_heard_with_the_unreadable_named_and_a_second_run_has_nothing_to_do(
    transcriber: TranscriberConfig, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = {
        outcome.job.name: outcome for outcome in transcribe(transcriber, folder, out, "json", "vtt")
    }
    assert {name: outcome.state for name, outcome in first.items()} == {
        "call": "done",
        "monday/late": "done",
        "mixed": "done",
        "short": "done",
        "letter": "failed",
        "torn": "failed",
    }
    assert "letter.wav: not audio" in first["letter"].says
    assert "torn.wav: truncated" in first["torn"].says
    assert read_transcript(out / "short.json").turns == []
    assert "short.wav: too short to hear (0.10 s" in first["short"].says
    assert not first["call"].says
    assert read_transcript(out / "call.json").conversation["holds"] == 1
    assert read_transcript(out / "call.json").conversation["overlap_s"] > 0.1
    assert not read_transcript(out / "call.json").calibrated
    assert {turn.role for turn in read_transcript(out / "mixed.json").turns} == {"speaker"}
    assert {turn.role for turn in read_transcript(out / "monday" / "late.json").turns} == {
        "customer",
        "agent",
    }
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert len(written) == 8
    again = {
        outcome.job.name: outcome.state
        for outcome in transcribe(transcriber, folder, out, "json", "vtt")
    }
    assert again == {
        **dict.fromkeys(("call", "monday/late", "mixed", "short"), "kept"),
        "letter": "failed",
        "torn": "failed",
    }
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == written


def test_A5_the_command_says_what_failed_and_exits_non_zero(
    transcriber: TranscriberConfig, folder: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "flows.cli",
        "transcribe",
        folder,
        "--out",
        tmp_path / "out",
        "--format",
        "vtt,ctm",
        "--model",
        transcriber.model,
        "--jobs",
        "2",
        "--store",
        tmp_path / "store",
    ]
    (tmp_path / "store").mkdir()
    assert transcriber.exports is not None
    transcriber.exports.mkdir(exist_ok=True)
    (tmp_path / "store" / "exports").symlink_to(transcriber.exports)
    done = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    # The terminal breaks lines where long paths happen to end.
    output = " ".join(done.stdout.split())
    assert "torn.wav: truncated" in output
    assert "short.wav: too short to hear (0.10 s" in output
    assert "4 heard" in output
    assert "confidence is uncalibrated" in output
    assert "2 of 6 recordings could not be heard" in " ".join(done.stderr.split())
    assert (tmp_path / "out" / "call.ctm").read_text().startswith("call 1 ")


@dataclass(frozen=True)
class Deadly:
    """The name of a file that ends any process it is sent to, as running out of memory does."""

    name: str

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (9,)

    def __str__(self) -> str:
        return self.name


def test_A5_a_file_that_a_process_dies_of_stops_no_other(
    transcriber: TranscriberConfig, tmp_path: Path
) -> None:
    minute, _ = a_minute()
    (tmp_path / "calls").mkdir()
    for number in range(3):
        soundfile.write(tmp_path / "calls" / f"{number}.wav", minute[: 8000 * 6], 8000)
    first, *others = transcription_jobs(
        tmp_path / "calls",
        tmp_path / "out",
        formats=("json",),
        channels=("customer", "agent"),
        config=transcriber,
    )
    deadly = replace(first, audio=Deadly("large.wav"))  # type: ignore[arg-type]
    outcomes = {
        outcome.job.name: outcome for outcome in transcribe_files(transcriber, [deadly, *others], 2)
    }
    assert outcomes[deadly.name].state == "failed"
    assert "large.wav: the process that heard it died" in outcomes[deadly.name].says
    assert [outcomes[order.name].state for order in others] == ["done", "done"]


def test_A5_a_file_that_takes_too_much_memory_stops_no_other(
    transcriber: TranscriberConfig, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear_file = Recognizer.transcribe_file

    def full(self: Recognizer, source: Path, *how: object, **options: object) -> object:
        if source.name == "late.flac":
            raise MemoryError("Unable to allocate 9 GiB")
        return hear_file(self, source, *how, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Recognizer, "transcribe_file", full)
    outcomes = {
        outcome.job.name: outcome for outcome in transcribe(transcriber, folder, tmp_path / "out")
    }
    assert "late.flac: MemoryError: Unable to allocate 9 GiB" in outcomes["monday/late"].says
    assert [outcomes[name].state for name in ("monday/late", "call", "mixed")] == [
        "failed",
        "done",
        "done",
    ]


def test_A5_other_tools_read_what_was_heard(
    transcriber: TranscriberConfig, folder: Path, tmp_path: Path
) -> None:
    from lhotse import CutSet

    out = tmp_path / "out"
    (outcome,) = transcribe(
        transcriber, folder / "call.wav", out, "json", "lhotse", "nemo", "ctm", "vtt"
    )
    assert outcome.state == "done"
    call = read_transcript(out / "call.json")
    samples, _ = soundfile.read(folder / "call.wav")
    cuts = CutSet.from_file(out / "call.cuts.jsonl")
    rows = [json.loads(line) for line in (out / "call.nemo.jsonl").read_text().splitlines()]
    assert len(call.turns) >= len(TEXTS)
    for cut, row, turn in zip(cuts, rows, call.turns, strict=True):
        audio = cut.load_audio()[0]
        begin, channel = round(turn.start_s * 8000), 0 if turn.role == "customer" else 1
        np.testing.assert_allclose(audio, samples[begin : begin + len(audio), channel], atol=1e-4)
        assert cut.supervisions[0].text == row["text"] == turn.text
        info = soundfile.info(out / row["audio_filepath"])
        assert (info.samplerate, info.channels) == (16000, 1)
        assert info.duration == pytest.approx(row["duration"], abs=0.01)
    # The same name, a shorter call.
    soundfile.write(folder / "call.wav", samples[: 8000 * 10], 8000)
    transcribe(transcriber, folder / "call.wav", out, "json", "nemo")
    assert 0 < len(read_transcript(out / "call.json").turns) < len(call.turns)
    named = {
        json.loads(line)["audio_filepath"]
        for line in (out / "call.nemo.jsonl").read_text().splitlines()
    }
    assert {f"call.cuts/{path.name}" for path in (out / "call.cuts").iterdir()} == named


def test_A5_a_model_without_an_export_is_heard_with_nemo_and_that_is_tried_once(
    transcriber: TranscriberConfig, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, warnings = [], []

    def refuse(*_: object) -> None:
        tried.append(1)
        raise ExportError("it cannot be traced.")

    monkeypatch.setattr("models.asr.load.export_onnx", refuse)
    monkeypatch.setattr(
        "models.asr.load.log.warning", lambda text, *parts: warnings.append(text % parts)
    )
    (outcome,) = transcribe(
        replace(transcriber, exports=tmp_path / "none"), folder / "monday", tmp_path / "out"
    )
    assert outcome.state == "done"
    assert read_transcript(tmp_path / "out" / "late.json").turns
    assert len(tried) == 1
    assert warnings == [
        f"{transcriber.model}: it cannot be traced. NeMo runs it instead, which is slower."
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda order: order("nowhere", "json", "customer,agent"),
            "nowhere: no such file or folder",
        ),
        (lambda order: order("empty", "json", "customer,agent"), "empty: no recording in it"),
        (lambda order: order("calls", "srt", "customer,agent"), "--format srt: not known"),
        (lambda order: order("calls", "json", "agent,agent"), "name each channel once"),
    ],
)
def test_A5_what_cannot_be_asked_for_gets_its_message(
    transcriber: TranscriberConfig, folder: Path, change: Callable[..., object], reason: str
) -> None:
    (folder.parent / "empty").mkdir()

    def order(name: str, formats: str, channels: str) -> object:
        return transcription_jobs(
            folder.parent / name,
            folder.parent / "out",
            formats=formats.split(","),
            channels=channels.split(","),
            config=transcriber,
        )

    with pytest.raises(ValueError, match=reason):
        change(order)


def test_A5_another_model_or_more_formats_are_not_taken_for_done(
    transcriber: TranscriberConfig, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    transcribe(transcriber, folder / "call.wav", out)
    (more,) = transcribe(transcriber, folder / "call.wav", out, "json", "ctm")
    assert more.state == "done"
    other = TranscriberConfig(
        a_nemo(tmp_path / "other.nemo", channels=8, kernels=(3,)),
        transcriber.exports,
        transcriber.params,
    )
    (again,) = transcribe(other, folder / "call.wav", out, "json", "ctm")
    assert again.state == "done"
    assert read_transcript(out / "call.json").model == again.job.stamp != more.job.stamp
