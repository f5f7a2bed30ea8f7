"""Promises of critical words: each class is counted where it was said, missed and made up."""

from __future__ import annotations

import pytest

from evaluation.asr.scorecard import asr_scorecard
from evaluation.metrics.critical import CLASSES, ClassCounts, critical_words, extended_classes
from evaluation.metrics.english import comparable


def heard(reference: str, written: str) -> dict[str, ClassCounts]:
    return critical_words(comparable(reference), comparable(written))


def test_a_lost_not_is_missed_and_a_changed_amount_is_missed_and_made_up() -> None:
    counts = heard("I don't want to pay $50", "i do want to pay fifteen dollars")
    assert counts["negation"] == ClassCounts(spoken=1, written=0, hits=0)
    assert counts["amounts"] == ClassCounts(spoken=2, written=2, hits=1)
    assert counts["leaving"] == ClassCounts(0, 0, 0)


def test_the_right_word_in_the_wrong_place_is_no_hit() -> None:
    assert heard("not this one please", "this one please not")["negation"].hits == 0
    assert heard("please cancel", "please cancel")["leaving"] == ClassCounts(1, 1, 1)


def test_every_word_of_every_class_is_in_comparable_form() -> None:
    for words in CLASSES.values():
        assert [word for word in sorted(words) if comparable(word) != word] == []


def test_a_centre_adds_names_and_classes_of_its_own() -> None:
    classes = extended_classes({"names": ["Blue Latte", "O'Neill"], "drinks": ["mocha"]})
    counts = critical_words(
        "a blue latte for o'neill and a mocha", "a blue lady for o'neill and mocha", classes
    )
    assert counts["names"] == ClassCounts(spoken=3, written=2, hits=2)
    assert counts["drinks"] == ClassCounts(1, 1, 1)
    assert classes["negation"] == CLASSES["negation"]


@pytest.mark.parametrize("more", [{"names": ["…"]}, {"two words": ["x"]}, {"names": "mocha"}])
def test_words_that_are_none_are_refused(more: dict[str, list[str]]) -> None:
    with pytest.raises(ValueError, match=r"evaluation.critical\."):
        extended_classes(more)


def test_a_scorecard_holds_error_recall_and_precision_of_each_class_that_was_said() -> None:
    rows = [
        {"text": text, "contact_id": f"c{n}", "voice": f"v{n}"}
        for n, text in enumerate(["I do not want it", "no, never", "that is nine dollars"])
    ]
    card = asr_scorecard(
        rows,
        ["i do want it", "no never", "that is not nine dollars"],
        model="m",
        data_hash="d",
        seed=0,
        created_at="2026-03-01",
    )
    value = {name: estimate.value for name, estimate in card.metrics.items()}
    assert value["recall_negation"] == pytest.approx(2 / 3)
    assert value["precision_negation"] == pytest.approx(2 / 3)
    assert value["critical_negation"] == pytest.approx(
        2 / 3
    )  # one missed and one made up, of three said
    assert value["critical_amounts"] == 0
    assert "critical_names" not in value  # nobody named any
    assert (value["deletions"], value["insertions"], value["substitutions"]) == pytest.approx(
        (1 / 11, 1 / 11, 0)
    )
    better = {name for name, estimate in card.metrics.items() if not estimate.lower_is_better}
    assert better == {
        "recall_negation",
        "precision_negation",
        "recall_amounts",
        "precision_amounts",
    }
