"""Reads the folder export of docs/pipeline.md: csv, JSON lines and two-channel WAV files.

The simulator writes this format.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from data.records import (
    ASSIGNERS,
    CHANNELS,
    INTERVENTIONS,
    ORIGIN_PERSON,
    ORIGIN_WRITTEN,
    OUTCOMES,
)
from data.sources import (
    CHANGED_ON,
    DeliveredRecording,
    Delivery,
    Refusal,
    SourceParams,
    _files,
)

LOOKS_FOR = ("customers.csv", "contacts.csv")
CUSTOMER_COLUMNS = ("customer_id", "phone", "plan", "region", "since", "monthly_price")
CONTACT_COLUMNS = (
    "contact_id",
    "customer_id",
    "channel",
    "started_at",
    "duration_s",
    "wait_s",
    "queue",
    "agent_id",
    "disposition",
    "recording",
    "customer_channel",
    "agent_channel",
)
OUTCOME_COLUMNS = ("customer_id", "event", "happened", "on", "observed_until")
INTERVENTION_COLUMNS = ("customer_id", "decided_on", "kind", "offered", "assigned_by")


def read(root: Path, options: SourceParams) -> Delivery:
    """Reads the export at `root`; all but customers.csv and contacts.csv may be missing.

    contacts.csv may have a column `voice`: who the customer on the recording is, where the
    centre knows the speaker. customers.csv may have a column `changed_on`: since when the record has
    been as it is. A contact whose `recording` names no file is refused when
    `options.expect_recordings`, else kept without audio; a file in recordings/ that no contact
    names is refused. Raises SourceError for a missing column or unreadable csv.
    """
    refusals: list[Refusal] = []
    customers, changed_on = _customers(root, refusals)
    contacts, recordings = _contacts(root, options, refusals)
    outcomes = _outcomes(root, refusals)
    interventions = _interventions(root, refusals)
    rows: list[dict[str, Any]] = []
    if (root / "messages.jsonl").exists():
        for where, message in _files.read_jsonl(root, "messages.jsonl", refusals):
            rows += _files.turn_rows(
                message.get("contact_id"),
                message.get("turns"),
                origin=ORIGIN_WRITTEN,
                where=where,
                options=options,
                refusals=refusals,
            )
    for where, transcript in _files.read_json_files(root, "transcripts", refusals):
        rows += _files.turn_rows(
            transcript.get("contact_id"),
            transcript.get("turns"),
            origin=ORIGIN_PERSON,
            where=where,
            options=options,
            refusals=refusals,
        )
    turns = _files.turns_frame(rows)
    return Delivery(
        customers,
        contacts,
        turns,
        outcomes,
        recordings,
        refusals,
        options.mono_ok,
        interventions,
        changed_on,
    )


def _customers(root: Path, refusals: list[Refusal]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The customers, and since when their records have been so where the export says (CHANGED_ON)."""
    name = "customers.csv"
    frame = _files.read_csv(root, name, CUSTOMER_COLUMNS)
    known = (*CUSTOMER_COLUMNS, "changed_on", _files.ROW)
    further = [column for column in frame.columns if column not in known]
    dated = {"changed_on": ("a date", _files.day)} if "changed_on" in frame.columns else {}
    frame = _files.convert(
        frame,
        name,
        what="customer",
        key="customer_id",
        columns={
            "since": ("a date", _files.day),
            "monthly_price": ("a number", _files.number),
            **dated,
        },
        refusals=refusals,
    )
    changed_on = (
        frame.select(pl.col(column).cast(dtype) for column, dtype in CHANGED_ON.items())
        if dated
        else pl.DataFrame(schema=CHANGED_ON)
    )
    records = _files.records("customers", frame.with_columns(_files.attributes(frame, further)))
    return records, changed_on.drop_nulls()


