"""Runs every suite in order, quarantines rejected rows and stops where too many are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from data.files import read_tables, write_json, write_table
from data.hours import milliseconds
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
    """Validates `store`/tables, writes `store`/clean and quarantine, and returns validate.json.

    Each row either reaches clean/ or has exactly one line in quarantine/validate.jsonl. A
    contact whose recording is rejected stays, without the recording: what was typed,
    transcribed or counted about it still describes the customer. A rejected customer takes its
    contacts and outcomes along, a rejected contact its recording and turns.

    Args: `read_audio` returns a contact's recording as delivered; `now` (aware) is the latest
    time that can be true; `progress` counts recordings measured. The audio seconds of the
    result add up: input_audio_s = accepted_audio_s + sum of rejected_audio_s, by the lengths
    ingest recorded.

    Raises ContractBroken when the data as a whole cannot be used. The quarantine, validation/
    and validate.json (with `stopped`) are written then too, while clean/ stays as it was.
    """
    if now.tzinfo is None:
        raise ValueError(
            "validate: `now` has no time zone. Pass an aware datetime, as records are UTC."
        )
    run = _Run()
    try:
        run.raw = _read(store / "tables")
        run.run_suite("schema", expectations.schema(), tables.column_catalogue(run.raw))
        _check_rows(run, params, now=now, store=store, read_audio=read_audio, progress=progress)
        _check_shares(run, params)
    except ContractBroken as broken:
        _write_results(store, run, now=now, stopped=str(broken))
        raise
    # The marker goes before what it stands for is replaced.
    (store / "validate.json").unlink(missing_ok=True)
    for table, frame in run.clean.items():
        write_table(store / "clean" / f"{table}.parquet", frame)
    return _write_results(store, run, now=now, stopped=None)


class _Run:
    """The state of one validation: tables as delivered, accepted rows, rejects, GX's answers."""

    def __init__(self) -> None:
        from data.validation import gx  # 5–8 s

        self.raw: dict[str, pl.DataFrame] = {}
        self.clean: dict[str, pl.DataFrame] = {}
        self.rejects: list[dict[str, Any]] = []
        self.answers: dict[str, gx.SuiteAnswer] = {}
        self._gx, self._context = gx, gx.context()

    def run_suite(self, suite: str, expected: list[Expectation], frame: pl.DataFrame) -> None:
        """Runs a suite; raises ContractBroken with the rows that break a stopping expectation."""
        answer = self._gx.run_suite(self._context, suite, expectations=expected, frame=frame)
        self.answers[suite] = answer
        for expectation in expected:
            if expectation.stops and expectation.reason in answer.broken:
                rows = [frame.row(row, named=True) for row in answer.broken[expectation.reason]]
                observed = ", ".join(_describe_row(row) for row in rows)
                requirement = f"{expectation.column} {expectation.requirement}"
                raise ContractBroken(
                    suite,
                    expectation.expectation,
                    observed=observed,
                    expected="as in data/records.py" if suite == "schema" else requirement,
                    next_step=expectation.next_step,
                )

    def check_table(self, table: str, expected: list[Expectation], frame: pl.DataFrame) -> None:
        """Runs a table's suite and keeps the rows that broke nothing."""
        self.run_suite(table, expected, frame)
        self.clean[table], entries = split_rejects(
            table, frame, expectations=expected, broken=self.answers[table].broken
        )
        self.rejects += entries


def _describe_row(row: dict[str, Any]) -> str:
    if "actual" in row:
        return f"{row['table']}.{row['column']} {row['actual']} instead of {row['expected']}"
    rejected = f"{row['rejected']} of {row['rows']} rows rejected"
    return f"{row['table']} with {rejected} ({row['rejected_share']:.0%})"


def _read(folder: Path) -> dict[str, pl.DataFrame]:
    try:
        return read_tables(folder)
    except (pl.exceptions.ComputeError, OSError) as error:
        raise ContractBroken(
            "schema",
            "parquet",
            observed=f"{folder}: {error}",
            expected="readable tables",
            next_step="Ingest again: a table is damaged.",
        ) from error


