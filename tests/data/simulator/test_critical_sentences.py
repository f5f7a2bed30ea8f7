"""Planted sentences hold enough words of every class, in several voices, and are the same every time."""

import numpy as np

from data.simulator.critical_sentences import SENTENCES, critical_sentences
from evaluation.metrics.critical import CLASSES, critical_words, extended_classes
from evaluation.metrics.english import comparable


def test_each_class_is_said_often_enough_by_several_voices() -> None:
    classes = extended_classes({"names": ["lumora"]})
    spoken = critical_sentences(classes, 30, seed=7, sample_rate_hz=8000)
    said = dict.fromkeys(classes, 0)
    voices: dict[str, set[str]] = {name: set() for name in classes}
    for row, wave in spoken:
        assert len(wave) > 4000
        text = comparable(row["text"])
        for name, counts in critical_words(text, text, classes).items():
            said[name] += counts.spoken
            if counts.spoken:
                voices[name].add(row["voice"])
    assert all(30 <= count < 80 for count in said.values()), said
    assert all(len(names) >= 10 for names in voices.values())
    assert len({row["contact_id"] for row, _ in spoken}) == len(spoken)


def test_the_same_seed_speaks_the_same_and_every_class_has_sentences() -> None:
    first, second = (critical_sentences(CLASSES, 4, seed, 8000) for seed in (1, 1))
    assert [row for row, _ in first] == [row for row, _ in second]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(first, second, strict=True))
    written = {name for name, words in CLASSES.items() if words}
    assert written == set(SENTENCES)
