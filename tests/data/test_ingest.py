"""Ingest takes in what is new, replaces what changed, and lists what it refuses."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import filelock
import polars as pl
import pytest

from data import audio, sources
from data.files import read_tables
from data.ingest import IngestError, IngestParams, ingest
from data.records import TABLES
from data.sources import SourceParams
from data.speech import shards
from tests.factories import NOW, a_truncated_wav, a_wav, an_asterisk_export, an_export, edit


def take(
    export: Path,
    store: Path,
    now: datetime = NOW,
    params: IngestParams | None = None,
    **options: Any,
) -> dict[str, Any]:
    return ingest(sources.read("auto", export, SourceParams(**options)), store, now, params=params)


def quarantined(store: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in (store / "quarantine" / "ingest.jsonl").read_text().splitlines()
    ]


def whole(store: Path) -> bool:
    """All of the store is in its schema and every recording is where the table says."""
    tables = read_tables(store / "tables")
    for name, table in tables.items():
        assert table.schema == pl.Schema(TABLES[name])
    return shards.verify(store / "shards", tables["recordings"]) == []


def test_the_summary_is_written_last_and_returned(tmp_path: Path) -> None:
    summary = take(an_export(tmp_path / "in"), tmp_path / "store")
    assert json.loads((tmp_path / "store" / "ingest.json").read_text()) == summary
    assert summary["audio_s"] == 6.0
    assert summary["shards_written"] == ["00000.tar"]
    assert whole(tmp_path / "store")


def test_unchanged_audio_is_not_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = an_export(tmp_path / "in")
    take(export, tmp_path / "store")
    probed: list[str] = []
    probe = audio.probe

    def recording_probe(path: Path, name: str) -> audio.AudioInfo:
        probed.append(path.name)
        return probe(path, name)

    monkeypatch.setattr(audio, "probe", recording_probe)
    take(export, tmp_path / "store")
    assert probed == []
    a_wav(export / "recordings" / "call-2.wav", seed=50)
    take(export, tmp_path / "store")
    assert probed == ["call-2.wav"]


def test_a_changed_recording_rewrites_its_shard_alone(tmp_path: Path) -> None:
    export, store = an_export(tmp_path / "in", calls=6, duration_s=15.0), tmp_path / "store"
    take(export, store, params=IngestParams(shard_mb=1))  # 0.48 MB a call
    before = {path.name: path.stat().st_ino for path in (store / "shards").iterdir()}
    assert len(before) == 3
    new = a_wav(export / "recordings" / "call-4.wav", seed=50, duration_s=10.0)
    summary = take(export, store, params=IngestParams(shard_mb=1))
    assert (summary["changed"]["recordings"], summary["added"]["recordings"]) == (1, 0)
    assert summary["shards_written"] == ["00001.tar"]
    after = {path.name: path.stat().st_ino for path in (store / "shards").iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"00001.tar"}
    row = (
        read_tables(store / "tables")["recordings"]
        .filter(pl.col("contact_id") == "call-4")
        .row(0, named=True)
    )
    assert row["duration_s"] == 10.0
    assert shards.read_member(store / "shards", row["shard"], row["member"]) == new.read_bytes()
    assert whole(store)


def test_a_changed_row_replaces_the_old_one(tmp_path: Path) -> None:
    export, store = an_export(tmp_path / "in"), tmp_path / "store"
    take(export, store)
    edit(export / "customers.csv", "C2,+15550000002,basic", "C2,+15550000002,premium")
    summary = take(export, store)
    assert {name: count for name, count in summary["changed"].items() if count} == {"customers": 1}
    assert read_tables(store / "tables")["customers"]["plan"].to_list() == ["basic", "premium"]


def test_a_transcript_that_got_shorter_loses_its_old_end(tmp_path: Path) -> None:
    export, store = an_export(tmp_path / "in"), tmp_path / "store"
    take(export, store)
    shorter = [{"role": "customer", "text": "hello", "start_s": 0.0, "end_s": 0.5}]
    (export / "transcripts" / "call-2.json").write_text(
        json.dumps({"contact_id": "call-2", "turns": shorter})
    )
    take(export, store)
    turns = read_tables(store / "tables")["turns"]
    assert turns.filter(pl.col("contact_id") == "call-2")["text"].to_list() == ["hello"]
    assert turns.filter(pl.col("contact_id") == "call-1").height == 3


def test_what_an_export_leaves_out_stays(tmp_path: Path) -> None:
    store = tmp_path / "store"
    take(an_export(tmp_path / "a", calls=3), store)
    take(an_export(tmp_path / "b", calls=1, first=9), store)
    assert read_tables(store / "tables")["recordings"]["contact_id"].to_list() == [
        "call-1",
        "call-2",
        "call-3",
        "call-9",
    ]


def test_a_truncated_recording_is_refused_and_kept_in_quarantine(tmp_path: Path) -> None:
    export, store = an_export(tmp_path / "in"), tmp_path / "store"
    cut = a_truncated_wav(export / "recordings" / "call-2.wav")
    take(export, store)
    (line,) = quarantined(store)
    assert line["thing"] == "call call-2"
    assert "truncated" in line["reason"]
    assert line["next_step"]
    assert line["at"] == NOW.isoformat()
    assert (store / "quarantine" / line["audio"]).read_bytes() == cut.read_bytes()
    assert read_tables(store / "tables")["recordings"]["contact_id"].to_list() == [
        "call-1",
        "call-3",
    ]


def test_what_is_not_audio_is_refused(tmp_path: Path) -> None:
    export, store = an_export(tmp_path / "in"), tmp_path / "store"
    (export / "recordings" / "call-2.wav").write_text("not found")
    assert list(take(export, store)["reasons"]) == ["not audio"]
    assert whole(store)


def test_the_same_refusal_is_listed_once(tmp_path: Path) -> None:
    export, store = an_export(tmp_path / "in"), tmp_path / "store"
    a_truncated_wav(export / "recordings" / "call-2.wav")
    take(export, store)
    first = (store / "quarantine" / "ingest.jsonl").read_bytes()
    summary = take(export, store, now=NOW + timedelta(days=1))
    assert summary["refused"] == 1
    assert (store / "quarantine" / "ingest.jsonl").read_bytes() == first
    assert len(list((store / "quarantine").iterdir())) == 2


def test_a_mended_recording_comes_in_with_the_next_run(tmp_path: Path) -> None:
    export, store = an_export(tmp_path / "in"), tmp_path / "store"
    a_truncated_wav(export / "recordings" / "call-2.wav")
    take(export, store)
    a_wav(export / "recordings" / "call-2.wav")
    summary = take(export, store)
    assert (summary["added"]["recordings"], summary["refused"]) == (1, 0)
    assert whole(store)


def test_a_recording_on_a_channel_that_is_not_there_is_refused(tmp_path: Path) -> None:
    export, store = an_export(tmp_path / "in"), tmp_path / "store"
    edit(export / "contacts.csv", "recordings/call-2.wav,0,1", "recordings/call-2.wav,0,2")
    edit(export / "contacts.csv", "recordings/call-3.wav,0,1", "recordings/call-3.wav,1,1")
    take(export, store)
    assert [line["reason"] for line in quarantined(store)] == [
        "no agent channel (2 of 3 found)",
        "customer and agent on the same channel (channel 1)",
    ]


def test_a_contact_and_an_outcome_of_an_unknown_customer_are_refused(tmp_path: Path) -> None:
    export, store = an_export(tmp_path / "in"), tmp_path / "store"
    edit(export / "contacts.csv", "call-2,C2", "call-2,C9")
    edit(export / "outcomes.csv", "C2,churn", "C8,churn")
    summary = take(export, store)
    things = {(line["thing"], line["kind"]): line["reason"] for line in quarantined(store)}
    assert things == {
        ("contact call-2", "contact"): "unknown customer (C9)",
        ("outcome churn of C8", "outcome"): "unknown customer",
        ("contact call-2", "turns"): "no contact line for these turns",
        ("call call-2", "recording"): "a recording without its contact line",
    }
    assert summary["reasons"]["unknown customer"] == 2
    assert "call-2" not in read_tables(store / "tables")["contacts"]["contact_id"]


def test_a_customer_from_an_earlier_export_is_known(tmp_path: Path) -> None:
    store = tmp_path / "store"
    take(an_export(tmp_path / "a"), store)
    export = an_export(tmp_path / "b", calls=2, first=5)
    (export / "customers.csv").write_text("customer_id,phone,plan,region,since,monthly_price\n")
    assert take(export, store)["refused"] == 0


def test_a_duplicate_contact_is_refused_and_the_first_stays(tmp_path: Path) -> None:
    export, store = an_export(tmp_path / "in", chats=0), tmp_path / "store"
    edit(export / "contacts.csv", "call-3,C1", "call-1,C2")
    take(export, store)
    contacts = read_tables(store / "tables")["contacts"]
    assert contacts.filter(pl.col("contact_id") == "call-1")["customer_id"].to_list() == ["C1"]
    reasons = {(line["thing"], line["reason"]) for line in quarantined(store)}
    assert ("contact call-1", "listed more than once; kept the first") in reasons


def test_two_transcripts_of_one_call_are_refused_together(tmp_path: Path) -> None:
    export, store = an_export(tmp_path / "in"), tmp_path / "store"
    (export / "transcripts" / "again.json").write_text(
        (export / "transcripts" / "call-2.json").read_text()
    )
    take(export, store)
    assert [line["reason"] for line in quarantined(store)] == ["more than one transcript"]
    assert "call-2" not in read_tables(store / "tables")["turns"]["contact_id"]


def test_a_monitor_file_without_its_cdr_line_waits_in_quarantine_until_the_line_comes(
    tmp_path: Path,
) -> None:
    export, store = an_asterisk_export(tmp_path / "in"), tmp_path / "store"
    lines = (export / "cdr" / "Master.csv").read_text().splitlines(keepends=True)
    (export / "cdr" / "Master.csv").write_text("".join(lines[:2]))
    take(export, store)
    refused = {(line["thing"], line["kind"]): line for line in quarantined(store)}
    assert refused["call call-3", "recording"]["reason"] == "a recording without its contact line"
    assert (store / "quarantine" / refused["call call-3", "recording"]["audio"]).exists()
    (export / "cdr" / "Master.csv").write_text("".join(lines))
    assert take(export, store)["added"]["recordings"] == 1
    assert whole(store)


def test_a_shard_that_got_lost_is_packed_again(tmp_path: Path) -> None:
    export, store = an_export(tmp_path / "in"), tmp_path / "store"
    take(export, store)
    (store / "shards" / "00000.tar").unlink()
    take(export, store)
    assert whole(store)


def test_two_ingests_at_once_are_refused(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    with (
        filelock.FileLock(store / ".ingest.lock"),
        pytest.raises(IngestError, match="another ingest is running"),
    ):
        take(an_export(tmp_path / "in"), store)


def test_progress_reaches_its_total(tmp_path: Path) -> None:
    steps = []
    ingest(
        sources.read("auto", an_export(tmp_path / "in")),
        tmp_path / "store",
        NOW,
        progress=lambda *step: steps.append(step),
    )
    assert steps == sorted(steps)
    assert steps[-1] == (6, 6)
