"""Passes over the rows until the valid loss gets no better; a killed one goes on and ends at the same weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from data.progress import Progress
from training.churn import checkpoint
from training.churn.likelihood import Rows, ensemble_loss, loss

if TYPE_CHECKING:
    import torch


class TrainingSettings(Protocol):
    """The settings of churn training that passes follow."""

    @property
    def seed(self) -> int: ...

    @property
    def learning_rate(self) -> float: ...

    @property
    def weight_decay(self) -> float: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def epochs(self) -> int: ...

    @property
    def patience(self) -> int: ...

    @property
    def checkpoint_every(self) -> int: ...


def train_with_early_stopping(
    network: torch.nn.Module,
    rows: Rows,
    valid: Rows,
    *,
    params: TrainingSettings,
    path: Path,
    fingerprint: str,
    begin: Callable[[], None],
    log: Callable[[dict[str, float], int], None],
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Leaves `network` as it was after its best pass. Returns epoch, best_epoch, best_loss, first_loss, resumed_from.

    `begin` prepares a network that no checkpoint at `path` of the same `fingerprint` continues; `first_loss` is its
    loss on `valid` before any pass. `log` hears train_loss and valid_loss of each pass.
    """
    optimizer = _optimizer(network, params)
    state = checkpoint.restore(path, fingerprint, network=network, optimizer=optimizer)
    resumed_from = state["epoch"] if state else 0
    if state is None:
        begin()
        first = ensemble_loss(network, valid)
        state = {
            "fingerprint": fingerprint,
            "epoch": 0,
            "best_epoch": 0,
            "best_loss": first,
            "first_loss": first,
            "best": _copied(network),
        }
    best = state.pop("best")
    while state["epoch"] < params.epochs and state["epoch"] - state["best_epoch"] < params.patience:
        train_loss = _one_pass(network, optimizer, rows, params, state["epoch"])
        state["epoch"] += 1
        valid_loss = ensemble_loss(network, valid)
        log({"train_loss": train_loss, "valid_loss": valid_loss}, state["epoch"])
        if valid_loss < state["best_loss"]:
            state["best_loss"], state["best_epoch"], best = (
                valid_loss,
                state["epoch"],
                _copied(network),
            )
        if state["epoch"] % params.checkpoint_every == 0:
            checkpoint.save(path, state, network=network, best=best, optimizer=optimizer)
        progress(state["epoch"], params.epochs)
    checkpoint.save(path, state, network=network, best=best, optimizer=optimizer)
    network.load_state_dict(best)
    return {**state, "resumed_from": resumed_from}


def train_passes(
    network: torch.nn.Module,
    rows: Rows,
    params: TrainingSettings,
    *,
    passes: int,
    progress: Progress,
) -> None:
    """So many passes over `rows`, with nothing to stop on; told as the last of `params.epochs`."""
    optimizer = _optimizer(network, params)
    for epoch in range(passes):
        _one_pass(network, optimizer, rows, params, epoch)
        progress(params.epochs - passes + epoch + 1, params.epochs)


def _optimizer(network: torch.nn.Module, params: TrainingSettings) -> torch.optim.Optimizer:
    """AdamW; weights decay, biases and the members' scalings do not."""
    import torch

    decayed: list[Any] = []
    free: list[Any] = []
    for name, parameter in network.named_parameters():
        (free if "bias" in name or "scale" in name else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": params.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=params.learning_rate)


def _one_pass(
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    rows: Rows,
    params: TrainingSettings,
    epoch: int,
) -> float:
    """One pass over the rows. Its randomness depends on seed and epoch alone, so a resumed training repeats it."""
    import torch

    torch.manual_seed(params.seed * 1_000_003 + epoch + 1)
    network.train()
    total = 0.0
    for places in torch.randperm(len(rows)).split(params.batch_size):
        batch = rows.take(places)
        found = loss(network(batch.inputs), batch)
        optimizer.zero_grad()
        found.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        total += found.item() * len(batch)
    network.eval()
    return total / len(rows)


def _copied(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}
