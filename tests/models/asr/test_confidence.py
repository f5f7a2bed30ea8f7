"""Calibrated confidence says how often words are right, keeps their order, or is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.asr.confidence import (
    FILE,
    Calibration,
    CalibrationError,
    expected_calibration_error,
    fit_calibration,
    load_calibration,
    save_calibration,
)


def words(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores that promise too much: a word of score s is right with a chance of s³."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.3, 1.0, count)
    return scores, rng.random(count) < scores**3, rng.integers(0, 20, count).astype(str)


def test_confidence_holds_on_calls_it_has_not_seen() -> None:
    calibration = fit_calibration(*words(1500))
    scores, right, _ = words(4000, seed=1)
    assert expected_calibration_error(scores, right) > 0.15
    assert expected_calibration_error(calibration(scores), right) < 0.03
    assert calibration.ece_before > 0.15 > 0.05 > calibration.ece_after
    assert calibration.words == 1500


def test_a_higher_score_never_has_a_lower_confidence() -> None:
    rng = np.random.default_rng(2)
    scores = rng.uniform(0, 1, 400)
    for right in (rng.random(400) < 0.5, rng.random(400) < 1 - scores, rng.random(400) < scores):
        calibration = fit_calibration(scores, right, np.arange(400) // 40)
        assert (np.diff(calibration(np.linspace(0, 1, 101))) >= -1e-12).all()


@pytest.mark.parametrize("right", [np.ones(500, bool), np.zeros(500, bool)])
def test_words_that_are_all_alike_calibrate_nothing(right: np.ndarray) -> None:
    with pytest.raises(
        CalibrationError, match=r"500 held-out words, (500|0) of them right, are too few"
    ):
        fit_calibration(np.linspace(0.2, 1, 500), right, np.arange(500) // 50)


def test_a_handful_of_words_or_one_call_calibrates_nothing() -> None:
    scores, right, calls = words(99)
    with pytest.raises(CalibrationError, match="99 held-out words"):
        fit_calibration(scores, right, calls)
    scores, right, _ = words(500)
    with pytest.raises(CalibrationError, match="two calls or more"):
        fit_calibration(scores, right, np.zeros(500))


def test_it_is_loaded_from_the_folder_of_the_weights(tmp_path: Path) -> None:
    assert load_calibration(tmp_path / "model.nemo") is None
    fitted = fit_calibration(*words(300))
    save_calibration(tmp_path / FILE, fitted)
    assert load_calibration(tmp_path / "model.nemo") == fitted
    (tmp_path / FILE).write_text('{"a": 1}')
    with pytest.raises(CalibrationError, match=r"confidence\.json: not a calibration"):
        load_calibration(tmp_path / "model.nemo")


def test_the_formula_is_that_of_beta_calibration() -> None:
    assert Calibration(1.0, 1.0, 0.0, 0, 0.0, 0.0)(np.array([0.2, 0.5, 0.9])) == pytest.approx(
        [0.2, 0.5, 0.9]
    )


def test_scores_that_crowd_near_one_are_calibrated_too() -> None:
    rng = np.random.default_rng(5)

    def crowded(count: int) -> tuple[np.ndarray, np.ndarray]:
        odds = rng.normal(3.5, 2.5, count)
        return 1 / (1 + np.exp(-odds)), rng.random(count) < 1 / (1 + np.exp(1.5 - 0.9 * odds))

    scores, right = crowded(1000)
    calibration = fit_calibration(scores, right, np.arange(1000) // 50)
    scores, right = crowded(4000)
    assert expected_calibration_error(scores, right) > 0.15
    assert expected_calibration_error(calibration(scores), right) < 0.035
    assert calibration(np.array([0.999]))[0] > 0.97
