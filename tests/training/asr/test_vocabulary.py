"""New labels: characters or word pieces around the same encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from models.asr.load import load
from models.asr.nemo import restore
from tests.speech_helpers import (
    WORDS,
    a_hybrid_nemo,
)
from tests.training.asr.helpers import (
    SETTINGS,
    run_finetuning,
)
from training.asr.vocabulary import VocabularyError, replace_vocabulary, text_encoder


@pytest.mark.parametrize(
    ("base", "learnt"), [("base.nemo", {"characters", "bpe"}), ("hybrid.nemo", {"bpe"})]
)
def test_labels_can_be_replaced(tmp_path: Path, spoken: Path, base: str, learnt: set[str]) -> None:
    if not (spoken / "hybrid.nemo").exists():
        a_hybrid_nemo(spoken / "hybrid.nemo")
    before = restore(spoken / base).encoder.state_dict()
    for kind in sorted(learnt):
        made = replace_vocabulary(
            restore(spoken / base),
            kind,
            size=30,
            texts=[" ".join(WORDS)] * 20,
            folder=tmp_path / kind,
        )
        assert all(
            (value == before[name]).all() for name, value in made.encoder.state_dict().items()
        )
        again = replace_vocabulary(
            made, "bpe", size=28, texts=[" ".join(WORDS)] * 20, folder=tmp_path / f"{kind}-again"
        )
        assert len(text_encoder(again)("cancel my card")[0]) < len("cancel my card")
        back = replace_vocabulary(again, "characters", size=0, texts=[], folder=tmp_path)
        assert len(text_encoder(back)("cancel")[0]) == 6
    summary = run_finetuning(
        spoken,
        tmp_path / "w",
        replace(SETTINGS, steps=2, vocabulary="bpe", vocabulary_size=30),
        base=spoken / base,
    )
    assert summary["loss_last"] > 0
    assert len(load(tmp_path / "w" / "model.nemo").labels) == 30


def test_labels_that_cannot_be_had_are_refused(tmp_path: Path, spoken: Path) -> None:
    model = restore(spoken / "base.nemo")
    with pytest.raises(VocabularyError, match=r"It can be keep, characters, bpe"):
        replace_vocabulary(model, "words", size=0, texts=[], folder=tmp_path)
    with pytest.raises(
        VocabularyError, match=r"2 word pieces cannot be learnt from 3 different words .*Raise"
    ):
        replace_vocabulary(model, "bpe", size=2, texts=["yes no cancel"], folder=tmp_path)
