"""Fine-tunes a NeMo CTC or hybrid model on a centre's own speech, from configuration, resumable after a kill."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable
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
from training.asr.devices import Devices, resolve_device, launch_workers
from training.asr.fit import LoopConfig, fit, saved_weights, guarded_write
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
from training.asr.vocabulary import text_encoder, replace_vocabulary
from training.tracking import Run


@dataclass(frozen=True)
class ExtraSpeech:
    """More speech to train on, such as synthetic or pseudo-labelled."""

    manifest: str  # a NeMo manifest; relative to the folder of the main one
    share: float  # of the audio of every pass


@dataclass(frozen=True)
class AsrTraining:
    """How a recogniser is fine-tuned."""

    base: str = "models/base/keepline-base.nemo"  # a local .nemo, or a name on the hub
    vocabulary: str = (
        "keep"  # labels: keep, characters, or bpe (word pieces learnt from the training text)
    )
    vocabulary_size: int = 256  # how many word pieces
    rnnt_weight: float = 0.5  # hybrid models: the transducer's share of the loss; 0 trains only what Keepline hears by
    steps: int = 400  # optimizer steps in all
    batch_duration_s: float = 60.0  # audio of a part of a step, padding included
    accumulate: int = 1  # parts a device takes in each step, one after the other
    devices: int = 1  # processes that share each step, each with its own parts
    device: str = "cpu"  # cpu, cuda, or auto
    buckets: int = 0  # Lhotse's dynamic buckets to form batches; 0 sorts by length
    learning_rate: float = 1e-3  # peak; a tenth of it suits big pretrained networks
    warmup_steps: int = 20  # linear rise to the peak
    cooldown_share: float = 0.6  # last share of the steps, linear fall
    weight_decay: float = 1e-3  # AdamW
    layer_decay: float = 1.0  # each encoder layer learns this much slower than the one above it
    frozen_layers: int = 0  # so many encoder layers, from the input, are left as they are
    freeze_encoder_steps: int = 0  # only the decoder learns for so many first steps
    checkpoint_steps: int = 50  # how much a kill may cost
    valid_steps: int = 100  # how often validation WER chooses the best weights
    patience: int = 0  # so many validations in a row without a new best end it; 0 never does
    average_share: float = (
        0.3  # last share of the steps whose weights are averaged; 0 averages nothing
    )
    average_decay: float = 1.0  # 1 is their plain mean; less forgets the older ones
    shortest_s: float = 0.2  # shorter utterances are skipped
    longest_s: float = 20.0  # longer utterances are skipped
    defect_share: float = (
        0.05  # more broken lines than this share refuse a manifest; fewer are left out
    )
    in_memory_hours: float = (
        20.0  # more speech than this (2.3 GB) is read from its files while training
    )
    extra: tuple[ExtraSpeech, ...] = ()  # more speech, mixed in at its share
    seed: int = 0  # of batches, augmentation and dropout
    threads: int = 2  # torch threads
    augmentation: Augmentation = field(
        default_factory=lambda: Augmentation(telephone_share=0.2, noise_share=0.3)
    )  # what telephones and rooms do to it


def finetune(
    params: AsrTraining,
    base: str | Path,
    *,
    train_manifest: Path,
    valid_manifest: Path,
    work_dir: Path,
    run: Run,
    progress: Progress = lambda done, total: None,
    devices: Devices | None = None,
) -> dict[str, Any]:
    """Leaves `work_dir`/model.nemo: of best, last and averaged weights those with the lowest validation WER.

    Killed, it goes on from its last checkpoint and logs to the same steps of `run`. With other settings, base or
    manifests it begins anew. Finished, it only reads its result again. Under torchrun `devices` says which process
    this is; else it starts the others itself. Broken utterances are listed in `work_dir`/quarantine.jsonl.

    Returns steps, resumed_from, stopped_early, loss_first, loss_last, best_step, averaged_steps; on validation
    wer_before, wer_best, wer_last, wer_averaged (unless averaged_steps is 0), wer (the lowest) and chosen; train, valid
    and extra (what became of each manifest's hours, see Account.summary), parameters and seconds. Raises ManifestError,
    ModelError, VocabularyError, TrainingError, DeviceError.
    """
    import torch

    began = time.monotonic()
    torch.set_num_threads(params.threads)
    kind = resolve_device(params.device)
    work_dir.mkdir(parents=True, exist_ok=True)
    _begin(
        work_dir,
        _fingerprint(params, base, train_manifest=train_manifest, valid_manifest=valid_manifest),
    )
    result = work_dir / "result.json"
    if devices:
        devices.of_first(result.exists())
    if result.exists():
        return read_json(result)
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

    held_out = ManifestReport(str(valid_manifest))
    with (
        contextlib.nullcontext(devices)
        if devices
        else launch_workers(params.devices, kind, job) as all_devices
    ):
        model, speech, accounts, pools = prepare_training(
            params, base, train_manifest, work_dir=work_dir
        )
        valid = read_manifest(
            valid_manifest,
            text_encoder(model),
            step_s=0.0,
            limits=_limits(params),
            report=held_out,
            for_training=False,
        ).corpus
        summary = fit(
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
    for index, reason in sorted(
        (int(index), reason) for index, reason in summary["unreadable"].items()
    ):
        account = next(
            account
            for account in accounts
            if speech.things[index].startswith(f"{account.manifest}:")
        )
        account.lose(speech.things[index], float(speech.corpus.duration_s[index]), reason)
    figures = _choose(model, work_dir, valid)
    chosen = min(figures, key=lambda name: (figures[name], name != "best"))
    run.log_metrics(
        {
            f"valid_wer_{name}": value
            for name, value in {"before": summary["before"], **figures}.items()
        },
        summary["step"],
    )
    defects = [defect for account in (*accounts, held_out) for defect in account.defects]
    write_lines(work_dir / "quarantine.jsonl", defects)
    (work_dir / "candidates" / f"{chosen}.nemo").replace(work_dir / "model.nemo")
    found = {
        "steps": summary["step"],
        "resumed_from": summary["resumed_from"],
        "stopped_early": summary["stopped_early"],
        "loss_first": summary["loss_first"],
        "loss_last": summary["loss_last"],
        "best_step": summary["best_step"],
        "averaged_steps": summary["averaged"],
        "wer_before": summary["before"],
        **{f"wer_{name}": value for name, value in figures.items()},
        "wer": figures[chosen],
        "chosen": chosen,
        "train": accounts[0].summary(),
        "extra": [account.summary() for account in accounts[1:]],
        "valid": held_out.summary(),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "seconds": round(time.monotonic() - began, 1),
    }
    write_json(result, found)
    shutil.rmtree(work_dir / "candidates")
    return found


def prepare_training(
    params: AsrTraining, base: str | Path, train_manifest: Path, *, work_dir: Path, rank: int = 0
) -> tuple[Any, TrainingSpeech, list[ManifestReport], list[Pool]]:
    """The network with its labels, and all speech to train on: the main manifest first, then each extra one."""
    import torch

    shares = sum(extra.share for extra in params.extra)
    if not 0 <= shares < 1:
        raise ManifestError(
            f"the shares in asr.extra add up to {shares:g}. They must leave room for {train_manifest}."
        )
    manifests = [
        train_manifest,
        *(train_manifest.parent / extra.manifest for extra in params.extra),
    ]
    local = Path(base)
    model = restore(local) if local.suffix == ".nemo" or local.exists() else fetch(str(base))
    texts = (
        [text for path in manifests for text in texts_of(path)]
        if params.vocabulary == "bpe"
        else []
    )
    torch.manual_seed(params.seed)
    tokenizer = work_dir / ("tokenizer" if not rank else f"tokenizer-{rank}")
    model = replace_vocabulary(
        model, params.vocabulary, size=params.vocabulary_size, texts=texts, folder=tokenizer
    )
    encode, step_s = text_encoder(model), NemoNetwork(model).step_s
    accounts = [ManifestReport(str(path)) for path in manifests]
    parts = [
        read_manifest(path, encode, step_s=step_s, limits=_limits(params), report=account)
        for path, account in zip(manifests, accounts, strict=True)
    ]
    pools, at = [], len(parts[0].tokens)
    for part, extra in zip(parts[1:], params.extra, strict=True):
        pools.append(Pool(at, at + len(part.tokens), extra.share))
        at += len(part.tokens)
    speech: TrainingSpeech = parts[0]
    if pools:
        speech = TrainingSpeech(
            JoinedCorpus([part.corpus for part in parts]),
            [labels for part in parts for labels in part.tokens],
            [thing for part in parts for thing in part.things],
        )
    return model, speech, accounts, pools


def training_batches(
    params: AsrTraining, speech: TrainingSpeech, pools: list[Pool]
) -> Callable[[int], Any]:
    """Names the utterances of a step of all devices together."""
    parts = params.devices * params.accumulate
    return batch_sampler(
        speech.corpus.frames,
        params.batch_duration_s * parts,
        seed=params.seed,
        pools=pools,
        buckets=params.buckets,
    )


def loop_config(params: AsrTraining) -> LoopConfig:
    """The part of the settings that the training loop follows."""
    known = asdict(params) | {"augmentation": params.augmentation}
    return LoopConfig(
        **{name: known[name] for name in LoopConfig.__dataclass_fields__ if name in known}
    )


def evaluate(path: Path, corpus: Any) -> float:
    """Corpus WER of the recogniser in a `.nemo`: the one evaluator for best, last and averaged weights."""
    return wer(load(path), corpus)


def wer(recognizer: Recognizer, corpus: Any) -> float:
    """Corpus WER of greedy decoding, of the words that are said: capitals and stops are no errors."""
    errors = []
    for begin in range(0, len(corpus), 2000):
        some = range(begin, min(begin + 2000, len(corpus)))
        heard = recognizer.transcribe([corpus.wave(i) for i in some])
        errors += [
            word_errors(normalise(corpus.texts[i]), normalise(found.text))
            for i, found in zip(some, heard, strict=True)
        ]
    return corpus_wer(errors)


def save_model(model: Any, path: Path) -> None:
    """Writes a `.nemo`, whole or not at all. Raises TrainingError when it cannot be written."""
    with guarded_write(path) as temporary:
        model.save_to(str(temporary))


def _choose(model: Any, work_dir: Path, valid: Any) -> dict[str, float]:
    """Writes each kind of weights as a `.nemo` into candidates/ and scores the file."""
    figures = {}
    for name, state in saved_weights(work_dir).items():
        model.load_state_dict(state)
        path = work_dir / "candidates" / f"{name}.nemo"
        save_model(model, path)
        figures[name] = evaluate(path, valid)
    return {"last": figures["best"], **figures}


def _limits(params: AsrTraining) -> Limits:
    return Limits(params.shortest_s, params.longest_s, params.defect_share, params.in_memory_hours)


def _begin(work_dir: Path, fingerprint: str) -> None:
    """Clears what a kill left half written; and, when anything that matters has changed, all of it."""
    for torn in work_dir.glob(".*.tmp"):
        torn.unlink()
    begun = work_dir / "begun.json"
    if not begun.exists() or read_json(begun)["fingerprint"] != fingerprint:
        for name in ("result.json", "last.pt", "best.pt", "model.nemo"):
            (work_dir / name).unlink(missing_ok=True)
        shutil.rmtree(work_dir / "candidates", ignore_errors=True)
        write_json(begun, {"fingerprint": fingerprint})


def _fingerprint(
    params: AsrTraining, base: str | Path, *, train_manifest: Path, valid_manifest: Path
) -> str:
    digest = hashlib.sha256(json.dumps(asdict(params), sort_keys=True).encode())
    extra = [train_manifest.parent / extra.manifest for extra in params.extra]
    for source in (Path(base), train_manifest, valid_manifest, *extra):
        if source.is_file():
            with source.open("rb") as handle:
                digest.update(hashlib.file_digest(handle, "sha256").digest())
        else:
            digest.update(str(source).encode())
    return digest.hexdigest()
