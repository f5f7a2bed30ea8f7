"""Defines the record tables of a contact centre, as polars schemas and as typed rows.

Every source is translated into these tables; customer_versions is kept by ingest. Times are UTC,
durations are seconds, money is in the currency the CRM uses. Channel numbers of a recording count
from 0.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any

import polars as pl

CHANNELS = ("phone", "ivr", "chat", "email", "social")
ROLES = ("customer", "agent", "system")
ASSIGNERS = ("random", "policy", "agent")
# Where the text of a turn comes from: a person who transcribed, a message as sent, a recogniser.
ORIGIN_PERSON = "person"
ORIGIN_WRITTEN = "written"
ORIGIN_MACHINE = "asr"
ORIGINS = (ORIGIN_PERSON, ORIGIN_WRITTEN, ORIGIN_MACHINE)
UTC = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class Customer:
    """Someone who may leave. `attributes` is a JSON object with whatever else the CRM knows."""

    customer_id: str
    phone: str | None = None
    plan: str | None = None
    region: str | None = None
    since: date | None = None
    monthly_price: float | None = None
    attributes: str = "{}"


@dataclass(frozen=True)
class Contact:
    """One contact between a customer and the centre, in any channel."""

    contact_id: str
    customer_id: str
    channel: str
    started_at: datetime
    duration_s: float = 0.0
    wait_s: float | None = None
    queue: str | None = None
    agent_id: str | None = None
    disposition: str | None = None
    source: str = ""


@dataclass(frozen=True)
class Recording:
    """The audio of a phone contact, kept as delivered: byte for byte, inside a shard."""

    contact_id: str
    shard: str
    member: str
    codec: str
    sample_rate_hz: int
    channels: int
    duration_s: float
    customer_channel: int
    agent_channel: int
    sha256: str
    size_bytes: int
    voice: str | None = None


@dataclass(frozen=True)
class Turn:
    """What one side spoke or wrote.

    `origin` is ORIGIN_PERSON (transcribed by a person), ORIGIN_WRITTEN (a message) or
    ORIGIN_MACHINE (a recogniser).
    """

    contact_id: str
    turn: int
    role: str
    text: str
    start_s: float | None = None
    end_s: float | None = None
    origin: str = ORIGIN_PERSON


@dataclass(frozen=True)
class Label:
    """What a contact was about, with its probability. `origin` names the labeller."""

    contact_id: str
    label: str
    value: str
    probability: float
    origin: str = "label_model"


@dataclass(frozen=True)
class Outcome:
    """What a customer did in the end. Without `on` the date is unknown; only `happened` counts."""

    customer_id: str
    event: str
    happened: bool
    on: date | None = None
    observed_until: date | None = None


@dataclass(frozen=True)
class Intervention:
    """A decision to make a customer an offer, or not to make it to one who could have had it.

    `propensity` is the probability of the offer as it stood before the decision; `assigned_by`
    names who decided. The decision saw what had happened before `decided_on`. `cost` is what
    was spent on this customer. Those without an offer are the control group.
    """

    customer_id: str
    decided_on: date
    kind: str
    offered: bool
    assigned_by: str
    propensity: float | None = None
    cost: float | None = None


@dataclass(frozen=True)
class DatasetVersion:
    """The exact data a run saw: DVC's directory hash, the code commit and the row counts."""

    dvc_hash: str
    git_commit: str
    created_at: str
    size_bytes: int
    rows: dict[str, int] = field(default_factory=dict)


CUSTOMERS = {
    "customer_id": pl.String,
    "phone": pl.String,
    "plan": pl.String,
    "region": pl.String,
    "since": pl.Date,
    "monthly_price": pl.Float64,
    "attributes": pl.String,
}
# What a customer record said, from which day on. The key that features as of a day look it up by.
CUSTOMER_VERSIONS = {
    "customer_id": pl.String,
    "valid_from": pl.Date,
    **{name: dtype for name, dtype in CUSTOMERS.items() if name not in ("customer_id", "phone")},
}
CONTACTS = {
    "contact_id": pl.String,
    "customer_id": pl.String,
    "channel": pl.String,
    "started_at": UTC,
    "duration_s": pl.Float64,
    "wait_s": pl.Float64,
    "queue": pl.String,
    "agent_id": pl.String,
    "disposition": pl.String,
    "source": pl.String,
}
RECORDINGS = {
    "contact_id": pl.String,
    "shard": pl.String,
    "member": pl.String,
    "codec": pl.String,
    "sample_rate_hz": pl.Int32,
    "channels": pl.Int8,
    "duration_s": pl.Float64,
    "customer_channel": pl.Int8,
    "agent_channel": pl.Int8,
    "sha256": pl.String,
    "size_bytes": pl.Int64,
    "voice": pl.String,
}
TURNS = {
    "contact_id": pl.String,
    "turn": pl.Int32,
    "role": pl.String,
    "text": pl.String,
    "start_s": pl.Float64,
    "end_s": pl.Float64,
    "origin": pl.String,
}
LABELS = {
    "contact_id": pl.String,
    "label": pl.String,
    "value": pl.String,
    "probability": pl.Float64,
    "origin": pl.String,
}
OUTCOMES = {
    "customer_id": pl.String,
    "event": pl.String,
    "happened": pl.Boolean,
    "on": pl.Date,
    "observed_until": pl.Date,
}
INTERVENTIONS = {
    "customer_id": pl.String,
    "decided_on": pl.Date,
    "kind": pl.String,
    "offered": pl.Boolean,
    "assigned_by": pl.String,
    "propensity": pl.Float64,
    "cost": pl.Float64,
}

TABLES: dict[str, dict[str, Any]] = {
    "customers": CUSTOMERS,
    "contacts": CONTACTS,
    "recordings": RECORDINGS,
    "turns": TURNS,
    "outcomes": OUTCOMES,
    "interventions": INTERVENTIONS,
    "customer_versions": CUSTOMER_VERSIONS,
}
DELIVERED = tuple(name for name in TABLES if name != "customer_versions")  # by sources
KEYS = {
    "customers": ["customer_id"],
    "contacts": ["contact_id"],
    "recordings": ["contact_id"],
    "turns": ["contact_id", "turn", "origin"],
    "outcomes": ["customer_id", "event"],
    "interventions": ["customer_id", "decided_on", "kind"],
    "customer_versions": ["customer_id", "valid_from"],
}


def frame(table: str, rows: list[Any]) -> pl.DataFrame:
    """Returns rows (dataclasses above) of `table` as a DataFrame with exactly its schema.

    An empty list gives an empty frame of that schema.
    """
    return pl.DataFrame([asdict(row) for row in rows], schema=TABLES[table])
