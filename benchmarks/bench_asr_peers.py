"""P1: word error rate and speed on voices never trained on, ours and general recognisers, same audio, same cores.

Ours are the base that ships, the base fine-tuned on the set's other voices, and that with a language model of the same
transcripts. Every system hears the same 16 kHz WAV files, one at a time, and is normalised alike; "mulaw" is the
same audio through an 8 kHz G.711 line. Peers run in an environment of their own (benchmarks/peers/asr.txt), made on
first use with `uv`. Fine-tuned models and what peers said are kept in --work and used again.

Without arguments it fine-tunes for a part of the steps and hears a sample, within ten minutes on two cores. The table
in the README is `--utterances 60 --tuning 1`.
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
from _walk import real_data

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
    # These files are heard whole, as they were recorded.
    augmentation=Augmentation(
        telephone_share=0.4, noise_share=0.4, speed_spread=0.1, quiet_share=0.0
    ),
)


def utterances(speech: Path, name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of a set the base has seen, and those it has not: of voices held out, or of sentences by a known one."""
    rows = [
        json.loads(line) for line in (speech / name / "manifest.jsonl").read_text().splitlines()
    ]
    apart = mark_held_out(name, rows)
    for row in rows:
        row["text"] = normalise(row["text"])
        row["audio_filepath"] = str((speech / name / row["audio_filepath"]).resolve())
    known = [row for row, out in zip(rows, apart, strict=True) if not out]
    return known, [row for row, out in zip(rows, apart, strict=True) if out]


