"""One plain torch loop around a NeMo CTC model: deterministic, and after a kill -9 it goes on where it was."""

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


@dataclass(frozen=True)
class LoopConfig:
    """How a network is fitted, whatever it is fitted to."""

    steps: int  # optimizer steps in all
    learning_rate: float  # peak
    warmup_steps: int  # linear rise to the peak
    cooldown_share: float  # last share of the steps, linear fall to a fiftieth of the peak
    seed: int  # of augmentation, dropout and dither
    weight_decay: float = 1e-3  # AdamW
    freeze_encoder_steps: int = 0  # the encoder stands still for so many first steps
    frozen_layers: int = 0  # so many encoder layers, from the input, stand still throughout
    layer_decay: float = 1.0  # each encoder layer learns this much slower than the one above it
    accumulate: int = 1  # parts of a step that a process takes one after the other, for less memory
    rnnt_weight: float = 0.0  # of hybrid networks: share of the transducer in the loss
    clean_steps: int = 0  # augmentation begins here
    checkpoint_steps: int = 200  # how much a kill may cost
    valid_steps: int = 0  # measure this often, and at the end; 0 is only at the end
    patience: int = 0  # so many measurements in a row without a new best end it; 0 never does
    average_share: float = (
        0.0  # last share of the steps whose weights are averaged; 0 averages nothing
    )
    average_decay: float = 1.0  # 1 is their plain mean; less forgets the older ones
    augmentation: Augmentation = field(default_factory=Augmentation)


class WaveSource(Protocol):
    """Utterances, in memory (training.speech.Corpus) or in files."""

    def wave(self, index: int, speed: float = 1.0) -> np.ndarray:
        """float32 [frames] at 16 kHz. Raises AudioError."""


class TrainingError(RuntimeError):
    """Training cannot go on. The message says where it stands and what to do."""


def learning_rate(settings: LoopConfig, step: int) -> float:
    """The rate of step 0, 1, …: a ramp, a plateau and a ramp."""
    falling = max(1, int(settings.steps * settings.cooldown_share))
    rise = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    fall = min(1.0, max(0.02, (settings.steps - step) / falling))
    return settings.learning_rate * min(rise, fall)


def fit(
    model: Any,
    corpus: WaveSource,
    tokens: Sequence[Any],
    *,
    batch_at: Callable[[int], np.ndarray],
    settings: LoopConfig,
    folder: Path,
    measure: Callable[[Any], float] | None = None,
    report: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
    progress: Progress = lambda done, total: None,
    devices: Devices = Devices(),
) -> dict[str, Any]:
    """Fits `model` in place and leaves `folder`/last.pt (to go on from) and `folder`/best.pt (lowest `measure`).

    `tokens` are the label numbers of each utterance; `batch_at` names the utterances of a step and may depend on
    nothing but the step. `measure` is a figure to bring down, taken before, in between and at the end. `report` gets
    the mean training loss (a character) and the rate every ten steps, and the figure as valid_wer; what it was told
    after the last checkpoint it is told again when a killed fit goes on. Utterances that turn out unreadable
    (AudioError) are left out. Of several `devices` only the first measures, reports and writes.

    Returns step, resumed_from, loss_first, loss_last, best_step, stopped_early, averaged (steps whose weights were; 0
    where it stopped before their share), unreadable {utterance, as text: reason}, and of `measure` before, best and
    last. Raises TrainingError for a loss that is no number and a full disk.
    """
    import torch

    groups = parameter_groups(model, settings.layer_decay)
    optimizer = torch.optim.AdamW(
        groups, lr=0.0, betas=(0.9, 0.98), weight_decay=settings.weight_decay
    )
    state: dict[str, Any] = {
        "step": 0,
        "best_step": 0,
        "stale": 0,
        "stopped_early": False,
        "losses": [],
        "unreadable": {},
        "average": {},
        "averaged": 0,
    }
    state.update(dict.fromkeys(("before", "best", "last", "loss_first", "loss_last")))
    last = folder / "last.pt"
    if last.exists():
        saved = torch.load(last, weights_only=True, map_location=devices.name)
        model.load_state_dict(saved.pop("model"))
        optimizer.load_state_dict(saved.pop("optimizer"))
        for group, own in zip(optimizer.param_groups, groups, strict=True):
            group["scale"] = own["scale"]
        state |= saved
    if is_hybrid(model) and not settings.rnnt_weight:  # nothing to learn from
        model.decoder.requires_grad_(False)
        model.joint.requires_grad_(False)
    resumed_from = state["step"]
    if (
        measure and not resumed_from
    ):  # what fitting must beat; if it never does, the weights it began with are best
        if devices.first:
            state["best"] = state["before"] = measure(model)
            report(0, {"valid_wer": state["best"]})
            save_checkpoint(
                folder / "best.pt", {"model": model.state_dict(), "step": 0, "wer": state["best"]}
            )
        state["best"] = state["before"] = devices.of_first(state["best"])
    own_masks = model.spec_augmentation
    masks = _masks(settings.augmentation)
    average_from = settings.steps - int(settings.steps * settings.average_share)
    for step in range(state["step"], settings.steps):
        if state["stopped_early"]:
            break
        model.spec_augmentation = None if step < settings.clean_steps else masks
        set_trainable(model, step >= settings.freeze_encoder_steps, settings.frozen_layers)
        chosen = batch_at(step)
        state["losses"].append(
            _step(model, optimizer, corpus, tokens, chosen, settings, step, devices, state)
        )
        state["step"] = done = step + 1
        if step >= average_from:
            update_average(model, state, settings.average_decay)
        if measure and (
            done == settings.steps or (settings.valid_steps and done % settings.valid_steps == 0)
        ):
            value = devices.of_first(measure(model) if devices.first else None)
            report(done, {"valid_wer": value})
            state["last"] = value
            state["stale"] += 1
            if value < state["best"]:
                state["best"], state["best_step"], state["stale"] = value, done, 0
                if devices.first:
                    save_checkpoint(
                        folder / "best.pt",
                        {"model": model.state_dict(), "step": done, "wer": value},
                    )
            state["stopped_early"] = (
                0 < settings.patience <= state["stale"] and done < settings.steps
            )
        at_end = state["stopped_early"] or done == settings.steps
        if at_end or done % 10 == 0:
            mean = float(np.mean(state["losses"]))
            state["losses"] = []
            state["loss_first"] = mean if state["loss_first"] is None else state["loss_first"]
            state["loss_last"] = mean
            report(done, {"train_loss": mean, "learning_rate": learning_rate(settings, step)})
        if at_end or done % settings.checkpoint_steps == 0:
            for found in devices.gather(state["unreadable"]):
                state["unreadable"] |= found
            if devices.first:
                save_checkpoint(
                    last,
                    {**state, "model": model.state_dict(), "optimizer": optimizer.state_dict()},
                )
        progress(done, settings.steps)
    model.spec_augmentation = own_masks
    model.requires_grad_(True)
    model.eval()
    del state["losses"], state["average"], state["stale"]
    return {**state, "resumed_from": resumed_from}


