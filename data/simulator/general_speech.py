"""Generates general English in simulated voices, to test a recogniser outside its domain."""

from __future__ import annotations

import numpy as np

from data.simulator.voice import Synthesizer, voices

VOICES = 12
SENTENCES = (
    "the river was high after three days of rain",
    "my grandmother keeps her letters in a wooden box",
    "we walked along the beach until the sun went down",
    "the train to the north leaves from the other platform",
    "he wrote the whole story in a single night",
    "there is a small garden behind the old school",
    "nobody had seen the cat since sunday morning",
    "she plays the violin better than her teacher",
    "bread and butter and a cup of tea is all i want",
    "the children built a house out of snow",
    "it was the coldest winter that anyone could remember",
    "he opened the window and listened to the birds",
    "the museum has a new room for paintings from spain",
    "two of the horses ran across the open field",
    "i forgot my umbrella on the bus again",
    "they have lived in the same village all their lives",
    "the doctor told him to sleep more and worry less",
    "a bright moon stood over the quiet harbor",
    "her brother works on a ship that sails to africa",
    "the cake needs forty minutes in a hot oven",
    "we heard music coming from the house next door",
    "the road over the mountain is closed in winter",
    "i would rather read a book than watch the game",
    "the captain looked at the sky and shook his head",
    "all the leaves had fallen before the first frost",
    "there were seven chairs but only six guests",
    "the king had three sons and one clever daughter",
    "you can see the whole city from the top of the tower",
    "he painted the kitchen yellow and the door blue",
    "they argued about the color of the curtains",
    "the dog waited at the gate every afternoon",
    "science begins with a question and a little doubt",
    "the bridge was built more than a hundred years ago",
    "my sister grows tomatoes and beans on her balcony",
    "the teacher asked the class to be quiet for a moment",
    "a strong wind blew the hat from his head",
    "we never found out who had sent the flowers",
    "she cut the apple into eight equal pieces",
    "the farmer sold his last cow in the spring",
    "there was not a single light on in the street",
    "he learned to swim when he was almost fifty",
    "the library closes early on the first friday of the month",
    "the soup was too salty but the bread was fresh",
    "they crossed the desert with only one guide",
    "i dreamed of a house with a hundred windows",
    "the actor forgot his lines and began to laugh",
    "after the storm the water was as smooth as glass",
    "the birds fly south before the days grow short",
    "he could not decide between the red shoes and the black ones",
    "the village has one church one shop and two schools",
)


def general_speech(
    seconds: float, seed: int, sample_rate_hz: int = 16000
) -> list[tuple[dict[str, str], np.ndarray]]:
    """Returns about `seconds` of speech as (text and voice, samples [frames]).

    The same seed gives the same sentences in the same voices.
    """
    synthesizer, speakers = Synthesizer(), voices(VOICES, seed + 90_001)
    order = np.random.default_rng([seed, 0x6E6]).permutation(len(SENTENCES))
    utterances: list[tuple[dict[str, str], np.ndarray]] = []
    frames = 0
    while frames < seconds * sample_rate_hz:
        number = len(utterances)
        text, voice = (
            SENTENCES[order[number % len(order)]],
            speakers[(number + number // len(order)) % VOICES],
        )
        samples = synthesizer.speak(text, voice, sample_rate_hz)
        utterances.append(
            (
                {"text": text, "voice": f"general-{voice.name}", "contact_id": f"general-{number}"},
                samples,
            )
        )
        frames += len(samples)
    return utterances
