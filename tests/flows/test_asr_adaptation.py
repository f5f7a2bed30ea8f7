"""What the language model may learn from, and that nothing stale joins a bundle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from data.files import write_table
from data.records import CONTACTS, TABLES, TURNS
from flows.commands.pipeline import notes
from flows.runtime.params import read_params
from flows.stages import asr_adaptation
from models.asr.decoding import FILES, Decoding
from models.asr.language import Text
from training.asr.finetune import AsrTraining
from training.asr.text_adaptation import TextAdaptation

BEAM = Decoding(mode="beam")

WithParams = Callable[..., Any]


@pytest.fixture
def context(tmp_path: Path) -> WithParams:
    """A store with a call and a chat of training customers, and a call of a test customer."""

    def with_params(**params: Any) -> Any:
        return SimpleNamespace(
            path=lambda place: tmp_path / str(place),
            params=SimpleNamespace(adaptation=TextAdaptation(**params)),
        )

    split = {"phone": "train", "chat": "train", "held-out": "test", None: "train"}
    write_table(
        tmp_path / "splits.parquet",
        pl.DataFrame({"contact_id": list(split), "split": list(split.values())}),
    )
    channels = {"phone": "phone", "chat": "chat", "held-out": "phone"}
    contacts = [
        {**dict.fromkeys(CONTACTS), "contact_id": key, "channel": value}
        for key, value in channels.items()
    ]
    write_table(
        tmp_path / "clean/contacts.parquet", pl.DataFrame(contacts, schema=TABLES["contacts"])
    )
    turns = [
        ("phone", 0, "agent", "how can i help"),
        ("phone", 1, "customer", "my modem is dead"),
        ("chat", 0, "customer", "Hello! Where is my Zyxel?"),
        ("chat", 1, "system", "queued"),
        ("held-out", 0, "customer", "the answer to the test"),
    ]
    rows = [
        {**dict.fromkeys(TURNS), "contact_id": contact, "turn": turn, "role": role, "text": text}
        for contact, turn, role, text in turns
    ]
    write_table(tmp_path / "clean/turns.parquet", pl.DataFrame(rows, schema=TURNS))
    return with_params


def test_only_what_training_customers_and_their_agents_said_is_learnt(context: WithParams) -> None:
    texts = {text.text for text in asr_adaptation.domain_texts(context())}
    assert texts == {"how can i help", "my modem is dead", "Hello!", "Where is my Zyxel?"}
    assert {text.text for text in asr_adaptation.domain_texts(context(messages=False))} == {
        "how can i help",
        "my modem is dead",
    }


def test_terms_of_a_file_are_learnt_too(context: WithParams, tmp_path: Path) -> None:
    (tmp_path / "terms.txt").write_text("Zyxel\t3\n")
    assert Text("Zyxel", 3, whole=False) in asr_adaptation.domain_texts(
        context(terms=str(tmp_path / "terms.txt"), decoding=BEAM)
    )


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (
            "decoding: {boosts: [Zyxel]}",
            r"adaptation\.decoding\.boosts.*Set adaptation\.decoding\.mode to beam",
        ),
        (
            "terms: words.txt",
            r"adaptation\.terms.*Set adaptation\.decoding\.mode to beam.*adaptation\.spoken",
        ),
    ],
)
def test_words_that_nothing_would_use_are_refused_with_the_setting_to_change(
    tmp_path: Path, text: str, named: str
) -> None:
    (tmp_path / "params.yaml").write_text(f"adaptation: {{{text}}}")
    with pytest.raises(ValueError, match=named):
        read_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text(f"adaptation: {{{text}, spoken: 9}}")
    if "terms" in text:
        assert read_params(tmp_path / "params.yaml").adaptation.spoken == 9


@pytest.mark.parametrize(
    ("wer_beam", "mode", "became"), [(0.1, "beam", "in use"), (0.3, "greedy", "not used")]
)
def test_what_became_of_words_is_told_on_the_terminal(
    context: WithParams,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    wer_beam: float,
    mode: str,
    became: str,
) -> None:
    outcome = {"mode": mode, "wer_greedy": 0.2, "wer_beam": wer_beam}
    monkeypatch.setattr("training.asr.text_adaptation.adapt", lambda *_, **__: dict(outcome))
    (tmp_path / "words.txt").write_text("Zyxel\n")
    with_terms = context(
        terms=str(tmp_path / "words.txt"), decoding=replace(BEAM, boosts=("Zyxel", "modem"))
    )
    facts = asr_adaptation.adapt(with_terms, tmp_path / "model.nemo", print)
    (note,) = notes({"train_asr": {"adaptation": facts}})
    assert "the terms of words.txt and 2 boosts" in note
    assert f": {became}" in note
    assert f"WER 20.0% without, {wer_beam:.1%} with it" in note


def test_greedy_leaves_nothing_beside_the_model_not_even_an_older_language_model(
    context: WithParams, tmp_path: Path
) -> None:
    for name in FILES:
        (tmp_path / name).write_text("old")
    assert asr_adaptation.adapt(context(), tmp_path / "model.nemo", print) == {}
    assert not any((tmp_path / name).exists() for name in FILES)


def test_simulated_speech_joins_training_only_where_asked_for(context: WithParams) -> None:
    assert asr_adaptation.with_synthetic_speech(context(), AsrTraining(), print) == AsrTraining()
    training = asr_adaptation.with_synthetic_speech(
        context(spoken=2, spoken_share=0.3), AsrTraining(), lambda done, total: None
    )
    (extra,) = training.extra
    assert extra.share == 0.3
    assert len(Path(extra.manifest).read_text().splitlines()) == 2
