"""Trains a churn network for epochs with early stopping; resumable, and repeatable to the bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.progress import Progress
from training.churn import checkpoint
from training.churn.likelihood import Rows, ensemble_loss, loss
from training.churn.settings import ChurnTraining

if TYPE_CHECKING:
    import torch


def train_with_early_stopping(
    network: torch.nn.Module,
    rows: Rows,
    valid: Rows,
    *,
    params: ChurnTraining,
    path: Path,
    fingerprint: str,
    initialize: Callable[[], None],
    log: Callable[[dict[str, float], int], None],
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Trains `network` and leaves it with the weights of its best epoch.

    `initialize` prepares a network that no checkpoint at `path` of the same `fingerprint`
    continues. `log` receives train_loss and valid_loss of each epoch. Returns epoch, best_epoch,
    best_loss, first_loss (on `valid` before any epoch) and resumed_from.
    """
    optimizer = _optimizer(network, params)
    state = checkpoint.restore(path, fingerprint, network=network, optimizer=optimizer)
    resumed_from = state["epoch"] if state else 0
    if state is None:
        initialize()
        first_loss = ensemble_loss(network, valid)
        state = {
            "fingerprint": fingerprint,
            "epoch": 0,
            "best_epoch": 0,
            "best_loss": first_loss,
            "first_loss": first_loss,
            "best": _copy_weights(network),
        }
    best = state.pop("best")
    while state["epoch"] < params.epochs and state["epoch"] - state["best_epoch"] < params.patience:
        train_loss = _train_epoch(network, optimizer, rows, params=params, epoch=state["epoch"])
        state["epoch"] += 1
        valid_loss = ensemble_loss(network, valid)
        log({"train_loss": train_loss, "valid_loss": valid_loss}, state["epoch"])
        if valid_loss < state["best_loss"]:
            state["best_loss"], state["best_epoch"] = valid_loss, state["epoch"]
            best = _copy_weights(network)
        if state["epoch"] % params.checkpoint_every == 0:
            checkpoint.save(path, state, network=network, best=best, optimizer=optimizer)
        progress(state["epoch"], params.epochs)
    checkpoint.save(path, state, network=network, best=best, optimizer=optimizer)
    network.load_state_dict(best)
    return {**state, "resumed_from": resumed_from}


def train_passes(
    network: torch.nn.Module,
    rows: Rows,
    params: ChurnTraining,
    *,
    passes: int,
    progress: Progress,
) -> None:
    """Trains `network` for `passes` epochs without stopping early.

    `progress` counts them as the last of `params.epochs`.
    """
    optimizer = _optimizer(network, params)
    for epoch in range(passes):
        _train_epoch(network, optimizer, rows, params=params, epoch=epoch)
        progress(params.epochs - passes + epoch + 1, params.epochs)


def _optimizer(network: torch.nn.Module, params: ChurnTraining) -> torch.optim.Optimizer:
    """Returns AdamW with weight decay on weights, none on biases and the members' scalings."""
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


def _train_epoch(
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    rows: Rows,
    *,
    params: ChurnTraining,
    epoch: int,
) -> float:
    """Trains on every row once and returns the mean loss.

    Its randomness depends on seed and epoch alone, so a resumed training repeats it.
    """
    import torch

    torch.manual_seed(params.seed * 1_000_003 + epoch + 1)
    network.train()
    total = 0.0
    for places in torch.randperm(len(rows)).split(params.batch_size):
        batch = rows.take(places)
        batch_loss = loss(network(batch.inputs), batch)
        optimizer.zero_grad()
        batch_loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        total += batch_loss.item() * len(batch)
    network.eval()
    return total / len(rows)


def _copy_weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}
