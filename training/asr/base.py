"""Trains the small base checkpoint that ships, from scratch: real speech plus simulated voices reading service talk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.files import read_json, write_json, write_text
from data.progress import Progress
from data.text import ALPHABET
from models.asr.nemo import nemo_asr, suppress_logs
from models.asr.recognizer import Recognizer
from training.asr.base_card import render_card, measure_word_error_rates
from training.asr.base_speech import open_corpus, prepare_speech
from training.asr.devices import Devices, resolve_device
from training.asr.finetune import save_model, wer
from training.asr.fit import LoopConfig, fit
from training.asr.speech import SAMPLE_RATE_HZ, Augmentation

REFINE_COOLDOWN = 0.8  # of the refining steps


@dataclass(frozen=True)
class BaseTraining:
    """How the shipped base is made. The command with these defaults rebuilds it."""

    seed: int = 20  # of texts, voices, weights, batches and augmentation
    channels: int = 256  # width of the encoder
    kernels: tuple[int, ...] = (7, 9, 9, 11, 11, 13)  # one residual block each, in steps of 20 ms
    repeat: int = 2  # separable convolutions a block
    mel_features: int = 64  # 25 ms windows, 10 ms steps
    dropout: float = 0.0  # within the blocks; a few passes over the speech leave nothing to unlearn
    simulated_hours: float = 22.0  # synthesised speech of sentences and phrases
    simulated_voices: int = 320  # espeak-ng voices that speak them
    flite_hours: float = (
        4.0  # more of it, in the voices of Debian's flite; 0 where it is not installed
    )
    steps: int = 7000  # optimizer steps
    batch_duration_s: float = 40.0  # audio a step
    learning_rate: float = 2e-3  # peak
    weight_decay: float = 1e-3  # AdamW
    warmup_steps: int = 200  # rising to the peak
    cooldown_share: float = 0.3  # last share of the steps, falling to a fiftieth of the peak
    short_steps: int = 600  # only short utterances; then the longest grows as long again
    short_s: float = 2.0  # longest utterance at first
    longest_s: float = 16.0  # longest utterance in the end
    clean_steps: int = 400  # augmentation begins here
    refine_steps: int = (
        5000  # then so many more with speech cut anew, so that the quiet around it stops to matter
    )
    refine_rate: float = 1.5e-3  # their peak; it falls over most of them
    refine_quiet_share: float = 0.7  # of the utterances are cut anew
    checkpoint_steps: int = 200  # how much a kill may cost
    valid_steps: int = 1000  # how often a sample of the held-out speech is transcribed
    device: str = "cpu"  # cpu, cuda (written, but never run: no such machine was at hand), or auto
    threads: int = 2  # torch threads
    augmentation: Augmentation = field(
        default_factory=lambda: Augmentation(
            telephone_share=0.4,
            noise_share=0.3,
            noise_snr_db_min=10.0,
            speed_spread=0.1,
            quiet_share=0.0,
            frequency_masks=0,
            time_masks=0,
        )
    )  # mild, for the same reason
    shares: dict[str, float] = field(
        default_factory=lambda: {
            "simulated": 0.42,
            "flite": 0.10,
            "barista": 0.14,
            "librispeech": 0.12,
            "ljspeech": 0.06,
            "asterisk_prompts": 0.05,
            "spoken_digits": 0.04,
            "speech_commands": 0.07,
        }
    )  # of the audio each set gets


def train_base(
    params: BaseTraining,
    *,
    speech_dir: Path,
    dialogue_dir: Path,
    work_dir: Path,
    out: Path,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Makes `out`/keepline-base.nemo and its card from the sets in `speech_dir` and the talk in `dialogue_dir`.

    About two hours on two cores. Killed, it goes on from `work_dir`; returns what `fit` does, and wer, size_bytes and
    parameters. Raises ValueError when `work_dir` was begun with other `params`, FileNotFoundError without the sets,
    DeviceError for a device that is not there.
    """
    import torch

    begun = work_dir / "params.json"
    if begun.exists() and read_json(begun) != json.loads(json.dumps(asdict(params))):
        raise ValueError(
            f"{work_dir}: begun with other settings (see params.json there). Use another folder."
        )
    write_json(begun, asdict(params))

    torch.set_num_threads(params.threads)
    devices = Devices(kind=resolve_device(params.device, "base.device"))
    rows = prepare_speech(
        speech_dir,
        dialogue_dir,
        work_dir,
        seed=params.seed,
        simulated_hours=params.simulated_hours,
        simulated_voices=params.simulated_voices,
        flite_hours=params.flite_hours,
    )
    known = [row for row in rows if not row["held_out"]]
    corpus = open_corpus(known, work_dir)
    model = build_network(params)
    label = {character: number for number, character in enumerate(ALPHABET)}
    tokens = [[label[character] for character in text] for text in corpus.texts]
    held_out = [row for row in rows if row["held_out"]]
    first = LoopConfig(
        steps=params.steps,
        learning_rate=params.learning_rate,
        warmup_steps=params.warmup_steps,
        cooldown_share=params.cooldown_share,
        seed=params.seed,
        weight_decay=params.weight_decay,
        clean_steps=params.clean_steps,
        checkpoint_steps=params.checkpoint_steps,
        valid_steps=params.valid_steps,
        augmentation=params.augmentation,
    )
    refined = replace(
        first,
        steps=params.refine_steps,
        learning_rate=params.refine_rate,
        cooldown_share=REFINE_COOLDOWN,
        seed=params.seed + 1,
        clean_steps=0,
        augmentation=replace(params.augmentation, quiet_share=params.refine_quiet_share),
    )
    sample = open_corpus(held_out[:: max(1, len(held_out) // 300)], work_dir)
    batch_at, total = base_batch_sampler(params, known), params.steps + params.refine_steps

    def learn(settings: LoopConfig, folder: Path, done: int) -> dict[str, Any]:
        """What `fit` returns of one of the two trainings, before which `done` of all steps were made."""

        def report(step: int, metrics: dict[str, float]) -> None:
            with (work_dir / "log.jsonl").open("a") as lines:
                lines.write(json.dumps({"step": done + step, **metrics}) + "\n")

        return fit(
            model.to(devices.name),
            corpus,
            tokens,
            batch_at=lambda step: batch_at(done + step),
            config=settings,
            folder=folder,
            measure=lambda model: wer(Recognizer(model), sample),
            report=report,
            progress=lambda step, _: progress(done + step, total),
            devices=devices,
        )

    before = learn(first, work_dir, 0)
    summary = learn(refined, work_dir / "refined", params.steps)
    summary |= {"step": total, "resumed_from": before["resumed_from"] + summary["resumed_from"]}
    path = out / "keepline-base.nemo"
    save_model(model, path)
    results = measure_word_error_rates(Recognizer(model), held_out, work_dir)
    summary |= {
        "wer": results,
        "size_bytes": path.stat().st_size,
        "parameters": Recognizer(model).parameters,
    }
    write_text(out / "card.md", render_card(asdict(params), rows, summary))
    return summary


def build_network(params: BaseTraining) -> Any:
    """A fresh NeMo EncDecCTCModel: separable convolutions with squeeze-and-excite, 20 ms steps, characters.

    After QuartzNet (arXiv 1910.10261) and Citrinet (arXiv 2104.01721), made small.
    """
    import torch
    from omegaconf import OmegaConf

    models = nemo_asr()

    def block(
        filters: int,
        kernel: int,
        repeat: int = 1,
        stride: int = 1,
        residual: bool = False,
        **more: Any,
    ) -> dict:
        return {
            "filters": filters,
            "repeat": repeat,
            "kernel": [kernel],
            "stride": [stride],
            "dilation": [1],
            "dropout": params.dropout,
            "residual": residual,
            "separable": True,
            "se": True,
            "se_reduction_ratio": 8,
            **more,
        }

    width, labels = params.channels, list(ALPHABET)
    encoder = [block(width, 11, stride=2)]
    encoder += [block(width, kernel, params.repeat, residual=True) for kernel in params.kernels]
    encoder += [block(width, 25), block(width * 2, 1, separable=False)]
    config = {
        "sample_rate": SAMPLE_RATE_HZ,
        "labels": labels,
        "preprocessor": {
            "_target_": "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor",
            "sample_rate": SAMPLE_RATE_HZ,
            "normalize": "per_feature",
            "window_size": 0.025,
            "window_stride": 0.01,
            "window": "hann",
            "features": params.mel_features,
            "n_fft": 512,
            "dither": 1e-5,
            "pad_to": 0,
            "log": True,
        },
        "encoder": {
            "_target_": "nemo.collections.asr.modules.ConvASREncoder",
            "feat_in": params.mel_features,
            "activation": "relu",
            "conv_mask": True,
            "jasper": encoder,
        },
        "decoder": {
            "_target_": "nemo.collections.asr.modules.ConvASRDecoder",
            "feat_in": width * 2,
            "num_classes": len(labels),
            "vocabulary": labels,
        },
        "spec_augment": {
            "_target_": "nemo.collections.asr.modules.SpectrogramAugmentation",
            "freq_masks": 0,
            "time_masks": 0,
            "freq_width": 8,
            "time_width": 0.03,
        },
    }
    torch.manual_seed(params.seed)
    with suppress_logs():
        return models.EncDecCTCModel(OmegaConf.create(config))


def base_batch_sampler(
    params: BaseTraining, rows: list[dict[str, Any]]
) -> Callable[[int], np.ndarray]:
    """Names the utterances of a step: of like length, short ones first, each set with its share of the audio."""
    duration_s = np.array([row["frames"] for row in rows]) / SAMPLE_RATE_HZ
    sets = np.array([row["set"] for row in rows])
    weight = np.zeros(len(rows))
    for name, share in params.shares.items():
        if (own := sets == name).any():
            weight[own] = share / duration_s[own].sum()
    order = np.argsort(duration_s, kind="stable")
    sorted_s, weight = duration_s[order], weight[order]
    audio_share = np.cumsum(weight * sorted_s)

    def at(step: int) -> np.ndarray:
        rng = np.random.default_rng([params.seed, 3, step])
        grown = np.clip(step / params.short_steps - 1, 0, 1)
        limit = int(
            np.searchsorted(
                sorted_s, params.short_s + grown * (params.longest_s - params.short_s), "right"
            )
        )
        anchor = int(np.searchsorted(audio_share, rng.random() * audio_share[limit - 1]))
        low = int(np.searchsorted(sorted_s, sorted_s[anchor] * 0.87))
        high = min(limit, max(anchor + 1, int(np.searchsorted(sorted_s, sorted_s[anchor] * 1.15))))
        count = max(1, int(params.batch_duration_s / sorted_s[high - 1]))
        rank = (
            rng.exponential(size=high - low) / weight[low:high]
        )  # smallest first: a draw by weight, none twice
        return order[low + np.sort(np.argsort(rank, kind="stable")[:count])]

    return at
