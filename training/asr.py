"""Fine-tunes a NeMo CTC or hybrid model on a centre's own speech, from configuration, resumable after a kill."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.audio import AudioError, read, resample
from data.store import atomic, read_json, write_json
from evaluation.metrics.wer import corpus_wer, word_errors
from models.asr import Recognizer, ctc_log_probs, fetch, restore
from training.fit import Fit, fit
from training.speech import SAMPLE_RATE_HZ, Augmentation, Corpus
from training.tracking import Run


@dataclass(frozen=True)
class AsrTraining:
    """How a recogniser is fine-tuned."""

    base: str = "models/base/keepline-base.nemo"  # a local .nemo, or a name on the hub
    steps: int = 400  # optimizer steps in all
    batch_duration_s: float = 60.0  # audio a step, padding included
    learning_rate: float = 1e-3  # peak; a tenth of it suits big pretrained networks
    warmup_steps: int = 20  # linear rise to the peak
    cooldown_share: float = 0.6  # last share of the steps, linear fall
    weight_decay: float = 1e-3  # AdamW
    freeze_encoder_steps: int = 0  # only the decoder learns for so many first steps
    checkpoint_steps: int = 50  # how much a kill may cost
    valid_steps: int = 100  # how often validation WER chooses the best weights
    shortest_s: float = 0.2  # shorter utterances are skipped
    longest_s: float = 20.0  # longer utterances are skipped
    seed: int = 0  # of batches, augmentation and dropout
    threads: int = 2  # torch threads
    augmentation: Augmentation = field(
        default_factory=lambda: Augmentation(telephone_share=0.2, noise_share=0.3)
    )  # what telephones and rooms do to it


class ManifestError(ValueError):
    """A manifest cannot be trained on. The message names the file, the line and what to do."""


def finetune(
    params: AsrTraining,
    base: str | Path,
    train_manifest: Path,
    valid_manifest: Path,
    work_dir: Path,
    run: Run,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Leaves `work_dir`/model.nemo (lowest validation WER) and last.nemo; returns what happened.

    Killed, it goes on from its last checkpoint and logs to the same steps of `run`. With other settings, base or
    manifests it begins anew. Finished, it only reads its result again.

    Returns steps, resumed_from, loss_first, loss_last, wer_before, wer_best, wer_last (on validation), best_step,
    utterances and hours a manifest, skipped {reason: count}, parameters and seconds. Raises ManifestError, ModelError.
    """
    import torch

    began = time.monotonic()
    torch.set_num_threads(params.threads)
    work_dir.mkdir(parents=True, exist_ok=True)
    fingerprint = _fingerprint(params, base, train_manifest, valid_manifest)
    result = work_dir / "result.json"
    begun = work_dir / "begun.json"
    if not begun.exists() or read_json(begun)["fingerprint"] != fingerprint:
        for name in ("result.json", "last.pt", "best.pt", "model.nemo", "last.nemo"):
            (work_dir / name).unlink(missing_ok=True)
        write_json(begun, {"fingerprint": fingerprint})
    if result.exists():
        return read_json(result)

    local = Path(base)
    model = restore(local) if local.suffix == ".nemo" or local.exists() else fetch(str(base))
    skipped: Counter[str] = Counter()
    train, tokens = load_manifest(train_manifest, model, params, skipped)
    valid, _ = load_manifest(valid_manifest, model, params, skipped)
    summary = fit(
        model,
        train,
        tokens,
        passes(train.frames, params.batch_duration_s, params.seed),
        Fit(
            steps=params.steps,
            learning_rate=params.learning_rate,
            warmup_steps=params.warmup_steps,
            cooldown_share=params.cooldown_share,
            seed=params.seed,
            weight_decay=params.weight_decay,
            freeze_encoder_steps=params.freeze_encoder_steps,
            checkpoint_steps=params.checkpoint_steps,
            valid_steps=params.valid_steps,
            augmentation=params.augmentation,
        ),
        work_dir,
        measure=lambda model: wer(Recognizer(model), valid),
        report=lambda step, metrics: run.log_metrics(metrics, step),
        progress=progress,
    )
    save(model, work_dir / "last.nemo")
    best = torch.load(work_dir / "best.pt", weights_only=True)
    model.load_state_dict(best["model"])
    save(model, work_dir / "model.nemo")
    found = {
        "steps": summary["step"],
        "resumed_from": summary["resumed_from"],
        "loss_first": summary["loss_first"],
        "loss_last": summary["loss_last"],
        "wer_before": summary["before"],
        "wer_best": summary["best"],
        "wer_last": summary["last"],
        "best_step": summary["best_step"],
        "train": {"utterances": len(train), "hours": round(float(train.duration_s.sum()) / 3600, 4)},
        "valid": {"utterances": len(valid), "hours": round(float(valid.duration_s.sum()) / 3600, 4)},
        "skipped": dict(sorted(skipped.items())),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "seconds": round(time.monotonic() - began, 1),
    }
    write_json(result, found)
    return found


