"""V2: every hour between source and training has a reason, and losses have a budget.

The test set is not filtered.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from data.files import read_json
from data.hours import HoursError, HoursParams
from data.ingest import IngestParams
from data.splits import SplitParams
from flows.runtime.context import RunContext
from flows.runtime.params import Params
from flows.runtime.settings import from_environment
from flows.stages import prepare
from tests.factories import a_wav, an_export

CALLS, LENGTH_S = 500, 1.2


def quiet(done: int, total: int) -> None:
    """No one looks at this progress."""


def a_context(store: Path, export: Path, **params: Any) -> RunContext:
    # A call whose voice nobody named counts as a voice of its own, so that 500 tones need not be
    # told apart.
    settings = Params(ingest=IngestParams(), splits=SplitParams(max_component_share=1.0), **params)
    return RunContext(from_environment({}, store), settings, "commit", export, "folder")


def prepare_store(context: RunContext) -> dict[str, Any]:
    """Runs the stages of the pipeline from the export to the manifests."""
    for stage in (prepare.ingest, prepare.validate):
        stage(context, quiet)
    division = pl.read_parquet(context.path("clean/contacts.parquet")).select(
        "contact_id",
        "customer_id",
        pl.format("voice of {}", "customer_id").alias("voice_group"),
        pl.when(pl.col("customer_id") == "C2")
        .then(pl.lit("test"))
        .otherwise(pl.lit("train"))
        .alias("split"),
    )
    division.write_parquet(context.path("splits.parquet"))
    return prepare.cut(context, quiet)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    """500 calls: one torn, one with a silent customer, one untranscribed, one without an agent."""
    folder = tmp_path_factory.mktemp("hours")
    export = an_export(folder / "export", calls=CALLS, chats=0, duration_s=LENGTH_S)
    torn = export / "recordings" / "call-100.wav"
    torn.write_bytes(torn.read_bytes()[:5000])
    a_wav(export / "recordings" / "call-200.wav", duration_s=LENGTH_S, channels=1)
    (export / "transcripts" / "call-300.json").unlink()
    transcript = export / "transcripts" / "call-400.json"
    turns = json.loads(transcript.read_text())
    turns["turns"][1]["text"] = "…"
    transcript.write_text(json.dumps(turns))
    context = a_context(folder / "store", export)
    prepare_store(context)
    return context


def test_V2_one_corrupt_file_in_500_is_quarantined_and_the_others_are_cut(
    prepared: RunContext,
) -> None:
    lines = [
        json.loads(line)
        for line in prepared.path("quarantine/ingest.jsonl").read_text().splitlines()
    ]
    assert [
        (line["thing"], line["reason"].split(" (")[0])
        for line in lines
        if line["kind"] == "recording"
    ] == [
        ("call call-100", "truncated"),
        ("call call-200", "no agent channel"),
    ]
    cut = {
        json.loads(line)["contact_id"]
        for name in ("train", "test")
        for line in prepared.path(f"speech/{name}.jsonl").read_text().splitlines()
    }
    assert len(cut) == CALLS - 3


def test_V2_the_reasons_add_up_to_the_input_exactly(prepared: RunContext) -> None:
    hours = read_json(prepared.path("hours.json"))
    parts = {reason: entry["ms"] for reason, entry in hours["reasons"].items()}
    # Of the torn file no length is known; of the one-channel file one side came in.
    assert (
        sum(parts.values()) == round(hours["input_h"] * 3_600_000) == (2 * (CALLS - 2) + 1) * 1200
    )
    assert parts["refused: no agent channel"] == 1200
    assert parts["not transcribed"] == 2 * 1200
    assert hours["unmeasured_files"] == {"refused: truncated": 1}
    cut = read_json(prepared.path("cut.json"))["splits"]
    assert (parts["train"], parts["test"]) == tuple(
        round(1000 * cut[name]["duration_s"]) for name in ("train", "test")
    )
    assert hours["over_budget"] == []


def test_V2_the_test_set_keeps_a_turn_without_words_that_training_would_leave_out(
    prepared: RunContext,
) -> None:
    clean = pl.read_parquet(prepared.path("clean/turns.parquet")).filter(
        pl.col("role") == "customer"
    )
    customer = pl.read_parquet(prepared.path("clean/contacts.parquet")).select(
        "contact_id", "customer_id"
    )
    transcript = clean.join(customer, on="contact_id").join(
        pl.read_parquet(prepared.path("clean/recordings.parquet")), on="contact_id"
    )
    tested = prepared.path("speech/test.jsonl").read_text().splitlines()
    assert len(tested) == transcript.filter(pl.col("customer_id") == "C2").height > 100


def test_V2_over_budget_stops_the_run_and_says_what_got_lost(prepared: RunContext) -> None:
    store = prepared.store
    before = prepared.path("cut.json").read_bytes()
    mean = a_context(store, prepared.raw, hours=HoursParams(max_lost_share=0.0001))
    with pytest.raises(
        HoursError,
        match=r"got lost on the way to training .*hours.max_lost_share.*no agent channel",
    ):
        prepare.cut(mean, quiet)
    assert read_json(store / "hours.json")["over_budget"]
    assert prepared.path("cut.json").read_bytes() == before
    picky = a_context(store, prepared.raw, hours=HoursParams(limits={"not transcribed": 0.001}))
    with pytest.raises(HoursError, match=r"not transcribed: 0% of .* hours\.limits allows 0%"):
        prepare.cut(picky, quiet)
    prepare.cut(prepared, quiet)