def saved_weights(folder: Path) -> dict[str, dict[str, Any]]:
    """The weights that `fit` left in `folder`: best, last unless it is the best, and averaged where it averaged."""
    import torch

    best, last = (
        torch.load(folder / f"{name}.pt", weights_only=True, map_location="cpu")
        for name in ("best", "last")
    )
    found = {"best": best["model"]}
    if best["step"] != last["step"]:
        found["last"] = last["model"]
    if last.get("averaged"):
        found["averaged"] = {**last["model"], **last["average"]}
    return found


def _step(
    model: Any,
    optimizer: Any,
    corpus: WaveSource,
    tokens: Sequence[Any],
    chosen: np.ndarray,
    settings: LoopConfig,
    step: int,
    devices: Devices,
    state: dict[str, Any],
) -> float:
    """One optimizer step; everything random comes from the seed and the step. Returns the loss a character.

    A step is cut into devices × accumulate parts. Which process takes a part changes nothing in it.
    """
    import torch

    parts = devices.count * settings.accumulate
    labels = max(1, sum(len(tokens[i]) for i in chosen))
    optimizer.zero_grad()
    loss = 0.0
    for part in range(devices.rank, parts, devices.count):
        rng = np.random.default_rng([settings.seed, 2, step] + [part] * (part > 0))
        torch.manual_seed(settings.seed * 1_000_003 + step + part * 500_009)
        clean = step < settings.clean_steps
        spread = 0.0 if clean else settings.augmentation.speed_spread
        waves, own = [], []
        for i in chosen[part::parts].tolist():
            speed = round(1 + rng.uniform(-spread, spread), 3)
            try:
                wave = corpus.wave(i, speed)
            except AudioError as error:
                state["unreadable"][str(i)] = str(error)
                continue
            waves.append(wave if clean else recrop_speech(wave, settings.augmentation, rng))
            own.append(tokens[i])
        if not waves:
            continue
        batch, lengths = collate(waves)
        if not clean:
            batch = augment(batch, lengths, settings.augmentation, rng=rng)
        batch, lengths = batch.to(devices.name), lengths.to(devices.name)
        partial = (
            loss_sum(model, batch, lengths, tokens=own, rnnt_weight=settings.rnnt_weight) / labels
        )
        partial.backward()
        loss += float(partial.detach())
    loss = devices.add_gradients(model, loss)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(settings, step) * group["scale"]
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    if not np.isfinite(loss) or not torch.isfinite(norm):
        raise TrainingError(
            f"step {step}: the loss is {loss}, its gradient {float(norm)}. Lower asr.learning_rate (now "
            f"{settings.learning_rate}) or lengthen asr.warmup_steps; the last checkpoint is kept."
        )
    optimizer.step()
    return loss


def update_average(model: Any, state: dict[str, Any], decay: float) -> None:
    """A mean of the weights, or an exponential one that begins as a mean (arXiv 1803.05407, 1412.6980)."""
    share = max(1 / (state["averaged"] + 1), 1 - decay)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            if name in state["average"]:
                state["average"][name].lerp_(value, share)
            else:
                state["average"][name] = value.detach().clone()
    state["averaged"] += 1


def _masks(settings: Augmentation) -> Any:
    """SpecAugment (arXiv 1904.08779) as NeMo has it, drawing from torch's seeded generator."""
    from nemo.collections.asr.modules import SpectrogramAugmentation

    if not settings.frequency_masks and not settings.time_masks:
        return None
    return SpectrogramAugmentation(
        freq_masks=settings.frequency_masks,
        freq_width=settings.frequency_width,
        time_masks=settings.time_masks,
        time_width=settings.time_width,
    )


@contextlib.contextmanager
def guarded_write(path: Path) -> Iterator[Path]:
    """As `data.store.atomic`; torch and NeMo tell of a full disk in words of their own, so it is told here."""
    try:
        with atomic(path) as temporary:
            yield temporary
    except (OSError, RuntimeError) as error:
        free_mb = shutil.disk_usage(path.parent).free / 1e6
        raise TrainingError(
            f"{path}: cannot be written ({str(error).splitlines()[0]}; {free_mb:.0f} MB free). Make room and start "
            "again: it goes on from the last checkpoint."
        ) from error


def save_checkpoint(path: Path, value: dict[str, Any]) -> None:
    import torch

    with guarded_write(path) as temporary:
        torch.save(value, temporary)
