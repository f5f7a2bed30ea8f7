"""Candidate and reference are examined on what neither learned, for every kind of model."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from data import artefacts
from data.files import write_json, write_lines
from flows.candidate.learned import learned_by_role, leave_out_seen
from flows.runtime.context import RunContext
from flows.runtime.params import Params
from flows.runtime.settings import from_environment
from flows.stages import asr, churn, reader
from models.registry.learned import FILE, Learned
from tests.data.test_leaks import some_features
from tests.factories import a_contact


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    return RunContext(from_environment({}, tmp_path / "store"), Params(), "commit")


def put(context: RunContext, kind: str, champion: Learned | None, version: int | None = 1) -> None:
    """Candidate and champion of a kind; the champion says what it learned from, or nothing."""
    candidate = context.path(artefacts.BUNDLE.of(kind))
    bundle = context.path(artefacts.FETCHED.within(f"{kind}-1"))
    for folder, learned in ((candidate, Learned.of(customers=["x"])), (bundle, champion)):
        folder.mkdir(parents=True)
        if learned is not None:
            (folder / FILE).write_text(learned.to_json())
    weights = bundle / "model.nemo" if kind == "asr" else bundle
    place = {"version": version, "path": context.stored(weights)}
    write_json(context.path(artefacts.REFERENCE.of(kind)), place)


def test_V3_a_customer_whom_the_champion_knows_is_not_in_the_churn_test(
    context: RunContext,
) -> None:
    rows = pl.concat([some_features("train")[0], some_features("test")[0]]).with_columns(
        customer_id=pl.format("{}-{}", "split", "customer_id"), event=pl.lit(False)
    )
    context.path(artefacts.FEATURES).parent.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(context.path(artefacts.FEATURES))
    put(context, "churn", Learned.of(customers=["test-C1"]))
    kept, left_out = churn._unseen_rows(context, learned_by_role(context, "churn"))
    gone = rows.filter(customer_id="test-C1").height
    assert kept.height == rows.height - gone
    assert (left_out.units, left_out.of) == (gone, rows.filter(split="test").height)
    assert left_out.by_role == {"candidate": 0, "reference": gone}
    assert set(kept["customer_id"]) == set(rows["customer_id"]) - {"test-C1"}


def test_V3_a_contact_that_the_champion_read_is_not_in_the_readers_test(
    context: RunContext,
) -> None:
    clean = context.path(artefacts.CLEAN)
    clean.mkdir(parents=True)
    from data.records import LABELS, TABLES, frame

    names = ["k1", "k2", "k3"]
    frame("contacts", [a_contact(name, f"C{name}") for name in names]).write_parquet(
        clean / "contacts.parquet"
    )
    turns = [
        {"contact_id": name, "turn": 0, "role": "customer", "text": "hello", "origin": "person"}
        for name in names
    ]
    pl.DataFrame(turns, schema=TABLES["turns"]).write_parquet(clean / "turns.parquet")
    pl.DataFrame(schema=LABELS).write_parquet(context.path(artefacts.BELIEFS))
    pl.DataFrame(
        {"contact_id": None, "customer_id": [f"C{name}" for name in names], "split": "test"},
        schema_overrides={"contact_id": pl.String},
    ).write_parquet(context.path(artefacts.SPLITS))
    put(context, "reader", Learned.of(contacts=["k1"], customers=["Ck3"]))
    test_set, left_out = reader._unseen_test_set(context, learned_by_role(context, "reader"))
    assert test_set.contacts["contact_id"].to_list() == ["k2"]
    assert (left_out.units, left_out.of) == (2, 3)


def speech(context: RunContext) -> None:
    """Test calls k0 to k3, of which the source made a customer up for k3."""
    rows = [{"contact_id": f"k{n}", "voice": f"v{n}"} for n in range(4)]
    context.path(artefacts.SPEECH).mkdir(parents=True)
    write_lines(context.path(artefacts.SPEECH.within("test.jsonl")), [*rows, rows[0]])
    pl.DataFrame(
        {
            "contact_id": [row["contact_id"] for row in rows],
            "customer_id": ["C0", "C1", "C2", "k3"],
            "voice_group": [row["voice"] for row in rows],
            "split": "test",
        }
    ).write_parquet(context.path(artefacts.SPLITS))


def test_V3_a_call_voice_or_customer_that_the_champion_heard_is_not_in_the_speech_test(
    context: RunContext,
) -> None:
    speech(context)
    put(context, "asr", Learned.of(contacts=["k0"], voices=["v1"], customers=["C9"]))
    known, left_out = asr._unseen_speech(context, learned_by_role(context, "asr"))
    assert known.left_out == {"k0", "k1"}
    assert (left_out.units, left_out.of) == (3, 5)
    # Clusters are customers, and nobody where the source made one up for the call.
    assert known.customers == {"k0": "C0", "k1": "C1", "k2": "C2"}


def test_V3_where_a_model_knows_the_whole_test_nobody_is_examined(context: RunContext) -> None:
    speech(context)
    put(context, "asr", Learned.of(contacts=[f"k{n}" for n in range(4)]))
    with pytest.raises(ValueError, match="learned from all 5 held-out utterances"):
        asr._unseen_speech(context, learned_by_role(context, "asr"))


def test_V3_a_base_has_learned_from_nobody_and_an_old_champion_does_not_say(
    context: RunContext,
) -> None:
    put(context, "asr", None)
    units = pl.DataFrame({"contact_id": ["k1"]})
    _, left_out = leave_out_seen(units, learned_by_role(context, "asr"))
    assert left_out.unknown == ("reference",)
    reference = context.path(artefacts.REFERENCE.of("asr"))
    write_json(reference, {"version": None, "path": "checkout:models/base/keepline-base.nemo"})
    _, left_out = leave_out_seen(units, learned_by_role(context, "asr"))
    assert (left_out.unknown, left_out.by_role) == ((), {"candidate": 0, "reference": 0})
