"""One plain torch loop around a NeMo CTC model: deterministic, and after a kill -9 it goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.store import atomic
from models.asr import ctc_log_probs
from training.speech import Augmentation, Corpus, augment, collate


@dataclass(frozen=True)
class Fit:
    """How a network is fitted, whatever it is fitted to."""

    steps: int  # optimizer steps in all
    learning_rate: float  # peak
    warmup_steps: int  # linear rise to the peak
    cooldown_share: float  # last share of the steps, linear fall to a fiftieth of the peak
    seed: int  # of augmentation, dropout and dither
    weight_decay: float = 1e-3  # AdamW
    freeze_encoder_steps: int = 0  # the encoder stands still for so many first steps
    clean_steps: int = 0  # augmentation begins here
    checkpoint_steps: int = 200  # how much a kill may cost
    valid_steps: int = 0  # measure this often, and at the end; 0 is only at the end
    augmentation: Augmentation = field(default_factory=Augmentation)


def learning_rate(settings: Fit, step: int) -> float:
    """The rate of step 0, 1, …: a ramp, a plateau and a ramp."""
    falling = max(1, int(settings.steps * settings.cooldown_share))
    rise = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    fall = min(1.0, max(0.02, (settings.steps - step) / falling))
    return settings.learning_rate * min(rise, fall)


def fit(
    model: Any,
    corpus: Corpus,
    tokens: list[list[int]],
    batch_at: Callable[[int], np.ndarray],
    settings: Fit,
    folder: Path,
    measure: Callable[[Any], float] | None = None,
    report: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Fits `model` in place and leaves `folder`/last.pt (to go on from) and `folder`/best.pt (lowest `measure`).

    `tokens` are the label numbers of each utterance; `batch_at` names the utterances of a step and may depend on
    nothing but the step. `measure` is a figure to bring down, taken before, in between and at the end. `report` gets
    the mean training loss (a character) and the rate every ten steps, and the figure as valid_wer.
    Returns step, resumed_from, loss_first, loss_last, best_step, and of `measure` before, best and last.
    """
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=settings.weight_decay)
    state: dict[str, Any] = {"step": 0, "best_step": 0}
    state.update(dict.fromkeys(("before", "best", "last", "loss_first", "loss_last")))
    last = folder / "last.pt"
    if last.exists():
        saved = torch.load(last, weights_only=True)
        model.load_state_dict(saved.pop("model"))
        optimizer.load_state_dict(saved.pop("optimizer"))
        state = saved
    resumed_from = state["step"]
    if measure and not resumed_from:  # what fitting must beat; if it never does, the weights it began with are best
        state["best"] = state["before"] = measure(model)
        report(0, {"valid_wer": state["best"]})
        _save(folder / "best.pt", {"model": model.state_dict(), "step": 0, "wer": state["best"]})
    model.train()
    own_masks = model.spec_augmentation
    losses: list[float] = []
    masks = _masks(settings.augmentation)
    for step in range(state["step"], settings.steps):
        model.spec_augmentation = None if step < settings.clean_steps else masks
        losses.append(_step(model, optimizer, corpus, tokens, batch_at(step), settings, step))
        done = step + 1
        if done % 10 == 0 or done == settings.steps:
            mean = float(np.mean(losses))
            losses.clear()
            state["loss_first"] = mean if state["loss_first"] is None else state["loss_first"]
            state["loss_last"] = mean
            report(done, {"train_loss": mean, "learning_rate": learning_rate(settings, step)})
        state["step"] = done
        at_end = done == settings.steps
        if measure and (at_end or (settings.valid_steps and done % settings.valid_steps == 0)):
            value = measure(model)
            model.train()
            report(done, {"valid_wer": value})
            state["last"] = value
            if value < state["best"]:
                state["best"], state["best_step"] = value, done
                _save(folder / "best.pt", {"model": model.state_dict(), "step": done, "wer": value})
        if at_end or done % settings.checkpoint_steps == 0:
            _save(last, {**state, "model": model.state_dict(), "optimizer": optimizer.state_dict()})
        progress(done, settings.steps)
    model.spec_augmentation = own_masks
    model.eval()
    return {**state, "resumed_from": resumed_from}


def _step(
    model: Any, optimizer: Any, corpus: Corpus, tokens: list[list[int]], chosen: np.ndarray, settings: Fit, step: int
) -> float:
    """One optimizer step; everything random comes from the seed and the step. Returns the loss a character."""
    import torch

    rng = np.random.default_rng([settings.seed, 2, step])
    torch.manual_seed(settings.seed * 1_000_003 + step)
    clean = step < settings.clean_steps
    spread = 0.0 if clean else settings.augmentation.speed_spread
    waves = [corpus.wave(int(i), round(1 + rng.uniform(-spread, spread), 3)) for i in chosen]
    batch, lengths = collate(waves)
    if not clean:
        batch = augment(batch, lengths, settings.augmentation, rng)
    frozen = step < settings.freeze_encoder_steps
    model.encoder.train(not frozen)
    model.encoder.requires_grad_(not frozen)
    log_probs, steps = ctc_log_probs(model, batch, lengths)
    target_lengths = torch.tensor([len(tokens[i]) for i in chosen])
    targets = torch.tensor([token for i in chosen for token in tokens[i]])
    losses = torch.nn.functional.ctc_loss(
        log_probs.transpose(0, 1), targets, steps, target_lengths,
        blank=log_probs.shape[-1] - 1, reduction="none", zero_infinity=True,
    )  # fmt: skip
    loss = losses.sum() / target_lengths.sum().clamp_min(1)
    if not torch.isfinite(loss):
        raise FloatingPointError(f"step {step}: the loss is {float(loss)}. Lower the learning rate.")
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(settings, step)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def _masks(settings: Augmentation) -> Any:
    """SpecAugment (arXiv 1904.08779) as NeMo has it, drawing from torch's seeded generator."""
    from nemo.collections.asr.modules import SpectrogramAugmentation

    if not settings.frequency_masks and not settings.time_masks:
        return None
    return SpectrogramAugmentation(
        freq_masks=settings.frequency_masks, freq_width=settings.frequency_width,
        time_masks=settings.time_masks, time_width=settings.time_width,
    )  # fmt: skip


def _save(path: Path, value: dict[str, Any]) -> None:
    import torch

    with atomic(path) as temporary:
        torch.save(value, temporary)
