"""What the street lets a language model learn from, and that nothing stale joins a bundle."""

from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from data.records import CONTACTS, TURNS
from data.store import write_table
from flows import adapting
from models.decoding import FILES
from models.language import Text
from training.asr import AsrTraining
from training.text_adaptation import TextAdaptation


@pytest.fixture
def street(tmp_path):
    """A store with a call and a chat of training customers, and a call of a test customer."""

    def with_params(**params):
        return SimpleNamespace(path=tmp_path.joinpath, params=SimpleNamespace(adaptation=TextAdaptation(**params)))

    split = {"phone": "train", "chat": "train", "exam": "test", None: "train"}
    write_table(tmp_path / "splits.parquet", pl.DataFrame({"contact_id": list(split), "split": list(split.values())}))
    channels = {"phone": "phone", "chat": "chat", "exam": "phone"}
    contacts = [{**dict.fromkeys(CONTACTS), "contact_id": key, "channel": value} for key, value in channels.items()]
    write_table(tmp_path / "clean/contacts.parquet", pl.DataFrame(contacts, schema=CONTACTS))
    turns = [("phone", 0, "agent", "how can i help"), ("phone", 1, "customer", "my modem is dead"),
             ("chat", 0, "customer", "Hello! Where is my Zyxel?"), ("chat", 1, "system", "queued"),
             ("exam", 0, "customer", "the answer to the exam")]  # fmt: skip
    rows = [{**dict.fromkeys(TURNS), "contact_id": one, "turn": turn, "role": role, "text": text}
            for one, turn, role, text in turns]  # fmt: skip
    write_table(tmp_path / "clean/turns.parquet", pl.DataFrame(rows, schema=TURNS))
    return with_params


def test_only_what_training_customers_and_their_agents_said_is_learnt(street):
    found = {text.text for text in adapting.texts(street())}
    assert found == {"how can i help", "my modem is dead", "Hello!", "Where is my Zyxel?"}
    assert {text.text for text in adapting.texts(street(messages=False))} == {"how can i help", "my modem is dead"}


def test_terms_of_a_file_are_learnt_too(street, tmp_path):
    (tmp_path / "terms.txt").write_text("Zyxel\t3\n")
    assert Text("Zyxel", 3, whole=False) in adapting.texts(street(terms=str(tmp_path / "terms.txt")))


def test_greedy_leaves_nothing_beside_the_model_not_even_an_older_language_model(street, tmp_path):
    for name in FILES:
        (tmp_path / name).write_text("old")
    assert adapting.adapt(street(), tmp_path / "model.nemo", print) == {}
    assert not any((tmp_path / name).exists() for name in FILES)


def test_simulated_speech_joins_training_only_where_asked_for(street):
    assert adapting.with_spoken(street(), AsrTraining(), print) == AsrTraining()
    training = adapting.with_spoken(street(spoken=2, spoken_share=0.3), AsrTraining(), lambda done, total: None)
    (extra,) = training.extra
    assert extra.share == 0.3
    assert len(Path(extra.manifest).read_text().splitlines()) == 2
