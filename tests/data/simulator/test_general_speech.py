"""Tests that general speech has the asked length, many voices and repeats itself exactly."""

from __future__ import annotations

import numpy as np

from data.simulator.general_speech import SENTENCES, general_speech


def test_it_is_as_long_as_asked_for_and_varies() -> None:
    utterances = general_speech(20.0, seed=3)
    lengths_s = [len(samples) / 16000 for _, samples in utterances]
    assert sum(lengths_s[:-1]) < 20.0 <= sum(lengths_s)
    texts = [row["text"] for row, _ in utterances]
    assert len(set(texts)) == len(texts)
    assert set(texts) <= set(SENTENCES)
    assert len({row["voice"] for row, _ in utterances}) == len(utterances)


def test_the_same_seed_gives_the_same_speech() -> None:
    first, again, other = (general_speech(5.0, seed=seed) for seed in (1, 1, 2))
    assert [row for row, _ in first] == [row for row, _ in again]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(first, again, strict=True))
    assert [row for row, _ in first] != [row for row, _ in other]
