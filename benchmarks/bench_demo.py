"""P8: how long the demo takes, what it finds, and what a second one costs."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from _walk import read_results, time_command

with tempfile.TemporaryDirectory() as folder:
    store = Path(folder) / "store"
    first = time_command(store, "demo")
    again = time_command(store, "demo")
    skill = json.loads((store / "scorecards" / "churn" / "candidate.json").read_text())["facts"][
        "attainable_skill"
    ]
    print(
        json.dumps(
            {
                "benchmark": "P8 demo",
                "cores": os.cpu_count(),
                "first_s": first,
                "again_s": again,
                **read_results(store),
                "share_of_attainable_brier_skill": skill,
            },
            indent=1,
        )
    )
