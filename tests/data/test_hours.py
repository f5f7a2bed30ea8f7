"""Tests that hours add up to the millisecond and that losses have a budget."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from data.hours import (
    HoursAccount,
    HoursError,
    HoursParams,
    hours_account,
    read_hours_account,
    side_ms,
)
from data.records import frame
from tests.factories import a_recording, a_wav

HOUR = 3_600_000


def test_a_side_is_shared_out_to_the_millisecond_whatever_overlaps() -> None:
    claims = [
        (0.0, 1.0, "train"),
        (0.5, 1.5, "no words"),
        (1.4, 99.0, "beyond"),
        (-3.0, -1.0, "before"),
    ]
    assert side_ms(2.0004, claims, "between turns") == {
        "train": 1000,
        "no words": 500,
        "beyond": 500,
    }
    assert side_ms(2.0, [], "not transcribed") == {"not transcribed": 2000}


def test_reasons_that_do_not_add_up_are_a_mistake_of_the_program() -> None:
    with pytest.raises(HoursError, match="1000 ms came in and reasons account for 900"):
        HoursAccount(1000, {"train": 900})
    with pytest.raises(HoursError, match="mistake of the program"):
        HoursAccount(1000, {"train": 1100, "test": -100})


def test_what_is_meant_is_no_loss_and_what_is_lost_has_a_budget() -> None:
    book = HoursAccount(
        10 * HOUR,
        {"train": 3 * HOUR, "between turns": 3 * HOUR, "test": 2 * HOUR, "no words": 2 * HOUR},
    )
    assert book.lost == {"no words": 2 * HOUR}
    book.enforce_budget(HoursParams(max_lost_share=0.2))
    with pytest.raises(
        HoursError, match=r"2\.00 h of 10\.00 h got lost .*20%.* 19%\): no words 2\.00 h\. Mend"
    ):
        book.enforce_budget(HoursParams(max_lost_share=0.19))
    with pytest.raises(
        HoursError, match=r"between turns: 30% of 10\.00 h, hours\.limits allows 25%"
    ):
        book.enforce_budget(HoursParams(limits={"between turns": 0.25}))


def test_what_training_leaves_out_is_taken_from_what_it_was_given() -> None:
    book = HoursAccount(HOUR, {"train": HOUR}).with_training_skips(
        {"longer than 20 s": 600.0, "unreadable audio": 60.0}
    )
    assert book.ms == {
        "train": HOUR - 660_000,
        "training: longer than 20 s": 600_000,
        "training: unreadable audio": 60_000,
    }
    assert sum(book.lost.values()) == 660_000


def test_what_a_machine_transcribed_joins_training_and_the_rest_was_not_sure_enough() -> None:
    book = HoursAccount(10_000, {"train": 4000, "not transcribed": 6000}).with_pseudo(2.5)
    assert book.ms == {"train": 6500, "not transcribed surely enough": 3500}
    assert book.lost == {}


def test_what_was_refused_and_rejected_is_in_the_books(tmp_path: Path) -> None:
    a_wav(tmp_path / "q" / "no-agent.wav", duration_s=3.0, channels=1)
    (tmp_path / "q" / "torn.wav").write_bytes(b"not audio")
    lines = [
        {
            "thing": "call x",
            "kind": "recording",
            "reason": "no agent channel (1 of 2 found)",
            "audio": "no-agent.wav",
        },
        {"thing": "call y", "kind": "recording", "reason": "not audio (?)", "audio": "torn.wav"},
        {
            "thing": "call a",
            "kind": "recording",
            "reason": "not audio (mended since)",
            "audio": "torn.wav",
        },
        {"thing": "contact z", "kind": "contact", "reason": "unknown customer (u)"},
    ]
    (tmp_path / "q" / "ingest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rejected = {"table": "recordings", "thing": "b", "reason": "clipped"}
    (tmp_path / "q" / "validate.jsonl").write_text(json.dumps(rejected) + "\n")
    delivered = frame(
        "recordings",
        [
            a_recording("a", duration_s=2.0),
            a_recording("b", duration_s=4.0),
            a_recording("c", duration_s=1.0, customer_channel=0, agent_channel=0),
        ],
    )
    clean = delivered.filter(pl.col("contact_id") == "a")
    book = hours_account(
        delivered, clean, cut_ms={"train": 3000, "between turns": 1000}, quarantine=tmp_path / "q"
    )
    assert book.input_ms == 4000 + 8000 + 1000 + 3000
    assert book.lost == {
        "quarantined: clipped": 8000,
        "refused: no agent channel": 3000,
        "quarantined: with its contact": 1000,
    }
    assert book.unmeasured == {"refused: not audio": 1}
    summary = book.summary(HoursParams())
    assert read_hours_account(summary) == book
    assert summary["lost_share"] == 12 / 16
    assert summary["over_budget"]


@pytest.mark.parametrize("wrong", [{"max_lost_share": 1.5}, {"limits": {"test": -0.1}}])
def test_a_share_that_is_none_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"hours: .* must lie between 0 and 1"):
        HoursParams(**wrong)  # type: ignore[arg-type]
