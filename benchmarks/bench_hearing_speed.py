"""P2: speed from file to words with times on two-channel G.711 calls, and memory of a long call.

    python benchmarks/bench_hearing_speed.py [MODEL.nemo] [--calls 24] [--minutes 60]
        [--quiet 120] [--jobs N]

Calls are the real ones that make_export.py stitches (KEEPLINE_REAL_DATA), else simulated ones.
Beside `keepline transcribe` the same calls go through one process with NeMo and torch, with the
ONNX export, and with an int8 copy of it, each with its word errors against the transcripts. Memory
is that of one process on a call of at least --minutes without a pause, and on one of --quiet
minutes that is mostly hold: only the first two minutes are speech.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ROLES = {0: "customer", 1: "agent"}
Call = tuple[Path, list[dict[str, Any]]]  # a recording and the turns people transcribed


def load_calls(folder: Path, count: int) -> tuple[str, list[Call]]:
    """Returns (real or simulated, two-channel recordings with their transcripts)."""
    real_data = Path(os.environ.get("KEEPLINE_REAL_DATA", ROOT.parent / "shared" / "data"))
    if (real_data / "make_export.py").is_file():
        subprocess.run(
            [sys.executable, real_data / "make_export.py", "--out", folder, "--calls", str(count)],
            check=True,
            stdout=sys.stderr,
        )
        transcripts = {
            path.stem: json.loads(path.read_text())["turns"]
            for path in folder.glob("transcripts/*.json")
        }
        return "real", [
            (path, transcripts.get(path.stem, [])) for path in sorted(folder.glob("monitor/*.wav"))
        ]
    from data.simulator import SimulatorParams, simulate

    simulate(
        SimulatorParams(calls=count, customers=10 * count, faults=0),
        folder / "raw",
        folder / "truth",
    )
    transcripts = {
        path.stem: json.loads(path.read_text())["turns"]
        for path in folder.glob("raw/transcripts/*.json")
    }
    return "simulated", [
        (path, transcripts.get(path.stem, []))
        for path in sorted(folder.glob("raw/recordings/*.wav"))
    ]


def measure_recognizer(recognizer: Any, calls: list[Call], audio_s: float) -> dict[str, Any]:
    """Returns speed and word errors of one recogniser in this process."""
    from data.text import normalise
    from evaluation.metrics.wer import corpus_wer, word_errors

    errors = []
    began, cpu = time.monotonic(), time.process_time()
    for path, turns in calls:
        segments = recognizer.transcribe_file(path, ROLES)
        for role in ROLES.values() if turns else ():
            reference = " ".join(turn["text"] for turn in turns if turn["role"] == role)
            errors.append(
                word_errors(
                    normalise(reference),
                    " ".join(turn.text for turn in segments if turn.role == role),
                )
            )
    return {
        "times_real_time": round(audio_s / (time.monotonic() - began), 1),
        "times_real_time_a_cpu_second": round(audio_s / (time.process_time() - cpu), 1),
        "wer": round(corpus_wer(errors), 4),
    }


def quantize(export: Path, folder: Path) -> Path:
    """Writes a copy of an export with 8 bit weights and dynamically quantised activations."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(export, folder / "int8.onnx", weight_type=QuantType.QUInt8)
    return folder / "int8.onnx"


def write_long_call(path: Path, calls: list[Call], *, length_s: int, talk_s: int) -> float:
    """Writes a G.711 call of at least `length_s` and returns its length in seconds.

    It is calls end to end for `talk_s`, then faint line noise alone.
    """
    import numpy as np
    import soundfile

    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", 8000, 2, subtype="ULAW", format="WAV") as handle:
        while handle.frames < 8000 * length_s:
            if handle.frames < 8000 * talk_s:
                for recording, _ in calls:
                    if handle.frames < 8000 * talk_s:
                        handle.write(soundfile.read(recording, dtype="float32")[0])
            else:
                handle.write(rng.normal(0, 0.001, (8000 * 60, 2)))
        written_s: float = handle.frames / 8000
        return written_s


LONG_CALL = """
import resource, sys, time
from pathlib import Path
from models.asr.load import load
recognizer = load(sys.argv[1], Path(sys.argv[2]))
began = time.monotonic()
turns = recognizer.transcribe_file(Path(sys.argv[3]), {0: "customer", 1: "agent"})
peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(time.monotonic() - began, peak_mb, len(turns))
"""


