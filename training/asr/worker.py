"""One of several processes that fine-tune a recogniser together.

`keepline` starts the others itself when asr.devices says so. For several machines, or to let torchrun restart what
fails: `torchrun --nproc-per-node 2 -m training.asr_worker job.json`, with job.json holding params (the asr section),
base, train, valid, work_dir, tracking_uri, experiment and key.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from data.files import read_json
from data.params import section
from training.asr.devices import Devices, join, kind_of
from training.asr.finetune import AsrTraining, batches, finetune, fit_settings, prepare
from training.asr.fit import fit
from training.tracking import start_or_resume


def main() -> None:
    """Joins the others and trains."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("job", type=Path)
    parser.add_argument(
        "--join", default="env://", help="where the others are; torchrun says so itself"
    )
    asked = parser.parse_args()
    job = read_json(asked.job)
    params = section(AsrTraining, job["params"], "asr")
    devices = join(kind_of(params.device), asked.join)
    if devices.count != params.devices:
        raise SystemExit(
            f"asr.devices is {params.devices}, but {devices.count} processes run. Make them equal."
        )
    if devices.first:
        with start_or_resume(
            job["tracking_uri"], job["experiment"], job["key"], job["params"]
        ) as run:
            finetune(
                params,
                job["base"],
                Path(job["train"]),
                Path(job["valid"]),
                Path(job["work_dir"]),
                run,
                devices=devices,
            )
    else:
        follow(job, params, devices)


def follow(job: dict[str, Any], params: AsrTraining, devices: Devices) -> None:
    """Adds this process's gradients to the first one's, which does everything else."""
    import torch

    torch.set_num_threads(params.threads)
    if devices.of_first(None):
        return  # it was done before
    work_dir = Path(job["work_dir"])
    model, speech, _, pools = prepare(
        params, job["base"], Path(job["train"]), work_dir, devices.rank
    )
    fit(
        model.to(devices.name),
        speech.corpus,
        speech.tokens,
        batches(params, speech, pools),
        fit_settings(params),
        work_dir,
        measure=lambda model: 0.0,
        devices=devices,
    )


if __name__ == "__main__":
    main()
