"""I1: two-channel calls with roles and metadata, whatever system exported them."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from data import sources
from data.files import read_tables
from data.ingest import ingest
from data.sources import SourceParams
from data.speech import shards
from tests.factories import NOW, a_wav, an_asterisk_export, an_export, edit

EXPORTS: dict[str, tuple[Callable[..., Path], str]] = {
    "folder": (an_export, "recordings"),
    "asterisk": (an_asterisk_export, "monitor"),
}


def test_I1_folder_and_asterisk_exports_of_the_same_calls_become_the_same_records(
    tmp_path: Path,
) -> None:
    tables = {}
    for source, (make, _) in EXPORTS.items():
        export = make(tmp_path / source, calls=3, chats=2, codec="ULAW")
        summary = ingest(sources.read(source, export), tmp_path / f"store-{source}", NOW)
        assert summary["refused"] == 0
        tables[source] = read_tables(tmp_path / f"store-{source}" / "tables")
    for name in ("customers", "turns", "recordings"):
        assert_frame_equal(tables["folder"][name], tables["asterisk"][name])
        assert not tables["folder"][name].is_empty()
    # A chat of the folder format has no agent or queue here either; only `source` says where a
    # contact came from.
    assert_frame_equal(
        tables["folder"]["contacts"].drop("source"), tables["asterisk"]["contacts"].drop("source")
    )
    # The folder knows when a customer left, the CRM only whether.
    same = ["customer_id", "event", "happened"]
    assert_frame_equal(
        tables["folder"]["outcomes"].select(same), tables["asterisk"]["outcomes"].select(same)
    )
    row = tables["folder"]["recordings"].row(0, named=True)
    assert (row["codec"], row["sample_rate_hz"], row["customer_channel"], row["agent_channel"]) == (
        "ULAW",
        8000,
        0,
        1,
    )
    for source, (_, folder) in EXPORTS.items():
        delivered = (tmp_path / source / folder / "call-1.wav").read_bytes()
        assert (
            shards.read_member(tmp_path / f"store-{source}" / "shards", row["shard"], row["member"])
            == delivered
        )


@pytest.mark.parametrize("source", EXPORTS)
def test_I1_an_unknown_role_is_refused_naming_the_call_and_what_to_do(
    tmp_path: Path, source: str
) -> None:
    export = EXPORTS[source][0](tmp_path / "export")
    edit(export / "transcripts" / "call-2.json", '"agent"', '"bot"')
    delivery = sources.read(source, export)
    (refusal,) = delivery.refusals
    assert "call-2" in str(refusal)
    assert 'unknown role "bot"' in str(refusal)
    assert "sources.roles" in str(refusal)
    ingest(delivery, tmp_path / "store", NOW)
    tables = read_tables(tmp_path / "store" / "tables")
    assert "call-2" not in tables["turns"]["contact_id"]
    # What was said is unknown, the call is not.
    assert "call-2" in tables["recordings"]["contact_id"]


@pytest.mark.parametrize("source", EXPORTS)
def test_I1_a_missing_channel_is_refused_naming_the_call_and_what_to_do(
    tmp_path: Path, source: str
) -> None:
    make, folder = EXPORTS[source]
    export = make(tmp_path / "export")
    a_wav(export / folder / "call-2.wav", channels=1)
    summary = ingest(sources.read(source, export), tmp_path / "store", NOW)
    assert summary["reasons"] == {"no agent channel": 1}
    log = (tmp_path / "store" / "quarantine" / "ingest.jsonl").read_text()
    assert "call call-2" in log
    assert "no agent channel (1 of 2 found)" in log
    assert "Re-export as stereo or set sources.mono_ok." in log
    tables = read_tables(tmp_path / "store" / "tables")
    assert tables["recordings"]["contact_id"].to_list() == ["call-1", "call-3"]

    ingest(sources.read(source, export, SourceParams(mono_ok=True)), tmp_path / "store", NOW)
    mono = read_tables(tmp_path / "store" / "tables")["recordings"].filter(
        pl.col("contact_id") == "call-2"
    )
    assert mono.select("channels", "customer_channel", "agent_channel").row(0) == (1, 0, 0)
