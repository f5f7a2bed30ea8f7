"""Fine-tunes a NeMo CTC or hybrid model on a centre's speech from settings; resumable."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from data.files import read_json, write_json, write_lines
from data.progress import Progress
from data.text import normalise
from evaluation.metrics.wer import corpus_wer, word_errors
from models.asr.load import load
from models.asr.nemo import NemoNetwork, fetch, restore
from models.asr.recognizer import Recognizer
from training.asr.batches import Pool, batch_sampler
from training.asr.devices import Devices, launch_workers, resolve_device
from training.asr.fit import LoopConfig, fit, guarded_write, saved_weights
from training.asr.manifest import (
    JoinedCorpus,
    Limits,
    ManifestError,
    ManifestReport,
    TrainingSpeech,
    read_manifest,
    texts_of,
)
from training.asr.speech import Augmentation
from training.asr.vocabulary import replace_vocabulary, text_encoder
from training.run import MetricsLog


@dataclass(frozen=True)
class ExtraSpeech:
    """More speech to train on, such as synthetic or pseudo-labelled."""

    manifest: str  # a NeMo manifest; relative to the folder of the main one
    share: float  # of the audio of every epoch


@dataclass(frozen=True)
class AsrTraining:
    """Settings of fine-tuning a recogniser."""

    base: str = "models/base/keepline-base.nemo"  # a local .nemo, or a name on the hub
    # Labels: keep, characters, or bpe (word pieces learnt from the training text).
    vocabulary: str = "keep"
    vocabulary_size: int = 256  # how many word pieces
    # Hybrid models: the transducer's share of the loss; 0 trains only the CTC branch, which is
    # what Keepline decodes with.
    rnnt_weight: float = 0.5
    steps: int = 400  # optimizer steps in all
    batch_duration_s: float = 60.0  # audio of a part of a step, padding included
    accumulate: int = 1  # parts a device computes in each step, in sequence
    devices: int = 1  # processes that share each step, each with its own parts
    device: str = "cpu"  # cpu, cuda, or auto
    buckets: int = 0  # Lhotse's dynamic buckets to form batches; 0 sorts by length
    learning_rate: float = 1e-3  # peak; a tenth of it suits big pretrained networks
    warmup_steps: int = 20  # linear rise to the peak
    cooldown_share: float = 0.6  # last share of the steps, linear fall
    weight_decay: float = 1e-3  # AdamW
    layer_decay: float = 1.0  # learning rate of an encoder layer over that of the one above it
    encoder_rate: float = 1.0  # learning rate of the encoder over that of what follows it
    precision: str = "float32"  # or bfloat16: faster on processors that have it
    frozen_layers: int = 0  # so many encoder layers, from the input, are frozen
    freeze_encoder_steps: int = 0  # only the decoder is trained for so many first steps
    checkpoint_steps: int = 50  # steps between checkpoints: what a kill may cost
    valid_steps: int = 100  # steps between validations, whose WER chooses the best weights
    patience: int = 0  # validations in a row without a new best that end training; 0 never ends it
    # Last share of the steps whose weights are averaged; 0 averages nothing.
    average_share: float = 0.3
    average_decay: float = 1.0  # 1 is the plain mean; less forgets older weights
    shortest_s: float = 0.2  # shorter utterances are skipped
    longest_s: float = 20.0  # longer utterances are skipped
    # More broken lines than this share refuse a manifest; fewer are left out.
    defect_share: float = 0.05
    # More speech than this (2.3 GB) is read from its files while training.
    in_memory_hours: float = 20.0
    extra: tuple[ExtraSpeech, ...] = ()  # more speech, mixed in at its share
    seed: int = 0  # of batches, augmentation and dropout
    threads: int = 2  # torch threads
    augmentation: Augmentation = field(
        default_factory=lambda: Augmentation(telephone_share=0.2, noise_share=0.3)
    )


def finetune(
    params: AsrTraining,
    base: str | Path,
    *,
    train_manifest: Path,
    valid_manifest: Path,
    work_dir: Path,
    run: MetricsLog,
    progress: Progress = lambda done, total: None,
    devices: Devices | None = None,
) -> dict[str, Any]:
    """Fine-tunes `base`, leaves `work_dir`/model.nemo and returns a summary.

    The model has the weights with the lowest validation WER among best, last and averaged. Killed,
    training resumes from its last checkpoint and logs to the same steps of `run`. With other
    settings, base or manifests it starts again. Finished, it only reads its result. Under torchrun
    `devices` is this process's place; else the other processes are started here. Broken utterances
    are listed in `work_dir`/quarantine.jsonl.

    The summary holds steps, resumed_from, stopped_early, loss_first, loss_last, best_step,
    averaged_steps; on validation wer_before, wer_best, wer_last, wer_averaged (unless
    averaged_steps is 0), wer (the lowest) and chosen; train, valid and extra (what became of each
    manifest's hours, see ManifestReport.summary), parameters and seconds. Raises ManifestError,
    ModelError, VocabularyError, TrainingError, DeviceError.
    """
    import torch

    started = time.monotonic()
    torch.set_num_threads(params.threads)
    device_type = resolve_device(params.device)
    work_dir.mkdir(parents=True, exist_ok=True)
    manifests = [train_manifest, valid_manifest, *_extra_manifests(params, train_manifest)]
    _clear_stale(work_dir, _fingerprint(params, base, manifests))
    result = work_dir / "result.json"
    if devices:
        devices.broadcast(result.exists())
    if result.exists():
        return dict(read_json(result))
    job = _write_job(params, base, train_manifest, work_dir=work_dir)
    with (
        contextlib.nullcontext(devices)
        if devices
        else launch_workers(params.devices, device_type, job) as all_devices
    ):
        model, speech, reports, pools = prepare_training(
            params, base, train_manifest, work_dir=work_dir
        )
        valid, valid_report = _read_valid(params, model, valid_manifest)
        loop_summary = fit(
            model.to(all_devices.name),
            speech.corpus,
            speech.tokens,
            batch_at=training_batches(params, speech, pools),
            config=loop_config(params),
            folder=work_dir,
            measure=lambda model: wer(Recognizer(model), valid),
            report=lambda step, metrics: run.log_metrics(metrics, step),
            progress=progress,
            devices=all_devices,
        )
    _report_unreadable(loop_summary["unreadable"], speech, reports)
    word_error_rates = _score_candidates(model, work_dir, valid)
    logged = {"before": loop_summary["before"], **word_error_rates}
    run.log_metrics(
        {f"valid_wer_{name}": value for name, value in logged.items()}, loop_summary["step"]
    )
    defects = [defect for report in (*reports, valid_report) for defect in report.defects]
    write_lines(work_dir / "quarantine.jsonl", defects)
    chosen = min(word_error_rates, key=lambda name: (word_error_rates[name], name != "best"))
    (work_dir / "candidates" / f"{chosen}.nemo").replace(work_dir / "model.nemo")
    summary = {
        **_summarize(loop_summary, word_error_rates, chosen),
        "train": reports[0].summary(),
        "extra": [report.summary() for report in reports[1:]],
        "valid": valid_report.summary(),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "seconds": round(time.monotonic() - started, 1),
    }
    write_json(result, summary)
    shutil.rmtree(work_dir / "candidates")
    return summary


def prepare_training(
    params: AsrTraining, base: str | Path, train_manifest: Path, *, work_dir: Path, rank: int = 0
) -> tuple[Any, TrainingSpeech, list[ManifestReport], list[Pool]]:
    """Returns (network, speech, manifest reports, pools) to train with.

    The network has its new labels. The speech of the main manifest comes first, then that of each
    extra one, which is a pool.
    """
    import torch

    total_share = sum(extra.share for extra in params.extra)
    if not 0 <= total_share < 1:
        raise ManifestError(
            f"the shares in asr.extra add up to {total_share:g}. They must leave room for "
            f"{train_manifest}."
        )
    manifests = [train_manifest, *_extra_manifests(params, train_manifest)]
    local = Path(base)
    model = restore(local) if local.suffix == ".nemo" or local.exists() else fetch(str(base))
    texts = (
        [text for path in manifests for text in texts_of(path)]
        if params.vocabulary == "bpe"
        else []
    )
    torch.manual_seed(params.seed)
    model = replace_vocabulary(
        model,
        params.vocabulary,
        size=params.vocabulary_size,
        texts=texts,
        folder=work_dir / (f"tokenizer-{rank}" if rank else "tokenizer"),
    )
    encode, step_s = text_encoder(model), NemoNetwork(model).step_s
    reports = [ManifestReport(str(path)) for path in manifests]
    parts = [
        read_manifest(path, encode, step_s=step_s, limits=_limits(params), report=report)
        for path, report in zip(manifests, reports, strict=True)
    ]
    pools, begin = [], len(parts[0].tokens)
    for part, extra in zip(parts[1:], params.extra, strict=True):
        pools.append(Pool(begin, begin + len(part.tokens), extra.share))
        begin += len(part.tokens)
    speech = parts[0]
    if pools:
        speech = TrainingSpeech(
            JoinedCorpus([part.corpus for part in parts]),
            [labels for part in parts for labels in part.tokens],
            [utterance_id for part in parts for utterance_id in part.utterance_ids],
        )
    return model, speech, reports, pools


def training_batches(
    params: AsrTraining, speech: TrainingSpeech, pools: list[Pool]
) -> Callable[[int], Any]:
    """Returns a function from step to the utterance numbers of all devices together."""
    parts = params.devices * params.accumulate
    return batch_sampler(
        speech.corpus.frames,
        params.batch_duration_s * parts,
        seed=params.seed,
        pools=pools,
        buckets=params.buckets,
    )


def loop_config(params: AsrTraining) -> LoopConfig:
    """Returns the part of the settings that the training loop needs."""
    settings = asdict(params) | {"augmentation": params.augmentation}
    return LoopConfig(
        **{name: settings[name] for name in LoopConfig.__dataclass_fields__ if name in settings}
    )


def evaluate(path: Path, corpus: Any) -> float:
    """Returns the corpus WER of a `.nemo`: the one measure of best, last and averaged weights."""
    return wer(load(path), corpus)


def wer(recognizer: Recognizer, corpus: Any) -> float:
    """Returns the corpus WER of greedy decoding, after normalising: case and stops do not count."""
    errors = []
    for begin in range(0, len(corpus), 2000):
        numbers = range(begin, min(begin + 2000, len(corpus)))
        transcripts = recognizer.transcribe([corpus.wave(i) for i in numbers])
        errors += [
            word_errors(normalise(corpus.texts[i]), normalise(transcript.text))
            for i, transcript in zip(numbers, transcripts, strict=True)
        ]
    return corpus_wer(errors)


def save_model(model: Any, path: Path) -> None:
    """Writes a `.nemo`, whole or not at all. Raises TrainingError when it cannot be written."""
    with guarded_write(path) as temporary:
        model.save_to(str(temporary))


def _read_valid(
    params: AsrTraining, model: Any, valid_manifest: Path
) -> tuple[Any, ManifestReport]:
    """Returns the validation corpus, whose texts need not fit their audio, and its report."""
    report = ManifestReport(str(valid_manifest))
    speech = read_manifest(
        valid_manifest,
        text_encoder(model),
        step_s=0.0,
        limits=_limits(params),
        report=report,
        for_training=False,
    )
    return speech.corpus, report


def _report_unreadable(
    unreadable: Mapping[str, str], speech: TrainingSpeech, reports: Sequence[ManifestReport]
) -> None:
    """Tells each manifest's report which of its utterances proved unreadable while training."""
    for index, reason in sorted((int(index), reason) for index, reason in unreadable.items()):
        utterance_id = speech.utterance_ids[index]
        report = next(
            report for report in reports if utterance_id.startswith(f"{report.manifest}:")
        )
        report.mark_unreadable(utterance_id, float(speech.corpus.duration_s[index]), reason)


def _score_candidates(model: Any, work_dir: Path, valid: Any) -> dict[str, float]:
    """Writes each set of weights as a `.nemo` into candidates/ and returns the WER of each file."""
    word_error_rates = {}
    for name, state in saved_weights(work_dir).items():
        model.load_state_dict(state)
        path = work_dir / "candidates" / f"{name}.nemo"
        save_model(model, path)
        word_error_rates[name] = evaluate(path, valid)
    return {"last": word_error_rates["best"], **word_error_rates}


def _summarize(
    loop_summary: Mapping[str, Any], word_error_rates: Mapping[str, float], chosen: str
) -> dict[str, Any]:
    return {
        "steps": loop_summary["step"],
        "resumed_from": loop_summary["resumed_from"],
        "stopped_early": loop_summary["stopped_early"],
        "loss_first": loop_summary["loss_first"],
        "loss_last": loop_summary["loss_last"],
        "best_step": loop_summary["best_step"],
        "averaged_steps": loop_summary["averaged"],
        "wer_before": loop_summary["before"],
        **{f"wer_{name}": value for name, value in word_error_rates.items()},
        "wer": word_error_rates[chosen],
        "chosen": chosen,
    }


def _limits(params: AsrTraining) -> Limits:
    return Limits(params.shortest_s, params.longest_s, params.defect_share, params.in_memory_hours)


def _extra_manifests(params: AsrTraining, train_manifest: Path) -> list[Path]:
    return [train_manifest.parent / extra.manifest for extra in params.extra]


def _write_job(
    params: AsrTraining, base: str | Path, train_manifest: Path, *, work_dir: Path
) -> Path:
    """Writes job.json, which training.asr.worker reads, and returns its path."""
    job = work_dir / "job.json"
    write_json(
        job,
        {
            "params": asdict(params),
            "base": str(Path(base).absolute()) if Path(base).exists() else str(base),
            "train": str(train_manifest.absolute()),
            "work_dir": str(work_dir.absolute()),
        },
    )
    return job


def _clear_stale(work_dir: Path, fingerprint: str) -> None:
    """Removes partial files of a kill, and everything when settings, base or manifests differ."""
    for partial in work_dir.glob(".*.tmp"):
        partial.unlink()
    marker = work_dir / "begun.json"
    if not marker.exists() or read_json(marker)["fingerprint"] != fingerprint:
        for name in ("result.json", "last.pt", "best.pt", "model.nemo"):
            (work_dir / name).unlink(missing_ok=True)
        shutil.rmtree(work_dir / "candidates", ignore_errors=True)
        write_json(marker, {"fingerprint": fingerprint})


def _fingerprint(params: AsrTraining, base: str | Path, manifests: Sequence[Path]) -> str:
    """Returns a SHA-256 of the settings and the content of base and manifests."""
    digest = hashlib.sha256(json.dumps(asdict(params), sort_keys=True).encode())
    for source in (Path(base), *manifests):
        if source.is_file():
            with source.open("rb") as handle:
                digest.update(hashlib.file_digest(handle, "sha256").digest())
        else:
            digest.update(str(source).encode())
    return digest.hexdigest()
