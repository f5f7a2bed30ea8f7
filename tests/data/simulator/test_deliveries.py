"""The simulated export, handed out day by day."""

from __future__ import annotations

import csv
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from data import audio
from data.simulator import SimulatorParams, simulate
from data.simulator.deliveries import Changes, Deliveries
from data.sources import read

PARAMS = SimulatorParams(
    seed=5, customers=60, days=120, calls=16, transcribed_share=1.0, agents=3, futures=20
)
ENDS = PARAMS.ends


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("centre")
    simulate(PARAMS, folder / "raw", folder / "truth")
    return folder


def _deliveries(centre: Path, changes: Changes | None = None) -> Deliveries:
    return Deliveries(centre / "raw", centre / "truth", changes)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_a_day_holds_nothing_of_the_days_after_it(centre: Path, tmp_path: Path) -> None:
    middle = ENDS - timedelta(days=40)
    count = _deliveries(centre).until(middle, tmp_path)
    delivery = read("folder", tmp_path)
    night = datetime.combine(middle, datetime.max.time(), UTC)
    assert 0 < count < len(_rows(centre / "raw" / "contacts.csv"))
    assert all(began <= night for began in delivery.contacts["started_at"].to_list())
    assert all(row["on"] <= middle.isoformat() for row in _rows(tmp_path / "outcomes.csv"))
    assert all(
        row["observed_until"] <= middle.isoformat() for row in _rows(tmp_path / "outcomes.csv")
    )
    later = [
        row for row in _rows(centre / "raw" / "outcomes.csv") if row["on"] > middle.isoformat()
    ]
    told = {row["customer_id"]: row["happened"] for row in _rows(tmp_path / "outcomes.csv")}
    assert later
    assert all(told.get(row["customer_id"], "false") == "false" for row in later)


def test_days_add_up_to_the_whole_export(centre: Path, tmp_path: Path) -> None:
    deliveries = _deliveries(centre, Changes(transcript_delay_days=0))
    for day in (ENDS - timedelta(days=60), ENDS - timedelta(days=1), date(2080, 1, 1)):
        deliveries.until(day, tmp_path)
    whole = centre / "raw"
    assert _rows(tmp_path / "contacts.csv") == _rows(whole / "contacts.csv")
    for folder in ("recordings", "transcripts"):
        assert {path.name: path.read_bytes() for path in (whole / folder).iterdir()} == {
            path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()
        }


def test_transcripts_come_a_day_after_the_call(centre: Path, tmp_path: Path) -> None:
    recorded = [row for row in _rows(centre / "raw" / "contacts.csv") if row["recording"]]
    row = next(
        row
        for row in sorted(recorded, key=lambda row: row["started_at"])
        if (centre / "raw" / "transcripts" / f"{row['contact_id']}.json").exists()
    )
    day = date.fromisoformat(row["started_at"][:10])
    deliveries, transcript = (
        _deliveries(centre),
        tmp_path / "transcripts" / f"{row['contact_id']}.json",
    )
    deliveries.until(day, tmp_path)
    assert (tmp_path / row["recording"]).exists()
    assert not transcript.exists()
    deliveries.until(day + timedelta(days=1), tmp_path)
    assert transcript.exists()


def test_a_change_of_codec_reaches_only_the_calls_after_it(centre: Path, tmp_path: Path) -> None:
    recorded = sorted(
        (row for row in _rows(centre / "raw" / "contacts.csv") if row["recording"]),
        key=lambda row: row["started_at"],
    )
    change = date.fromisoformat(recorded[len(recorded) // 2]["started_at"][:10])
    _deliveries(centre, Changes(codec_from=change)).until(ENDS, tmp_path)
    for row in recorded:
        whole = centre / "raw" / row["recording"]
        transcript = centre / "raw" / "transcripts" / f"{row['contact_id']}.json"
        if not whole.exists() or not transcript.exists():  # a planted fault
            continue
        same = (tmp_path / row["recording"]).read_bytes() == whole.read_bytes()
        assert same == (row["started_at"][:10] < change.isoformat())
        assert same or audio.probe(tmp_path / row["recording"]).codec == "ALAW"


def test_a_shift_of_topic_changes_the_mix_from_its_day_on(centre: Path, tmp_path: Path) -> None:
    shift = ENDS - timedelta(days=60)
    changes = Changes(topic_from=shift, topic="billing", topic_share=0.9)
    _deliveries(centre, changes).until(ENDS, tmp_path)
    reasons = pl.read_parquet(centre / "truth" / "contacts.parquet").select("contact_id", "reason")
    contacts = pl.read_csv(tmp_path / "contacts.csv", infer_schema=False).join(
        reasons, on="contact_id"
    )
    after = pl.col("started_at").str.slice(0, 10) >= shift.isoformat()
    before, since = (
        contacts.filter(part & (pl.col("reason") == "billing")).height
        / contacts.filter(part).height
        for part in (~after, after)
    )
    assert since > before + 0.3