def load_manifest(path: Path, model: Any, params: AsrTraining, skipped: Counter[str]) -> tuple[Corpus, list[list[int]]]:
    """Decodes a NeMo manifest into memory: its utterances and their label numbers, in the order of the lines.

    What is too short, too long, or holds more text than its audio has steps for is left out and counted in `skipped`.
    Raises ManifestError naming the line for bad JSON, missing keys, missing or broken audio and characters that the
    model has no label for; and when nothing is left.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read ({error}).") from error
    encode, step_s = _encoder_of(model), _step_s(model)
    pieces: list[np.ndarray] = []
    texts: list[str] = []
    tokens: list[list[int]] = []
    for number, line in enumerate(lines, start=1):
        where = f"{path}:{number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            text, audio = str(row["text"]), path.parent / row["audio_filepath"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ManifestError(f"{where}: not a manifest line ({error}). It needs audio_filepath and text.") from error
        labels, unknown = encode(text)
        if unknown:
            raise ManifestError(
                f"{where}: {unknown!r} in {text!r} is not among the model's labels. "
                "Normalise the text (data.text.normalise) or use another base."
            )
        try:
            samples, rate = read(audio)
        except (AudioError, OSError) as error:
            raise ManifestError(f"{where}: {error}") from error
        if samples.shape[1] != 1:
            raise ManifestError(f"{where}: {audio} has {samples.shape[1]} channels. Cut one channel first.")
        duration_s = len(samples) / rate
        reason = None
        if duration_s < params.shortest_s:
            reason = f"shorter than {params.shortest_s} s"
        elif duration_s > params.longest_s:
            reason = f"longer than {params.longest_s} s"
        elif not labels:
            reason = "no text"
        elif len(labels) > duration_s / step_s:
            reason = "more text than fits its audio"
        if reason:
            skipped[reason] += 1
            continue
        wave = resample(samples[:, 0], rate, SAMPLE_RATE_HZ)
        pieces.append(np.round(np.clip(wave, -1, 1) * 32767).astype(np.int16))
        texts.append(text)
        tokens.append(labels)
    if not pieces:
        raise ManifestError(
            f"{path}: no utterance to use among {len(lines)} lines. Cut more speech or relax the limits."
        )
    frames = np.array([len(piece) for piece in pieces], np.int64)
    return Corpus(np.concatenate(pieces), np.cumsum(frames) - frames, frames, texts), tokens


def passes(frames: np.ndarray, batch_duration_s: float, seed: int) -> Callable[[int], np.ndarray]:
    """Names the utterances of a step: every utterance once a pass, those of like length together, shuffled anew.

    A batch holds as many as fit `batch_duration_s` when padded to the longest, and one at least.
    """
    limit = batch_duration_s * SAMPLE_RATE_HZ

    def batches(number: int) -> list[np.ndarray]:
        rng = np.random.default_rng([seed, 1, number])
        order = np.argsort(frames * rng.uniform(0.9, 1.1, len(frames)), kind="stable")
        found, begin, longest = [], 0, 0
        for end, index in enumerate(order):
            longest = max(longest, int(frames[index]))
            if longest * (end - begin + 1) > limit and end > begin:
                found.append(order[begin:end])
                begin, longest = end, int(frames[index])
        found.append(order[begin:])
        return [found[i] for i in rng.permutation(len(found))]

    current: dict[int, list[np.ndarray]] = {}
    starts = [0]  # first step of each pass; passes differ in their number of batches

    def at(step: int) -> np.ndarray:
        while starts[-1] <= step:
            number = len(starts) - 1
            current.clear()
            current[number] = batches(number)
            starts.append(starts[-1] + len(current[number]))
        number = int(np.searchsorted(starts, step, "right")) - 1
        if number not in current:
            current.clear()
            current[number] = batches(number)
        return current[number][step - starts[number]]

    return at


def wer(recognizer: Recognizer, corpus: Corpus) -> float:
    """Corpus WER of greedy decoding."""
    heard = recognizer.transcribe([corpus.wave(i) for i in range(len(corpus))])
    return corpus_wer([word_errors(said, found.text) for said, found in zip(corpus.texts, heard, strict=True)])


def save(model: Any, path: Path) -> None:
    """Writes a `.nemo`, whole or not at all."""
    with atomic(path) as temporary:
        model.save_to(str(temporary))


def _encoder_of(model: Any) -> Callable[[str], tuple[list[int], str]]:
    """Text → label numbers and the characters there is no label for."""
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        label = {character: number for number, character in enumerate(Recognizer(model).labels)}

        def characters(text: str) -> tuple[list[int], str]:
            unknown = "".join(sorted(set(text) - set(label)))
            return [label[character] for character in text if character in label], unknown

        return characters

    def pieces(text: str) -> tuple[list[int], str]:
        numbers = tokenizer.text_to_ids(text)
        return numbers, "".join(sorted(set(text) - set(tokenizer.ids_to_text(numbers)) - {" "}))

    return pieces


def _step_s(model: Any) -> float:
    """Seconds of audio behind one output step, found by listening to ten seconds of silence."""
    import torch

    model.eval()
    with torch.inference_mode():
        _, steps = ctc_log_probs(model, torch.zeros(1, 10 * SAMPLE_RATE_HZ), torch.tensor([10 * SAMPLE_RATE_HZ]))
    return 10 / int(steps[0])


def _fingerprint(params: AsrTraining, base: str | Path, *manifests: Path) -> str:
    digest = hashlib.sha256(json.dumps(asdict(params), sort_keys=True).encode())
    for source in (Path(base), *manifests):
        if source.is_file():
            with source.open("rb") as handle:
                digest.update(hashlib.file_digest(handle, "sha256").digest())
        else:
            digest.update(str(source).encode())
    return digest.hexdigest()
