"""The reader is trained on beliefs, not where there are none, and reads corrupted transcripts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data.labelling import SCHEME
from evaluation.metrics.wer import character_errors
from models.reader.model import Reader
from models.reader.ngrams import corrupt_characters, make_ngrams, plain_text
from tests.reader_helpers import SMALL, Unrecorded, a_message, a_reader, training_examples
from training.reader.train import (
    LabelledContacts,
    ReaderTraining,
    ReaderTrainingError,
    labelled_contacts,
    train,
)

TINY = replace(SMALL, bits=10, width=8, epochs=2, max_contacts=300)


def train_reader(
    part: LabelledContacts, folder: Path, params: ReaderTraining = TINY
) -> tuple[dict[str, Any], Reader]:
    summary = train(
        params,
        SCHEME,
        {"train": part, "valid": training_examples()["valid"]},
        work_dir=folder,
        run=Unrecorded(),
    )
    return summary, Reader.load(Path(summary["model"]))


def test_the_same_lessons_give_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    part = training_examples()["train"]
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train_reader(part, tmp_path / name, replace(TINY, seed=seed))
        weights.append((tmp_path / name / "model" / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_too_few_contacts_and_no_calibration_are_refused_with_what_to_do(tmp_path: Path) -> None:
    part, valid = training_examples()["train"], training_examples()["valid"]
    with pytest.raises(ReaderTrainingError, match=r"30 labelled contacts .* 60 needed"):
        train_reader(part.take(np.arange(30)), tmp_path)
    nothing = replace(valid, mask=np.zeros_like(valid.mask))
    with pytest.raises(ReaderTrainingError, match="valid split"):
        train(TINY, SCHEME, {"train": part, "valid": nothing}, work_dir=tmp_path, run=Unrecorded())


def test_where_every_contact_has_one_value_that_value_is_learned(tmp_path: Path) -> None:
    part = training_examples()["train"]
    column = 0  # of the first value of the first label: reason billing
    targets = part.targets.copy()
    targets[:, : len(SCHEME["reason"])] = 0
    targets[:, column] = 1
    _, reader = train_reader(replace(part, targets=targets), tmp_path)
    probabilities, _ = reader.probabilities(*a_message("where is my parcel"))
    assert np.isfinite(probabilities["reason"]).all()


def test_nothing_is_learned_where_the_rules_abstain() -> None:
    contacts, turns = a_message("my bill is wrong")
    rows = [
        ("k", "reason", "billing", 0.8, "label_model"),
        ("k", "reason", "payment", 0.2, "label_model"),
    ]
    beliefs = pl.DataFrame(
        rows, schema=["contact_id", "label", "value", "probability", "origin"], orient="row"
    )
    contacts_with_targets = labelled_contacts(contacts, turns, beliefs, labels=SCHEME)
    assert contacts_with_targets.mask.sum() == 1
    assert contacts_with_targets.targets.sum() == pytest.approx(1.0)
    assert contacts_with_targets.targets[0, SCHEME["reason"].index("billing")] == pytest.approx(0.8)
    silent = labelled_contacts(contacts, turns.clear(), beliefs, labels=SCHEME)
    assert len(silent) == 0


def test_probabilities_are_calibrated_to_the_beliefs_of_held_out_customers() -> None:
    test = training_examples()["test"]
    probabilities, _ = a_reader().probabilities(test.contacts, test.turns)
    at = 0
    for number, (name, values) in enumerate(SCHEME.items()):
        has_target = test.mask[:, number] > 0
        for value in range(len(values)):
            chances = probabilities[name][has_target, value]
            targets = test.targets[has_target, at + value]
            gaps = [
                abs(chances[g].mean() - targets[g].mean())
                for g in np.array_split(np.argsort(chances), 5)
            ]
            assert max(gaps) < 0.15, (name, values[value])
        at += len(values)


def test_misheard_texts_go_wrong_at_their_own_rate_and_the_same_way_each_time() -> None:
    texts = pl.Series(
        ["my broadband has been down since monday and nobody could tell me why"] * 300
    )
    rates = np.repeat([0.0, 0.1, 0.4], 100)
    corrupted = corrupt_characters(texts, rates, np.random.default_rng(3))
    assert corrupted.equals(corrupt_characters(texts, rates, np.random.default_rng(3)))
    assert corrupted[:100].equals(texts[:100])
    wrong = [
        np.mean(
            [
                character_errors(texts[0], text).total / len(texts[0])
                for text in corrupted[n : n + 100]
            ]
        )
        for n in (100, 200)
    ]
    assert 0.07 < wrong[0] < 0.2
    assert 0.3 < wrong[1] < 0.65


def test_settings_that_make_no_network_are_refused() -> None:
    with pytest.raises(ValueError, match="bits must lie"):
        ReaderTraining(bits=40)


def test_n_grams_are_those_of_the_text_wherever_it_stands() -> None:
    texts = plain_text(pl.Series(["Hello THERE, world!", "", "ünïcode wörds", "hello there world"]))
    together = make_ngrams(texts, bits=16, words=(1, 2), letters=(3, 4))
    assert texts[0] == texts[3]
    for row in range(len(texts)):
        alone = make_ngrams(texts[row : row + 1], bits=16, words=(1, 2), letters=(3, 4))
        begin, end = together.offsets[row : row + 2]
        assert np.array_equal(alone.buckets, together.buckets[begin:end])
    assert together.counts[1] == 0
    # "hello": 3 words make 3 + 2 runs of words; letters only within a word and the blanks around it.
    assert together.counts[0] == 3 + 2 + sum(
        len(word) + 2 - n + 1 for word in ("hello", "there", "world") for n in (3, 4)
    )
