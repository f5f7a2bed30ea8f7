"""Tests that each recording is measured once and that failures stay with their recording."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from data.records import frame
from data.validation.measures import MEASURES, measure, measure_recordings
from tests.data.validation.small_store import a_call
from tests.factories import a_recording


def test_a_call_is_measured_from_its_bytes() -> None:
    measures = measure(a_call(duration_s=2.0, silent=1), "call k1")
    assert measures["measured_codec"] == "ULAW"
    assert (measures["measured_rate_hz"], measures["measured_channels"]) == (8000, 2)
    assert measures["measured_s"] == pytest.approx(2.0)
    assert measures["silent_shares"] == [0.0, 1.0]
    assert "error" not in measures


def test_what_cannot_be_decoded_has_an_error_and_its_hash() -> None:
    measures = measure(b"<html>503</html>", "call k1")
    assert set(measures) == {"content", "error"}
    assert str(measures["error"]).startswith("call k1: not audio")


def test_measures_are_cached_by_hash_and_unfetched_ones_are_tried_again(tmp_path: Path) -> None:
    recordings = frame(
        "recordings", [a_recording("k1", sha256="1" * 64), a_recording("k2", sha256="2" * 64)]
    )
    read: list[str] = []

    def read_audio(contact_id: str) -> bytes:
        read.append(contact_id)
        if contact_id == "k2":
            raise OSError("disk")
        return a_call()

    cache = tmp_path / "audio.parquet"
    for _ in range(2):
        measured = measure_recordings(recordings, read_audio, cache)
    assert read == ["k1", "k2", "k2"]
    errors = dict(measured.select("contact_id", "error").iter_rows())
    assert errors == {"k1": None, "k2": "call k2: its audio cannot be fetched (disk)."}
    assert measured["content_matches"].to_list() == [False, None]
    assert measured["customer_silent_share"].to_list() == [0.0, None]
    assert pl.read_parquet_schema(cache) == MEASURES
