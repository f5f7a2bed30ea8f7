"""A scorecard counts what it says it counts, keeps its units, and pairs only what belongs together."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from data.files import write_table
from evaluation.asr.scorecard import asr_scorecard
from evaluation.churn.scorecard import churn_scorecard
from evaluation.gates import examples
from evaluation.scorecard import Scorecard, ScorecardError, gain, load, pair
from tests.typing_helpers import known

AT = "2026-03-01T12:00:00+00:00"


def a_row(
    n: int = 0, text: str = "cancel my contract please", voice: str | None = "v1", **changes: Any
) -> dict[str, Any]:
    row = {
        "audio_filepath": f"a/{n}.wav",
        "text": text,
        "contact_id": f"call-{n}",
        "role": "customer",
    }
    return {**row, "voice": voice, "codec": "ULAW", "start_s": 1.5, **changes}


def test_wer_is_all_errors_over_all_words_whatever_case_and_punctuation() -> None:
    rows = [a_row(0), a_row(1, "No.", "v2")]
    card = asr_scorecard(
        rows,
        ["CANCEL the contract, please!", "yes no"],
        model="m",
        data_hash="d1",
        seed=0,
        created_at=AT,
    )
    assert card.metrics["wer"].value == 2 / 5
    assert card.units.select("errors", "words").rows() == [(1, 4), (1, 1)]
    assert card.metrics["wer"].lower_is_better
    low, high = known(card.metrics["wer"].low), known(card.metrics["wer"].high)
    assert low <= 2 / 5 <= high == card.metrics["wer"].worst


def test_slices_are_by_what_is_known_and_add_up() -> None:
    card = examples.asr(0.3)
    assert set(card.slices) == {"role", "codec", "voice", "length"}
    roles = card.slices["role"]
    assert sorted(roles) == ["agent", "customer"]
    whole = sum(part["wer"].value * part["wer"].n for part in roles.values()) / card.units.height
    assert whole == pytest.approx(card.metrics["wer"].value)  # every example has ten words


def test_a_row_without_voice_is_a_cluster_with_its_contact() -> None:
    rows = [a_row(0, voice=None), a_row(0, voice=None, start_s=9.0), a_row(1, voice=None)]
    assert asr_scorecard(rows, ["", "", ""], model="m", data_hash="d", seed=0, created_at=AT).units[
        "cluster"
    ].to_list() == [
        "call-0",
        "call-0",
        "call-1",
    ]


@pytest.mark.parametrize(
    ("rows", "hypotheses", "says"),
    [
        ([a_row()], [], "0 transcripts for 1 test rows"),
        ([a_row(), a_row()], ["", ""], "more than once"),
        ([a_row(text="...")], [""], "no reference word"),
        ([], [], "no reference word"),
    ],
)
def test_what_cannot_be_scored_is_said(
    rows: list[dict[str, Any]], hypotheses: list[str], says: str
) -> None:
    with pytest.raises(ScorecardError, match=says):
        asr_scorecard(rows, hypotheses, model="m", data_hash="d", seed=0, created_at=AT)


@pytest.mark.parametrize("card", [examples.asr(0.2), examples.churn(0.5)], ids=["asr", "churn"])
def test_a_scorecard_comes_back_as_it_was_saved(card: Scorecard, tmp_path: Path) -> None:
    card = replace(card, conditions={"gsm": card.metrics})
    card.save(tmp_path / "c.json")
    again = load(tmp_path / "c.json")
    assert again.conditions == {"gsm": card.metrics}
    assert again.units.equals(card.units)
    assert (again.metrics, again.slices, again.ratios, again.facts) == (
        card.metrics,
        card.slices,
        card.ratios,
        card.facts,
    )
    assert (again.model, again.data_hash, again.bundle_sha256) == (
        card.model,
        card.data_hash,
        card.bundle_sha256,
    )


def test_units_exchanged_after_saving_are_noticed(tmp_path: Path) -> None:
    examples.asr(0.2).save(tmp_path / "c.json")
    write_table(tmp_path / "c.parquet", examples.asr(0.1).units)
    with pytest.raises(ScorecardError, match=r"c\.parquet is not the one"):
        load(tmp_path / "c.json")
    (tmp_path / "c.parquet").unlink()
    with pytest.raises(ScorecardError, match="not whole"):
        load(tmp_path / "c.json")


def test_saving_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        examples.churn(0.5).save(tmp_path / f"{name}.json")
    first, second = ((tmp_path / f"{name}.json").read_text() for name in ("a", "b"))
    assert json.loads(first)["metrics"] == json.loads(second)["metrics"]
    assert first == second.replace("b.parquet", "a.parquet")


def _customers(
    risks: Sequence[float | None] = (0.9, 0.2, 0.1, 0.6), name: str = "risk_90", **changes: Any
) -> pl.DataFrame:
    columns = {
        "customer_id": ["C1", "C2", "C3", "C4"],
        "as_of": [date(2026, 1, 1)] * 4,
        "event": [True, False, False, True],
        "time_days": [30.0, 200.0, 200.0, 60.0],
        name: list(risks),
    }
    return pl.DataFrame({**columns, **changes})


def test_brier_is_the_mean_squared_distance_where_nobody_is_censored() -> None:
    card = churn_scorecard(_customers(), model="m", data_hash="d", seed=0, created_at=AT)
    assert card.metrics["brier_90"].value == pytest.approx((0.01 + 0.04 + 0.01 + 0.16) / 4)
    assert card.metrics["brier"].value == pytest.approx(card.metrics["brier_90"].value)
    assert card.metrics["auc_90"].value == 1
    assert not card.metrics["auc_90"].lower_is_better
    assert "calibration_slope_90" in card.facts["calibration"]


def test_outcomes_without_dates_are_scored_too() -> None:
    card = churn_scorecard(
        _customers(name="risk", time_days=[None] * 4, as_of=[None] * 4),
        model="m",
        data_hash="d",
        seed=0,
        created_at=AT,
    )
    assert card.metrics["brier"].value == pytest.approx(0.055)
    assert card.units["unit"].null_count() == 0


def test_a_horizon_nobody_was_followed_to_is_not_scored() -> None:
    card = churn_scorecard(
        _customers().with_columns(risk_365=0.9), model="m", data_hash="d", seed=0, created_at=AT
    )
    assert "brier_365" not in card.metrics
    assert card.metrics["brier"].value == pytest.approx(0.055)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (_customers((0.1, None, 0.2, 0.3)), "a customer has no risk_90"),
        (_customers((0.1, float("nan"), 0.2, 0.3)), "a customer has no risk_90"),
        (_customers().drop("risk_90"), "no column risk"),
        (pl.concat([_customers(), _customers()]), "more than once"),
        (_customers(time_days=[10.0] * 4), "no outcome"),
    ],
)
def test_predictions_that_cannot_be_scored_are_refused(frame: pl.DataFrame, says: str) -> None:
    with pytest.raises(ScorecardError, match=says):
        churn_scorecard(frame, model="m", data_hash="d", seed=0, created_at=AT)


def test_a_gain_is_positive_for_the_better_model_either_way_round() -> None:
    good, bad = examples.asr(0.1), examples.asr(0.3)
    assert gain(good, bad, "wer", seed=0).value == pytest.approx(
        bad.metrics["wer"].value - good.metrics["wer"].value
    )
    assert gain(bad, good, "wer", seed=0).value == pytest.approx(
        -gain(good, bad, "wer", seed=0).value
    )
    assert known(gain(examples.churn(0.2), examples.churn(2.0), "brier", seed=0).low) > 0


def test_scorecards_of_other_units_or_references_are_not_paired() -> None:
    rows, texts = [a_row(0), a_row(1)], ["", ""]
    card = asr_scorecard(rows, texts, model="m", data_hash="d", seed=0, created_at=AT)
    with pytest.raises(ScorecardError, match="1 of them the same"):
        pair(
            card,
            asr_scorecard(
                [a_row(0), a_row(2)], texts, model="n", data_hash="d", seed=0, created_at=AT
            ),
            "wer",
        )
    with pytest.raises(ScorecardError, match="different references"):
        pair(
            card,
            asr_scorecard(
                [a_row(0), a_row(1, "keep my contract please")],
                texts,
                model="n",
                data_hash="d",
                seed=0,
                created_at=AT,
            ),
            "wer",
        )
    with pytest.raises(ScorecardError, match="auc was not measured a unit"):
        pair(card, card, "auc")
