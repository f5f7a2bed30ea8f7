"""Trains a NeMo CTC model in a plain torch loop: deterministic, and resumable after a kill -9."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data.audio import AudioError
from data.files import atomic
from data.progress import Progress
from training.asr.devices import Devices
from training.asr.layers import parameter_groups, set_trainable
from training.asr.losses import is_hybrid, loss_sum
from training.asr.speech import Augmentation, augment, collate, recrop_speech

LOG_EVERY_STEPS = 10  # mean training loss and learning rate are reported this often


@dataclass(frozen=True)
class LoopConfig:
    """Settings of the training loop, whichever network and speech it is given."""

    steps: int  # optimizer steps in all
    learning_rate: float  # peak
    warmup_steps: int  # linear rise to the peak
    cooldown_share: float  # last share of the steps, linear fall to a fiftieth of the peak
    seed: int  # of augmentation, dropout and dither
    weight_decay: float = 1e-3  # AdamW
    freeze_encoder_steps: int = 0  # the encoder is frozen for so many first steps
    frozen_layers: int = 0  # so many encoder layers, from the input, are frozen throughout
    layer_decay: float = 1.0  # learning rate of an encoder layer over that of the one above it
    encoder_rate: float = 1.0  # learning rate of the encoder over that of what follows it
    precision: str = "float32"  # or bfloat16: matrix products, faster on processors that have it
    accumulate: int = 1  # parts of a step that a process computes in sequence, for less memory
    rnnt_weight: float = 0.0  # of hybrid networks: share of the transducer in the loss
    clean_steps: int = 0  # augmentation begins after so many steps
    checkpoint_steps: int = 200  # steps between checkpoints: what a kill may cost
    valid_steps: int = 0  # steps between validations; 0 validates only at the end
    patience: int = 0  # validations in a row without a new best that end training; 0 never ends it
    # Last share of the steps whose weights are averaged; 0 averages nothing.
    average_share: float = 0.0
    average_decay: float = 1.0  # 1 is the plain mean; less forgets older weights
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        """Raises ValueError for a precision that is none."""
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision is {self.precision!r}. Choose float32 or bfloat16.")


class WaveSource(Protocol):
    """Utterances by number, in memory (training.asr.speech.Corpus) or in files (FileCorpus)."""

    def wave(self, index: int, speed: float = 1.0) -> np.ndarray:
        """Returns float32 [samples] at 16 kHz. Raises AudioError."""


class TrainingError(RuntimeError):
    """Training cannot continue. The message names the step or file and what to do."""


Measure = Callable[[Any], float]
Report = Callable[[int, dict[str, float]], None]


def learning_rate(config: LoopConfig, step: int) -> float:
    """Returns the learning rate of `step` (from 0): linear warm-up, plateau, linear cool-down."""
    cooldown_steps = max(1, int(config.steps * config.cooldown_share))
    rise = min(1.0, (step + 1) / max(1, config.warmup_steps))
    fall = min(1.0, max(0.02, (config.steps - step) / cooldown_steps))
    return config.learning_rate * min(rise, fall)


def fit(
    model: Any,
    corpus: WaveSource,
    tokens: Sequence[Any],
    *,
    batch_at: Callable[[int], np.ndarray],
    config: LoopConfig,
    folder: Path,
    measure: Measure | None = None,
    report: Report = lambda step, metrics: None,
    progress: Progress = lambda done, total: None,
    devices: Devices = Devices(),
) -> dict[str, Any]:
    """Trains `model` in place and returns a summary; leaves last.pt and best.pt in `folder`.

    last.pt is the checkpoint to resume from, best.pt holds the weights with the lowest `measure`.

    `tokens` are the label numbers of each utterance. `batch_at` returns the utterance numbers of a
    step and may depend on nothing but the step. `measure` is a figure to minimise (a word error
    rate), taken before, every `valid_steps` and at the end. `report` receives the mean training
    loss (per character) and the learning rate every ten steps, and the figure as valid_wer; after
    a kill it receives again what it received since the last checkpoint. Utterances that turn out
    unreadable (AudioError) are left out. Of several `devices` only the first measures, reports and
    writes.

    The summary holds step, resumed_from, loss_first, loss_last, best_step, stopped_early, averaged
    (steps whose weights were averaged; 0 where training stopped before), unreadable {utterance
    number as text: reason}, and of `measure` before, best and last. Raises TrainingError for a
    loss that is not finite and for a full disk.
    """
    loop = _Loop(model, corpus, tokens, config=config, folder=folder, devices=devices)
    loop.restore_checkpoint()
    resumed_from = loop.state["step"]
    if measure and not resumed_from:
        loop.measure_start(measure, report)
    own_masks = model.spec_augmentation
    masks = _spec_augment(config.augmentation)
    average_from = config.steps - int(config.steps * config.average_share)
    for step in range(resumed_from, config.steps):
        if loop.state["stopped_early"]:
            break
        model.spec_augmentation = None if step < config.clean_steps else masks
        set_trainable(model, step >= config.freeze_encoder_steps, config.frozen_layers)
        loop.take_step(step, batch_at(step))
        done = step + 1
        if step >= average_from:
            update_average(model, loop.state, config.average_decay)
        if measure and _is_due(done, config.steps, config.valid_steps):
            loop.validate(measure, report)
        at_end = loop.state["stopped_early"] or done == config.steps
        if at_end or done % LOG_EVERY_STEPS == 0:
            loop.report_loss(report)
        if at_end or done % config.checkpoint_steps == 0:
            loop.save_checkpoint()
        progress(done, config.steps)
    model.spec_augmentation = own_masks
    model.requires_grad_(True)
    model.eval()
    del loop.state["losses"], loop.state["average"], loop.state["stale"]
    return {**loop.state, "resumed_from": resumed_from}


def saved_weights(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns the state dicts that `fit` left in `folder`, by name.

    Names are best, last (unless it is the best) and averaged (if weights were averaged).
    """
    import torch

    best, last = (
        torch.load(folder / f"{name}.pt", weights_only=True, map_location="cpu")
        for name in ("best", "last")
    )
    weights = {"best": best["model"]}
    if best["step"] != last["step"]:
        weights["last"] = last["model"]
    if last.get("averaged"):
        weights["averaged"] = {**last["model"], **last["average"]}
    return weights


