"""The street on real voices: 120 stitched telephone calls, voices of the test not in the fine-tuning."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from _walk import read_results, require_real_data, time_command

real_data = require_real_data("real export", "make_export.py")
with tempfile.TemporaryDirectory() as folder:
    export, store = Path(folder) / "export", Path(folder) / "store"
    subprocess.run(
        [sys.executable, real_data / "make_export.py", "--out", export, "--calls", "120"],
        check=True,
        stdout=sys.stderr,
    )
    seconds = time_command(store, "run", str(export), "--store", str(store))
    print(
        json.dumps(
            {"benchmark": "real export", "calls": 120, "seconds": seconds, **read_results(store)},
            indent=1,
        )
    )
