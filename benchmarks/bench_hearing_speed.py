"""P2: from file to words with times, two-channel G.711 calls on this machine's cores, and an hour-long call's memory.

    python benchmarks/bench_hearing_speed.py [MODEL.nemo] [--calls 24] [--minutes 60] [--quiet 120] [--jobs N]

Calls are the real ones that make_export.py stitches (KEEPLINE_REAL_DATA), else simulated ones. Beside `keepline
transcribe` stand, on the same calls in this run, one process: the same through NeMo and torch, and through an int8
copy of the export, with the word errors of each against what was said. Memory is that of one process on a call of at
least --minutes without a pause, and on one of --quiet minutes that is mostly hold: the first two minutes speak.
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


def the_calls(folder: Path, count: int) -> tuple[str, list[tuple[Path, list[dict[str, Any]]]]]:
    """Two-channel recordings with what people wrote down of them, and where they are from."""
    real = Path(os.environ.get("KEEPLINE_REAL_DATA", ROOT.parent / "shared" / "data"))
    if (real / "make_export.py").is_file():
        subprocess.run(
            [sys.executable, real / "make_export.py", "--out", folder, "--calls", str(count)],
            check=True,
            stdout=sys.stderr,
        )
        written = {
            path.stem: json.loads(path.read_text())["turns"]
            for path in folder.glob("transcripts/*.json")
        }
        return "real", [
            (path, written.get(path.stem, [])) for path in sorted(folder.glob("monitor/*.wav"))
        ]
    from data.simulator import SimulatorParams, simulate

    simulate(
        SimulatorParams(calls=count, customers=10 * count, faults=0),
        folder / "raw",
        folder / "truth",
    )
    written = {
        path.stem: json.loads(path.read_text())["turns"]
        for path in folder.glob("raw/transcripts/*.json")
    }
    return "simulated", [
        (path, written.get(path.stem, [])) for path in sorted(folder.glob("raw/recordings/*.wav"))
    ]


def heard_alone(
    recognizer: Any, calls: list[tuple[Path, list[dict[str, Any]]]], audio_s: float
) -> dict[str, Any]:
    """Speed and word errors of one recogniser in this process."""
    from data.text import normalise
    from evaluation.metrics.wer import corpus_wer, word_errors

    errors = []
    began, cpu = time.monotonic(), time.process_time()
    for path, turns in calls:
        found = recognizer.transcribe_file(path, ROLES)
        for role in ROLES.values() if turns else ():
            said = " ".join(turn["text"] for turn in turns if turn["role"] == role)
            errors.append(
                word_errors(
                    normalise(said), " ".join(turn.text for turn in found if turn.role == role)
                )
            )
    return {
        "times_real_time": round(audio_s / (time.monotonic() - began), 1),
        "times_real_time_a_cpu_second": round(audio_s / (time.process_time() - cpu), 1),
        "wer": round(corpus_wer(errors), 4),
    }


def int8(export: Path, folder: Path) -> Path:
    """A copy of an export with weights of eight bits and activations quantised as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(export, folder / "int8.onnx", weight_type=QuantType.QUInt8)
    return folder / "int8.onnx"


def a_long_call(
    path: Path, calls: list[tuple[Path, list[dict[str, Any]]]], length_s: int, talk_s: int
) -> float:
    """Writes a G.711 call of at least `length_s`: calls end to end, after `talk_s` the line's faint noise alone."""
    import numpy as np
    import soundfile

    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", 8000, 2, subtype="ULAW", format="WAV") as handle:
        while handle.frames < 8000 * length_s:
            if handle.frames < 8000 * talk_s:
                for one, _ in calls:
                    if handle.frames < 8000 * talk_s:
                        handle.write(soundfile.read(one, dtype="float32")[0])
            else:
                handle.write(rng.normal(0, 0.001, (8000 * 60, 2)))
        return handle.frames / 8000


LONG = """
import resource, sys, time
from pathlib import Path
from models.asr.load import load
recognizer = load(sys.argv[1], Path(sys.argv[2]))
began = time.monotonic()
turns = recognizer.transcribe_file(Path(sys.argv[3]), {0: "customer", 1: "agent"})
print(time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, len(turns))
"""


def main() -> None:
    """Prints the figures as JSON."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument(
        "model", nargs="?", type=Path, default=ROOT / "models" / "base" / "keepline-base.nemo"
    )
    asked.add_argument("--calls", type=int, default=24)
    asked.add_argument("--minutes", type=int, default=60)
    asked.add_argument("--quiet", type=int, default=120)
    asked.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    args = asked.parse_args()
    sys.path.insert(0, str(ROOT))
    import soundfile
    import torch

    from models.asr.load import cached_export, load
    from models.asr.nemo import NemoNetwork
    from models.asr.onnx_network import OnnxNetwork
    from models.asr.recognizer import Recognizer

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kind, calls = the_calls(folder / "calls", args.calls)
        audio_s = sum(soundfile.info(path).duration for path, _ in calls)
        export = cached_export(args.model, folder / "store" / "exports")
        result: dict[str, Any] = {
            "benchmark": "P2 hearing",
            "model": args.model.name,
            "calls": f"{len(calls)} {kind}, two-channel G.711",
            "audio_s": round(audio_s),
            "cores": os.cpu_count(),
            "load_before": os.getloadavg()[0],
        }
        torch_model = load(args.model)
        assert isinstance(torch_model.network, NemoNetwork)
        result["one_process"] = {"torch": heard_alone(torch_model, calls, audio_s)}
        if export:
            result["one_process"]["onnx"] = heard_alone(
                load(args.model, export.parent), calls, audio_s
            )
            small = Recognizer(OnnxNetwork(int8(export, folder)))
            result["one_process"]["onnx_int8"] = heard_alone(small, calls, audio_s)

        recordings = folder / "recordings"
        recordings.mkdir()
        for path, _ in calls:
            (recordings / path.name).symlink_to(path)
        command = [
            sys.executable,
            "-m",
            "flows.cli",
            "transcribe",
            recordings,
            "--out",
            folder / "out",
            "--model",
            args.model,
            "--jobs",
            str(args.jobs),
            "--store",
            folder / "store",
        ]
        began = time.monotonic()
        subprocess.run([str(word) for word in command], cwd=ROOT, check=True, stdout=sys.stderr)
        wall_s = time.monotonic() - began
        result["command"] = {
            "jobs": args.jobs,
            "wall_s": round(wall_s, 1),
            "with_start_up": True,
            "times_real_time": round(audio_s / wall_s, 1),
        }

        for part, minutes, talk in (
            ("long_call", args.minutes, args.minutes),
            ("quiet_call", args.quiet, 2),
        ):
            long = folder / f"{part}.wav"
            length_s = a_long_call(long, calls, 60 * minutes, 60 * talk)
            done = subprocess.run(
                [sys.executable, "-c", LONG, args.model, folder / "store" / "exports", long],
                cwd=ROOT,
                check=True,
                capture_output=True,
                text=True,
            )
            seconds, peak_mb, turns = map(float, done.stdout.split())
            result[part] = {
                "minutes": round(length_s / 60, 1),
                "turns": int(turns),
                "peak_rss_mb": round(peak_mb),
                "times_real_time_one_process": round(length_s / seconds, 1),
            }
        result["load_after"] = os.getloadavg()[0]
        result["reached"] = {
            "100_times_real_time": result["command"]["times_real_time"] >= 100,
            "long_call_below_1500_mb": result["long_call"]["peak_rss_mb"] < 1500,
        }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
