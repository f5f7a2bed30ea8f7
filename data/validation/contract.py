"""Runs every suite in the order of the street, quarantines the rows that broke a promise, stops where too many did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from data.files import read_tables, write_json, write_table
from data.progress import Progress
from data.records import TABLES
from data.validation import expectations, tables
from data.validation.expectations import Expectation
from data.validation.measures import measure_recordings
from data.validation.page import write_page
from data.validation.params import ContractBroken, ValidationParams
from data.validation.rejects import split_rejects, write_quarantine


def validate(
    store: Path,
    params: ValidationParams,
    *,
    read_audio: Callable[[str], bytes],
    now: datetime,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Reads `store`/tables, writes `store`/clean, quarantine/validate.jsonl, validation/ and at last validate.json.

    Each row either reaches clean/ or has exactly one line in the quarantine. A contact whose recording is rejected
    stays, without the recording: what was typed, transcribed or counted about it still tells about the customer.
    A rejected customer takes its contacts and outcomes along, a rejected contact its recording and turns.

    Args: `read_audio` gives a contact's recording as delivered; `now` (aware) is the latest time that can be true;
    `progress` is told about recordings measured. Returns what validate.json holds; its audio seconds add up:
    input_audio_s = accepted_audio_s + sum of rejected_audio_s, by the lengths ingest recorded.

    Raises ContractBroken when the data as a whole cannot be used. The quarantine, validation/ and validate.json
    (with `stopped`) are written then too, while clean/ stays as it was.
    """
    if now.tzinfo is None:
        raise ValueError(
            "validate: `now` has no time zone. Pass an aware datetime, as records are UTC."
        )
    made = _Street()
    try:
        made.raw = _read(store / "tables")
        made.ask("schema", expectations.schema(), tables.column_catalogue(made.raw))
        _check_rows(made, params, now=now, store=store, read_audio=read_audio, progress=progress)
        _check_shares(made, params)
    except ContractBroken as broken:
        _leave(store, made, now=now, stopped=str(broken))
        raise
    (store / "validate.json").unlink(
        missing_ok=True
    )  # the marker goes before what it stands for is replaced
    for table, frame in made.clean.items():
        write_table(store / "clean" / f"{table}.parquet", frame)
    return _leave(store, made, now=now, stopped=None)


class _Street:
    """What is known so far: the tables as they came, what passed, what was rejected, what GX answered."""

    def __init__(self) -> None:
        from data.validation import gx  # 5–8 s

        self.raw: dict[str, pl.DataFrame] = {}
        self.clean: dict[str, pl.DataFrame] = {}
        self.rejects: list[dict[str, Any]] = []
        self.answers: dict[str, gx.SuiteAnswer] = {}
        self._gx, self._context = gx, gx.context()

    def ask(self, suite: str, wanted: list[Expectation], frame: pl.DataFrame) -> None:
        """Runs a suite; a broken promise that stops raises ContractBroken, listing the rows it names."""
        answer = self._gx.run_suite(self._context, suite, promises=wanted, frame=frame)
        self.answers[suite] = answer
        for promise in wanted:
            if promise.stops and promise.reason in answer.broken:
                rows = [frame.row(row, named=True) for row in answer.broken[promise.reason]]
                observed = ", ".join(_say(row) for row in rows)
                limit = (
                    "as in data/records.py"
                    if suite == "schema"
                    else f"{promise.column} {promise.wanted}"
                )
                raise ContractBroken(suite, promise.expectation, observed, limit, promise.next_step)

    def check(self, table: str, wanted: list[Expectation], frame: pl.DataFrame) -> None:
        """Runs a table's suite and keeps the rows that broke nothing."""
        self.ask(table, wanted, frame)
        self.clean[table], entries = split_rejects(
            table, frame, promises=wanted, broken=self.answers[table].broken
        )
        self.rejects += entries


def _say(row: dict[str, Any]) -> str:
    if "found" in row:
        return f"{row['table']}.{row['column']} {row['found']} instead of {row['wanted']}"
    return f"{row['table']} with {row['rejected']} of {row['rows']} rows rejected ({row['rejected_share']:.0%})"


def _read(folder: Path) -> dict[str, pl.DataFrame]:
    try:
        return read_tables(folder)
    except (pl.exceptions.ComputeError, OSError) as error:
        step = "Ingest again: a table is damaged."
        raise ContractBroken(
            "schema", "parquet", f"{folder}: {error}", "readable tables", step
        ) from error


