"""Trains the shipped base checkpoint from scratch on recorded and synthesised speech."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.audio import SAMPLE_RATE_HZ
from data.files import read_json, write_json, write_text
from data.progress import Progress
from data.text import ALPHABET
from models.asr.nemo import nemo_asr, suppress_logs
from models.asr.recognizer import Recognizer
from training.asr.base_card import measure_word_error_rates, render_card
from training.asr.base_speech import open_corpus, prepare_speech
from training.asr.devices import Devices, resolve_device
from training.asr.finetune import save_model, wer
from training.asr.fit import LoopConfig, fit
from training.asr.speech import Augmentation

REFINE_COOLDOWN = 0.8  # of the refining steps
VALID_UTTERANCES = 300  # of the held-out speech, transcribed at each validation


@dataclass(frozen=True)
class BaseTraining:
    """Settings of training the shipped base. The command with these defaults rebuilds it."""

    seed: int = 20  # of texts, voices, weights, batches and augmentation
    channels: int = 256  # width of the encoder
    kernels: tuple[int, ...] = (7, 9, 9, 11, 11, 13)  # one residual block each, in steps of 20 ms
    repeat: int = 2  # separable convolutions a block
    mel_features: int = 64  # 25 ms windows, 10 ms steps
    dropout: float = 0.0  # within the blocks; a few epochs leave nothing to regularise
    simulated_hours: float = 22.0  # synthesised speech of sentences and phrases
    simulated_voices: int = 320  # espeak-ng voices that speak them
    # More of it, in the voices of Debian's flite; 0 where it is not installed.
    flite_hours: float = 4.0
    steps: int = 7000  # optimizer steps
    batch_duration_s: float = 40.0  # audio a step
    learning_rate: float = 2e-3  # peak
    weight_decay: float = 1e-3  # AdamW
    warmup_steps: int = 200  # rising to the peak
    cooldown_share: float = 0.3  # last share of the steps, falling to a fiftieth of the peak
    short_steps: int = 600  # only short utterances; then the longest grows as long again
    short_s: float = 2.0  # longest utterance at first
    longest_s: float = 16.0  # longest utterance in the end
    clean_steps: int = 400  # augmentation begins after so many steps
    # Then so many more on recropped speech, so that the silence around it stops to matter.
    refine_steps: int = 5000
    refine_rate: float = 1.5e-3  # their peak; it falls over most of them
    refine_quiet_share: float = 0.7  # of the utterances are recropped
    checkpoint_steps: int = 200  # steps between checkpoints: what a kill may cost
    valid_steps: int = 1000  # steps between validations on a sample of the held-out speech
    device: str = "cpu"  # cpu, cuda (never run: no such machine was at hand), or auto
    threads: int = 2  # torch threads
    augmentation: Augmentation = field(  # mild: a few epochs leave nothing to regularise
        default_factory=lambda: Augmentation(
            telephone_share=0.4,
            noise_share=0.3,
            noise_snr_db_min=10.0,
            speed_spread=0.1,
            quiet_share=0.0,
            frequency_masks=0,
            time_masks=0,
        )
    )
    shares: dict[str, float] = field(  # of the audio, by set
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
    )


def train_base(
    params: BaseTraining,
    *,
    speech_dir: Path,
    dialogue_dir: Path,
    work_dir: Path,
    out: Path,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Trains the base, writes `out`/keepline-base.nemo and its card, and returns a summary.

    `speech_dir` holds the recorded sets, `dialogue_dir` the texts to synthesise. Two hours on two
    cores. Killed, it resumes from `work_dir`. The summary is that of `fit` with wer, size_bytes and
    parameters. Raises ValueError when `work_dir` was begun with other `params`, FileNotFoundError
    without the sets, DeviceError for a device that is not there.
    """
    import torch

    _assert_same_settings(params, work_dir)
    torch.set_num_threads(params.threads)
    devices = Devices(device_type=resolve_device(params.device, "base.device"))
    rows = prepare_speech(
        speech_dir,
        dialogue_dir,
        work_dir,
        seed=params.seed,
        simulated_hours=params.simulated_hours,
        simulated_voices=params.simulated_voices,
        flite_hours=params.flite_hours,
    )
    held_out = [row for row in rows if row["held_out"]]
    model = build_network(params)
    summary = _train_twice(
        params, model, rows, work_dir=work_dir, devices=devices, progress=progress
    )
    path = out / "keepline-base.nemo"
    save_model(model, path)
    summary |= {
        "wer": measure_word_error_rates(Recognizer(model), held_out, work_dir),
        "size_bytes": path.stat().st_size,
        "parameters": Recognizer(model).parameters,
    }
    write_text(out / "card.md", render_card(asdict(params), rows, summary))
    return summary


def _assert_same_settings(params: BaseTraining, work_dir: Path) -> None:
    """Writes params.json into `work_dir`; raises ValueError when it holds other settings."""
    marker = work_dir / "params.json"
    if marker.exists() and read_json(marker) != json.loads(json.dumps(asdict(params))):
        raise ValueError(
            f"{work_dir}: begun with other settings (see params.json there). Use another folder."
        )
    write_json(marker, asdict(params))


