"""E2: how often the gate takes a candidate that is no better for better: `bench_gates.py [NULLS] [FIRST_SEED]`."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from functools import partial

from evaluation import scorecard
from evaluation.gates import examples
from evaluation.gates.checks import better, slices

# These two checks draw for themselves, on the test units; what a scorecard says beside them costs ten times as much.
scorecard.ratio_of_sums = partial(scorecard.ratio_of_sums, draws=2)
scorecard.churn_figures = lambda *_, **__: {}
scorecard.calibration_by_slice = lambda *_, **__: {}

NULLS, FIRST = (*map(int, sys.argv[1:]), 1000, 1000)[:2]
KINDS = {
    "asr": lambda seed: examples.asr(0.3, seed=seed),
    "churn": lambda seed: examples.churn(0.5, seed=seed),
}

began = time.process_time()
found = {}
for kind, card in KINDS.items():
    alarms = slice_refusals = 0
    for n in range(NULLS):
        # Fresh luck on both sides and in the draws: one lucky champion or one lucky set of draws for all would make the
        # comparisons hang together.
        evidence = replace(examples.evidence(card(FIRST + 2 * n), card(FIRST + 2 * n + 1)), seed=n)
        alarms += better.check(evidence).verdict == "pass"
        slice_refusals += slices.check(evidence).verdict == "fail"
    params = evidence.params
    found[kind] = {
        "taken_for_better": alarms,
        "share": alarms / NULLS,
        "stated_at_most": 1 - params.level,
        "expected": (1 - params.level)
        / 2,  # one side of the interval, and what the randomisation test allows
        "refused_for_a_slice": slice_refusals / NULLS,
        "slices_stated_at_most": params.slice_alpha,
    }
print(
    json.dumps(
        {
            "benchmark": "E2 false alarms",
            "null_candidates": NULLS,
            **found,
            "cpu_s": round(time.process_time() - began, 1),
        },
        indent=1,
    )
)
