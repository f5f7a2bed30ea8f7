"""Processes that train together: failures and missing devices."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.asr.devices import DeviceError, launch_workers, resolve_device


def test_a_process_that_fails_in_the_end_is_told(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(json.dumps({"params": {"devices": 3}}))
    told = pytest.raises(
        DeviceError, match=r"process 1 of 2 stopped: asr\.devices is 3, but 2 processes run"
    )
    with told, launch_workers(2, "cpu", tmp_path / "job.json"):
        pass  # the first has nothing to do, and so does not notice


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"is .tpu.. It can be cpu, cuda or auto"):
        resolve_device("tpu")
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="torch sees no CUDA device"):
            resolve_device("cuda")
        assert resolve_device("auto") == "cpu"
