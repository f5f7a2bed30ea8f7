"""A4: telephone effects in training and in the test sets: each codec and effect has its slice in
the scorecard.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from data.audio import SAMPLE_RATE_HZ
from data.files import read_json
from data.speech.telephone import EFFECTS, Telephony
from evaluation.asr.test_sets import evaluate, load_test_sets
from evaluation.params import EvaluationParams
from evaluation.scorecard import Scorecard, load
from tests.speech_helpers import a_manifest
from training.asr.speech import Augmentation, augment, collate

BASE = Path(__file__).resolve().parents[2] / "models" / "base" / "keepline-base.nemo"
CONDITIONS = (
    "as_delivered",
    "mulaw",
    "alaw",
    "gsm",
    "amr_nb",
    "packet_loss_20pct",
    "noise_0db",
    "music_5db",
    "room",
    "speed_110pct",
    "crosstalk_10db",
)


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scorecard]:
    """The base that ships, on 24 utterances of four voices delivered by two codecs, and through
    every effect.
    """
    manifest = a_manifest(tmp_path_factory.mktemp("A4") / "test.jsonl", words=3)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    for number, row in enumerate(rows):
        row |= {
            "contact_id": f"c{number}",
            "voice": f"v{number % 4}",
            "codec": "ULAW" if number % 3 else "GSM610",
        }
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    params = EvaluationParams(
        conditions=CONDITIONS, condition_s=30.0, guardrail_s=0, critical_sentence_words=0
    )
    return evaluate(
        BASE,
        load_test_sets(manifest, params),
        name="base",
        bundle_sha256="sha",
        params=params,
        now=datetime(2026, 3, 1, tzinfo=UTC),
    )


def test_A4_each_condition_and_each_codec_has_its_slice_with_an_interval_by_voice(
    cards: dict[str, Scorecard], tmp_path: Path
) -> None:
    assert {kind for kind in EFFECTS if not any(name.startswith(kind) for name in CONDITIONS)} == {
        "amr_wb"
    }
    cards["test"].save(tmp_path / "asr.json")
    card = load(tmp_path / "asr.json")
    assert set(card.conditions) == set(CONDITIONS)
    assert set(card.slices["codec"]) == {"GSM610", "ULAW"}
    for metrics in (*card.conditions.values(), *card.slices["codec"].values()):
        wer = metrics["wer"]
        assert wer.low is not None
        assert wer.high is not None
        assert wer.low <= wer.value <= wer.high
    assert (
        read_json(tmp_path / "asr.json")["conditions"]["gsm"]["wer"]["n"]
        == card.conditions["mulaw"]["wer"].n
    )


def test_A4_what_was_delivered_is_heard_better_than_what_drowns_in_noise(
    cards: dict[str, Scorecard],
) -> None:
    wer_by_condition = {
        name: metrics["wer"].value for name, metrics in cards["test"].conditions.items()
    }
    assert wer_by_condition["as_delivered"] < 0.9, (
        "the base hears something in words without a sentence"
    )
    assert wer_by_condition["noise_0db"] > wer_by_condition["as_delivered"] + 0.05
    counted = cards["conditions"].units["condition"].value_counts()["count"]
    assert counted.to_list() == [counted[0]] * len(CONDITIONS), (
        "all conditions on the same utterances"
    )


def test_A4_training_speech_meets_each_effect_by_its_share_and_the_same_seed_gives_the_same_bytes() -> (
    None
):
    rng = np.random.default_rng(0)
    batch, lengths = collate(
        [0.1 * rng.standard_normal(n).astype(np.float32) for n in (16000, 12345, 9000, 4000)]
    )
    assert SAMPLE_RATE_HZ == 16000
    quiet = Augmentation(telephone_share=0.0, noise_share=0.0)
    for name in (
        "packet_loss_60pct" if name == "packet_loss" else name
        for name in EFFECTS
        if name != "speed"
    ):
        settings = replace(quiet, telephony=Telephony({name: 1.0}))
        first, again = (
            augment(batch, lengths, settings, rng=np.random.default_rng(3)) for _ in range(2)
        )
        assert first.numpy().tobytes() == again.numpy().tobytes()
        assert all(not np.array_equal(first[i], batch[i]) for i in range(4)), name
        assert all(not first[i, n:].any() for i, n in enumerate(lengths.tolist())), (
            f"{name} sounds behind the end"
        )
    untouched = augment(
        batch,
        lengths,
        replace(quiet, telephony=Telephony({"gsm": 0.0})),
        rng=np.random.default_rng(3),
    )
    assert np.array_equal(untouched, batch)
