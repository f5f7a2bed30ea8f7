"""What the labelling rules read in a recogniser's text, against what they read in what people wrote down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from data.labelling.scheme import FRICTIONS, SCHEME
from data.records import ORIGIN_PERSON
from evaluation.scorecard import Ratio, Scorecard, ScorecardError, score_units


def heard_turns(card: Scorecard, turns: pl.DataFrame, column: str) -> pl.DataFrame:
    """`turns` (TURNS) of the calls in an ASR scorecard, with the text of each scored utterance from its `column`.

    `column` is ref or hyp. Turns that were not scored are left out, so that ref and hyp tell of the same moments.
    """
    said = card.units.select(
        "contact_id",
        "role",
        pl.col("start_s").cast(pl.Float64).round(2),
        pl.col(column).alias("heard"),
    )
    spoken = turns.filter(pl.col("origin") == ORIGIN_PERSON).with_columns(
        pl.col("start_s").round(2).alias("at")
    )
    found = spoken.join(
        said,
        left_on=["contact_id", "role", "at"],
        right_on=["contact_id", "role", "start_s"],
        how="inner",
    )
    return (
        found.with_columns(pl.col("heard").alias("text"))
        .select(turns.columns)
        .sort("contact_id", "turn")
    )


def reading_scorecard(
    model: str,
    bundle_sha256: str,
    data_hash: str,
    expected: pl.DataFrame,
    found: pl.DataFrame,
    clusters: Mapping[str, str],
    seed: int,
    created_at: str,
    labels: Sequence[str] = tuple(SCHEME),
) -> Scorecard:
    """Scores labels `found` in a recogniser's text by those `expected` from people's (both LABELS), call by call.

    `clusters` names the voice or customer of each call to score. Metrics: `reading_errors`, the share of a call's
    labels that differ (one that is not given differs from one that is), and `friction_errors`, wrong friction flags
    for each friction there is. Raises ScorecardError when there is no call.
    """
    calls = pl.DataFrame({"contact_id": list(clusters), "cluster": list(clusters.values())})
    if calls.is_empty():
        raise ScorecardError(
            f"model {model}: no test call to read. Deliver transcripts of more calls."
        )
    values = {
        name: frame.select("contact_id", "label", pl.col("value").alias(name))
        for name, frame in (("expected", expected), ("found", found))
    }
    units = (
        calls.join(pl.DataFrame({"label": list(labels)}), how="cross")
        .join(values["expected"], on=["contact_id", "label"], how="left", maintain_order="left")
        .join(values["found"], on=["contact_id", "label"], how="left", maintain_order="left")
        .with_columns(pl.col("expected", "found").fill_null("not said"))
        .with_columns(
            pl.format("{}/{}", "contact_id", "label").alias("unit"),
            (pl.col("expected") != pl.col("found")).cast(pl.Int64).alias("wrong"),
            pl.lit(1).alias("labels"),
        )
    )
    flag = pl.col("label").is_in([f"friction_{name}" for name in FRICTIONS])
    units = units.with_columns(
        (flag & ((pl.col("expected") == "yes") != (pl.col("found") == "yes")))
        .cast(pl.Int64)
        .alias("wrong_flags"),
        (flag & (pl.col("expected") == "yes")).cast(pl.Int64).alias("frictions"),
    )
    ratios = {
        "reading_errors": Ratio("wrong", "labels"),
        "friction_errors": Ratio("wrong_flags", "frictions"),
    }
    metrics, slices = score_units(units, ratios, ("label",), seed)
    return Scorecard(
        kind="reading",
        model=model,
        data_hash=data_hash,
        created_at=created_at,
        metrics=metrics,
        ratios=ratios,
        units=units,
        slices=slices,
        bundle_sha256=bundle_sha256,
    )
