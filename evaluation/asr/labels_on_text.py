"""Scores the labels given to a recogniser's text against those given to people's transcripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from data.labelling.scheme import FRICTIONS, SCHEME
from evaluation.scorecard import Ratio, Scorecard, ScorecardError, score_units


def scored_turns(card: Scorecard, turns: pl.DataFrame, column: str) -> pl.DataFrame:
    """Returns the `turns` of a recogniser's scorecard, with their text from its units.

    `turns` has schema TURNS; `column` is ref or hyp. Turns that were not scored are left out, so
    that ref and hyp cover the same moments.
    """
    texts = card.units.select(
        "contact_id",
        "role",
        pl.col("start_s").cast(pl.Float64).round(2),
        pl.col(column).alias("unit_text"),
    )
    typed = turns.filter(pl.col("origin") == "person").with_columns(
        pl.col("start_s").round(2).alias("at")
    )
    joined = typed.join(
        texts,
        left_on=["contact_id", "role", "at"],
        right_on=["contact_id", "role", "start_s"],
        how="inner",
    )
    return (
        joined.with_columns(pl.col("unit_text").alias("text"))
        .select(turns.columns)
        .sort("contact_id", "turn")
    )


def reading_scorecard(
    expected: pl.DataFrame,
    given: pl.DataFrame,
    clusters: Mapping[str, str],
    *,
    model: str,
    bundle_sha256: str,
    data_hash: str,
    seed: int,
    created_at: str,
    labels: Sequence[str] = tuple(SCHEME),
) -> Scorecard:
    """Scores labels `given` to a recogniser's text by those `expected` from people's.

    Both have schema LABELS; `clusters` names the voice or customer of each call to score. Metrics:
    `reading_errors`, the share of a call's labels that differ (a label that is not given differs
    from one that is), and `friction_errors`, wrong friction flags for each friction there is.
    Raises ScorecardError when there is no call.
    """
    calls = pl.DataFrame({"contact_id": list(clusters), "cluster": list(clusters.values())})
    if calls.is_empty():
        raise ScorecardError(
            f"model {model}: no test call to read. Deliver transcripts of more calls."
        )
    units = _units(calls, expected, given, labels=labels)
    ratios = {
        "reading_errors": Ratio("wrong", "labels"),
        "friction_errors": Ratio("wrong_flags", "frictions"),
    }
    metrics, slices = score_units(units, ratios, ("label",), seed=seed)
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


def _units(
    calls: pl.DataFrame, expected: pl.DataFrame, given: pl.DataFrame, *, labels: Sequence[str]
) -> pl.DataFrame:
    """Returns a unit for each call and label, with the counts behind both metrics."""
    values = {
        name: frame.select("contact_id", "label", pl.col("value").alias(name))
        for name, frame in (("expected", expected), ("found", given))
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
    return units.with_columns(
        (flag & ((pl.col("expected") == "yes") != (pl.col("found") == "yes")))
        .cast(pl.Int64)
        .alias("wrong_flags"),
        (flag & (pl.col("expected") == "yes")).cast(pl.Int64).alias("frictions"),
    )
