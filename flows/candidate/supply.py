"""Tells where further test data may come from, for refusals that lack evidence."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

import polars as pl

from data import artefacts
from data.files import write_json
from models.kinds import ASR, CHURN

if TYPE_CHECKING:
    from evaluation.gates.proof import Call, Supply
    from evaluation.gates.record import Decision
    from evaluation.scorecard import Scorecard
    from flows.runtime.context import RunContext


def supply_of(context: RunContext, kind: str, card: Scorecard) -> Supply:
    """Returns what the store knows of further test data for the test set of `card`.

    Rates come from the first contact (or as-of date) of each test cluster. A kind of a plugin has
    units without contacts: then nothing is known.
    """
    from evaluation.gates.proof import Supply, arrivals_a_week

    if kind == CHURN.name:
        return _churn_supply(context, card)
    clean = context.path(artefacts.CLEAN)
    if "contact_id" not in card.units.columns or not (clean / "contacts.parquet").exists():
        return Supply()
    contacts = pl.read_parquet(clean / "contacts.parquet", columns=["contact_id", "started_at"])
    seen = (
        card.units.select("cluster", "contact_id")
        .join(contacts, on="contact_id", how="inner")
        .group_by("cluster")
        .agg(pl.col("started_at").min())
    )
    until = contacts["started_at"].max()
    if not isinstance(until, datetime):
        return Supply()
    rate = arrivals_a_week(seen["started_at"].to_list(), until)
    if kind != ASR.name:
        return Supply(until=until.date(), clusters_a_week=rate)
    return Supply(
        until=until.date(),
        clusters_a_week=rate,
        hours=_test_hours(context),
        calls=calls_to_transcribe(
            pl.read_parquet(context.path(artefacts.SPLITS)),
            pl.read_parquet(clean / "recordings.parquet"),
            pl.read_parquet(clean / "turns.parquet", columns=["contact_id", "origin"]),
            known=set(card.units["cluster"].to_list()),
        ),
    )


def calls_to_transcribe(
    splits: pl.DataFrame, recordings: pl.DataFrame, turns: pl.DataFrame, *, known: set[str]
) -> tuple[Call, ...]:
    """Returns the recorded test-side calls that no person has transcribed, most useful first.

    First one call of each cluster that the test set does not have (`known`), the longest, then the
    other calls of those clusters, then the rest; long calls before short ones. A cluster is a voice
    or a customer.
    """
    from data.records import ORIGIN_PERSON
    from evaluation.gates.proof import Call

    transcribed = turns.filter(pl.col("origin") == ORIGIN_PERSON)
    calls = (
        splits.filter(pl.col("split") == "test")
        .drop_nulls("contact_id")
        .join(recordings.select("contact_id", "duration_s"), on="contact_id", how="inner")
        .join(transcribed, on="contact_id", how="anti")
        .with_columns(
            pl.col("voice_group").is_in(list(known)).fill_null(False).alias("known_voice"),
            pl.col("customer_id").is_in(list(known)).fill_null(False).alias("known_customer"),
        )
        .with_columns(
            pl.when(pl.col("known_voice") | pl.col("known_customer"))
            .then(pl.lit(None))
            .otherwise(pl.coalesce("voice_group", "customer_id"))
            .alias("new")
        )
        .sort("duration_s", "contact_id", descending=[True, False])
        .with_columns(pl.col("contact_id").cum_count().over("new").alias("turn"))
        .with_columns((pl.col("new").is_null() * 2 + (pl.col("turn") > 1)).alias("rank"))
        .sort("rank", "duration_s", "contact_id", descending=[False, True, False])
    )
    return tuple(
        Call(contact_id, () if new is None else (new,), round(duration_s / 3600, 4))
        for contact_id, new, duration_s in calls.select(
            "contact_id", "new", "duration_s"
        ).iter_rows()
    )


def write_supply(context: RunContext, kind: str, decision: Decision, supply: Supply) -> None:
    """Writes proof_<kind>.json: what the last refusal still needs, with every call to transcribe."""
    proof: dict[str, Any] = dict(decision.record.get("proof") or {})
    if proof:
        proof["calls"] = [
            {
                "contact_id": call.contact_id,
                "new_clusters": list(call.new_clusters),
                "hours": call.hours,
            }
            for call in supply.calls
        ]
    path = context.path(artefacts.PROOF.of(kind))
    write_json(path, {"decision_id": decision.decision_id, "proof": proof or None})


def _test_hours(context: RunContext) -> float:
    from data.speech.manifests import read_manifest

    rows = read_manifest(context.path(artefacts.SPEECH) / "test.jsonl")
    return sum(float(row["duration"]) for row in rows) / 3600


def _churn_supply(context: RunContext, card: Scorecard) -> Supply:
    """Customers by their first as-of date; those who left within any horizon are the events."""
    from evaluation.gates.proof import Supply, arrivals_a_week

    units = card.units
    if "as_of" not in units.columns or units["as_of"].null_count() == units.height:
        return Supply()
    seen = units.group_by("cluster").agg(pl.col("as_of").min())["as_of"].to_list()
    until: date = units["as_of"].sort()[-1]
    days = [int(name.removeprefix("left_")) for name in units.columns if name.startswith("left_")]
    left = pl.any_horizontal(pl.col(f"left_{day}") > 0 for day in days) if days else pl.lit(False)
    return Supply(
        until=until,
        clusters_a_week=arrivals_a_week([_noon(day) for day in seen], _noon(until)),
        events=units.filter(left)["cluster"].n_unique() if days else None,
        horizon_days=max(days, default=None),
    )


def _noon(day: Any) -> datetime:
    return datetime.combine(day, time(12), tzinfo=UTC)