def sample(rows: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """At most so many rows, drawn with a seed, in their order; all of them where `most` is 0."""
    if not 0 < most < len(rows):
        return rows
    return [
        rows[i] for i in sorted(np.random.default_rng(SEED).choice(len(rows), most, replace=False))
    ]


def as_wav(rows: list[dict[str, Any]], folder: Path, mulaw: bool) -> list[Path]:
    """The rows' audio as 16 kHz WAV, as recorded or through a G.711 line."""
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
class Said:
    """What a system made of the files, and what it took: seconds of the clock, of all cores, and bytes of the model."""

    texts: list[str]
    seconds: float
    cpu_s: float
    size_bytes: int


def figures(rows: list[dict[str, Any]], said: Said) -> dict[str, Any]:
    """Corpus WER with its 95 % interval (voices drawn anew; none for a single voice), times real time and megabytes.

    Both speeds want an idle machine: threads that wait for each other on a busy one spend a core's time too.
    """
    audio_s = sum(row["duration"] for row in rows)
    counts = [
        word_errors(comparable(row["text"]), comparable(text))
        for row, text in zip(rows, said.texts, strict=True)
    ]
    found = ratio_of_sums(
        [count.total for count in counts],
        [count.reference for count in counts],
        [row["speaker"] for row in rows],
        seed=7,
    )
    return {
        "wer": round(found.value, 4),
        "low": found.low,
        "high": found.high,
        "times_real_time": round(audio_s / said.seconds, 1),
        "times_real_time_a_core": round(audio_s / said.cpu_s, 1),
        "size_mb": round(said.size_bytes / 1e6, 1),
    }


def tuned(name: str, known: list[dict[str, Any]], work: Path, steps: int) -> Path:
    """The base fine-tuned on the set's known voices; a part of them tunes the language model's weight.

    The base has heard all these voices, so their errors cannot tell when to stop: the last weights are taken.
    """
    import torch

    from training.tracking import start_or_resume

    voices = sorted({row["speaker"] for row in known})
    tuning = set(voices[::8]) if len(voices) > 8 else set()
    valid = [
        row
        for number, row in enumerate(known)
        if row["speaker"] in tuning or not (tuning or number % 10)
    ]
    manifests = {"valid": valid, "train": [row for row in known if row not in valid]}
    for split, rows in manifests.items():
        write_text(work / f"{split}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    began = time.monotonic()
    with start_or_resume(f"sqlite:///{work}/mlflow.db", "bench", name) as run:
        found = finetune(
            replace(TUNING, steps=steps),
            BASE,
            train_manifest=work / "train.jsonl",
            valid_manifest=work / "valid.jsonl",
            work_dir=work / "run",
            run=run,
            progress=tell(name),
        )
    print(f"{name}: {found['steps']} steps in {time.monotonic() - began:.0f} s", file=sys.stderr)
    path = work / f"last-{read_json(work / 'run' / 'begun.json')['fingerprint'][:8]}.nemo"
    if not path.exists():
        model = restore(BASE)
        model.load_state_dict(torch.load(work / "run" / "last.pt", weights_only=True)["model"])
        save_model(model, path)
    return path


def with_language(model: Path, work: Path) -> Path:
    """The same model with a language model of its training transcripts beside it."""
    folder = work / f"with_language-{model.stem}"
    if not (folder / "decoding.json").exists():
        folder.mkdir(exist_ok=True)
        shutil.copyfile(model, folder / "model.nemo")
        texts = [
            json.loads(line)["text"] for line in (work / "train.jsonl").read_text().splitlines()
        ]
        found = adapt(
            TextAdaptation(decoding=Decoding(mode="beam")),
            map(Text, texts),
            model=folder / "model.nemo",
            valid_manifest=work / "valid.jsonl",
            folder=folder,
        )
        print(
            {name: found[name] for name in ("wer_greedy", "wer_beam", "alpha", "beta")},
            file=sys.stderr,
        )
    return folder / "model.nemo"


def tell(name: str) -> Progress:
    """Progress on stderr, every hundredth step."""

    def progress(done: int, total: int) -> None:
        if done % 100 == 0:
            print(f"{name}: step {done} of {total}", file=sys.stderr)

    return progress


def ours(model: Path, paths: list[Path], exports: Path) -> Said:
    """What our recogniser says to each file, one at a time like the peers, as `keepline transcribe` runs it."""
    recognizer = load(model, exports)
    waves = [soundfile.read(path, dtype="float32")[0] for path in paths]
    recognizer.transcribe(waves[:1])
    began, cpu = time.monotonic(), time.process_time()
    texts = [recognizer.transcribe([wave])[0].text for wave in waves]
    seconds, cpu_s = time.monotonic() - began, time.process_time() - cpu
    language = (model.parent / LANGUAGE).stat().st_size if recognizer.decoder else 0
    return Said(texts, seconds, cpu_s, recognizer.size_bytes + language)


def peer(name: str, paths: list[Path], work: Path, python: Path) -> Said:
    """What a peer says, in its own process and environment; kept in `work` as long as files and script stay."""
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
    return Said(**read_json(out))


def peers_python(work: Path) -> Path:
    """The peers' interpreter, in an environment made from benchmarks/peers/asr.txt on first use."""
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


def reached(found: dict[str, Any]) -> dict[str, bool] | None:
    """P1, held against the telephone's orders: fewer errors than whisper-base, at most 16 MB, ten times as fast."""
    orders = found.get("barista, mulaw", {})
    best, rival = orders.get("ours, fine-tuned, with a language model"), orders.get("whisper-base")
    if not best or not rival:
        return None
    return {
        "fewer_errors": best["wer"] < rival["wer"],
        "at_most_16_mb": best["size_mb"] <= 16,
        "ten_times_as_fast": best["times_real_time"] >= 10 * rival["times_real_time"],
    }


def main() -> None:
    """Prints one JSON document: for each set and condition, each system's figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--work", type=Path, default=ROOT / "data" / "store" / "bench" / "asr")
    options.add_argument("--sets", nargs="*", default=list(SETS), choices=SETS)
    options.add_argument(
        "--utterances",
        type=int,
        default=30,
        help="of a set heard at most, drawn with a seed; 0: all",
    )
    options.add_argument(
        "--tuning", type=float, default=0.25, help="share of the fine-tuning steps that are gone"
    )
    options.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    chosen = options.parse_args()
    real = real_data("P1 hearing against general recognisers", "speech")
    found: dict[str, Any] = {}
    python = Path()
    if chosen.peers:
        try:
            python = peers_python(chosen.work)
        except (OSError, subprocess.CalledProcessError) as error:
            chosen.peers, found["peers_skipped"] = (
                [],
                f"benchmarks/peers/asr.txt cannot be installed: {error}",
            )
    for name in chosen.sets:
        known, unknown = utterances(real / "speech", name)
        steps = round(chosen.tuning * STEPS[name])
        model = tuned(name, known, chosen.work / name, steps)
        heard = sample(unknown, chosen.utterances)
        for condition in ("clean", "mulaw"):
            paths = as_wav(heard, chosen.work / name / condition, condition == "mulaw")
            kinds = {
                "ours, base": BASE,
                "ours, fine-tuned": model,
                "ours, fine-tuned, with a language model": with_language(model, chosen.work / name),
            }
            systems = {
                kind: ours(one, paths, chosen.work / "exports") for kind, one in kinds.items()
            }
            systems |= {other: peer(other, paths, chosen.work, python) for other in chosen.peers}
            found[f"{name}, {condition}"] = {
                "utterances": len(heard),
                "drawn_from": len(unknown),
                "seed": SEED,
                "tuning_steps": steps,
                "voices": len({row["speaker"] for row in heard}),
                "minutes": round(sum(row["duration"] for row in heard) / 60, 1),
                **{system: figures(heard, said) for system, said in systems.items()},
            }
            print(
                json.dumps({f"{name}, {condition}": found[f"{name}, {condition}"]}), file=sys.stderr
            )
    print(
        json.dumps(
            {
                "benchmark": "P1 hearing against general recognisers",
                "cores": os.cpu_count(),
                **found,
                "reached": reached(found),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
