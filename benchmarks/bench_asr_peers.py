"""P1: word error rate and speed on unknown speakers, ours against general recognisers.

All have the same audio and cores. Ours are the base that ships, the base fine-tuned on the set's
other speakers, and that with a language model of the same transcripts. Every system transcribes the
same 16 kHz WAV files, one at a time, and is normalised alike; "mulaw" is the same audio through an
8 kHz G.711 line. Peers run in an environment of their own (benchmarks/peers/asr.txt), made on first
use with `uv`. Fine-tuned models and outputs of peers are kept in --work and used again.

Without arguments it fine-tunes for a part of the steps and transcribes a sample, within ten minutes
on two cores. The table in the README is `--utterances 60 --tuning 1`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from _walk import require_real_data

from data.audio import codec_roundtrip, resample, to_wav_bytes
from data.files import read_json, write_json, write_text
from data.progress import Progress
from data.text import normalise
from evaluation.metrics.bootstrap import ratio_of_sums
from evaluation.metrics.english import comparable
from evaluation.metrics.wer import word_errors
from models.asr.decoding import LANGUAGE, Decoding
from models.asr.language import Text
from models.asr.load import load
from models.asr.nemo import restore
from training.asr.base_speech import mark_held_out
from training.asr.finetune import AsrTraining, finetune, save_model
from training.asr.speech import Augmentation
from training.asr.text_adaptation import TextAdaptation, adapt

ROOT = Path(__file__).resolve().parent.parent
SETS = ("barista", "spoken_digits", "asterisk_prompts")
SEED = 7  # of the sample
STEPS = {"barista": 1500, "spoken_digits": 400, "asterisk_prompts": 400}  # of fine-tuning
PEERS = ("whisper-base", "whisper-tiny.en", "moonshine-tiny", "pocketsphinx")
BASE = ROOT / "models" / "base" / "keepline-base.nemo"
TUNING = AsrTraining(
    batch_duration_s=40.0,
    learning_rate=1e-3,
    warmup_steps=50,
    valid_steps=250,
    longest_s=16.0,
    # These files are transcribed whole, as they were recorded.
    augmentation=Augmentation(
        telephone_share=0.4, noise_share=0.4, speed_spread=0.1, quiet_share=0.0
    ),
)


def read_utterances(speech: Path, name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns the rows of a set that the base was trained on, and those that were held out."""
    rows = [
        json.loads(line) for line in (speech / name / "manifest.jsonl").read_text().splitlines()
    ]
    held_out = mark_held_out(name, rows)
    for row in rows:
        row["text"] = normalise(row["text"])
        row["audio_filepath"] = str((speech / name / row["audio_filepath"]).resolve())
    seen = [row for row, out in zip(rows, held_out, strict=True) if not out]
    return seen, [row for row, out in zip(rows, held_out, strict=True) if out]


