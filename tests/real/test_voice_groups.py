"""Real voices: grouping calls by sound keeps most voices off the other side of a split, without
knowing any of them.
"""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile

from data.records import frame
from data.speech.voices import voice_groups
from data.splits import SplitParams, split
from tests.factories import a_contact, a_customer, a_recording

UTTERANCES = 240
SEEDS = range(8)


def heard_in_training(divided: pl.DataFrame, voices: dict[str, str]) -> float:
    """Share of test calls whose true voice is in train, too."""
    calls = divided.drop_nulls("contact_id").with_columns(
        pl.col("contact_id").replace_strict(voices).alias("true")
    )
    train, test = (calls.filter(split=side)["true"] for side in ("train", "test"))
    return float(test.is_in(train.implode()).to_numpy().mean()) if len(test) else 0.0


@pytest.mark.real
def test_grouping_by_sound_keeps_most_voices_out_of_training(real_data: Path) -> None:
    folder = real_data / "speech" / "barista"
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").open()][:UTTERANCES]
    voices = {row["audio_filepath"]: row["speaker"] for row in rows}
    recordings = frame("recordings", [a_recording(name) for name in voices])
    groups = voice_groups(lambda name: soundfile.read(folder / name), recordings)
    contacts = frame("contacts", [a_contact(name, f"C{n}") for n, name in enumerate(voices)])
    customers = frame("customers", [a_customer(f"C{n}") for n in range(len(voices))])

    def leaked(grouping: pl.DataFrame | None, seed: int) -> float:
        divided, _ = split(
            contacts, recordings, customers, params=SplitParams(seed=seed), voice_groups=grouping
        )
        return heard_in_training(divided, voices)

    by_sound, blind = (
        np.mean([leaked(grouping, seed) for seed in SEEDS]) for grouping in (groups, None)
    )
    assert blind > 0.9  # a division that knows no voices hears nearly all of them in training
    assert by_sound < 0.4
