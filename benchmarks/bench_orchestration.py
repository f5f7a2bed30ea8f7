"""What Prefect adds to a run (P5): a whole retraining of reused stages, against the stages alone.

Prints JSON. Needs a store that one run has filled, in which nothing has changed since. Every stage
then costs little, so the difference is what the flows, their server and their artifacts take. The
ratio is for a cycle whose stages take `--stages-s` (default: the demo's, measured by bench_demo.py).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from rich.console import Console

from flows.runtime.context import existing_context
from flows.runtime.lease import lease
from flows.runtime.settings import prepare, use_prefect_home
from flows.stages import runner


def main() -> None:
    """Measures both in one process, bare stages first."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--store", type=Path, default=None)
    arguments.add_argument("--stages-s", type=float, default=300.0)
    given = arguments.parse_args()
    prepare()
    context = existing_context(given.store)
    names, silent = runner.stage_names(context), Console(quiet=True)

    def bare() -> tuple[float, float]:
        started, cpu = time.monotonic(), time.process_time()
        with lease(context, holder="bench"):
            for name in names:
                runner.run_stage(context, name, silent)
        return time.monotonic() - started, time.process_time() - cpu

    bare()  # imports
    bare_s, bare_cpu_s = bare()
    use_prefect_home(context.store)
    from flows import tasks
    from flows.retrain import retrain
    from flows.runtime.prefect_hooks import without_prefect_heartbeats

    tasks.console = silent

    def orchestrated() -> tuple[float, float]:
        started, cpu = time.monotonic(), time.process_time()
        with without_prefect_heartbeats():
            retrain(context.site, store=str(context.store), until="report")
        return time.monotonic() - started, time.process_time() - cpu

    with_start_s, _ = orchestrated()  # and with the start of Prefect's server
    flows_s, flows_cpu_s = orchestrated()
    added_s = with_start_s - bare_s
    result = {
        "stages": len(names),
        "bare_s": round(bare_s, 2),
        "flows_s": round(flows_s, 2),
        "flows_with_server_start_s": round(with_start_s, 2),
        "ms_a_stage": round(1000 * (flows_s - bare_s) / len(names), 1),
        "cpu_ms_a_stage": round(1000 * (flows_cpu_s - bare_cpu_s) / len(names), 1),
        "ratio_at_stages_s": round((given.stages_s + added_s) / given.stages_s, 3),
        "stages_s": given.stages_s,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
