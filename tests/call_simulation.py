"""Simulated calls for estimates of word errors: voices differ in accuracy and in overconfidence."""

from __future__ import annotations

import numpy as np

from evaluation.monitoring.wer_without_words import HeardCalls, TranscribedCalls, calls_of


def calls_like_real_ones(
    rng: np.random.Generator,
    count: int,
    *,
    calls_a_voice: int = 2,
    accuracy_spread: float = 0.5,
    confidence_spread: float = 0.4,
) -> TranscribedCalls:
    """Returns calls of lognormal length with words right by a logistic law, and scored too high.

    Insertions are a sixth of the wrong words; deletions vary from call to call.
    """
    voice = np.arange(count) // calls_a_voice
    name = rng.integers(1_000_000_000)
    accuracy = rng.normal(0, accuracy_spread, count)[voice] + rng.normal(0, 0.3, count)
    boast = rng.normal(0, confidence_spread, count)[voice]
    length = np.maximum(rng.lognormal(3.6, 0.7, count).astype(int), 3)
    call = np.repeat(np.arange(count), length)
    odds = rng.normal(1.0 + accuracy[call], 1.4)
    right = rng.random(len(call)) < 1 / (1 + np.exp(-odds))
    scores = 1 / (1 + np.exp(-(0.8 * odds + 0.9 + boast[call])))
    wrong = np.bincount(call, ~right, count).astype(int)
    insertions = rng.binomial(wrong, 0.15)
    deletions = rng.poisson(0.35 * wrong * rng.gamma(4, 0.25, count) + 0.01 * length)
    parts = np.split(scores, np.cumsum(length)[:-1])
    return TranscribedCalls(
        calls_of(parts, [f"{name}-{number}" for number in voice]),
        right,
        (wrong - insertions).astype(float),
        insertions.astype(float),
        deletions.astype(float),
        (length - insertions + deletions).astype(float),
    )


def chosen_calls(calls: TranscribedCalls, chosen: np.ndarray) -> TranscribedCalls:
    """Returns some of the calls, by their numbers, in that order."""
    inside = np.isin(calls.heard.call, chosen)
    place = {number: at for at, number in enumerate(chosen)}
    heard = HeardCalls(
        calls.heard.scores[inside],
        np.array([place[number] for number in calls.heard.call[inside]]),
        calls.heard.cluster[chosen],
    )
    return TranscribedCalls(
        heard,
        calls.right[inside],
        calls.substitutions[chosen],
        calls.insertions[chosen],
        calls.deletions[chosen],
        calls.words[chosen],
    )
