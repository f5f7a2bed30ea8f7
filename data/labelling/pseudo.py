"""Which machine-heard turns are sure enough to learn from, and which a person should hear first."""

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
    """What training may learn from a machine, and what people are asked to transcribe."""

    # whether the next training learns from sure turns; the gate still judges what comes of it
    learn: bool = False
    least_confidence: float = 0.95  # expected share of right words in a turn, calibrated
    least_words: int = 3  # shorter turns teach little and are sure by accident
    # machine-heard speech, at most, against what people transcribed, in seconds
    share_of_train: float = 0.5
    queue: int = 100  # turns in the review queue
    random_share: float = 0.2  # of the queue is drawn at random, for honest rates
    seed: int = 7  # of that draw


@dataclass(frozen=True)
class PseudoSelection:
    """Turns to learn from (as they came), the review queue (schema QUEUE), and a count for each reason."""

    accepted: pl.DataFrame
    queue: pl.DataFrame
    summary: dict[str, Any]


def trainable_turns(turns: pl.DataFrame, splits: pl.DataFrame, typed: pl.DataFrame) -> pl.DataFrame:
    """Turns of calls on the training side that no person has transcribed (`typed`: their turns)."""
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
    """Divides what was heard (TURNS and `confidence`). Calls of valid and test are in neither part.

    Without calibration nothing is accepted: a network's own score promises too much. The queue
    holds the turns whose correction mends most expected word errors a second of a person's time,
    and a random share of all turns, each with the `chance` it had of being drawn: only those speak
    for all turns.
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
    """As many accepted turns as `share_of_train` allows beside `transcribed_s`, drawn turn by turn, not by ease."""
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
        [pl.col(name).cast(kind) for name, kind in QUEUE.items()]
    )
