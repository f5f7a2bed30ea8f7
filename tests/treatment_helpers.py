"""A simulated centre with call backs as tables in memory: no audio, no texts, true labels."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from data.features.features import FeatureParams, features
from data.labelling.scheme import FRICTIONS
from data.records import INTERVENTIONS, LABELS, OUTCOMES
from data.simulator import SimulatorParams, truth
from data.simulator.params import Campaigns
from data.simulator.tables import NumberedContact, customer_row, intervention_rows, true_contacts
from data.simulator.world import World, build
from data.sources import _files

SHORT = FeatureParams(windows_days=(30, 365))


@dataclass(frozen=True)
class Centre:
    """Tables and labels as the pipeline has them, features of the snapshot, true effects of call
    backs.
    """

    world: World
    tables: dict[str, pl.DataFrame]
    labels: pl.DataFrame
    current: pl.DataFrame
    # customer_id, as_of, risk_…, treated_…: at the snapshot and at each decision
    truth: pl.DataFrame


def a_centre(seed: int, customers: int = 3000, months: int = 12, futures: int = 150) -> Centre:
    """A centre with `months` campaigns."""
    world = build(
        SimulatorParams(
            seed=seed, customers=customers, futures=futures, campaigns=Campaigns(months=months)
        )
    )
    contacts = [
        NumberedContact(f"K{number}-{place}", number, touch, False, (0, 1), 0)
        for number, path in enumerate(world.touches)
        for place, touch in enumerate(path)
    ]
    people = pl.DataFrame([customer_row(person) for person in world.people])
    record = _files.attributes(people.cast(pl.String), ["contract", "payment_method"])
    tables = {
        "customers": _files.records("customers", people.with_columns(record)),
        "contacts": _contacts(world, contacts),
        "outcomes": pl.DataFrame(
            [
                (person.customer_id, "churn", left is not None, left, world.params.ends)
                for person, left in zip(world.people, world.left_on, strict=True)
            ],
            schema=OUTCOMES,
            orient="row",
        ),
        "interventions": pl.DataFrame(
            [{**row, "offered": row["offered"] == "true"} for row in intervention_rows(world)],
            schema=INTERVENTIONS,
        ),
    }
    labels, snapshot = _labels(true_contacts(contacts)), world.params.ends + timedelta(days=1)
    logged = tables["interventions"].group_by("decided_on").agg("customer_id")
    decided: dict[date, set[str] | None] = {day: set(who) for day, who in logged.iter_rows()}
    effects = truth.true_effects(world, {**decided, snapshot: None})
    return Centre(
        world, tables, labels, features(tables, labels, [snapshot], params=SHORT), effects
    )


def true_uplift(truth: pl.DataFrame, days: int = 180) -> pl.DataFrame:
    """customer_id, as_of, true_uplift."""
    return truth.select(
        "customer_id",
        "as_of",
        (pl.col(f"risk_{days}") - pl.col(f"treated_{days}")).alias("true_uplift"),
    )


def _contacts(world: World, contacts: list[NumberedContact]) -> pl.DataFrame:
    midnight = datetime.combine(world.starts, time(), UTC)
    rows = [
        (
            contact.contact_id,
            world.people[contact.number].customer_id,
            contact.touch.channel,
            midnight + timedelta(days=contact.touch.day, seconds=contact.touch.second),
            60.0,
            contact.touch.wait_s,
        )
        for contact in contacts
    ]
    names = ["contact_id", "customer_id", "channel", "started_at", "duration_s", "wait_s"]
    return _files.records(
        "contacts", pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None)
    )


def _labels(truth: pl.DataFrame) -> pl.DataFrame:
    parts = [
        truth.select(
            "contact_id",
            pl.lit(f"friction_{name}").alias("label"),
            pl.when(name).then(pl.lit("yes")).otherwise(pl.lit("no")).alias("value"),
        )
        for name in FRICTIONS
    ]
    parts += [
        truth.select("contact_id", pl.lit(name).alias("label"), pl.col(name).alias("value"))
        for name in ("reason", "barrier", "sentiment")
    ]
    return pl.concat(parts).with_columns(probability=1.0, origin=pl.lit("truth")).cast(LABELS)  # type: ignore[arg-type]
