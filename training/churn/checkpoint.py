"""Saves and restores a churn training: weights, best weights and optimizer in one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.files import atomic

if TYPE_CHECKING:
    import torch


def save(
    path: Path,
    state: dict[str, Any],
    *,
    network: torch.nn.Module,
    best: dict[str, Any],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Writes tensors as safetensors, and `state` as JSON in the file's header, whole or not."""
    from safetensors.torch import save_file

    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in moments.items()}
    with atomic(path) as temporary:
        save_file(
            {name: value.contiguous().clone() for name, value in tensors.items()},
            temporary,
            metadata={"state": json.dumps(state)},
        )


def restore(
    path: Path,
    fingerprint: str,
    *,
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
) -> dict[str, Any] | None:
    """Loads network and optimizer of an interrupted training and returns its state.

    `best` in the state holds the best weights. None without a checkpoint of this `fingerprint`.
    """
    from safetensors.torch import load_file

    state = _read_state(path)
    if not state or state["fingerprint"] != fingerprint:
        return None
    tensors = load_file(path)

    def with_prefix(prefix: str) -> dict[str, Any]:
        return {
            name.removeprefix(prefix): value
            for name, value in tensors.items()
            if name.startswith(prefix)
        }

    network.load_state_dict(with_prefix("network."))
    moments: dict[int, dict[str, Any]] = {}
    for name, value in with_prefix("optimizer.").items():
        number, key = name.split(".")
        moments.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict(
        {"state": moments, "param_groups": optimizer.state_dict()["param_groups"]}
    )
    return {**state, "best": with_prefix("best.")}


def _read_state(path: Path) -> dict[str, Any] | None:
    """Returns the state in a checkpoint's header, None where there is no readable checkpoint."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as checkpoint:
            state: dict[str, Any] = json.loads(checkpoint.metadata()["state"])
            return state
    except FileNotFoundError:
        return None
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError):
        return None  # a damaged or foreign file: train from the start, which overwrites it
