"""Trains one network in several processes: each computes its part of a step, gradients are summed.

The processes share a process group of their own, not torch's default one: with a default group
NeMo's encoders communicate in every forward pass, and the first process could not measure alone.
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

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = timedelta(minutes=30)  # the others wait while the first measures
STARTING = timedelta(minutes=10)  # for all of them to meet; one that failed before that never comes
ENDING_S = 600  # for the others to end after the last step


class DeviceError(RuntimeError):
    """The processes cannot train together. The message says which and what to do."""


@dataclass(frozen=True)
class Devices:
    """The place of this process among those that train. With one process all of it does nothing."""

    rank: int = 0
    count: int = 1
    device_type: str = "cpu"  # or cuda
    store: Any = None  # torch's key-value store, shared by all processes
    group: Any = None  # torch's process group
    _number: Iterator[int] = field(default_factory=itertools.count)

    @property
    def is_first(self) -> bool:
        """Whether this is the first process, which alone writes, measures and logs."""
        return self.rank == 0

    @property
    def name(self) -> str:
        """torch's name of this process's device."""
        import torch

        if self.device_type == "cuda":
            return f"cuda:{self.rank % torch.cuda.device_count()}"
        return "cpu"

    def add_gradients(self, model: Any, loss: float) -> float:
        """Sums gradients and `loss` over the processes and returns the summed loss.

        Running statistics (floating point buffers) become their mean over the processes.
        """
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

    def broadcast(self, value: Any) -> Any:
        """Returns the first process's `value` in every process; it must be JSON."""
        if self.count == 1:
            return value
        key = f"value-{next(self._number)}"
        if self.is_first:
            self.store.set(key, json.dumps(value))
        return json.loads(self.store.get(key))

    def all_gather(self, value: Any) -> list[Any]:
        """Returns the `value` of every process in order of rank; they must be JSON."""
        if self.count == 1:
            return [value]
        key = f"values-{next(self._number)}"
        self.store.set(f"{key}-{self.rank}", json.dumps(value))
        return [json.loads(self.store.get(f"{key}-{rank}")) for rank in range(self.count)]


def resolve_device(requested: str, setting: str = "asr.device") -> str:
    """Returns `cpu` or `cuda` for a setting of cpu, cuda or auto (cuda where there is one).

    Raises DeviceError for another value, and for cuda where there is none.
    """
    import torch

    if requested not in ("cpu", "cuda", "auto"):
        raise DeviceError(f"{setting} is {requested!r}. It can be cpu, cuda or auto.")
    if requested == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"{setting} is cuda, but torch sees no CUDA device here. Use cpu or auto."
        )
    return "cuda" if requested != "cpu" and torch.cuda.is_available() else "cpu"


def join_group(device_type: str, address: str = "env://") -> Devices:
    """Meets the other processes at `address` and returns this one's place among them.

    `address` is torchrun's environment or tcp://host:port?rank=0&world_size=2.
    """
    import torch.distributed as distributed
    from torch.distributed.rendezvous import rendezvous

    store, rank, count = next(iter(rendezvous(address, timeout=STARTING)))
    store.set_timeout(PATIENCE)
    # Typed neither completely nor as exported by torch.
    dist: Any = distributed
    make = dist.ProcessGroupNCCL if device_type == "cuda" else dist.ProcessGroupGloo
    group = make(dist.PrefixStore("gradients", store), rank, count, PATIENCE)
    return Devices(rank, count, device_type, store, group)


@contextlib.contextmanager
def launch_workers(count: int, device_type: str, job: Path) -> Iterator[Devices]:
    """Starts `count` - 1 workers (training.asr.worker) on `job` and yields this process as first.

    When the first process dies the workers lose their partner and end too. Raises DeviceError with
    the last line of a worker's log when that worker fails.
    """
    if count == 1:
        yield Devices(device_type=device_type)
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}?rank={{}}&world_size={count}"
    logs = [job.with_name(f"worker-{rank}.log") for rank in range(1, count)]
    workers = []
    for rank, log in enumerate(logs, start=1):
        program = [sys.executable, "-m", "training.asr.worker"]
        command = [*program, str(job), "--join", address.format(rank)]
        with log.open("w") as handle:
            workers.append(subprocess.Popen(command, cwd=ROOT, stdout=handle, stderr=handle))
    try:
        first = join_group(device_type, address.format(0))
        first.broadcast(False)
        yield first
        for worker in workers:
            worker.wait(timeout=ENDING_S)
        if failure := _describe_failure(workers, logs):
            raise DeviceError(failure)
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"a process has not ended {ENDING_S} s after the last step. See the last lines of "
            f"{job.parent}/worker-*.log."
        ) from error
    except RuntimeError as error:
        # Where a partner was lost, torch's error says less than the partner's log.
        if not isinstance(error, DeviceError) and (failure := _describe_failure(workers, logs)):
            raise DeviceError(failure) from error
        raise
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()


def _describe_failure(workers: Sequence[subprocess.Popen[bytes]], logs: Sequence[Path]) -> str:
    """Returns which worker failed first by rank and the last line of its log; empty if none did."""
    for rank, (worker, log) in enumerate(zip(workers, logs, strict=True), start=1):
        if worker.poll():
            lines = log.read_text(errors="replace").strip().splitlines() or ["nothing"]
            return f"process {rank} of {len(workers) + 1} stopped: {lines[-1]}"
    return ""
