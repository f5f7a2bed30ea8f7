"""A1/A3: what fine-tuning's choices are worth: batches by sorting or by Lhotse, and which averaged weights help.

The part `batches` needs no NeMo and a minute or two. The part `weights` fine-tunes the base that ships on barista
orders for `--steps` and scores the last weights, on voices that no training of ours hears, beside averages of the same
way there; it needs real data.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import numpy as np  # noqa: E402
from _walk import real_data_folder  # noqa: E402

from data.files import write_text  # noqa: E402

PARTS = ("batches", "weights")
AVERAGES = {
    "mean of the last 30 %": (0.3, 1.0),
    "mean of the last 10 %": (0.1, 1.0),
    "ema 0.99": (1.0, 0.99),
}


def measure_batching(utterances: int, buckets: int) -> dict[str, Any]:
    """One pass over `utterances` of log-normal length, 60 s a batch."""
    from training.asr.batches import batch_sampler

    rng = np.random.default_rng(0)
    frames = (np.clip(rng.lognormal(1.2, 0.6, utterances), 0.3, 20) * 16000).astype(np.int64)
    at = batch_sampler(frames, 60.0, seed=3, buckets=buckets)
    started, cpu = time.monotonic(), time.process_time()
    first_s = seen = steps = 0
    padded = 0
    while seen < utterances:
        batch = at(steps)
        first_s = first_s or time.monotonic() - started
        seen, steps = seen + len(batch), steps + 1
        padded += int(frames[batch].max()) * len(batch)
    return {
        "utterances": utterances,
        "batches_by": "lhotse" if buckets else "sorting",
        "steps": steps,
        "padding_share": round(1 - int(frames.sum()) / padded, 4),
        "cpu_s_a_pass": round(time.process_time() - cpu, 2),
        "first_batch_s": round(first_s, 2),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def measure_reading(utterances: int) -> dict[str, Any]:
    """A manifest of `utterances` whose audio stays in its files."""
    import soundfile

    from training.asr.manifest import Limits, ManifestReport, read_manifest

    with tempfile.TemporaryDirectory() as folder:
        soundfile.write(Path(folder) / "a.wav", np.zeros(64000), 16000)
        manifest = Path(folder) / "m.jsonl"
        with manifest.open("w") as lines:
            for number in range(utterances):
                text = f"please tell me why my bill is number {number}"
                lines.write(
                    json.dumps({"audio_filepath": "a.wav", "duration": 4.0, "text": text}) + "\n"
                )
        started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        speech = read_manifest(
            manifest,
            lambda text: (list(text.encode()), ""),
            step_s=0.02,
            limits=Limits(0.2, 20.0, 0.0, 0.0),
            report=ManifestReport("m"),
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "utterances": len(speech.tokens),
        "hours": round(utterances * 4 / 3600, 1),
        "read_from": "files",
        "cpu_s": round(time.process_time() - started, 1),
        "bytes_an_utterance": round((peak - before) * 1024 / utterances),
    }


def in_new_process(call: str) -> dict[str, Any]:
    """What `call` returns in a process of its own, so that its memory is its own."""
    import subprocess

    code = f"import json, bench_finetuning as b; print(json.dumps(b.{call}))"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    if process.returncode:
        raise RuntimeError(process.stderr[-1000:])
    return json.loads(process.stdout.splitlines()[-1])


def measure_averages(data_folder: Path, base: Path, steps: int, seconds: float) -> dict[str, Any]:
    """Fine-tunes on barista orders once; the last weights and each average of the way there are scored alike."""
    from models.asr.recognizer import Recognizer
    from training.asr.base_speech import held_out_speakers
    from training.asr.finetune import (
        AsrTraining,
        loop_config,
        prepare_training,
        training_batches,
        wer,
    )
    from training.asr.fit import fit, update_average
    from training.asr.manifest import Limits, ManifestReport, read_manifest
    from training.asr.speech import Augmentation

    rows = [
        json.loads(line)
        for line in (data_folder / "speech/barista/manifest.jsonl").read_text().splitlines()
    ]
    voices = {row["speaker"] for row in rows}
    held_out = held_out_speakers("barista", voices)
    sides = {"valid": held_out, "train": voices - held_out}
    params = AsrTraining(
        steps=steps,
        batch_duration_s=seconds,
        learning_rate=2e-3,
        warmup_steps=min(50, steps // 10),
        valid_steps=0,
        average_share=0.0,
        threads=1,
        augmentation=Augmentation(
            telephone_share=0, noise_share=0.15, frequency_masks=0, time_masks=0
        ),
    )
    states: dict[str, dict[str, Any]] = {name: {"average": {}, "averaged": 0} for name in AVERAGES}
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        for side, speakers in sides.items():
            lines = [
                json.dumps(
                    {
                        **row,
                        "audio_filepath": str(
                            data_folder / "speech/barista" / row["audio_filepath"]
                        ),
                    }
                )
                for row in rows
                if row["speaker"] in speakers
            ]
            write_text(Path(folder) / f"{side}.jsonl", "\n".join(lines) + "\n")
        model, speech, reports, pools = prepare_training(
            params, base, Path(folder) / "train.jsonl", work_dir=Path(folder)
        )
        valid = read_manifest(
            Path(folder) / "valid.jsonl",
            lambda text: ([], ""),
            step_s=0.0,
            limits=Limits(0.2, 20.0, 0.0, 20.0),
            report=ManifestReport("valid"),
            for_training=False,
        ).corpus

        def average_weights(process: int, total: int) -> None:
            for name, (share, decay) in AVERAGES.items():
                if process > total - int(total * share):
                    update_average(model, states[name], decay)

        summary = fit(
            model,
            speech.corpus,
            speech.tokens,
            batch_at=training_batches(params, speech, pools),
            config=loop_config(params),
            folder=Path(folder),
            measure=lambda model: wer(Recognizer(model), valid),
            progress=average_weights,
        )
    wer_averaged = {}
    for name, state in states.items():
        model.load_state_dict({**model.state_dict(), **state["average"]})
        wer_averaged[name] = wer(Recognizer(model), valid)
    return {
        "steps": steps,
        "train": reports[0].summary()["hours"],
        "valid_utterances": len(valid),
        "wer_before": summary["before"],
        "wer_last": summary["last"],
        "wer_averaged": wer_averaged,
        "cpu_s": round(time.process_time() - started),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--base", type=Path, default=ROOT / "models/base/keepline-base.nemo")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=22.0, help="of audio a step")
    parser.add_argument("--utterances", type=int, nargs="+", default=[500, 50_000, 1_000_000])
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    if "batches" in arguments.part:
        # Lhotse lays out a Python object an utterance: a million would take minutes a pass and tell nothing new.
        calls = [
            f"batching({n}, {by})"
            for n in arguments.utterances
            for by in ((0, 30) if n <= 100_000 else (0,))
        ]
        results["batches"] = [in_new_process(call) for call in (*calls, "reading(200_000)")]
    if "weights" in arguments.part:
        data_folder = real_data_folder()
        results["weights"] = (
            measure_averages(data_folder, arguments.base, arguments.steps, arguments.seconds)
            if (data_folder / "speech").is_dir()
            else {"skipped": f"no speech in {data_folder}; set KEEPLINE_REAL_DATA"}
        )
    print(
        json.dumps(
            {"benchmark": "A1 and A3 fine-tuning", "cores": os.cpu_count(), **results}, indent=1
        )
    )


if __name__ == "__main__":
    main()
