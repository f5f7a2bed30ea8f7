"""A1: fine-tune a NeMo CTC or hybrid checkpoint from configuration; a kill -9 costs a few
steps and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.stages.asr import base_of
from models.asr.load import load
from models.asr.nemo import ModelError
from tests.speech_helpers import a_hub, a_hybrid_nemo, a_manifest, a_nemo, a_word_piece_nemo
from training.asr.finetune import AsrTraining, finetune
from training.tracking import get_run, start_or_resume

ROOT = Path(__file__).resolve().parents[2]
STEPS = 20  # metrics go to MLflow at 10 and 20, checkpoints are written at 4, 8, …

# Imports NeMo once and forks a process for every run, so that real ones can be killed by the dozen.
PROGRAM = """
import json, os, signal, socket, sys, tarfile, traceback
from dataclasses import asdict, replace
from pathlib import Path

import mlflow.tracking, torch
import nemo.core
from data.files import write_json
from models.asr.nemo import nemo_asr
from tests.speech_helpers import a_manifest, a_nemo
from training.asr import finetune, manifest, worker
from training.tracking import Run, list_runs, start_or_resume

folder, steps = Path(sys.argv[1]), int(sys.argv[2])
uri = f"sqlite:///{folder / 'mlflow.db'}"
params = finetune.AsrTraining(steps=steps, batch_duration_s=6.0, learning_rate=5e-3, warmup_steps=5,
                               valid_steps=5, checkpoint_steps=4, threads=1)
train, valid, base = folder / "train.jsonl", folder / "valid.jsonl", folder / "base.nemo"