def update_average(model: Any, state: dict[str, Any], decay: float) -> None:
    """Adds the weights of `model` to the running average in `state`.

    A plain mean at `decay` 1 (arXiv 1803.05407), else an exponential moving average that begins as
    a mean (arXiv 1412.6980).
    """
    share = max(1 / (state["averaged"] + 1), 1 - decay)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            if name in state["average"]:
                state["average"][name].lerp_(value, share)
            else:
                state["average"][name] = value.detach().clone()
    state["averaged"] += 1


@contextlib.contextmanager
def guarded_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path that becomes `path`, whole or not at all, as data.files.atomic does.

    torch and NeMo report a full disk in words of their own. Raises TrainingError with the free
    space instead.
    """
    try:
        with atomic(path) as temporary:
            yield temporary
    except (OSError, RuntimeError) as error:
        free_mb = shutil.disk_usage(path.parent).free / 1e6
        raise TrainingError(
            f"{path}: cannot be written ({str(error).splitlines()[0]}; {free_mb:.0f} MB free). "
            "Make room and start again: it goes on from the last checkpoint."
        ) from error


def save_checkpoint(path: Path, value: dict[str, Any]) -> None:
    """Writes `value` with torch.save, whole or not at all. Raises TrainingError."""
    import torch

    with guarded_write(path) as temporary:
        torch.save(value, temporary)


class _Loop:
    """A network, its optimizer, and the state that a checkpoint carries."""

    def __init__(
        self,
        model: Any,
        corpus: WaveSource,
        tokens: Sequence[Any],
        *,
        config: LoopConfig,
        folder: Path,
        devices: Devices,
    ) -> None:
        import torch

        self.model, self.corpus, self.tokens = model, corpus, tokens
        self.config, self.folder, self.devices = config, folder, devices
        self._groups = parameter_groups(model, config.layer_decay, config.encoder_rate)
        self.optimizer = torch.optim.AdamW(
            self._groups, lr=0.0, betas=(0.9, 0.98), weight_decay=config.weight_decay
        )
        self.state: dict[str, Any] = {
            "step": 0,
            "best_step": 0,
            "stale": 0,  # validations since the best one
            "stopped_early": False,
            "losses": [],  # of the steps since the last report
            "unreadable": {},
            "average": {},
            "averaged": 0,
        }
        names = ("before", "best", "last", "loss_first", "loss_last")
        self.state.update(dict.fromkeys(names))

    def restore_checkpoint(self) -> None:
        """Loads last.pt where there is one; freezes a transducer that has no part in the loss."""
        import torch

        path = self.folder / "last.pt"
        if path.exists():
            saved = torch.load(path, weights_only=True, map_location=self.devices.name)
            self.model.load_state_dict(saved.pop("model"))
            self.optimizer.load_state_dict(saved.pop("optimizer"))
            # Checkpoints from before layer_decay carry no scale.
            for group, own in zip(self.optimizer.param_groups, self._groups, strict=True):
                group["scale"] = own["scale"]
            self.state |= saved
        if is_hybrid(self.model) and not self.config.rnnt_weight:
            self.model.decoder.requires_grad_(False)
            self.model.joint.requires_grad_(False)

    def save_checkpoint(self) -> None:
        """Writes last.pt, with what all processes found unreadable."""
        for unreadable in self.devices.all_gather(self.state["unreadable"]):
            self.state["unreadable"] |= unreadable
        if self.devices.is_first:
            save_checkpoint(
                self.folder / "last.pt",
                {
                    **self.state,
                    "model": self.model.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                },
            )

    def measure_start(self, measure: Measure, report: Report) -> None:
        """Measures the initial weights: they are the best until training beats them."""
        state = self.state
        if self.devices.is_first:
            state["best"] = state["before"] = measure(self.model)
            report(0, {"valid_wer": state["best"]})
            self._save_best()
        state["best"] = state["before"] = self.devices.broadcast(state["best"])

    def validate(self, measure: Measure, report: Report) -> None:
        """Measures the weights, saves them if they are the best, and decides on stopping early."""
        state, config = self.state, self.config
        value = self.devices.broadcast(measure(self.model) if self.devices.is_first else None)
        report(state["step"], {"valid_wer": value})
        state["last"] = value
        state["stale"] += 1
        if value < state["best"]:
            state["best"], state["best_step"], state["stale"] = value, state["step"], 0
            if self.devices.is_first:
                self._save_best()
        state["stopped_early"] = (
            0 < config.patience <= state["stale"] and state["step"] < config.steps
        )

    def report_loss(self, report: Report) -> None:
        """Reports the mean loss of the steps since the last report, and the learning rate."""
        state = self.state
        mean = float(np.mean(state["losses"]))
        state["losses"] = []
        state["loss_first"] = mean if state["loss_first"] is None else state["loss_first"]
        state["loss_last"] = mean
        rate = learning_rate(self.config, state["step"] - 1)
        report(state["step"], {"train_loss": mean, "learning_rate": rate})

    def take_step(self, step: int, batch: np.ndarray) -> None:
        """Makes one optimizer step on the utterances `batch` and notes its loss per character.

        A step is cut into devices × accumulate parts. Which process takes a part changes nothing
        in it. Raises TrainingError when loss or gradient is not finite.
        """
        import torch

        parts = self.devices.count * self.config.accumulate
        n_labels = max(1, sum(len(self.tokens[i]) for i in batch))
        self.optimizer.zero_grad()
        loss = 0.0
        for part in range(self.devices.rank, parts, self.devices.count):
            loss += self._backward_part(step, part, batch[part::parts], n_labels=n_labels)
        loss = self.devices.add_gradients(self.model, loss)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, step) * group["scale"]
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        if not np.isfinite(loss) or not torch.isfinite(norm):
            raise TrainingError(
                f"step {step}: the loss is {loss}, its gradient {float(norm)}. Lower "
                f"asr.learning_rate (now {self.config.learning_rate}) or lengthen "
                "asr.warmup_steps; the last checkpoint is kept."
            )
        self.optimizer.step()
        self.state["losses"].append(loss)
        self.state["step"] = step + 1

    def _backward_part(self, step: int, part: int, batch: np.ndarray, *, n_labels: int) -> float:
        """Adds the gradients of one part of a step and returns its share of the loss.

        Everything random in it comes from the seed, the step and the part alone.
        """
        import torch

        config = self.config
        rng = np.random.default_rng([config.seed, 2, step] + [part] * (part > 0))
        torch.manual_seed(config.seed * 1_000_003 + step + part * 500_009)
        clean = step < config.clean_steps
        waves, tokens = self._read_waves(batch, clean, rng)
        if not waves:
            return 0.0
        audio, lengths = collate(waves)
        if not clean:
            audio = augment(audio, lengths, config.augmentation, rng=rng)
        audio, lengths = audio.to(self.devices.name), lengths.to(self.devices.name)
        with torch.autocast(
            audio.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"
        ):
            loss = (
                loss_sum(self.model, audio, lengths, tokens=tokens, rnnt_weight=config.rnnt_weight)
                / n_labels
            )
        loss.backward()
        return float(loss.detach())

    def _read_waves(
        self, batch: np.ndarray, clean: bool, rng: np.random.Generator
    ) -> tuple[list[np.ndarray], list[Any]]:
        """Returns the readable utterances of `batch` and their labels; notes unreadable ones."""
        spread = 0.0 if clean else self.config.augmentation.speed_spread
        waves, tokens = [], []
        for i in batch.tolist():
            speed = round(1 + rng.uniform(-spread, spread), 3)
            try:
                wave = self.corpus.wave(i, speed)
            except AudioError as error:
                self.state["unreadable"][str(i)] = str(error)
                continue
            waves.append(wave if clean else recrop_speech(wave, self.config.augmentation, rng))
            tokens.append(self.tokens[i])
        return waves, tokens

    def _save_best(self) -> None:
        save_checkpoint(
            self.folder / "best.pt",
            {
                "model": self.model.state_dict(),
                "step": self.state["step"],
                "wer": self.state["best"],
            },
        )


def _is_due(done: int, steps: int, every: int) -> bool:
    return done == steps or (every > 0 and done % every == 0)


def _spec_augment(settings: Augmentation) -> Any:
    """Returns NeMo's SpecAugment (arXiv 1904.08779), or None without masks.

    It draws from torch's seeded generator.
    """
    from nemo.collections.asr.modules import SpectrogramAugmentation

    if not settings.frequency_masks and not settings.time_masks:
        return None
    return SpectrogramAugmentation(
        freq_masks=settings.frequency_masks,
        freq_width=settings.frequency_width,
        time_masks=settings.time_masks,
        time_width=settings.time_width,
    )