def _train_twice(
    params: BaseTraining,
    model: Any,
    rows: list[dict[str, Any]],
    *,
    work_dir: Path,
    devices: Devices,
    progress: Progress,
) -> dict[str, Any]:
    """Trains `model` on all speech, then on recropped speech; returns the second summary.

    step and resumed_from count the steps of both.
    """
    training_rows = [row for row in rows if not row["held_out"]]
    held_out = [row for row in rows if row["held_out"]]
    corpus = open_corpus(training_rows, work_dir)
    valid = open_corpus(held_out[:: max(1, len(held_out) // VALID_UTTERANCES)], work_dir)
    label = {character: number for number, character in enumerate(ALPHABET)}
    tokens = [[label[character] for character in text] for text in corpus.texts]
    batch_at = base_batch_sampler(params, training_rows)
    total = params.steps + params.refine_steps

    def train(config: LoopConfig, folder: Path, steps_before: int) -> dict[str, Any]:
        def report(step: int, metrics: dict[str, float]) -> None:
            with (work_dir / "log.jsonl").open("a") as lines:
                lines.write(json.dumps({"step": steps_before + step, **metrics}) + "\n")

        return fit(
            model.to(devices.name),
            corpus,
            tokens,
            batch_at=lambda step: batch_at(steps_before + step),
            config=config,
            folder=folder,
            measure=lambda model: wer(Recognizer(model), valid),
            report=report,
            progress=lambda step, _: progress(steps_before + step, total),
            devices=devices,
        )

    first, refining = _loop_configs(params)
    before = train(first, work_dir, 0)
    summary = train(refining, work_dir / "refined", params.steps)
    resumed_from = before["resumed_from"] + summary["resumed_from"]
    return summary | {"step": total, "resumed_from": resumed_from}


def _loop_configs(params: BaseTraining) -> tuple[LoopConfig, LoopConfig]:
    """Returns the settings of the first training and of the refining one."""
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
    refining = replace(
        first,
        steps=params.refine_steps,
        learning_rate=params.refine_rate,
        cooldown_share=REFINE_COOLDOWN,
        seed=params.seed + 1,
        clean_steps=0,
        augmentation=replace(params.augmentation, quiet_share=params.refine_quiet_share),
    )
    return first, refining


def build_network(params: BaseTraining) -> Any:
    """Returns a new NeMo EncDecCTCModel with 20 ms steps and character labels.

    Separable convolutions with squeeze-and-excite, after QuartzNet (arXiv 1910.10261) and Citrinet
    (arXiv 2104.01721), made small.
    """
    import torch
    from omegaconf import OmegaConf

    labels = list(ALPHABET)
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
            "jasper": _encoder_blocks(params),
        },
        "decoder": {
            "_target_": "nemo.collections.asr.modules.ConvASRDecoder",
            "feat_in": params.channels * 2,
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
    models = nemo_asr()
    torch.manual_seed(params.seed)
    with suppress_logs():
        return models.EncDecCTCModel(OmegaConf.create(config))


def _encoder_blocks(params: BaseTraining) -> list[dict[str, Any]]:
    """Returns the blocks of NeMo's ConvASREncoder, from the input up."""

    def block(filters: int, kernel: int, **changes: Any) -> dict[str, Any]:
        return {
            "filters": filters,
            "repeat": 1,
            "kernel": [kernel],
            "stride": [1],
            "dilation": [1],
            "dropout": params.dropout,
            "residual": False,
            "separable": True,
            "se": True,
            "se_reduction_ratio": 8,
            **changes,
        }

    width = params.channels
    return [
        block(width, 11, stride=[2]),
        *(block(width, kernel, repeat=params.repeat, residual=True) for kernel in params.kernels),
        block(width, 25),
        block(width * 2, 1, separable=False),
    ]


def base_batch_sampler(
    params: BaseTraining, rows: list[dict[str, Any]]
) -> Callable[[int], np.ndarray]:
    """Returns a function from step to row numbers.

    A batch holds utterances of like length, short ones in the first steps, and every set gets its
    share of the audio.
    """
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
        growth = np.clip(step / params.short_steps - 1, 0, 1)
        limit = int(
            np.searchsorted(
                sorted_s, params.short_s + growth * (params.longest_s - params.short_s), "right"
            )
        )
        anchor = int(np.searchsorted(audio_share, rng.random() * audio_share[limit - 1]))
        low = int(np.searchsorted(sorted_s, sorted_s[anchor] * 0.87))
        high = min(limit, max(anchor + 1, int(np.searchsorted(sorted_s, sorted_s[anchor] * 1.15))))
        count = max(1, int(params.batch_duration_s / sorted_s[high - 1]))
        # Smallest first: a draw by weight without replacement.
        rank = rng.exponential(size=high - low) / weight[low:high]
        return order[low + np.sort(np.argsort(rank, kind="stable")[:count])]

    return at
