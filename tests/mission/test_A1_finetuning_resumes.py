"""A1: fine-tune a NeMo CTC checkpoint from configuration; a kill -9 costs a few steps and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from models.asr import ModelError, load
from tests.speaking import a_hybrid_nemo, a_manifest, a_nemo, a_word_piece_nemo
from training.asr import AsrTraining, finetune
from training.tracking import get_run, list_runs, start_or_resume

ROOT = Path(__file__).resolve().parents[2]
STEPS = 60

# What a flow does, in a process of its own so that it can be killed.
PROGRAM = """
import json, sys
from pathlib import Path
from training.asr import AsrTraining, finetune
from training.tracking import start_or_resume

base, folder, steps = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
params = AsrTraining(steps=steps, batch_duration_s=12.0, learning_rate=5e-3, warmup_steps=5, valid_steps=20,
                     checkpoint_steps=10, threads=1)
with start_or_resume(f"sqlite:///{folder / 'mlflow.db'}", "asr", "A1", {"steps": steps}) as run:
    found = finetune(params, base, folder / "train.jsonl", folder / "valid.jsonl", folder / "work", run,
                     lambda done, total: print(done, flush=True))
    print(json.dumps({"run_id": run.run_id, **found}), flush=True)
"""


def started(base: Path, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(base), str(folder), str(STEPS)], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def the_only_run(folder: Path) -> str:
    (run,) = list_runs(f"sqlite:///{folder / 'mlflow.db'}", "asr")
    return run["run_id"]


@pytest.mark.timeout(600)
def test_A1_a_killed_finetuning_continues_the_same_run_and_step(tmp_path: Path) -> None:
    base = a_nemo(tmp_path / "base.nemo")
    a_manifest(tmp_path / "train.jsonl", 24)
    a_manifest(tmp_path / "valid.jsonl", 8, seed=1)

    first = started(base, tmp_path)
    assert first.stdout is not None
    for line in first.stdout:
        if int(line) >= STEPS // 2 + 3:  # between two checkpoints
            first.send_signal(signal.SIGKILL)
            break
    assert first.wait() == -signal.SIGKILL
    killed_run = the_only_run(tmp_path)
    assert get_run(f"sqlite:///{tmp_path / 'mlflow.db'}", killed_run)["status"] == "RUNNING"

    second = started(base, tmp_path)
    out, _ = second.communicate(timeout=400)
    assert second.returncode == 0
    *steps, last = out.splitlines()
    found = json.loads(last)

    assert found["run_id"] == killed_run == the_only_run(tmp_path)
    assert found["resumed_from"] == STEPS // 2
    assert [int(step) for step in steps] == list(range(STEPS // 2 + 1, STEPS + 1))
    assert found["steps"] == STEPS
    assert found["loss_last"] < found["loss_first"] / 2
    run = get_run(f"sqlite:///{tmp_path / 'mlflow.db'}", killed_run)
    assert run["status"] == "FINISHED"
    again = start_or_resume(f"sqlite:///{tmp_path / 'mlflow.db'}", "asr", "A1", reuse_finished=True)
    logged = [entry.step for entry in again._client.get_metric_history(killed_run, "train_loss")]
    assert logged == list(range(10, STEPS + 1, 10))  # none lost, none twice


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        ("ships", lambda folder: ROOT / AsrTraining().base),
        ("characters", lambda folder: a_nemo(folder / "base.nemo", channels=16, kernels=(5,))),
        ("pieces", lambda folder: a_word_piece_nemo(folder / "base.nemo")),
        ("hybrid", lambda folder: a_hybrid_nemo(folder / "base.nemo")),
    ],
)
def test_A1_the_same_call_takes_every_kind_of_base(kind: str, base: Callable[[Path], Path], tmp_path: Path) -> None:
    a_manifest(tmp_path / "train.jsonl", 6)
    a_manifest(tmp_path / "valid.jsonl", 3, seed=1)
    params = AsrTraining(steps=2, batch_duration_s=12.0, threads=1)
    with start_or_resume(f"sqlite:///{tmp_path / 'mlflow.db'}", "asr", kind) as run:
        found = finetune(
            params, base(tmp_path), tmp_path / "train.jsonl", tmp_path / "valid.jsonl", tmp_path / "work", run
        )
    assert found["steps"] == 2
    assert found["loss_last"] > 0
    model = load(tmp_path / "work" / "model.nemo")
    assert model.parameters == found["parameters"]


def test_A1_a_name_goes_to_the_hub_and_its_answer_is_told(tmp_path: Path) -> None:
    a_manifest(tmp_path / "train.jsonl", 1)
    run = start_or_resume(f"sqlite:///{tmp_path / 'mlflow.db'}", "asr", "hub")
    with pytest.raises(ModelError, match="no_such_model: cannot be fetched from the hub"), run:
        finetune(
            AsrTraining(), "no_such_model", tmp_path / "train.jsonl", tmp_path / "train.jsonl", tmp_path / "w", run
        )
    assert get_run(f"sqlite:///{tmp_path / 'mlflow.db'}", run.run_id)["status"] == "FAILED"