def _contacts(
    root: Path, options: SourceParams, refusals: list[Refusal]
) -> tuple[pl.DataFrame, list[DeliveredRecording]]:
    name = "contacts.csv"
    frame = _files.read_csv(root, name, CONTACT_COLUMNS)
    named = {_inside(root, recording) for recording in frame["recording"].drop_nulls()}
    _refuse_unnamed(root, named, refusals)
    frame = _files.convert(
        frame,
        name,
        what="contact",
        key="contact_id",
        columns={
            "channel": (
                f"one of {' '.join(CHANNELS)}",
                lambda text: pl.when(text.is_in(CHANNELS)).then(text),
            ),
            "started_at": ("a time", _files.time_in(options.timezone)),
            "duration_s": ("a number", _files.number),
            "wait_s": ("a number", _files.number),
            "customer_channel": ("a channel number from 0", _files.whole),
            "agent_channel": ("a channel number from 0", _files.whole),
        },
        refusals=refusals,
    )
    frame = _files.require_filled(
        frame,
        name,
        what="contact",
        key="contact_id",
        columns=["customer_id", "channel", "started_at"],
        refusals=refusals,
    )
    recordings, without = [], []
    for row in frame.filter(pl.col("recording").is_not_null()).iter_rows(named=True):
        path = _inside(root, row["recording"])
        if path is None:
            without.append(row["contact_id"])
            continue
        customer, agent = row["customer_channel"], row["agent_channel"]
        customer = options.customer_channel if customer is None else customer
        agent = options.agent_channel if agent is None else agent
        recordings.append(
            DeliveredRecording(row["contact_id"], path, customer, agent, row.get("voice"))
        )
    if options.expect_recordings:
        refusals += [
            Refusal(
                f"contact {contact_id}",
                "contact",
                "its recording is not in the export",
                "Add the file under recordings/ and ingest again, or set "
                "sources.expect_recordings: false.",
            )
            for contact_id in without
        ]
        frame = frame.filter(~pl.col("contact_id").is_in(without))
    frame = frame.with_columns(pl.col("duration_s").fill_null(0.0), source=pl.lit("folder"))
    return _files.records("contacts", frame), recordings


def _inside(root: Path, recording: str) -> Path | None:
    """The file a contact names: a path in the export or a bare name in recordings/.

    Never one outside the export.
    """
    for path in (root / recording, root / "recordings" / recording):
        if path.is_file() and path.resolve().is_relative_to(root.resolve()):
            return path.resolve()
    return None


def _refuse_unnamed(root: Path, named: set[Path | None], refusals: list[Refusal]) -> None:
    for path in sorted((root / "recordings").glob("*")):
        if path.is_file() and path.resolve() not in named:
            refusals.append(
                Refusal(
                    f"recording {path.name}",
                    "recording",
                    "no contact names it",
                    "Add its line to contacts.csv (column recording) and ingest again.",
                    path,
                )
            )


def _outcomes(root: Path, refusals: list[Refusal]) -> pl.DataFrame:
    name = "outcomes.csv"
    if not (root / name).exists():
        return pl.DataFrame(schema=OUTCOMES)
    frame = _files.read_csv(root, name, OUTCOME_COLUMNS)
    frame = _files.convert(
        frame,
        name,
        what="outcome",
        key="customer_id",
        columns={
            "happened": ("yes or no", _files.yes_or_no),
            "on": ("a date", _files.day),
            "observed_until": ("a date", _files.day),
        },
        refusals=refusals,
    )
    frame = _files.require_filled(
        frame,
        name,
        what="outcome",
        key="customer_id",
        columns=["event", "happened"],
        refusals=refusals,
    )
    return _files.records("outcomes", frame)


def _interventions(root: Path, refusals: list[Refusal]) -> pl.DataFrame:
    """Who was offered something and who was not.

    propensity and cost may be missing, as a column or in a row.
    """
    name = "interventions.csv"
    if not (root / name).exists():
        return pl.DataFrame(schema=INTERVENTIONS)
    frame = _files.read_csv(root, name, INTERVENTION_COLUMNS)
    frame = _files.convert(
        frame,
        name,
        what="intervention",
        key="customer_id",
        columns={
            "decided_on": ("a date", _files.day),
            "offered": ("yes or no", _files.yes_or_no),
            "assigned_by": (
                f"one of {' '.join(ASSIGNERS)}",
                lambda text: pl.when(text.is_in(ASSIGNERS)).then(text),
            ),
            "propensity": ("a number", _files.number),
            "cost": ("a number", _files.number),
        },
        refusals=refusals,
    )
    needed = [column for column in INTERVENTION_COLUMNS if column != "customer_id"]
    frame = _files.require_filled(
        frame, name, what="intervention", key="customer_id", columns=needed, refusals=refusals
    )
    return _files.records("interventions", frame)
