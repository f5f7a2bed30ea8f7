"""Reads an Asterisk export: CDR lines, two-channel monitor files, CRM, transcripts and chats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from data.records import ORIGIN_PERSON, ORIGIN_WRITTEN, OUTCOMES, TABLES
from data.sources import DeliveredRecording, Delivery, Refusal, SourceParams, _files

LOOKS_FOR = ("cdr/Master.csv",)
CDR = "cdr/Master.csv"
CRM = "crm/customers.csv"
CHATS = "chat/chats.jsonl"
# The columns of cdr_csv, in its order; a userfield and whatever a newer version adds may follow.
CDR_COLUMNS = (
    "accountcode",
    "src",
    "dst",
    "dcontext",
    "clid",
    "channel",
    "dstchannel",
    "lastapp",
    "lastdata",
    "start",
    "answer",
    "end",
    "duration",
    "billsec",
    "disposition",
    "amaflags",
    "uniqueid",
)
CHAT_KEYS = ("chat_id", "customer_id", "started_at")
# What CRMs call the columns we know; whatever else they hold becomes attributes.
CRM_NAMES = {"contract": "plan", "monthly_charges": "monthly_price"}


def read(root: Path, options: SourceParams) -> Delivery:
    """Reads cdr/Master.csv, monitor/, crm/customers.csv and, if present, transcripts/ and chat/.

    The customer of a call is the id quoted in its clid (`"C000118" <+1555…>`), else whoever has
    its number. An answered call without its monitor file is refused when
    `options.expect_recordings` (the next ingest takes it, once the file has arrived), else kept
    without audio; unanswered calls have none and are kept. A monitor file without its CDR line
    is delivered and refused at ingest, unless an earlier export had the line. Raises
    SourceError as `read_csv` does.
    """
    refusals: list[Refusal] = []
    customers, outcomes = _customers(root, refusals)
    calls = _calls(root, customers, options=options, refusals=refusals)
    recordings = [
        DeliveredRecording(path.stem, path, options.customer_channel, options.agent_channel)
        for path in sorted((root / "monitor").glob("*.wav"))
    ]
    if options.expect_recordings:
        recorded = [recording.contact_id for recording in recordings]
        silent = (pl.col("disposition") == "ANSWERED") & ~pl.col("contact_id").is_in(recorded)
        refusals += [
            Refusal(
                f"call {contact_id}",
                "contact",
                "answered, but its recording is not in the export",
                f"Add monitor/{contact_id}.wav and ingest again, or set "
                "sources.expect_recordings: false.",
            )
            for contact_id in calls.filter(silent)["contact_id"]
        ]
        calls = calls.filter(silent.not_() | silent.is_null())
    rows: list[dict[str, Any]] = []
    for where, transcript in _files.read_json_files(root, "transcripts", refusals):
        rows += _files.turn_rows(
            transcript.get("call"),
            transcript.get("turns"),
            origin=ORIGIN_PERSON,
            where=where,
            options=options,
            refusals=refusals,
        )
    chats, written = _chats(root, options, refusals)
    turns = _files.turns_frame(rows + written)
    return Delivery(
        customers, pl.concat([calls, chats]), turns, outcomes, recordings, refusals, options.mono_ok
    )


def _customers(root: Path, refusals: list[Refusal]) -> tuple[pl.DataFrame, pl.DataFrame]:
    frame = _files.read_csv(root, CRM, ["customer_id", "phone"])
    renames = {
        old: new
        for old, new in CRM_NAMES.items()
        if old in frame.columns and new not in frame.columns
    }
    frame = frame.rename(renames)
    known_columns = {
        "customer_id",
        "phone",
        "plan",
        "region",
        "since",
        "monthly_price",
        "churn",
        _files.ROW,
    }
    further = [column for column in frame.columns if column not in known_columns]
    frame = _files.convert(
        frame,
        CRM,
        what="customer",
        key="customer_id",
        columns={
            "since": ("a date", _files.day),
            "monthly_price": ("a number", _files.number),
            "churn": ("yes or no", _files.yes_or_no),
        },
        refusals=refusals,
    )
    frame = frame.with_columns(_files.attributes(frame, further))
    outcomes = pl.DataFrame(schema=OUTCOMES)
    if "churn" in frame.columns:  # the CRM says whether, not when: an outcome without a date
        left = frame.filter(pl.col("churn").is_not_null()).with_columns(
            pl.lit("churn").alias("event")
        )
        outcomes = _files.records("outcomes", left.rename({"churn": "happened"}))
    return _files.records("customers", frame), outcomes


def _calls(
    root: Path, customers: pl.DataFrame, *, options: SourceParams, refusals: list[Refusal]
) -> pl.DataFrame:
    frame = _files.read_csv(root, CDR, (), header=CDR_COLUMNS)
    frame = _files.convert(
        frame,
        CDR,
        what="call",
        key="uniqueid",
        columns={
            "start": ("a time", _files.time_in(options.timezone)),
            "duration": ("a number", _files.number),
            "billsec": ("a number", _files.number),
        },
        refusals=refusals,
    )
    frame = _files.require_filled(
        frame,
        CDR,
        what="call",
        key="uniqueid",
        columns=["start", "duration", "billsec"],
        refusals=refusals,
    )
    frame = _with_customer(frame, customers, refusals)
    calls = frame.select(
        pl.col("uniqueid").alias("contact_id"),
        "customer_id",
        pl.lit("phone").alias("channel"),
        pl.col("start").alias("started_at"),
        pl.col("billsec").alias("duration_s"),
        (pl.col("duration") - pl.col("billsec")).alias("wait_s"),
        pl.when(pl.col("lastapp") == "Queue")
        .then(pl.col("lastdata").str.split(",").list.first())
        .alias("queue"),
        # SIP/agent08-0000001a, PJSIP/agent08-0000001a: technology, agent, call leg
        pl.col("dstchannel").str.extract(r"^[^/]+/(.+?)(-[0-9a-f]+)?$").alias("agent_id"),
        "disposition",
        pl.lit("asterisk").alias("source"),
    )
    return _files.records("contacts", calls)


def _with_customer(
    frame: pl.DataFrame, customers: pl.DataFrame, refusals: list[Refusal]
) -> pl.DataFrame:
    """Adds the customer_id of each CDR line; lines of unknown customers are refused."""
    by_phone = (
        customers.select("phone", pl.col("customer_id").alias("_by_phone"))
        .drop_nulls()
        .unique("phone", keep="first", maintain_order=True)
    )
    quoted = pl.col("clid").str.extract(r'^"([^"]+)"').str.strip_chars()
    dialled = pl.col("clid").str.extract(r"<([^>]+)>")
    frame = (
        frame.with_columns(quoted.alias("_quoted"), pl.coalesce(dialled, "src").alias("_number"))
        .join(by_phone, left_on="_number", right_on="phone", how="left", maintain_order="left")
        .with_columns(
            # An id that this CRM file does not know may be from an earlier one, if the number says
            # nothing else.
            pl.when(pl.col("_quoted").is_in(customers["customer_id"].to_list()))
            .then(pl.col("_quoted"))
            .otherwise(pl.coalesce("_by_phone", "_quoted"))
            .alias("customer_id")
        )
    )
    for row in frame.filter(pl.col("customer_id").is_null()).iter_rows(named=True):
        refusals.append(
            Refusal(
                f"call {row['uniqueid']}",
                "contact",
                f"unknown customer (clid {row['clid']}, src {row['src']})",
                f"Add the customer with this number to {CRM} and ingest again.",
            )
        )
    return frame.filter(pl.col("customer_id").is_not_null())


def _chats(
    root: Path, options: SourceParams, refusals: list[Refusal]
) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    chats: list[dict[str, Any]] = []
    turns: dict[str, list[dict[str, Any]]] = {}
    if (root / CHATS).exists():
        for index, (where, chat) in enumerate(_files.read_jsonl(root, CHATS, refusals), start=1):
            rows = _files.turn_rows(
                chat.get("chat_id"),
                chat.get("messages"),
                origin=ORIGIN_WRITTEN,
                where=where,
                options=options,
                refusals=refusals,
            )
            if isinstance(chat.get("chat_id"), str) and chat["chat_id"]:
                turns.setdefault(chat["chat_id"], rows)
                chats.append({_files.ROW: index, **{key: chat.get(key) for key in CHAT_KEYS}})
    if not chats:
        return pl.DataFrame(schema=TABLES["contacts"]), []
    schema: dict[str, Any] = {_files.ROW: pl.UInt32, **dict.fromkeys(CHAT_KEYS, pl.String)}
    frame = pl.DataFrame(chats, schema=schema, strict=False)
    frame = _files.convert(
        frame,
        CHATS,
        what="chat",
        key="chat_id",
        columns={"started_at": ("a time", _files.time_in(options.timezone))},
        refusals=refusals,
    )
    frame = _files.require_filled(
        frame,
        CHATS,
        what="chat",
        key="chat_id",
        columns=["customer_id", "started_at"],
        refusals=refusals,
    )
    frame = frame.rename({"chat_id": "contact_id"}).with_columns(
        channel=pl.lit("chat"), duration_s=pl.lit(0.0), source=pl.lit("asterisk")
    )
    turn_rows = [
        row
        for contact_id in frame["contact_id"].unique(maintain_order=True)
        for row in turns[contact_id]
    ]
    return _files.records("contacts", frame), turn_rows
