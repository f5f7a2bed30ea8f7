"""How much faster than real time the simulator speaks, whole calls included (one process, one core)."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from data.simulator import SimulatorParams, simulate

with tempfile.TemporaryDirectory() as folder:
    started, cpu = time.monotonic(), time.process_time()
    summary = simulate(SimulatorParams(calls=100), Path(folder) / "raw", Path(folder) / "truth")
    wall_s, cpu_s = time.monotonic() - started, time.process_time() - cpu
    figures = {
        "benchmark": "simulator",
        "calls": summary["recordings"],
        "contacts": summary["contacts"],
        "audio_s": summary["audio_s"],
        "wall_s": round(wall_s, 1),
        "audio_s_per_cpu_s": round(summary["audio_s"] / cpu_s, 1),
    }
    print(json.dumps(figures, indent=1))