def _check_rows(
    run: _Run,
    params: ValidationParams,
    *,
    now: datetime,
    store: Path,
    read_audio: Callable[[str], bytes],
    progress: Progress,
) -> None:
    raw, clean = run.raw, run.clean
    keyed = {table: tables.with_key(table, frame) for table, frame in raw.items()}
    run.check_table("customers", expectations.customers(params, now), keyed["customers"])

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

    run.check_table("contacts", expectations.contacts(params, now), of_customer(keyed["contacts"]))
    cache = store / "validation" / "audio.parquet"
    ordered = tables.recordings_in_order(of_contact(keyed["recordings"]), clean["contacts"])
    run.check_table(
        "recordings",
        expectations.recordings(params),
        measure_recordings(ordered, read_audio, cache, progress=progress),
    )
    timed = tables.turns_with_overrun(of_contact(keyed["turns"]), clean["recordings"])
    run.check_table("turns", expectations.turns(params), timed)
    dated = tables.outcomes_with_since(of_customer(keyed["outcomes"]), clean["customers"])
    run.check_table("outcomes", expectations.outcomes(params, now), dated)
    decided = tables.with_since(of_customer(keyed["interventions"]), clean["customers"])
    run.check_table("interventions", expectations.interventions(params, now), decided)
    run.check_table(
        "customer_versions",
        expectations.customer_versions(params, now),
        of_customer(keyed["customer_versions"]),
    )


def _check_shares(run: _Run, params: ValidationParams) -> None:
    rows = []
    for table in TABLES:
        delivered, accepted = len(run.raw[table]), len(run.clean[table])
        rejected = delivered - accepted
        is_missing = delivered == 0 and table in params.must_not_be_empty
        is_emptied = delivered > 0 and accepted == 0
        share = rejected / delivered if rejected > params.tolerated_rejects else 0.0
        rows.append((table, delivered, rejected, share, is_missing, is_emptied))
    columns = ["table", "rows", "rejected", "rejected_share", "missing", "emptied"]
    run.run_suite(
        "shares", expectations.shares(params), pl.DataFrame(rows, schema=columns, orient="row")
    )


def _write_results(store: Path, run: _Run, *, now: datetime, stopped: str | None) -> dict[str, Any]:
    """Writes what validation leaves; validate.json, the marker, last."""
    write_quarantine(store / "quarantine" / "validate.jsonl", run.rejects, now)
    summary = {
        "suites": {name: answer.summary for name, answer in run.answers.items()},
        "tables": {
            table: {"rows": len(run.raw[table]), "kept": len(run.clean[table])}
            for table in TABLES
            if run.clean
        },
        "rejected": len(run.rejects),
        "reasons": dict(Counter(f"{entry['table']}/{entry['reason']}" for entry in run.rejects)),
        **_audio_seconds(run),
        "stopped": stopped,
    }
    for old in (store / "validation").glob("*.json"):
        old.unlink()  # a suite that was not reached this time has no answer
    for name, answer in run.answers.items():
        write_json(store / "validation" / f"{name}.json", answer.answer)
    write_page(
        store / "validation" / "index.html", summary, answers=run.answers, rejects=run.rejects
    )
    write_json(store / "validate.json", summary)
    return summary


def _audio_seconds(run: _Run) -> dict[str, Any]:
    """Input, accepted and rejected seconds, counted in whole milliseconds so that they add up."""
    if "recordings" not in run.clean:
        return {"input_audio_s": None, "accepted_audio_s": None, "rejected_audio_s": {}}

    lost: Counter[str] = Counter()
    for entry in run.rejects:
        if entry["table"] == "recordings":
            lost[entry["reason"]] += milliseconds(entry["audio_s"])
    return {
        "input_audio_s": sum(map(milliseconds, run.raw["recordings"]["duration_s"])) / 1000,
        "accepted_audio_s": sum(map(milliseconds, run.clean["recordings"]["duration_s"])) / 1000,
        "rejected_audio_s": {reason: lost[reason] / 1000 for reason in sorted(lost)},
    }
