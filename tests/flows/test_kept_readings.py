"""V4: the stages keep what was first heard and read, and use it for labels."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import torch

from data import artefacts
from data.files import read_json, write_json, write_table
from data.labelling import SCHEME
from data.records import TABLES, Turn, frame
from data.speech.heard import HEARD, keep_first_heard
from flows.runtime.context import RunContext, load_context
from flows.stages import reader as stages
from models.reader.model import Reader, ReaderConfig
from tests.factories import a_contact, a_customer

AT = datetime(2026, 3, 1, 9, tzinfo=UTC)


def nobody(done: int, total: int) -> None:
    """Shows no progress."""


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    """A store of eight written contacts of four customers, with rules' labels and no reader yet."""
    context = load_context(tmp_path)
    contacts = [
        a_contact(f"k{n}", f"C{n % 4}", channel="chat", started_at=AT + timedelta(days=n))
        for n in range(8)
    ]
    turns = [
        Turn(f"k{n}", 0, "customer", f"my bill is wrong {n}", origin="written") for n in range(8)
    ]
    rows = {
        "customers": frame("customers", [a_customer(f"C{n}") for n in range(4)]),
        "contacts": frame("contacts", contacts),
        "turns": frame("turns", turns),
    }
    for name in TABLES:
        table = rows.get(name, pl.DataFrame(schema=TABLES[name]))
        write_table(context.path(artefacts.CLEAN) / f"{name}.parquet", table)
    write_table(context.path(artefacts.HEARD), pl.DataFrame(schema=HEARD))
    activate(context, None)
    stages.label(context, nobody)
    return context


def activate(context: RunContext, seed: int | None) -> None:
    path = None
    if seed is not None:
        torch.manual_seed(seed)
        made = Reader(ReaderConfig(dict(SCHEME), bits=10, width=8, words=(1,), letters=(3,)))
        made.network.known[:] = 1.0
        path = f"reader/{seed}"
        made.save(context.path(path))
    active = {"model": f"reader v{seed}", "version": seed, "path": path}
    write_json(context.path(artefacts.ACTIVE.of("reader")), active)


def labels_of(context: RunContext) -> pl.DataFrame:
    stages.read(context, nobody)
    return pl.read_parquet(context.path(artefacts.LABELS)).sort("label", "contact_id")


def test_V4_a_later_reader_reads_only_what_nobody_has_read(context: RunContext) -> None:
    rules = labels_of(context)
    assert rules.equals(pl.read_parquet(context.path(artefacts.RULES)).sort("label", "contact_id"))
    activate(context, 1)
    first = labels_of(context)
    assert not first.equals(rules)
    clean = context.path(artefacts.CLEAN)
    more = frame("contacts", [a_contact("k8", "C0", channel="chat", started_at=AT)])
    contacts, turns = (pl.read_parquet(clean / f"{name}.parquet") for name in ("contacts", "turns"))
    write_table(clean / "contacts.parquet", pl.concat([contacts, more]))
    said = Turn("k8", 0, "customer", "cancel it", origin="written")
    write_table(clean / "turns.parquet", pl.concat([turns, frame("turns", [said])]))
    stages.label(context, nobody)
    activate(context, 2)
    later = labels_of(context)
    assert later.filter(pl.col("contact_id") != "k8").equals(first)
    summary = read_json(context.path(artefacts.READ))
    assert summary["read_by"] == {"reader v1": 8, "reader v2": 1}
    assert summary["read_late"] == 9  # all of them long ago


def test_V4_a_changed_text_is_read_again(context: RunContext) -> None:
    activate(context, 1)
    labels_of(context)
    path = context.path(artefacts.CLEAN) / "turns.parquet"
    turns = pl.read_parquet(path)
    corrected = pl.when(pl.col("contact_id") == "k3").then(pl.lit("close my account"))
    write_table(path, turns.with_columns(text=corrected.otherwise("text")))
    activate(context, 2)
    labels_of(context)
    read = pl.read_parquet(context.path(artefacts.READINGS))
    assert read.filter(model="reader v2")["contact_id"].to_list() == ["k3"]
    assert read.height == 8


def test_V4_a_call_is_heard_anew_only_where_its_recording_changed() -> None:
    words = [Turn(f"k{n}", 0, "customer", "first", origin="asr") for n in range(3)]
    again = [Turn(f"k{n}", 0, "customer", "second", origin="asr") for n in range(3)]
    recordings = pl.DataFrame({"contact_id": ["k0", "k1", "k2"], "sha256": ["a", "b", "c"]})
    first = keep_first_heard(None, frame("turns", words[:2]), recordings, model="asr v1", now=AT)
    changed = recordings.with_columns(sha256=pl.Series(["a", "B", "c"]))
    kept = keep_first_heard(first, frame("turns", again), changed, model="asr v2", now=AT)
    assert kept.select("text", "model").rows() == [
        ("first", "asr v1"),
        ("second", "asr v2"),
        ("second", "asr v2"),
    ]
