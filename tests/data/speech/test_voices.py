"""Voices that the source does not name: recognised by embeddings, and kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data.speech.voices import (
    SCHEMA,
    VoiceParams,
    read_voices,
    recognise_voices,
    voice_groups,
    voice_name,
)

NOBODY = pl.DataFrame(schema=SCHEMA)


def heard(voice: int, call: int, spread: float = 0.35) -> np.ndarray:
    """The embedding of a call by a voice: a direction of its own, and some noise."""
    own = np.random.default_rng([1, voice]).normal(size=256)
    noise = np.random.default_rng([2, voice, call]).normal(size=256)
    vector = own / np.linalg.norm(own) + spread * noise / np.linalg.norm(noise)
    unit: np.ndarray = (vector / np.linalg.norm(vector)).astype(np.float32)
    return unit


Call = tuple[str, str, int]  # contact, customer, true voice


def recognised(
    calls: Sequence[Call], known: pl.DataFrame = NOBODY, params: VoiceParams = VoiceParams()
) -> pl.DataFrame:
    """The table after `calls`; a contact's sound is its number, its embedding that of its voice."""
    number = {contact: n for n, (contact, _, _) in enumerate(calls)}
    asked: list[str] = []

    def read(contact: str) -> tuple[np.ndarray, int]:
        asked.append(contact)
        return np.array([number[contact]]), 8000

    table = pl.DataFrame(
        [call[:2] for call in calls],
        schema={"contact_id": pl.String, "customer_id": pl.String},
        orient="row",
    )
    voices = recognise_voices(
        read,
        table,
        known,
        embed=lambda sound, _: heard(calls[int(sound[0])][2], int(sound[0])),
        params=params,
    )
    assert asked == [call[0] for call in calls if call[0] not in set(known["contact_id"])]
    return voices


def some_calls(calls: int, voices: int, customer: str = "") -> list[Call]:
    rng = np.random.default_rng(0)
    return [
        (f"k{n}", customer or f"C{n}", int(voice))
        for n, voice in enumerate(rng.integers(0, voices, calls))
    ]


def test_V3_calls_of_one_voice_get_one_name_and_others_another() -> None:
    calls = some_calls(120, 40)
    named = dict(voice_groups(recognised(calls)).iter_rows())
    true = {
        voice: {named[contact] for contact, _, own in calls if own == voice} for *_, voice in calls
    }
    assert all(len(names) == 1 for names in true.values())
    assert len(set(named.values())) == len(true)


def test_V3_voices_keep_their_names_over_ten_deliveries() -> None:
    calls, known = some_calls(200, 30), NOBODY
    for delivery in range(1, 11):
        longer = recognised(calls[: 20 * delivery], known)
        assert longer.head(known.height).equals(known)
        known = longer
    # Delivered at once they are the same voices: nothing depends on how calls came in parts.
    assert known.equals(recognised(calls))
    first = calls[0][0]
    assert known["voice"][0] == voice_name(first)


def test_V3_more_voices_than_twelve_can_be_told_apart() -> None:
    assert recognised(some_calls(300, 60))["voice"].n_unique() == 60


def test_V3_the_more_voices_are_known_the_closer_a_call_has_to_be() -> None:
    params = VoiceParams()
    few, many = params.threshold(3), params.threshold(3000)
    assert params.same_customer <= few < params.threshold(100) < many < 1


def test_V3_a_customer_is_known_again_where_a_stranger_would_not_be() -> None:
    far = 0.9  # so the cosine of two calls is about .55
    one = [("a", "C1", 7), ("b", "C1", 7)]
    vectors = [heard(7, n, far) for n in range(2)]
    cosine = float(vectors[0] @ vectors[1])
    params = VoiceParams(same_customer=cosine - 0.02, false_joins=0.001)

    def table(customers: tuple[str, str]) -> int:
        calls = pl.DataFrame({"contact_id": ["a", "b"], "customer_id": customers})
        voices = recognise_voices(
            lambda contact: (np.array(["ab".index(contact)]), 8000),
            calls,
            NOBODY,
            embed=lambda sound, _: vectors[int(sound[0])],
            params=params,
        )
        return voices["voice"].n_unique()

    assert one[0][2] == one[1][2]
    assert params.threshold(1) > cosine > params.same_customer
    assert (table(("C1", "C1")), table(("C1", "C2"))) == (1, 2)


def test_V3_a_centroid_is_frozen_after_a_few_calls() -> None:
    voices = recognised(some_calls(30, 1), params=VoiceParams(centroid_calls=3))
    assert voices["embedding"].is_not_null().sum() == 3
    assert voices["embedding"].is_not_null().head(3).all()


def test_V3_a_call_without_speech_has_no_voice_and_is_not_heard_again() -> None:
    calls = pl.DataFrame({"contact_id": ["silent"], "customer_id": ["C1"]})
    silence = (np.zeros(8000), 8000)
    voices = recognise_voices(
        lambda _: silence, calls, NOBODY, embed=lambda *_: None, params=VoiceParams()
    )
    assert voices["voice"].to_list() == [None]
    assert voice_groups(voices).is_empty()

    def never(contact: str) -> tuple[np.ndarray, int]:
        raise AssertionError(f"{contact} was read again")

    again = recognise_voices(never, calls, voices, embed=lambda *_: None, params=VoiceParams())
    assert again.equals(voices)


def test_V3_a_damaged_table_of_voices_is_named_with_the_next_step(tmp_path: Path) -> None:
    path = tmp_path / "voices.parquet"
    assert read_voices(path).is_empty()
    path.write_bytes(b"PAR1 cut")
    with pytest.raises(ValueError, match=r"voices\.parquet: is no table of voices .*backup"):
        read_voices(path)


@pytest.mark.parametrize(
    "wrong", [{"false_joins": 0.0}, {"same_customer": 1.0}, {"centroid_calls": 0}]
)
def test_V3_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="voices: "):
        VoiceParams(**wrong)
