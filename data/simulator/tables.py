"""Builds the rows of the export and of its truth: contacts, customers, outcomes, turns."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from data.records import TURNS
from data.simulator import campaigns, faults
from data.simulator.entities import Person, Touch
from data.simulator.params import FRICTIONS, REASONS, SimulatorParams
from data.simulator.sound import AGENT, CUSTOMER, Call
from data.simulator.world import World
from data.sources import folder

CUSTOMER_COLUMNS = (*folder.CUSTOMER_COLUMNS, "contract", "payment_method")
CONTACT_COLUMNS = (*folder.CONTACT_COLUMNS, "voice")
QUEUES = {
    "billing": "billing",
    "payment": "billing",
    "outage": "technical",
    "technical": "technical",
    "cancel": "retention",
    "complaint": "retention",
    "upgrade": "sales",
    "delivery": "logistics",
    "other": "general",
}
OUTCOME_COLUMNS = folder.OUTCOME_COLUMNS
INTERVENTION_COLUMNS = (*folder.INTERVENTION_COLUMNS, "propensity", "cost")


@dataclass(frozen=True)
class NumberedContact:
    """A touch with its place in the export."""

    contact_id: str
    number: int  # of the customer
    touch: Touch
    after_menu: bool
    agents: tuple[int, int]
    seed: int
    planned: bool = True  # happens where there are no campaigns
    happened: bool = True


def numbered(world: World) -> list[NumberedContact]:
    """Returns every touch in order of time, numbered.

    Those that campaigns prevented are among them, and those that only campaigns brought about
    come after all others, so that a contact has the same number, agent and words with campaigns
    and without.
    """
    paths = [max(both, key=len) for both in zip(world.touches, world.undisturbed, strict=True)]
    ordered = sorted(
        (
            (place >= len(world.undisturbed[number]), touch.day, touch.second, number, place)
            for number, path in enumerate(paths)
            for place, touch in enumerate(path)
        )
    )
    contacts = []
    for serial, (extra, _, _, number, place) in enumerate(ordered):
        path, happened = paths[number], place < len(world.touches[number])
        seed = int.from_bytes(
            hashlib.blake2b(f"{world.params.seed} {serial}".encode(), digest_size=6).digest(), "big"
        )
        rng = random.Random(seed)
        first, second = rng.sample(range(world.params.agents), 2)
        after_menu = (
            place > 0
            and path[place].day == path[place - 1].day
            and "pressed_zero" in path[place - 1].flags
        )
        contacts.append(
            NumberedContact(
                f"K{serial + 1:06d}",
                number,
                path[place],
                after_menu,
                (first, second),
                seed,
                not extra,
                happened,
            )
        )
    return contacts


def contact_row(contact: NumberedContact, world: World, call: Call | None) -> dict[str, Any]:
    """Returns the line of contacts.csv; `call` is its recording, None where there is none."""
    touch, rng = contact.touch, random.Random(contact.seed + 1)
    typical_s = {"phone": 36.0, "chat": 420.0, "ivr": 45.0, "email": 0.0, "social": 0.0}[
        touch.channel
    ]
    begins = datetime.combine(world.starts, datetime.min.time(), UTC) + timedelta(
        days=touch.day, seconds=touch.second
    )
    return {
        "contact_id": contact.contact_id,
        "customer_id": world.people[contact.number].customer_id,
        "channel": touch.channel,
        "started_at": _stamp(begins),
        "duration_s": round(
            call.duration_s if call else typical_s * rng.lognormvariate(0, 0.35), 1
        ),
        "wait_s": "" if touch.wait_s is None else touch.wait_s,
        "queue": "menu" if touch.channel == "ivr" else QUEUES[touch.reason],
        "agent_id": "" if touch.channel == "ivr" else agent_id(contact.agents[0]),
        "disposition": _disposition(touch, rng),
        "recording": f"recordings/{contact.contact_id}.wav" if call else "",
        "customer_channel": CUSTOMER if call else "",
        "agent_channel": AGENT if call else "",
        "voice": f"speaker-{contact.number:05d}" if call else "",
    }


def _disposition(touch: Touch, rng: random.Random) -> str:
    """The code a contact is closed with: its reason, now and then a wrong one, and its end."""
    reason = touch.reason if rng.random() < 0.88 else rng.choice(REASONS)
    if "system_hangup" in touch.flags:
        return f"{reason}/dropped"
    if "transfer" in touch.flags:
        return f"{reason}/transferred"
    return f"{reason}/done" if touch.resolved or rng.random() < 0.3 else f"{reason}/follow up"


def plant_rows(
    params: SimulatorParams, rows: list[dict[str, Any]], messages: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Adds contacts of unknown customers and after the snapshot; returns what was planted."""
    rng = random.Random(f"{params.seed} faults")
    donors = [row for row in rows if row["channel"] == "chat"]
    texts = {message["contact_id"]: message["turns"] for message in messages}
    planted = []
    for number, fault in enumerate(
        fault for fault in faults.ROW_FAULTS for _ in range(params.faults)
    ):
        donor = rng.choice(donors)
        row = {**donor, "contact_id": f"F{number:06d}"}
        if fault == "unknown_customer":
            row["customer_id"] = f"X{number:06d}"
        else:
            # A clock that jumped: after the snapshot, and after whatever today is where the export
            # is taken in.
            late = datetime.combine(
                params.ends + timedelta(days=14_600 + number), datetime.min.time(), UTC
            )
            row["started_at"] = _stamp(late)
        rows.append(row)
        messages.append({"contact_id": row["contact_id"], "turns": texts[donor["contact_id"]]})
        planted.append({"kind": fault, "contact_id": row["contact_id"], "file": "contacts.csv"})
    return planted


