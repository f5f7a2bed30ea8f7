"""Tests that the export is as docs/pipeline.md describes, repeatable, whole or absent."""

import csv
import hashlib
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data import audio
from data.records import TURNS
from data.simulator import SimulatorParams, faults, simulate, tables
from data.simulator.params import FRICTIONS, REASONS

SMALL = SimulatorParams(customers=150, days=200, calls=10, agents=4, faults=1, futures=50)
# The export, its truth and the summary of a simulated centre.
Made = tuple[Path, Path, dict[str, Any]]


def require_manifest(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("centre")
    summary = simulate(SMALL, folder / "raw", folder / "truth")
    return folder / "raw", folder / "truth", summary


def test_the_same_settings_give_the_same_bytes_and_another_seed_does_not(
    made: Made, tmp_path: Path
) -> None:
    raw, truth, _ = made
    simulate(SMALL, tmp_path / "raw", tmp_path / "truth")
    assert digests(tmp_path / "raw") == digests(raw)
    assert digests(tmp_path / "truth") == digests(truth)
    simulate(replace(SMALL, seed=2), tmp_path / "raw", tmp_path / "truth")
    changed = digests(tmp_path / "raw")
    alike = {name for name, digest in digests(raw).items() if changed.get(name) == digest}
    assert not alike
    assert json.loads((tmp_path / "truth/world.json").read_text())["seed"] == 2


def test_a_second_run_leaves_the_export_alone(made: Made) -> None:
    raw, truth, summary = made
    before = {path: path.stat().st_mtime_ns for path in raw.rglob("*")}
    again = simulate(SMALL, raw, truth)
    assert again == {**summary, "reused": True}
    assert {path: path.stat().st_mtime_ns for path in raw.rglob("*")} == before


def test_a_run_that_dies_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "true_turns", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        simulate(SMALL, tmp_path / "raw", tmp_path / "truth")
    assert list(tmp_path.iterdir()) == []


def test_tables_have_the_columns_of_the_contract(made: Made) -> None:
    raw, truth, summary = made
    customers, contacts = (
        require_manifest(raw / "customers.csv"),
        require_manifest(raw / "contacts.csv"),
    )
    assert list(customers[0])[:6] == [
        "customer_id",
        "phone",
        "plan",
        "region",
        "since",
        "monthly_price",
    ]
    assert ",".join(contacts[0]) == (
        "contact_id,customer_id,channel,started_at,duration_s,wait_s,queue,agent_id,disposition,"
        "recording,customer_channel,agent_channel,voice"
    )
    assert list(require_manifest(raw / "outcomes.csv")[0]) == [
        "customer_id",
        "event",
        "happened",
        "on",
        "observed_until",
    ]
    assert len({row["contact_id"] for row in contacts}) == len(contacts) == summary["contacts"]
    customer_ids = {row["customer_id"] for row in customers}
    assert sum(row["customer_id"] not in customer_ids for row in contacts) == 1  # the planted one
    messages = [json.loads(line) for line in (raw / "messages.jsonl").read_text().splitlines()]
    spoken = {row["contact_id"] for row in contacts if row["recording"]}
    assert {message["contact_id"] for message in messages} == {
        row["contact_id"] for row in contacts
    } - spoken
    assert all(row["disposition"] for row in contacts if row["channel"] == "phone")
    real = pl.read_parquet(truth / "contacts.parquet")
    assert real.columns == ["contact_id", "reason", "sentiment", "resolved", "barrier", *FRICTIONS]
    assert set(real["reason"]) <= set(REASONS)
    assert real.height == len(contacts) - 2 * SMALL.faults


def test_recordings_are_two_channel_telephone_calls_of_half_a_minute(made: Made) -> None:
    raw, truth, _ = made
    bad = {fault["contact_id"] for fault in json.loads((truth / "faults.json").read_text())}
    sound_rows = [
        row
        for row in require_manifest(raw / "contacts.csv")
        if row["recording"] and row["contact_id"] not in bad
    ]
    assert len(sound_rows) == SMALL.calls
    lengths = []
    for row in sound_rows:
        samples, rate = audio.read(raw / row["recording"])
        assert (rate, samples.shape[1], row["customer_channel"], row["agent_channel"]) == (
            8000,
            2,
            "0",
            "1",
        )
        assert audio.probe(raw / row["recording"]).duration_s == pytest.approx(
            float(row["duration_s"]), abs=0.06
        )
        assert audio.clipped_share(samples) < 0.001
        for channel in range(2):
            assert audio.level_dbfs(samples[:, channel]) > -45
        lengths.append(float(row["duration_s"]))
    assert 20 < np.mean(lengths) < 60


def test_turns_lie_where_they_are_heard_on_the_channel_of_who_speaks(made: Made) -> None:
    raw, truth, _ = made
    turns = pl.read_parquet(truth / "turns.parquet")
    assert dict(turns.schema) == TURNS
    bad = {fault["contact_id"] for fault in json.loads((truth / "faults.json").read_text())}
    is_louder = []
    for contact_id, call in turns.filter(~pl.col("contact_id").is_in(list(bad))).group_by(
        "contact_id"
    ):
        samples, rate = audio.read(raw / "recordings" / f"{contact_id[0]}.wav")
        for channel, role in enumerate(("customer", "agent")):
            spans = [
                (t["role"], samples[int(t["start_s"] * rate) : int(t["end_s"] * rate), channel])
                for t in call.to_dicts()
            ]
            listening = np.median([audio.level_dbfs(part) for who, part in spans if who != role])
            is_louder += [
                audio.level_dbfs(part) > listening + 3 for who, part in spans if who == role
            ]
    assert np.mean(is_louder) > 0.95


def test_people_transcribed_the_share_asked_for_word_for_word(made: Made, tmp_path: Path) -> None:
    raw, truth, summary = made
    turns = pl.read_parquet(truth / "turns.parquet")
    transcripts = sorted((raw / "transcripts").glob("*.json"))
    assert 0 < len(transcripts) == summary["transcripts"] < SMALL.calls
    for path in transcripts:
        written = json.loads(path.read_text())
        exact = turns.filter(pl.col("contact_id") == written["contact_id"])
        assert [turn["text"] for turn in written["turns"]] == exact["text"].to_list()
        assert [turn["start_s"] for turn in written["turns"]] == exact["start_s"].to_list()


def test_a_caller_keeps_their_voice_and_agents_have_their_own(made: Made) -> None:
    raw, truth, summary = made
    own = pl.read_parquet(truth / "voices.parquet")
    assert own["customer_id"].n_unique() == own.height == own["voice"].n_unique()
    assert len(summary["agents"]) == SMALL.agents
    spoken = [row for row in require_manifest(raw / "contacts.csv") if row["recording"]]
    speakers = {(row["customer_id"], row["voice"]) for row in spoken}
    assert (
        len(speakers)
        == len({who for who, _ in speakers})
        == len({voice for _, voice in speakers})
        == own.height
    )
    assert all(row["voice"] for row in spoken)
    assert not set(summary["agents"].values()) & set(own["voice"])


def test_every_planted_fault_is_really_there_and_written_down(made: Made) -> None:
    raw, truth, summary = made
    planted = json.loads((truth / "faults.json").read_text())
    assert sorted(fault["kind"] for fault in planted) == sorted(faults.FAULTS)
    assert summary["faults"] == len(planted)
    where = {fault["kind"]: fault for fault in planted}
    contacts = {row["contact_id"]: row for row in require_manifest(raw / "contacts.csv")}

    def file_of(kind: str) -> Path:
        return raw / str(where[kind]["file"])

    for kind, message in (("truncated_wav", "truncated"), ("not_audio", "not audio")):
        with pytest.raises(audio.AudioError, match=message):
            audio.read(file_of(kind))
    assert audio.probe(file_of("mono_wav")).channels == 1
    silent, rate = audio.read(file_of("silent_wav"))
    assert audio.silent_share(silent, rate) == 1.0
    assert audio.clipped_share(audio.read(file_of("clipped_wav"))[0]) > 0.05
    same = [
        p
        for p in (raw / "recordings").iterdir()
        if p.read_bytes() == file_of("duplicate_content").read_bytes()
    ]
    assert len(same) == 2
    assert not file_of("missing_recording").exists()
    assert contacts[where["missing_recording"]["contact_id"]]["recording"]
    assert (
        contacts[where["future_contact"]["contact_id"]]["started_at"]
        > SMALL.ends.isoformat() + "T24"
    )
    assert contacts[where["unknown_customer"]["contact_id"]]["customer_id"].startswith("X")
    assert not {fault["contact_id"] for fault in planted} & {
        p.stem for p in (raw / "transcripts").iterdir()
    }


def test_without_faults_everything_is_clean(tmp_path: Path) -> None:
    simulate(replace(SMALL, faults=0, calls=2), tmp_path / "raw", tmp_path / "truth")
    assert json.loads((tmp_path / "truth/faults.json").read_text()) == []
    assert len(list((tmp_path / "raw/recordings").iterdir())) == 2


def test_speech_is_made_200_times_faster_than_real_time(tmp_path: Path) -> None:
    """Processor time of this process, so that a busy machine does not decide the result."""
    quiet = replace(SMALL, calls=0, faults=0)
    begin = time.process_time()
    simulate(quiet, tmp_path / "a", tmp_path / "a-truth")
    rest_s = time.process_time() - begin
    begin = time.process_time()
    summary = simulate(replace(quiet, calls=24), tmp_path / "b", tmp_path / "b-truth")
    audio_took_s = time.process_time() - begin - rest_s
    assert summary["audio_s"] / audio_took_s > 200


def test_progress_is_told_to_the_end(tmp_path: Path) -> None:
    reports = []
    simulate(
        replace(SMALL, calls=2, faults=0),
        tmp_path / "raw",
        tmp_path / "truth",
        progress=lambda *seen: reports.append(seen),
    )
    assert [done for done, _ in reports] == list(range(1, len(reports) + 1))
    assert reports[-1][0] == reports[-1][1]
