"""Selects machine-transcribed turns to train on, and turns that a person should transcribe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

TURN = ("contact_id", "turn")
QUEUE = {
    "rank": pl.Int64,
    "contact_id": pl.String,
    "turn": pl.Int32,
    "role": pl.String,
    "start_s": pl.Float64,
    "end_s": pl.Float64,
    "text": pl.String,
    "confidence": pl.Float64,
    "expected_errors": pl.Float64,
    "gain": pl.Float64,
    "why": pl.String,
    "chance": pl.Float64,
}
SETTLING_S = 5.0  # what a person needs to open a turn, whatever its length


@dataclass(frozen=True)
class PseudoParams:
    """What training may learn from a machine, and the review queue; section `pseudo`."""

    # whether the next training learns from sure turns; the gate still judges what comes of it
    learn: bool = False
    least_confidence: float = 0.95  # expected share of right words in a turn, calibrated
    least_words: int = 3  # shorter turns teach little and are confident by accident
    # machine-transcribed speech, at most, as a share of what people transcribed, in seconds
    share_of_train: float = 0.5
    queue: int = 100  # turns in the review queue
    random_share: float = 0.2  # of the queue is drawn at random, for honest rates
    seed: int = 7  # of that draw


@dataclass(frozen=True)
class PseudoSelection:
    """Turns to learn from (as they came), the review queue (schema QUEUE) and counts by reason."""

    accepted: pl.DataFrame
    queue: pl.DataFrame
    summary: dict[str, Any]


def trainable_turns(turns: pl.DataFrame, splits: pl.DataFrame, typed: pl.DataFrame) -> pl.DataFrame:
    """Returns turns of calls on the training side that no person has transcribed.

    `typed` are the turns that persons have transcribed.
    """
    train = (
        splits.filter(pl.col("split") == "train")
        .drop_nulls("contact_id")
        .select("contact_id")
        .unique()
    )
    return turns.join(train, on="contact_id", how="semi").join(typed, on="contact_id", how="anti")


def select_pseudo_transcripts(
    turns: pl.DataFrame,
    splits: pl.DataFrame,
    typed: pl.DataFrame,
    *,
    calibrated: bool,
    params: PseudoParams = PseudoParams(),
) -> PseudoSelection:
    """Divides transcribed `turns` (TURNS and `confidence`) into accepted ones and a queue.

    Calls of valid and test are in neither part. Without calibration nothing is accepted: a
    network's own score is overconfident. The queue holds the turns whose correction removes
    most expected word errors a second of a person's time, and a random share of all turns, each
    with the `chance` it had of being drawn: only those represent all turns.
    """
    candidates = trainable_turns(turns, splits, typed).sort(TURN)
    words = pl.col("text").str.split(" ").list.len()
    length_s = pl.col("end_s") - pl.col("start_s")
    judged = candidates.with_columns(
        expected_errors=((1 - pl.col("confidence")) * words).round(4),
        why=pl.when(not calibrated)
        .then(pl.lit("uncalibrated"))
        .when(pl.col("confidence") < params.least_confidence)
        .then(pl.lit("unsure"))
        .when(words < params.least_words)
        .then(pl.lit("short")),
    ).with_columns(gain=(pl.col("expected_errors") / (length_s + SETTLING_S)).round(6))
    accepted = judged.filter(pl.col("why").is_null())
    reasons = dict(
        judged.filter(pl.col("why").is_not_null()).group_by("why").len().sort("why").iter_rows()
    )
    return PseudoSelection(
        accepted.select(turns.columns),
        _queue(judged, params),
        {
            "heard": turns.height,
            "held_out_or_transcribed": turns.height - candidates.height,
            "accepted": accepted.height,
            "accepted_s": round(float(accepted.select(length_s.sum()).item() or 0.0), 3),
            "expected_accuracy": accepted["confidence"].mean(),
            "refused": reasons,
        },
    )


def sample_within_share(
    accepted: pl.DataFrame, transcribed_s: float, params: PseudoParams
) -> pl.DataFrame:
    """Draws as many accepted turns as `share_of_train` allows for `transcribed_s` seconds.

    Turns are drawn at random, not by confidence.
    """
    order = np.random.default_rng(params.seed).permutation(accepted.height)
    drawn: pl.DataFrame = accepted.sort(TURN)[order.tolist()]
    length_s = pl.col("end_s") - pl.col("start_s")
    return drawn.filter(length_s.cum_sum() <= params.share_of_train * transcribed_s).sort(TURN)


def _queue(judged: pl.DataFrame, params: PseudoParams) -> pl.DataFrame:
    size = min(params.queue, judged.height)
    drawn = round(params.random_share * size)
    rng = np.random.default_rng(params.seed)
    chosen = np.zeros(judged.height, bool)
    chosen[rng.choice(judged.height, drawn, replace=False) if drawn else []] = True
    random = judged.filter(pl.Series(chosen)).with_columns(
        why=pl.lit("random"), chance=pl.lit(drawn / max(1, judged.height))
    )
    waiting = judged.filter(pl.Series(~chosen) & pl.col("why").is_not_null())
    best = (
        waiting.sort(["gain", *TURN], descending=[True, False, False])
        .head(size - drawn)
        .with_columns(why=pl.lit("gain"), chance=pl.lit(None, pl.Float64))
    )
    both = pl.concat([best, random]).sort(["gain", *TURN], descending=[True, False, False])
    return both.with_row_index("rank", offset=1).select(
        [pl.col(name).cast(dtype) for name, dtype in QUEUE.items()]
    )