def sample(rows: list[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """Returns at most `limit` rows, drawn with a seed, in their order; all of them with 0."""
    if not 0 < limit < len(rows):
        return rows
    return [
        rows[i] for i in sorted(np.random.default_rng(SEED).choice(len(rows), limit, replace=False))
    ]


def write_wavs(rows: list[dict[str, Any]], folder: Path, mulaw: bool) -> list[Path]:
    """Writes the rows' audio as 16 kHz WAV, as recorded or through a G.711 line; returns paths."""
    paths = []
    for row in rows:
        path = folder / f"{Path(row['audio_filepath']).stem}.wav"
        if not path.exists():
            samples, rate = soundfile.read(row["audio_filepath"], dtype="float32")
            if mulaw:
                samples = resample(
                    codec_roundtrip(resample(samples, rate, 8000), 8000, "ULAW"), 8000, rate
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(to_wav_bytes(samples, rate))
        paths.append(path)
    return paths


@dataclass(frozen=True)
class Output:
    """A system's texts, seconds of the clock and of all cores, and bytes of the model."""

    texts: list[str]
    seconds: float
    cpu_s: float
    size_bytes: int


def compute_metrics(rows: list[dict[str, Any]], output: Output) -> dict[str, Any]:
    """Returns the corpus WER, its 95 % interval, two speeds as times real time, and megabytes.

    The interval is by bootstrap over speakers; a single speaker has none. Both speeds need an idle
    machine: threads that wait for each other on a busy one spend a core's time too.
    """
    audio_s = sum(row["duration"] for row in rows)
    counts = [
        word_errors(comparable(row["text"]), comparable(text))
        for row, text in zip(rows, output.texts, strict=True)
    ]
    interval = ratio_of_sums(
        [count.total for count in counts],
        [count.reference for count in counts],
        [row["speaker"] for row in rows],
        seed=7,
    )
    return {
        "wer": round(interval.value, 4),
        "low": interval.low,
        "high": interval.high,
        "times_real_time": round(audio_s / output.seconds, 1),
        "times_real_time_a_core": round(audio_s / output.cpu_s, 1),
        "size_mb": round(output.size_bytes / 1e6, 1),
    }


def finetune_base(name: str, seen: list[dict[str, Any]], work: Path, *, steps: int) -> Path:
    """Fine-tunes the base on a set's known speakers and returns the model.

    A part of the speakers tunes the language model's weight. The base was trained on all of them,
    so their errors cannot tell when to stop: the last weights are taken.
    """
    import torch

    from training.tracking import start_or_resume

    voices = sorted({row["speaker"] for row in seen})
    tuning = set(voices[::8]) if len(voices) > 8 else set()
    valid = [
        row
        for number, row in enumerate(seen)
        if row["speaker"] in tuning or not (tuning or number % 10)
    ]
    manifests = {"valid": valid, "train": [row for row in seen if row not in valid]}
    for split, rows in manifests.items():
        write_text(work / f"{split}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    began = time.monotonic()
    with start_or_resume(f"sqlite:///{work}/mlflow.db", "bench", name) as run:
        summary = finetune(
            replace(TUNING, steps=steps),
            BASE,
            train_manifest=work / "train.jsonl",
            valid_manifest=work / "valid.jsonl",
            work_dir=work / "run",
            run=run,
            progress=progress_on_stderr(name),
        )
    print(f"{name}: {summary['steps']} steps in {time.monotonic() - began:.0f} s", file=sys.stderr)
    path = work / f"last-{read_json(work / 'run' / 'begun.json')['fingerprint'][:8]}.nemo"
    if not path.exists():
        model = restore(BASE)
        model.load_state_dict(torch.load(work / "run" / "last.pt", weights_only=True)["model"])
        save_model(model, path)
    return path


def add_language_model(model: Path, work: Path) -> Path:
    """Returns a copy of the model with a language model of its training transcripts beside it."""
    folder = work / f"with_language-{model.stem}"
    if not (folder / "decoding.json").exists():
        folder.mkdir(exist_ok=True)
        shutil.copyfile(model, folder / "model.nemo")
        texts = [
            json.loads(line)["text"] for line in (work / "train.jsonl").read_text().splitlines()
        ]
        figures = adapt(
            TextAdaptation(decoding=Decoding(mode="beam")),
            map(Text, texts),
            model=folder / "model.nemo",
            valid_manifest=work / "valid.jsonl",
            folder=folder,
        )
        print(
            {name: figures[name] for name in ("wer_greedy", "wer_beam", "alpha", "beta")},
            file=sys.stderr,
        )
    return folder / "model.nemo"


def progress_on_stderr(name: str) -> Progress:
    """Returns a callback that prints every hundredth step on stderr."""

    def progress(done: int, total: int) -> None:
        if done % 100 == 0:
            print(f"{name}: step {done} of {total}", file=sys.stderr)

    return progress


def transcribe_ours(model: Path, paths: list[Path], exports: Path) -> Output:
    """Transcribes each file with our recogniser, one at a time, as `keepline transcribe` does."""
    recognizer = load(model, exports)
    waves = [soundfile.read(path, dtype="float32")[0] for path in paths]
    recognizer.transcribe(waves[:1])
    began, cpu = time.monotonic(), time.process_time()
    texts = [recognizer.transcribe([wave])[0].text for wave in waves]
    seconds, cpu_s = time.monotonic() - began, time.process_time() - cpu
    language = (model.parent / LANGUAGE).stat().st_size if recognizer.decoder else 0
    return Output(texts, seconds, cpu_s, recognizer.size_bytes + language)


def transcribe_peer(name: str, paths: list[Path], work: Path, *, python: Path) -> Output:
    """Transcribes each file with a peer in its own process and environment.

    The output is kept in `work` as long as files and script stay the same.
    """
    script = ROOT / "benchmarks" / "peers" / "asr.py"
    key = hashlib.sha256(
        script.read_bytes() + b"".join(path.read_bytes() for path in paths)
    ).hexdigest()[:12]
    out = work / f"{name}-{key}.json"
    if not out.exists():
        wavs = work / f"{key}.json"
        write_json(wavs, [str(path) for path in paths])
        subprocess.run(
            [python, script, name, wavs, out],
            check=True,
            stdout=sys.stderr,
            env={**os.environ, "OMP_NUM_THREADS": str(os.cpu_count())},
        )
    return Output(**read_json(out))


def peers_python(work: Path) -> Path:
    """Returns the peers' interpreter; installs benchmarks/peers/asr.txt on first use."""
    python = work / "peers" / "bin" / "python"
    if not python.exists():
        uv = Path(sys.executable).parent / "uv"
        subprocess.run(
            [uv, "venv", "--quiet", "--python", sys.executable, work / "peers"], check=True
        )
        subprocess.run(
            [
                uv,
                "pip",
                "install",
                "--quiet",
                "--python",
                python,
                "-r",
                ROOT / "benchmarks" / "peers" / "asr.txt",
            ],
            check=True,
        )
    return python


def check_targets(results: dict[str, Any]) -> dict[str, bool] | None:
    """Returns which parts of P1 are reached on orders by telephone, None without those results.

    Fewer errors than whisper-base, at most 16 MB, ten times as fast.
    """
    orders = results.get("barista, mulaw", {})
    best, rival = orders.get("ours, fine-tuned, with a language model"), orders.get("whisper-base")
    if not best or not rival:
        return None
    return {
        "fewer_errors": best["wer"] < rival["wer"],
        "at_most_16_mb": best["size_mb"] <= 16,
        "ten_times_as_fast": best["times_real_time"] >= 10 * rival["times_real_time"],
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / "data" / "store" / "bench" / "asr")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=SETS)
    parser.add_argument(
        "--utterances",
        type=int,
        default=30,
        help="of a set transcribed at most, drawn with a seed; 0: all",
    )
    parser.add_argument(
        "--tuning", type=float, default=0.25, help="share of the fine-tuning steps that are run"
    )
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    return parser.parse_args()


def measure_set(
    name: str,
    speech: Path,
    work: Path,
    *,
    limit: int,
    tuning: float,
    peers: list[str],
    python: Path,
) -> dict[str, Any]:
    """Returns each system's metrics on a set, for clean audio and through a G.711 line."""
    seen, unseen = read_utterances(speech, name)
    steps = round(tuning * STEPS[name])
    model = finetune_base(name, seen, work / name, steps=steps)
    rows = sample(unseen, limit)
    results: dict[str, Any] = {}
    for condition in ("clean", "mulaw"):
        paths = write_wavs(rows, work / name / condition, condition == "mulaw")
        models = {
            "ours, base": BASE,
            "ours, fine-tuned": model,
            "ours, fine-tuned, with a language model": add_language_model(model, work / name),
        }
        systems = {
            system: transcribe_ours(path, paths, work / "exports")
            for system, path in models.items()
        }
        systems |= {peer: transcribe_peer(peer, paths, work, python=python) for peer in peers}
        title = f"{name}, {condition}"
        results[title] = {
            "utterances": len(rows),
            "drawn_from": len(unseen),
            "seed": SEED,
            "tuning_steps": steps,
            "voices": len({row["speaker"] for row in rows}),
            "minutes": round(sum(row["duration"] for row in rows) / 60, 1),
            **{system: compute_metrics(rows, output) for system, output in systems.items()},
        }
        print(json.dumps({title: results[title]}), file=sys.stderr)
    return results


def main() -> None:
    """Prints one JSON document: for each set and condition, each system's metrics."""
    arguments = parse_arguments()
    speech = require_real_data("P1 hearing against general recognisers", "speech") / "speech"
    results: dict[str, Any] = {}
    python = Path()
    if arguments.peers:
        try:
            python = peers_python(arguments.work)
        except (OSError, subprocess.CalledProcessError) as error:
            arguments.peers = []
            results["peers_skipped"] = f"benchmarks/peers/asr.txt cannot be installed: {error}"
    for name in arguments.sets:
        results |= measure_set(
            name,
            speech,
            arguments.work,
            limit=arguments.utterances,
            tuning=arguments.tuning,
            peers=arguments.peers,
            python=python,
        )
    print(
        json.dumps(
            {
                "benchmark": "P1 hearing against general recognisers",
                "cores": os.cpu_count(),
                **results,
                "reached": check_targets(results),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
