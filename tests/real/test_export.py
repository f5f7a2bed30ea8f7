"""Real voices: what make_export.py leaves is taken in whole, and once."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from data import sources
from data.files import read_tables
from data.ingest import ingest
from data.speech import shards
from data.timeline import timeline
from tests.factories import NOW

CALLS = 8


@pytest.mark.real
def test_an_asterisk_export_of_real_voices_comes_in_whole_and_once(
    real_data: Path, tmp_path: Path
) -> None:
    export, store = tmp_path / "export", tmp_path / "store"
    make = [
        sys.executable,
        str(real_data / "make_export.py"),
        "--out",
        str(export),
        "--calls",
        str(CALLS),
    ]
    subprocess.run(make, check=True, capture_output=True)
    assert sources.detect(export) == "asterisk"
    first = ingest(sources.read("auto", export), store, NOW)
    assert first["refused"] == 0
    assert first["added"]["recordings"] == CALLS
    assert first["added"]["contacts"] == 2 * CALLS  # as many chats
    tables = read_tables(store / "tables")
    recordings = tables["recordings"]
    assert set(recordings["codec"]) == {"ULAW"}
    assert set(recordings["sample_rate_hz"]) == {8000}
    for row in recordings.iter_rows(named=True):
        delivered = (export / "monitor" / f"{row['contact_id']}.wav").read_bytes()
        assert shards.read_member(store / "shards", row["shard"], row["member"]) == delivered
    transcribed = len(list((export / "transcripts").iterdir()))
    assert (
        tables["turns"].filter(pl.col("origin") == "person")["contact_id"].n_unique() == transcribed
    )
    assert tables["outcomes"]["happened"].n_unique() == 2
    assert timeline(tables).height == 2 * CALLS

    second = ingest(sources.read("auto", export), store, NOW)
    assert set(second["added"].values()) == set(second["changed"].values()) == {0}
    assert second["unchanged"] == first["added"]
