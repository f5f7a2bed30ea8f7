"""Several processes that train one network: each takes its part of every step, and the gradients are added up.

They share a process group of their own and not torch's default one: where there is a default group, NeMo's encoders
talk to the other processes in every forward pass, and the first process could not measure by itself.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = timedelta(minutes=30)  # the others wait while the first measures
STARTING = timedelta(minutes=10)  # for all of them to meet; one that failed before that never comes
ENDING_S = 600  # for the others to end after the last step


class DeviceError(RuntimeError):
    """The processes cannot train together. The message says which and what to do."""


@dataclass(frozen=True)
class Devices:
    """Where this process stands among those that train. Alone, all of it does nothing."""

    rank: int = 0
    count: int = 1
    kind: str = "cpu"  # or cuda
    store: Any = None  # torch's key-value store that all of them see
    group: Any = None  # torch's process group
    _number: Iterator[int] = field(default_factory=itertools.count)

    @property
    def first(self) -> bool:
        """Only the first writes, measures and logs."""
        return self.rank == 0

    @property
    def name(self) -> str:
        """torch's name of the device."""
        import torch

        return f"cuda:{self.rank % torch.cuda.device_count()}" if self.kind == "cuda" else "cpu"

    def add_gradients(self, model: Any, loss: float) -> float:
        """Adds gradients and loss of all processes up and takes the mean of running statistics. Returns the loss."""
        if self.count == 1:
            return loss
        import torch

        weights = [weight for weight in model.parameters() if weight.requires_grad]
        grads = [
            torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights
        ]
        buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        parts = [*grads, *(buffer / self.count for buffer in buffers)]
        flat = torch.cat(
            [part.reshape(-1).float() for part in parts] + [torch.tensor([loss], device=self.name)]
        )
        self.group.allreduce([flat]).wait()
        at = 0
        for weight, grad in zip(weights, grads, strict=True):
            weight.grad = flat[at : at + grad.numel()].view_as(grad).to(grad.dtype)
            at += grad.numel()
        for buffer in buffers:
            buffer.copy_(flat[at : at + buffer.numel()].view_as(buffer))
            at += buffer.numel()
        return float(flat[-1])

    def of_first(self, value: Any) -> Any:
        """The first process's value, for all of them; anything JSON knows."""
        if self.count == 1:
            return value
        key = f"value-{next(self._number)}"
        if self.first:
            self.store.set(key, json.dumps(value))
        return json.loads(self.store.get(key))

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, in order of rank; anything JSON knows."""
        if self.count == 1:
            return [value]
        key = f"values-{next(self._number)}"
        self.store.set(f"{key}-{self.rank}", json.dumps(value))
        return [json.loads(self.store.get(f"{key}-{rank}")) for rank in range(self.count)]


def resolve_device(wanted: str, setting: str = "asr.device") -> str:
    """`cpu`, `cuda`, or for `auto` whichever there is. Raises DeviceError for CUDA where there is none."""
    import torch

    if wanted not in ("cpu", "cuda", "auto"):
        raise DeviceError(f"{setting} is {wanted!r}. It can be cpu, cuda or auto.")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"{setting} is cuda, but torch sees no CUDA device here. Use cpu or auto."
        )
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def join_group(kind: str, place: str = "env://") -> Devices:
    """Meets the others where `place` says: torchrun's environment, or tcp://host:port?rank=0&world_size=2."""
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    store, rank, count = next(iter(rendezvous(place, timeout=STARTING)))
    store.set_timeout(PATIENCE)
    make: Any = (
        dist.ProcessGroupNCCL if kind == "cuda" else dist.ProcessGroupGloo
    )  # torch types only one of its forms
    return Devices(
        rank, count, kind, store, make(dist.PrefixStore("gradients", store), rank, count, PATIENCE)
    )


@contextlib.contextmanager
def launch_workers(count: int, kind: str, job: Path) -> Iterator[Devices]:
    """This process as the first of `count`; the others run `training.asr_worker` on the same `job`.

    When the first dies the others lose their partner and end too. Raises DeviceError, with what it said last, when
    one of the others fails.
    """
    if count == 1:
        yield Devices(kind=kind)
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = f"tcp://127.0.0.1:{port}?rank={{}}&world_size={count}"
    logs = [job.with_name(f"worker-{rank}.log") for rank in range(1, count)]
    others = []
    for rank, log in enumerate(logs, start=1):
        command = [
            sys.executable,
            "-m",
            "training.asr.worker",
            str(job),
            "--join",
            place.format(rank),
        ]
        with log.open("w") as handle:
            others.append(subprocess.Popen(command, cwd=ROOT, stdout=handle, stderr=handle))
    try:
        first = join_group(kind, place.format(0))
        first.of_first(False)
        yield first
        for other in others:
            other.wait(timeout=ENDING_S)
        if failed := _failed(others, logs):
            raise DeviceError(failed)
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"a process has not ended {ENDING_S} s after the last step. See what it said in {job.parent}/worker-*.log."
        ) from error
    except RuntimeError as error:
        if not isinstance(error, DeviceError) and (
            failed := _failed(others, logs)
        ):  # a partner was lost
            raise DeviceError(failed) from error
        raise
    finally:
        for other in others:
            if other.poll() is None:
                other.kill()


def _failed(others: Sequence[subprocess.Popen[bytes]], logs: Sequence[Path]) -> str:
    """Which process failed first by rank, and what it said last; empty where none did."""
    for rank, (other, log) in enumerate(zip(others, logs, strict=True), start=1):
        if other.poll():
            said = (log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
            return f"process {rank} of {len(others) + 1} stopped: {said}"
    return ""