def customer_row(person: Person) -> dict[str, Any]:
    """Returns the line of customers.csv."""
    return {column: getattr(person, column) for column in CUSTOMER_COLUMNS}


def outcome_rows(world: World) -> list[dict[str, Any]]:
    """Returns the lines of outcomes.csv."""
    return [
        {
            "customer_id": person.customer_id,
            "event": "churn",
            "happened": "true" if left else "false",
            "on": left or "",
            "observed_until": world.params.ends,
        }
        for person, left in zip(world.people, world.left_on, strict=True)
    ]


def intervention_rows(world: World) -> list[dict[str, Any]]:
    """Returns the lines of interventions.csv."""
    return [
        campaigns.row(
            decision, people=world.people, starts=world.starts, campaigns=world.params.campaigns
        )
        for decision in world.decisions
    ]


def true_contacts(contacts: list[NumberedContact]) -> pl.DataFrame:
    """Returns what each contact was really about, one row each."""
    columns: dict[str, list[Any]] = {
        "contact_id": [contact.contact_id for contact in contacts],
        "reason": [contact.touch.reason for contact in contacts],
        "sentiment": [contact.touch.sentiment for contact in contacts],
        "resolved": [contact.touch.resolved for contact in contacts],
        "barrier": [contact.touch.barrier for contact in contacts],
    }
    for flag in FRICTIONS:
        columns[flag] = [flag in contact.touch.flags for contact in contacts]
    return pl.DataFrame(columns)


def true_turns(contacts: list[NumberedContact], calls: list[Call]) -> pl.DataFrame:
    """Returns what was really spoken in recordings (schema TURNS)."""
    rows = [
        (contact.contact_id, number, turn.role, turn.text, turn.start_s, turn.end_s, "truth")
        for contact, call in zip(contacts, calls, strict=True)
        for number, turn in enumerate(call.turns)
    ]
    return pl.DataFrame(rows, schema=TURNS, orient="row")


def agent_id(number: int) -> str:
    """Returns the id of agent `number`, which counts from 0."""
    return f"A{number + 1:02d}"


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
