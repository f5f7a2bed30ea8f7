"""Runs one of several processes that fine-tune a recogniser together.

`keepline` starts the others itself when asr.devices says so. For several machines, or to let
torchrun restart what fails: `torchrun --nproc-per-node 2 -m training.asr.worker job.json`, with
job.json holding params (the asr section), base, train, valid, work_dir, tracking_uri, experiment
and key.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from data.files import read_json
from data.params import section
from training.asr.devices import Devices, join_group, resolve_device
from training.asr.finetune import (
    AsrTraining,
    finetune,
    loop_config,
    prepare_training,
    training_batches,
)
from training.asr.fit import fit
from training.tracking import start_or_resume


def main() -> None:
    """Joins the other processes and trains: the first one writes and logs, the others follow."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("job", type=Path)
    parser.add_argument(
        "--join", default="env://", help="address of the others; torchrun sets it itself"
    )
    arguments = parser.parse_args()
    job = read_json(arguments.job)
    params = section(AsrTraining, job["params"], "asr")
    devices = join_group(resolve_device(params.device), arguments.join)
    if devices.count != params.devices:
        raise SystemExit(
            f"asr.devices is {params.devices}, but {devices.count} processes run. Make them equal."
        )
    if not devices.is_first:
        follow(job, params, devices)
        return
    with start_or_resume(
        job["tracking_uri"], job["experiment"], job["key"], params=job["params"]
    ) as run:
        finetune(
            params,
            job["base"],
            train_manifest=Path(job["train"]),
            valid_manifest=Path(job["valid"]),
            work_dir=Path(job["work_dir"]),
            run=run,
            devices=devices,
        )


def follow(job: dict[str, Any], params: AsrTraining, devices: Devices) -> None:
    """Adds this process's gradients to those of the first one, which does everything else."""
    import torch

    torch.set_num_threads(params.threads)
    if devices.broadcast(None):
        return  # the first process found its result complete
    work_dir = Path(job["work_dir"])
    model, speech, _, pools = prepare_training(
        params, job["base"], Path(job["train"]), work_dir=work_dir, rank=devices.rank
    )
    fit(
        model.to(devices.name),
        speech.corpus,
        speech.tokens,
        batch_at=training_batches(params, speech, pools),
        config=loop_config(params),
        folder=work_dir,
        measure=lambda model: 0.0,
        devices=devices,
    )


if __name__ == "__main__":
    main()
