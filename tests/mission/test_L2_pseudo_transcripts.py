"""L2: what a machine heard enters training only above a calibrated confidence; the rest waits for
people.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data.files import write_table, write_text
from data.labelling.pseudo import (
    QUEUE,
    PseudoParams,
    sample_within_share,
    select_pseudo_transcripts,
)
from data.records import TURNS, frame
from data.speech.manifests import add_pseudo_transcripts
from models.asr.confidence import fit_calibration
from tests.factories import a_call, a_recording, a_turn

HEARD = {**TURNS, "confidence": pl.Float64}
SPLITS = pl.DataFrame(
    [
        ("train-1", "train"),
        ("train-2", "train"),
        ("typed", "train"),
        ("test-1", "test"),
        ("valid-1", "valid"),
        ("aside", "aside"),
        (None, "train"),
    ],
    schema=["contact_id", "split"],
    orient="row",
).with_columns(customer_id=pl.lit("C1"), voice_group=pl.lit("v"))
TYPED = frame("turns", [a_turn("typed", 0, start_s=0.0, end_s=1.0)])


def heard(*rows: tuple[str, int, float], text: str = "i want to cancel my plan") -> pl.DataFrame:
    """Turns of two seconds each: call, number, confidence."""
    return pl.DataFrame(
        [
            (call, turn, "customer", text, 2.0 * turn, 2.0 * turn + 2, "asr", confidence)
            for call, turn, confidence in rows
        ],
        schema=HEARD,
        orient="row",
    )


EVERYWHERE = heard(
    *(
        (call, turn, confidence)
        for call in ("train-1", "train-2", "typed", "test-1", "valid-1", "aside")
        for turn, confidence in enumerate((0.99, 0.96, 0.94, 0.3))
    )
)


def test_L2_only_sure_turns_of_untranscribed_training_calls_are_learnt_from() -> None:
    choice = select_pseudo_transcripts(EVERYWHERE, SPLITS, TYPED, calibrated=True)
    assert set(choice.accepted["contact_id"]) == {"train-1", "train-2"}
    assert choice.accepted["confidence"].min() == 0.96
    assert choice.accepted.height == 4
    assert choice.summary["refused"] == {"unsure": 4}
    assert choice.summary["held_out_or_transcribed"] == 16


def test_L2_without_calibration_nothing_is_learnt_from() -> None:
    choice = select_pseudo_transcripts(EVERYWHERE, SPLITS, TYPED, calibrated=False)
    assert choice.accepted.is_empty()
    assert choice.summary["refused"] == {"uncalibrated": 8}
    assert choice.queue.height == 8


def test_L2_low_confidence_goes_to_the_review_queue_by_expected_gain_and_a_random_share() -> None:
    rng = np.random.default_rng(0)
    rows = [("train-1", n, float(p)) for n, p in enumerate(rng.uniform(0.2, 1.0, 400))]
    choice = select_pseudo_transcripts(
        heard(*rows),
        SPLITS,
        TYPED,
        calibrated=True,
        params=PseudoParams(queue=50, random_share=0.2),
    )
    queue = choice.queue
    assert queue.schema == QUEUE
    assert (queue["rank"] == np.arange(1, 51)).all()
    assert queue["gain"].is_sorted(descending=True)
    by_gain, random = queue.filter(pl.col("why") == "gain"), queue.filter(pl.col("why") == "random")
    assert (by_gain.height, random.height) == (40, 10)
    assert random["chance"].unique().to_list() == [10 / 400]
    assert by_gain["confidence"].to_numpy().max() < 0.35 < random["confidence"].to_numpy().max()
    assert set(queue["contact_id"]) == {"train-1"}
    assert queue["text"].str.contains("cancel").all()


def test_L2_short_turns_are_not_learnt_from_however_sure() -> None:
    choice = select_pseudo_transcripts(
        heard(("train-1", 0, 1.0), text="yes"), SPLITS, TYPED, calibrated=True
    )
    assert choice.summary["refused"] == {"short": 1}


def test_L2_accepted_turns_are_as_right_as_was_promised() -> None:
    rng = np.random.default_rng(1)

    def words(count: int) -> tuple[np.ndarray, np.ndarray]:
        # Turns of eight words differ in how well they are heard.
        skill = rng.beta(6, 1, count // 8).repeat(8)
        scores = np.clip(skill ** rng.uniform(0.2, 0.6, len(skill)), 0, 1)
        return scores, rng.random(len(skill)) < scores**4

    scores, right = words(4000)
    calibration = fit_calibration(scores, right, np.arange(len(scores)) // 80)
    scores, right = words(8000)
    confidences = calibration(scores).reshape(-1, 8).mean(1)
    turns = heard(*(("train-1", n, float(p)) for n, p in enumerate(confidences)))
    accepted = select_pseudo_transcripts(
        turns, SPLITS, TYPED, calibrated=True, params=PseudoParams(least_confidence=0.9)
    ).accepted
    assert 30 < accepted.height < 900
    assert right.reshape(-1, 8).mean(1)[accepted["turn"].to_numpy()].mean() == pytest.approx(
        accepted["confidence"].mean(), abs=0.03
    )
    raw = heard(*(("train-1", n, float(p)) for n, p in enumerate(scores.reshape(-1, 8).mean(1))))
    believed = select_pseudo_transcripts(
        raw, SPLITS, TYPED, calibrated=True, params=PseudoParams(least_confidence=0.9)
    ).accepted
    assert right.reshape(-1, 8).mean(1)[believed["turn"].to_numpy()].mean() < 0.87, (
        "the raw score would do as well"
    )


def train_on_pseudo_transcripts(
    folder: Path, params: PseudoParams, splits: pl.DataFrame = SPLITS
) -> tuple[dict[str, Any], list[Any]]:
    row = {
        "audio_filepath": "audio/p.wav",
        "duration": 20.0,
        "text": "hello",
        "contact_id": "typed",
    }
    write_text(folder / "speech" / "train.jsonl", json.dumps(row) + "\n")
    calls = ["train-1", "train-2", "typed", "test-1"]
    clean = {
        "recordings": frame(
            "recordings", [a_recording(call, duration_s=9.0) for call in calls]
        ).with_columns(queue=pl.lit("q")),
        "turns": TYPED,
    }
    write_table(
        folder / "pseudo.parquet",
        select_pseudo_transcripts(
            EVERYWHERE, SPLITS, TYPED, calibrated=True, params=params
        ).accepted,
    )
    summary = add_pseudo_transcripts(
        clean,
        splits,
        speech=folder / "speech",
        chosen=folder / "pseudo.parquet",
        out=folder / "pseudo",
        read_audio=lambda call: (a_call(9.0), 8000),
        params=params,
        progress=lambda done, total: None,
    )
    return summary, [
        json.loads(line) for line in (folder / "pseudo" / "train.jsonl").read_text().splitlines()
    ]


def test_L2_the_next_training_reads_them_beside_what_people_wrote(tmp_path: Path) -> None:
    summary, rows = train_on_pseudo_transcripts(tmp_path, PseudoParams(learn=True))
    assert (summary["added"], summary["added_s"]) == (4, 8.0)
    assert [row.get("origin", "person") for row in rows] == ["person", "asr", "asr", "asr", "asr"]
    assert rows[0]["audio_filepath"] == "../speech/audio/p.wav"
    assert {row["contact_id"] for row in rows[1:]} == {"train-1", "train-2"}
    assert all(row["confidence"] >= 0.95 for row in rows[1:])
    assert all((tmp_path / "pseudo" / row["audio_filepath"]).is_file() for row in rows[1:])


def test_L2_off_unless_asked_for(tmp_path: Path) -> None:
    summary, rows = train_on_pseudo_transcripts(tmp_path, PseudoParams())
    assert (summary["added"], len(rows)) == (0, 1)


def test_L2_a_call_that_has_since_moved_to_the_test_is_dropped(tmp_path: Path) -> None:
    moved = SPLITS.with_columns(
        split=pl.when(pl.col("contact_id") == "train-1")
        .then(pl.lit("test"))
        .otherwise(pl.col("split"))
    )
    _, rows = train_on_pseudo_transcripts(tmp_path, PseudoParams(learn=True), moved)
    assert {row["contact_id"] for row in rows[1:]} == {"train-2"}


def test_L2_machine_heard_speech_stays_within_its_share() -> None:
    accepted = heard(*(("train-1", n, 0.99) for n in range(100)))
    kept = sample_within_share(accepted, 120.0, PseudoParams(share_of_train=0.5))
    assert kept.height == 30
    assert kept.equals(sample_within_share(accepted, 120.0, PseudoParams(share_of_train=0.5)))