def _check_rows(
    made: _Street,
    params: ValidationParams,
    *,
    now: datetime,
    store: Path,
    read_audio: Callable[[str], bytes],
    progress: Progress,
) -> None:
    raw, clean = made.raw, made.clean
    keyed = {table: tables.with_key(table, frame) for table, frame in raw.items()}
    made.check("customers", expectations.customers(params, now), keyed["customers"])

    def of_customer(frame: pl.DataFrame) -> pl.DataFrame:
        return tables.with_parent(
            frame,
            "customer_id",
            listed=raw["customers"],
            accepted=clean["customers"],
            what="customer",
        )

    def of_contact(frame: pl.DataFrame) -> pl.DataFrame:
        return tables.with_parent(
            frame, "contact_id", listed=raw["contacts"], accepted=clean["contacts"], what="contact"
        )

    made.check("contacts", expectations.contacts(params, now), of_customer(keyed["contacts"]))
    cache = store / "validation" / "audio.parquet"
    ordered = tables.recordings_in_order(of_contact(keyed["recordings"]), clean["contacts"])
    made.check(
        "recordings",
        expectations.recordings(params),
        measure_recordings(ordered, read_audio, cache, progress=progress),
    )
    timed = tables.turns_with_overrun(of_contact(keyed["turns"]), clean["recordings"])
    made.check("turns", expectations.turns(params), timed)
    dated = tables.outcomes_with_since(of_customer(keyed["outcomes"]), clean["customers"])
    made.check("outcomes", expectations.outcomes(params, now), dated)
    decided = tables.with_since(of_customer(keyed["interventions"]), clean["customers"])
    made.check("interventions", expectations.interventions(params, now), decided)


def _check_shares(made: _Street, params: ValidationParams) -> None:
    rows = []
    for table in TABLES:
        came, kept = len(made.raw[table]), len(made.clean[table])
        rejected = came - kept
        missing = came == 0 and table in params.must_not_be_empty
        share = rejected / came if rejected > params.tolerated_rejects else 0.0
        rows.append((table, came, rejected, share, missing, came > 0 and kept == 0))
    columns = ["table", "rows", "rejected", "rejected_share", "missing", "emptied"]
    made.ask(
        "shares", expectations.shares(params), pl.DataFrame(rows, schema=columns, orient="row")
    )


def _leave(store: Path, made: _Street, *, now: datetime, stopped: str | None) -> dict[str, Any]:
    """Writes what was found; validate.json, the marker, last."""
    write_quarantine(store / "quarantine" / "validate.jsonl", made.rejects, now)
    summary = {
        "suites": {name: answer.summary for name, answer in made.answers.items()},
        "tables": {
            table: {"rows": len(made.raw[table]), "kept": len(made.clean[table])}
            for table in TABLES
            if made.clean
        },
        "rejected": len(made.rejects),
        "reasons": dict(Counter(f"{entry['table']}/{entry['reason']}" for entry in made.rejects)),
        **_audio_seconds(made),
        "stopped": stopped,
    }
    for old in (store / "validation").glob("*.json"):
        old.unlink()  # a suite that was not reached this time has no answer
    for name, answer in made.answers.items():
        write_json(store / "validation" / f"{name}.json", answer.answer)
    write_page(
        store / "validation" / "index.html", summary, answers=made.answers, rejects=made.rejects
    )
    write_json(store / "validate.json", summary)
    return summary


def _audio_seconds(made: _Street) -> dict[str, Any]:
    """Input, accepted and rejected seconds, counted in whole milliseconds so that the parts add up to the whole."""
    if "recordings" not in made.clean:
        return {"input_audio_s": None, "accepted_audio_s": None, "rejected_audio_s": {}}

    def milliseconds(seconds: float | None) -> int:
        return round(1000 * (seconds or 0.0))

    lost: Counter[str] = Counter()
    for entry in made.rejects:
        if entry["table"] == "recordings":
            lost[entry["reason"]] += milliseconds(entry["audio_s"])
    return {
        "input_audio_s": sum(map(milliseconds, made.raw["recordings"]["duration_s"])) / 1000,
        "accepted_audio_s": sum(map(milliseconds, made.clean["recordings"]["duration_s"])) / 1000,
        "rejected_audio_s": {reason: lost[reason] / 1000 for reason in sorted(lost)},
    }
