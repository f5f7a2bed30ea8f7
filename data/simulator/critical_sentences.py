"""Speaks sentences with critical words in simulated voices, where test calls hold too few of them.

A customer says "cancel" in few calls, so a test set of a few hundred utterances holds a handful of
such words and proves nothing about them. These sentences hold enough of each class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from itertools import count

import numpy as np

from data.simulator.voice import Synthesizer, voices

VOICES = 12
# Class of critical words (evaluation.metrics.critical) → sentences that hold words of it.
SENTENCES: Mapping[str, tuple[str, ...]] = {
    "amounts": (
        "you charged me twenty dollars too much",
        "my last bill was ninety five dollars",
        "i paid one hundred and twelve dollars last month",
        "they told me it would be thirty percent less",
        "i only use two of the five phones",
        "the price went up by eight dollars and fifty cents",
        "that is forty pounds for three months",
        "i have been a customer for sixteen years",
    ),
    "negation": (
        "i did not order this and i will not pay",
        "nobody called me back and nothing has changed",
        "there is no signal and it never works",
        "i have not been at home without a phone",
        "no that is not what i said",
        "i can hardly hear you and it is not my phone",
        "none of this is right and i do not want it",
        "it is neither fast nor good",
    ),
    "leaving": (
        "please cancel my contract at the end of the month",
        "i want to leave and close my account",
        "i would like to terminate my contract",
        "i am going to switch to a competitor",
        "if you cannot help me i will quit and switch",
        "i want a refund and then i cancel",
        "this is a complaint and my lawyer will call you",
        "i am leaving and i want a cancellation in writing",
    ),
}
# For words of a class that no sentence is written for.
_CARRIERS = (
    "i am calling about {word} again",
    "it is about {word} i think",
    "you said {word} the last time i called",
)


def critical_sentences(
    classes: Mapping[str, Set[str]], words_each: int, seed: int, sample_rate_hz: int = 16000
) -> list[tuple[dict[str, str], np.ndarray]]:
    """Returns sentences as (text and voice, samples [frames]), with enough words of every class.

    `classes` are words by class; at least `words_each` of each class that has words are spoken, by
    up to VOICES voices in turn. The same seed gives the same sentences in the same voices.
    """
    synthesizer, speakers = Synthesizer(), voices(VOICES, seed + 70_001)
    spoken = dict.fromkeys((name for name, words in classes.items() if words), 0)
    utterances: list[tuple[dict[str, str], np.ndarray]] = []
    for name in spoken:
        for number, text in enumerate(_sentences(name, classes[name])):
            if spoken[name] >= words_each:
                break
            # The next voice a sentence, and another pairing in every round of the sentences.
            voice = speakers[(len(utterances) + number // VOICES) % VOICES]
            row = {
                "text": text,
                "voice": f"critical-{voice.name}",
                "contact_id": f"critical-{len(utterances)}",
            }
            utterances.append((row, synthesizer.speak(text, voice, sample_rate_hz)))
            for other in spoken:
                spoken[other] += sum(word in classes[other] for word in text.split())
    return utterances


def _sentences(word_class: str, words: Set[str]) -> Iterator[str]:
    """Yields sentences that each hold a word of the class, over and over.

    Those written for the class come first, then carriers with the words they do not hold.
    """
    written = [
        text for text in SENTENCES.get(word_class, ()) if any(w in words for w in text.split())
    ]
    held = {word for text in written for word in text.split()}
    others = [] if written and word_class in SENTENCES else sorted(set(words) - held)
    carried = [
        _CARRIERS[number % len(_CARRIERS)].format(word=word) for number, word in enumerate(others)
    ]
    texts = written + carried
    for number in count():
        yield texts[number % len(texts)]
