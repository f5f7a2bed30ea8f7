"""Real voices: calls that come in three deliveries are told apart, and their names stay."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile

from data.records import frame
from data.speech.voices import SCHEMA, VoiceParams, recognise_voices, voice_groups
from data.splits import SplitParams, split
from models.speaker.encoder import embed
from tests.factories import a_contact, a_customer, a_recording

UTTERANCES = 90
SEEDS = range(8)


def heard_in_training(divided: pl.DataFrame, voices: dict[str, str]) -> float:
    """Share of test calls whose true voice is in train, too."""
    calls = divided.drop_nulls("contact_id").with_columns(
        pl.col("contact_id").replace_strict(voices).alias("true")
    )
    train, test = (calls.filter(split=side)["true"] for side in ("train", "test"))
    return float(test.is_in(train.implode()).to_numpy().mean()) if len(test) else 0.0


@pytest.mark.real
def test_V3_real_voices_keep_apart_and_keep_their_names_over_deliveries(real_data: Path) -> None:
    folder = real_data / "speech" / "barista"
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").open()][:UTTERANCES]
    true = {row["audio_filepath"]: row["speaker"] for row in rows}
    vectors = {}
    for name in true:
        samples, rate_hz = soundfile.read(folder / name, dtype="float32")
        vectors[name] = embed(samples, rate_hz)
    number = {name: n for n, name in enumerate(true)}
    names = list(true)

    def recognised(customers: list[str]) -> pl.DataFrame:
        calls = pl.DataFrame({"contact_id": names, "customer_id": customers})
        known = pl.DataFrame(schema=SCHEMA)
        for begin in range(0, len(names), 30):
            longer = recognise_voices(
                lambda name: (np.array([number[name]]), 8000),
                calls.slice(begin, 30),
                known,
                embed=lambda sound, _: vectors[names[int(sound[0])]],
                params=VoiceParams(),
            )
            assert longer.head(known.height).equals(known)
            known = longer
        return known

    # Each speaker is a customer whom the source knows: almost all have one voice of their own.
    told = recognised(list(true.values())).drop_nulls("voice")
    assert told.height > 0.9 * UTTERANCES
    heard = told.group_by("customer_id").agg(pl.col("voice").n_unique())["voice"].to_numpy()
    assert np.mean(heard == 1) > 0.9
    assert told["voice"].n_unique() > 0.8 * len(heard)

    # Nobody is known: each call is a customer's own, the hardest case.
    contacts = frame("contacts", [a_contact(name, f"C{n}") for n, name in enumerate(names)])
    customers = frame("customers", [a_customer(f"C{n}") for n in range(len(names))])
    recordings = frame("recordings", [a_recording(name) for name in names])
    groups = voice_groups(recognised([f"C{n}" for n in range(len(names))]))

    def leaked(grouping: pl.DataFrame | None, seed: int) -> float:
        divided, _ = split(
            contacts, recordings, customers, params=SplitParams(seed=seed), voice_groups=grouping
        )
        return heard_in_training(divided, true)

    by_sound, blind = (
        np.mean([leaked(grouping, seed) for seed in SEEDS]) for grouping in (groups, None)
    )
    assert blind > 0.7  # a division that knows no voices hears most of them in training
    assert by_sound < blind - 0.2
