"""What survives a killed churn training: weights, best weights and optimizer as one file, whole or not at all."""

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
    """Writes tensors as safetensors, and `state` as JSON in the file's header."""
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
    path: Path, fingerprint: str, *, network: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any] | None:
    """The state of an interrupted training of the same `fingerprint`, with `best` weights; None where there is none."""
    from safetensors.torch import load_file

    found = _metadata(path)
    if not found or found["fingerprint"] != fingerprint:
        return None
    tensors = load_file(path)

    def part(prefix: str) -> dict[str, Any]:
        return {
            name.removeprefix(prefix): value
            for name, value in tensors.items()
            if name.startswith(prefix)
        }

    network.load_state_dict(part("network."))
    moments: dict[int, dict[str, Any]] = {}
    for name, value in part("optimizer.").items():
        number, key = name.split(".")
        moments.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict(
        {"state": moments, "param_groups": optimizer.state_dict()["param_groups"]}
    )
    return {**found, "best": part("best.")}


def _metadata(path: Path) -> dict[str, Any] | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as found:
            return json.loads(found.metadata()["state"])
    except FileNotFoundError:
        return None
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError):
        return None  # not a checkpoint of ours: train from the start, which overwrites it
