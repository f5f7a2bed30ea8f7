"""Measures how often the slices check finds a planted intersection, and how often it refuses noise.

Two recognisers get a quarter of the words wrong. Planted: in one intersection of region and load, 12 % of
the utterances, the candidate gets 35 % wrong. Null: nowhere. Prints JSON.

    python -m benchmarks.bench_intersections
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl

from evaluation.intersections import search_intersections
from evaluation.scorecard import Ratio, Scorecard

PLANTED = "load peak and region north"
ALPHA = 0.025  # as in KindGate.intersection_alpha
WORDS = 10  # an utterance


def scorecards(
    seed: int,
    *,
    worse: float = 0.0,
    utterances: int = 1000,
    voices: int = 200,
    spread: float = 0.05,
) -> tuple[Scorecard, Scorecard]:
    """Returns (candidate, reference) on one test set; `worse` is added to the error rate where planted.

    Regions and voices' difficulty (`spread`, on the error rate) are by voice; load, queue, codec and
    length are by utterance.
    """
    rng = np.random.default_rng(seed)
    voice = rng.integers(0, voices, utterances)
    # The planted intersection is 12 % of the utterances: 0.4 of the load in 0.3 of the regions.
    region = rng.choice(["north", "south", "east", "west"], voices, p=[0.3, 0.3, 0.2, 0.2])[voice]
    slices = {
        "region": region,
        "load": rng.choice(["peak", "off-peak"], utterances, p=[0.4, 0.6]),
        "queue": rng.choice(["billing", "sales", "technical", "general"], utterances),
        "codec": rng.choice(["ULAW", "ALAW", "PCM_16"], utterances, p=[0.5, 0.3, 0.2]),
        "length": rng.choice(["short", "middle", "long"], utterances),
    }
    base = np.clip(0.25 + rng.normal(0, spread, voices)[voice], 0.01, 0.99)
    planted = (slices["region"] == "north") & (slices["load"] == "peak")
    cards = []
    for name, rate in (("candidate", base + worse * planted), ("reference", base)):
        units = pl.DataFrame(
            {
                "unit": [f"u{n}" for n in range(utterances)],
                "cluster": [f"v{n}" for n in voice],
                **slices,
                "errors": rng.binomial(WORDS, np.clip(rate, 0, 1)),
                "words": np.full(utterances, WORDS),
            }
        )
        cards.append(
            Scorecard(
                kind="asr",
                model=name,
                data_hash="d",
                created_at="",
                metrics={},
                ratios={"wer": Ratio("errors", "words")},
                units=units,
                slices={by: {} for by in slices},
            )
        )
    return cards[0], cards[1]


def refused(seed: int, **options: Any) -> list[str]:
    """Returns the intersections that are found worse in one made-up comparison."""
    search = search_intersections(*scorecards(seed, **options), "wer", seed=seed)
    return [row.what for row in search.tested if row.p <= ALPHA]


def main() -> None:
    """Prints the shares of planted losses found and of nulls refused."""
    figures: dict[str, Any] = {"alpha": ALPHA}
    for utterances in (500, 1000, 2000):
        found = [refused(n, worse=0.1, utterances=utterances) for n in range(100)]
        noise = [refused(10_000 + n, utterances=utterances) for n in range(200)]
        figures[f"{utterances} utterances"] = {
            "planted, refused": float(np.mean([bool(row) for row in found])),
            "planted, named exactly": float(np.mean([PLANTED in row for row in found])),
            "null, refused": float(np.mean([bool(row) for row in noise])),
        }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
