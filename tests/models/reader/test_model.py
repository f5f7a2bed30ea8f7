"""The contact reader: one answer in any company, whole on disk, honest about foreign words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data.labelling import SCHEME
from data.records import LABELS
from models.reader.model import Reader, ReaderError
from models.reader.occlusion import explain
from models.registry.bundle import BundleError, verify_bundle, write_bundle
from tests.reader_helpers import a_message, a_reader, training_examples


def answer(*turns: str | tuple[str, str], channel: str = "chat") -> dict[str, dict[str, float]]:
    """label -> value -> probability of one message."""
    reader = a_reader()
    probabilities, _ = reader.probabilities(*a_message(*turns, channel=channel))
    return {
        name: dict(zip(reader.config.labels[name], values[0], strict=True))
        for name, values in probabilities.items()
    }


def test_a_contact_read_alone_has_the_probabilities_it_has_in_a_batch() -> None:
    test, reader = training_examples()["test"], a_reader()
    together, _ = reader.probabilities(test.contacts, test.turns)
    for row in range(0, 60, 3):
        alone, _ = reader.probabilities(test.contacts[row], test.turns)
        for name, values in alone.items():
            np.testing.assert_allclose(values[0], together[name][row], atol=1e-5)
            assert abs(values.sum() - 1) < 1e-9


def test_the_order_rows_come_in_does_not_matter() -> None:
    test, reader = training_examples()["test"], a_reader()
    few = test.contacts.head(20)
    first, _ = reader.probabilities(few, test.turns)
    shuffled, _ = reader.probabilities(few, test.turns.sample(fraction=1.0, shuffle=True, seed=1))
    assert all(np.array_equal(first[name], shuffled[name]) for name in first)


def test_what_is_saved_comes_back_with_the_same_answers_and_verifies_as_a_bundle(
    tmp_path: Path,
) -> None:
    test, reader = training_examples()["test"], a_reader()
    reader.save(tmp_path / "model")
    files = {name: tmp_path / "model" / name for name in ("weights.safetensors", "config.json")}
    facts: dict[str, Any] = {
        "data_hash": "d",
        "git_commit": "c",
        "created_at": "now",
        "licence": "own",
    }
    bundle = write_bundle(
        tmp_path / "bundle", "reader", {**files, "card.md": "# Reads contacts\n"}, **facts
    )
    again = Reader.load(verify_bundle(bundle.path).path)
    assert again.config == reader.config
    before, familiar = reader.probabilities(test.contacts, test.turns)
    after, familiar_after = again.probabilities(test.contacts, test.turns)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert np.array_equal(familiar, familiar_after)


def test_weights_under_a_false_name_and_changed_ones_are_refused(tmp_path: Path) -> None:
    reader = a_reader()
    reader.save(tmp_path / "model")
    facts: dict[str, Any] = {
        "data_hash": "d",
        "git_commit": "c",
        "created_at": "now",
        "licence": "own",
    }
    config = tmp_path / "model" / "config.json"
    hostile: dict[str, Path | bytes | str] = {
        "weights.safetensors": b"\x80\x04cos\nsystem\n",
        "config.json": config,
        "card.md": "# x",
    }
    with pytest.raises(BundleError, match=r"weights.safetensors is not what its name says"):
        write_bundle(tmp_path / "hostile", "reader", hostile, **facts)
    files = {name: tmp_path / "model" / name for name in ("weights.safetensors", "config.json")}
    bundle = write_bundle(tmp_path / "bundle", "reader", {**files, "card.md": "# x"}, **facts)
    with (bundle.path / "weights.safetensors").open("r+b") as handle:
        handle.seek(-1, 2)
        handle.write(b"\x01")
    with pytest.raises(BundleError, match="has changed"):
        verify_bundle(bundle.path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": 99}, "format 1"),
        ({"bits": 40}, "bits must lie between"),
        ({"bits": 13}, "does not fit"),
        ({"labels": [["reason", ["a", "b"]]]}, "does not fit"),
        ({"labels": 7}, "incomplete"),
        ({"surprise": 1}, "incomplete"),
    ],
)
def test_a_config_that_does_not_fit_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    a_reader().save(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ReaderError, match=says):
        Reader.load(tmp_path)


def test_nothing_to_read_is_no_error_and_nothing_familiar() -> None:
    reader = a_reader()
    empty, familiar = reader.probabilities(*a_message(""))
    assert familiar[0] == 0
    assert all(np.isfinite(values).all() for values in empty.values())
    contacts, turns = a_message("hello")
    silent, familiar = reader.probabilities(contacts, turns.clear())
    assert familiar[0] == 0
    assert reader.beliefs(contacts, turns.clear(), min_familiar=0.5).is_empty()
    nobody, _ = reader.probabilities(contacts.clear(), turns.clear())
    assert all(values.shape == (0, len(SCHEME[name])) for name, values in nobody.items())
    assert reader.beliefs(contacts.clear(), turns.clear()).schema == LABELS
    assert set(silent) == set(SCHEME)


def test_another_language_has_a_low_familiarity() -> None:
    reader = a_reader()
    english = reader.probabilities(
        *a_message("my bill is wrong, you have charged me twice this month")
    )[1][0]
    for message in (
        "私の請求書が間違っています。",
        "számlám hibás, kétszer vontak le tőlem ebben a hónapban",
    ):
        foreign = reader.probabilities(*a_message(message))[1][0]
        assert foreign < 0.75 * english
    assert english > 0.9


def test_a_role_nobody_has_is_refused_by_name() -> None:
    contacts, turns = a_message(("visitor", "hello"))
    with pytest.raises(ReaderError, match="'visitor' is no role"):
        a_reader().probabilities(contacts, turns)


def test_people_are_read_rather_than_the_recogniser_where_both_wrote() -> None:
    contacts, turns = a_message("my bill is wrong and i was charged twice")
    people = turns.with_columns(pl.lit("person").alias("origin"))
    recognised = turns.with_columns(
        pl.lit("the internet is down").alias("text"), pl.lit("asr").alias("origin")
    )
    both = a_reader().probabilities(contacts, pl.concat([people, recognised]))[0]
    alone = a_reader().probabilities(contacts, people)[0]
    assert all(np.array_equal(both[name], alone[name]) for name in both)


def test_the_words_that_explain_a_label_are_those_that_say_it() -> None:
    turns = (
        "good morning",
        ("agent", "hello, how can i help"),
        "i want to cancel my contract please",
    )
    reasons = explain(a_reader(), *a_message(*turns))["reason"]
    assert answer(*turns)["reason"]["cancel"] > 0.5
    assert reasons[0]["turn"] == 2
    assert reasons[0]["role"] == "customer"
    assert "cancel" in reasons[0]["words"]
    assert reasons == sorted(reasons, key=lambda reason: -reason["adds"])


def test_words_are_found_among_a_lot_of_talk() -> None:
    talk: list[str | tuple[str, str]] = [
        ("agent", "one moment please, i am just having a look at that"),
        "okay, thank you",
    ] * 12
    message = a_message(*talk, "i want to cancel my contract", *talk)
    reasons = explain(a_reader(), *message)["reason"]
    assert any("cancel" in reason["words"] for reason in reasons)


def test_only_one_contact_at_a_time_is_explained() -> None:
    contacts, turns = a_message("hello")
    with pytest.raises(ValueError, match="one at a time"):
        explain(a_reader(), pl.concat([contacts, contacts]), turns)