def measure_command(
    calls: list[Call], folder: Path, model: Path, *, audio_s: float, jobs: int
) -> dict[str, Any]:
    """Returns the speed of `keepline transcribe` on the calls, start-up included."""
    recordings = folder / "recordings"
    recordings.mkdir()
    for path, _ in calls:
        (recordings / path.name).symlink_to(path)
    options = {
        "--out": folder / "out",
        "--model": model,
        "--jobs": jobs,
        "--store": folder / "store",
    }
    words = [str(word) for option in options.items() for word in option]
    command = [sys.executable, "-m", "flows.cli", "transcribe", str(recordings), *words]
    started = time.monotonic()
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    wall_s = time.monotonic() - started
    return {
        "jobs": jobs,
        "wall_s": round(wall_s, 1),
        "with_start_up": True,
        "times_real_time": round(audio_s / wall_s, 1),
    }


def measure_long_call(
    calls: list[Call], path: Path, model: Path, *, minutes: int, talk_minutes: int, exports: Path
) -> dict[str, Any]:
    """Returns memory and speed of one process on a long call."""
    length_s = write_long_call(path, calls, length_s=60 * minutes, talk_s=60 * talk_minutes)
    process = subprocess.run(
        [sys.executable, "-c", LONG_CALL, model, exports, path],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    seconds, peak_mb, turns = map(float, process.stdout.split())
    return {
        "minutes": round(length_s / 60, 1),
        "turns": int(turns),
        "peak_rss_mb": round(peak_mb),
        "times_real_time_one_process": round(length_s / seconds, 1),
    }


def measure_one_process(
    calls: list[Call], folder: Path, model: Path, *, audio_s: float
) -> dict[str, Any]:
    """Returns speed and word errors of torch, ONNX Runtime and int8 in this process."""
    import torch

    from models.asr.load import cached_export, load
    from models.asr.nemo import NemoNetwork
    from models.asr.onnx_network import OnnxNetwork
    from models.asr.recognizer import Recognizer

    torch.set_num_threads(1)
    export = cached_export(model, folder / "store" / "exports")
    torch_model = load(model)
    if not isinstance(torch_model.network, NemoNetwork):
        raise TypeError(f"{model}: loaded as {type(torch_model.network).__name__}, not NeMo.")
    results = {"torch": measure_recognizer(torch_model, calls, audio_s)}
    if export:
        results["onnx"] = measure_recognizer(load(model, export.parent), calls, audio_s)
        quantized = Recognizer(OnnxNetwork(quantize(export, folder)))
        results["onnx_int8"] = measure_recognizer(quantized, calls, audio_s)
    return results


def main() -> None:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "model", nargs="?", type=Path, default=ROOT / "models" / "base" / "keepline-base.nemo"
    )
    parser.add_argument("--calls", type=int, default=24)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--quiet", type=int, default=120)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    import soundfile

    model = arguments.model
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, calls = load_calls(folder / "calls", arguments.calls)
        audio_s = sum(soundfile.info(path).duration for path, _ in calls)
        result: dict[str, Any] = {
            "benchmark": "P2 hearing",
            "model": model.name,
            "calls": f"{len(calls)} {source}, two-channel G.711",
            "audio_s": round(audio_s),
            "cores": os.cpu_count(),
            "load_before": os.getloadavg()[0],
            "one_process": measure_one_process(calls, folder, model, audio_s=audio_s),
            "command": measure_command(calls, folder, model, audio_s=audio_s, jobs=arguments.jobs),
        }
        for part, minutes, talk_minutes in (
            ("long_call", arguments.minutes, arguments.minutes),
            ("quiet_call", arguments.quiet, 2),
        ):
            result[part] = measure_long_call(
                calls,
                folder / f"{part}.wav",
                model,
                minutes=minutes,
                talk_minutes=talk_minutes,
                exports=folder / "store" / "exports",
            )
        result["load_after"] = os.getloadavg()[0]
        result["reached"] = {
            "100_times_real_time": result["command"]["times_real_time"] >= 100,
            "long_call_below_1500_mb": result["long_call"]["peak_rss_mb"] < 1500,
        }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