def forked(work):
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def tuned(key, params=params, prepare=lambda: None):
    def work():
        prepare()
        with start_or_resume(uri, "asr", key, params=asdict(params)) as run:
            summary = finetune.finetune(params, base, train_manifest=train, valid_manifest=valid,
                                        work_dir=folder / key, run=run)
        write_json(folder / f"{key}.json", {**summary, "run_id": run.run_id})
    return forked(work)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def at(owner, name, call, act):
    # Lets `owner.name` be called; at its `call`-th call `act` comes first.
    real, calls = getattr(owner, name), []

    def counted(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            act(real, *args, **kwargs)
        return real(*args, **kwargs)

    return lambda: setattr(owner, name, counted)


def torn(save, value, path):
    save(value, path)
    path.write_bytes(path.read_bytes()[:1000])
    die()


def torn_nemo(save, model, path):
    save(model, path)
    Path(path).write_bytes(Path(path).read_bytes()[:1000])
    die()


def logged(log, run, metrics, step=0):
    log(run, metrics, step)
    die()


points = {
    "loading": at(manifest, "read", 5, lambda *_: die()),
    "in-a-step": at(torch.nn.utils, "clip_grad_norm_", 11, lambda *_: die()),
    "writing-a-checkpoint": at(torch, "save", 4, torn),
    "checkpoint-written-metrics-not": at(Run, "log_metrics", 4, lambda *_: die()),
    "metrics-logged-checkpoint-not": at(Run, "log_metrics", 4, logged),
    "saving-the-nemo": at(nemo.core.ModelPT, "save_to", 2, torn_nemo),
}


def history(key):
    (run,) = [run for run in list_runs(uri, "asr") if run["name"] == key]
    client = mlflow.tracking.MlflowClient(uri)
    return {"run_id": run["run_id"], "status": run["status"], "params": run["params"],
            **{name: [[point.step, point.value] for point in client.get_metric_history(run["run_id"], name)]
               for name in ("train_loss", "valid_wer", "valid_wer_best", "valid_wer_last", "valid_wer_averaged")}}


def weights(key):
    with tarfile.open(folder / key / "model.nemo") as archive:
        (member,) = [name for name in archive.getnames() if name.endswith("model_weights.ckpt")]
        shipped = torch.load(archive.extractfile(member), weights_only=True)
    last = torch.load(folder / key / "last.pt", weights_only=True)
    return {**{f"last.{name}": value for name, value in last["model"].items()},
            **{f"averaged.{name}": value for name, value in last["average"].items()}, **shipped}


def same(key, other_key):
    first, second = weights(key), weights(other_key)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def gap(key, other_key):
    # Largest difference of what is learnt; running statistics are averaged over processes, so they are left out.
    first, second = weights(key), weights(other_key)
    return max(float((first[name] - second[name]).abs().max()) for name in first if "running" not in name
               and first[name].is_floating_point() and name.startswith("last."))


def pair(key, params, prepare=lambda: None):
    # Two processes with the environment that torchrun gives to each.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    job = folder / f"{key}-job.json"
    write_json(job, {"params": asdict(params), "base": str(base), "train": str(train), "valid": str(valid),
                     "work_dir": str(folder / key), "tracking_uri": uri, "experiment": "asr", "key": key})

    def of(rank):
        def work():
            if not rank:
                prepare()
            os.environ.update(place, RANK=str(rank))
            sys.argv = ["worker", str(job)]
            worker.main()
        return forked(work)

    return [of(0), of(1)]


nemo_asr()
torch.set_num_threads(1)
a_manifest(train, 16)
a_manifest(valid, 4, seed=1)
a_nemo(base, channels=16, kernels=(5,), dropout=0.1)
accumulated = replace(params, accumulate=2)
ended(forked(lambda: start_or_resume(uri, "asr", "none")))  # makes the database, which two at once cannot
launched = tuned("launched", replace(params, devices=2))  # starts a process of its own, so it goes first
answer = {"unbroken": ended(tuned("unbroken")), "killed": {}, "finished": {}, "after_kill": {}}
for key, prepare in points.items():
    answer["killed"][key] = ended(tuned(key, prepare=prepare))
    answer["after_kill"][key] = history(key)
    answer["finished"][key] = ended(tuned(key))
answer["same"] = {key: same("unbroken", key) for key in points}
answer["history"] = {key: history(key) for key in ("unbroken", *points)}
answer["summary"] = {key: json.loads((folder / f"{key}.json").read_text()) for key in ("unbroken", *points)}

quiet = replace(params.augmentation, telephone_share=0.0, noise_share=0.0, speed_spread=0.0, quiet_share=0.0,
                frequency_masks=0, time_masks=0)
still = replace(params, augmentation=quiet, frozen_layers=99)
answer["doubled"] = [ended(tuned("doubled", replace(still, batch_duration_s=12.0))),
                     *map(ended, pair("halves", replace(still, devices=2)))]
answer["gap_doubled"] = gap("doubled", "halves")
decoder = "last.decoder.decoder_layers.0.weight"
answer["gap_others"] = float((weights("halves")[decoder] - weights("unbroken")[decoder]).abs().max())
answer["halves"] = history("halves")
answer["orphan"] = [ended(pid) for pid in pair("orphan", replace(params, devices=2), points["in-a-step"])]
answer["launched"] = [ended(launched), ended(tuned("parts", accumulated))]
answer["gap_launched"] = gap("launched", "parts")
answer["files_launched"] = sorted(path.name for path in (folder / "launched").iterdir())
print(json.dumps(answer))
"""


@pytest.fixture(scope="module")
def killed_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path_factory.mktemp("killed")), str(STEPS)],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=900,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


POINTS = (
    "loading",
    "in-a-step",
    "writing-a-checkpoint",
    "checkpoint-written-metrics-not",
    "metrics-logged-checkpoint-not",
    "saving-the-nemo",
)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("point", POINTS)
def test_A1_a_kill_continues_the_same_run_and_step_to_the_same_weights(
    killed_runs: dict[str, Any], point: str
) -> None:
    assert killed_runs["killed"][point] == -9
    assert killed_runs["after_kill"][point]["status"] == "RUNNING"
    assert killed_runs["finished"][point] == 0
    summary, history = killed_runs["summary"][point], killed_runs["history"][point]
    assert summary["run_id"] == history["run_id"] == killed_runs["after_kill"][point]["run_id"]
    # The checkpoint before the kill.
    checkpoint = {"loading": 0, "saving-the-nemo": STEPS}.get(point, 8)
    assert summary["resumed_from"] == checkpoint
    assert history["status"] == "FINISHED"
    assert [step for step, _ in history["train_loss"]] == [10, 20]  # none lost, none twice
    unbroken = killed_runs["history"]["unbroken"]
    for name in (
        "train_loss",
        "valid_wer",
        "valid_wer_best",
        "valid_wer_last",
        "valid_wer_averaged",
    ):
        assert history[name] == unbroken[name], name
    assert killed_runs["same"][point]


@pytest.mark.timeout(900)
def test_A1_two_processes_learn_what_one_learns_from_twice_the_batch(
    killed_runs: dict[str, Any],
) -> None:
    assert killed_runs["doubled"] == [0, 0, 0]
    assert killed_runs["gap_doubled"] < 1e-3 < killed_runs["gap_others"]
    # Only the first process logs.
    assert [step for step, _ in killed_runs["halves"]["train_loss"]] == [10, 20]
    assert killed_runs["launched"] == [0, 0]
    assert killed_runs["gap_launched"] < 1e-4  # which process takes a part changes nothing in it
    assert {name for name in killed_runs["files_launched"] if name.endswith((".pt", ".nemo"))} == {
        "last.pt",
        "best.pt",
        "model.nemo",
    }


@pytest.mark.timeout(900)
def test_A1_a_process_that_lost_its_partner_ends_too(killed_runs: dict[str, Any]) -> None:
    assert killed_runs["orphan"] == [-9, 1]


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        ("ships", lambda folder: ROOT / AsrTraining().base),
        ("characters", lambda folder: a_nemo(folder / "base.nemo", channels=16, kernels=(5,))),
        ("pieces", lambda folder: a_word_piece_nemo(folder / "base.nemo")),
        ("hybrid", lambda folder: a_hybrid_nemo(folder / "base.nemo")),
    ],
)
def test_A1_the_same_call_takes_every_kind_of_base(
    kind: str, base: Callable[[Path], Path], tmp_path: Path
) -> None:
    a_manifest(tmp_path / "train.jsonl", 6)
    a_manifest(tmp_path / "valid.jsonl", 3, seed=1)
    params = AsrTraining(steps=2, batch_duration_s=12.0, threads=1)
    with start_or_resume(f"sqlite:///{tmp_path / 'mlflow.db'}", "asr", kind) as run:
        summary = finetune(
            params,
            base(tmp_path),
            train_manifest=tmp_path / "train.jsonl",
            valid_manifest=tmp_path / "valid.jsonl",
            work_dir=tmp_path / "work",
            run=run,
        )
    assert summary["steps"] == 2
    assert summary["loss_last"] > 0
    model = load(tmp_path / "work" / "model.nemo")
    assert model.parameters == summary["parameters"]


def test_A1_a_name_goes_to_the_hub_and_its_answer_is_told(tmp_path: Path) -> None:
    a_manifest(tmp_path / "train.jsonl", 1)
    run = start_or_resume(f"sqlite:///{tmp_path / 'mlflow.db'}", "asr", "hub")
    with pytest.raises(ModelError, match="no_such_model: cannot be fetched from the hub"), run:
        finetune(
            AsrTraining(),
            "no_such_model",
            train_manifest=tmp_path / "train.jsonl",
            valid_manifest=tmp_path / "train.jsonl",
            work_dir=tmp_path / "w",
            run=run,
        )
    assert get_run(f"sqlite:///{tmp_path / 'mlflow.db'}", run.run_id)["status"] == "FAILED"


def test_A1_a_hub_name_is_fetched_once_and_another_name_is_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_hub(tmp_path / "hub", monkeypatch) as hub:
        offered = {name: hub / "acme" / name / f"{name}.nemo" for name in ("small", "large")}
        sizes = [
            load(a_nemo(path, channels=16 * n, kernels=(5,))).parameters
            for n, path in enumerate(offered.values(), 1)
        ]
        assert [load(base_of(f"acme/{name}", tmp_path)).parameters for name in offered] == sizes
    assert sizes[0] < sizes[1]
    assert load(base_of("acme/small", tmp_path)).parameters == sizes[0]  # the hub is gone
