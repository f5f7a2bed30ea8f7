"""Settings of recogniser and reader are searched as churn's are: on validation data, resumable."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data.labelling.scheme import SCHEME
from tests.churn_helpers import RecordedRun
from tests.reader_helpers import SMALL, training_examples
from tests.speech_helpers import a_manifest, a_nemo
from tests.training.asr.helpers import SETTINGS
from training.asr import search as asr_search
from training.churn import search as churn_search
from training.churn.settings import ChurnTraining
from training.reader import search as reader_search
from training.search import SearchResult, SearchTask, search, setting, with_setting


def _searched(task: SearchTask, folder: Path, trials: int) -> tuple[SearchResult, list[Any]]:
    """Brings a search to `trials` trials; returns its result and the settings tried in this call."""
    tried: list[Any] = []

    @contextlib.contextmanager
    def recorded(number: int, params: Any) -> Iterator[RecordedRun]:
        tried.append(params)
        yield RecordedRun()

    result = search(
        task,
        trials=trials,
        storage=f"sqlite:///{folder / 'search.db'}",
        name="test",
        work_dir=folder / "trials",
        open_run=recorded,
    )
    return result, tried


def test_K3_the_recogniser_is_searched_by_validation_wer(tmp_path: Path) -> None:
    a_manifest(tmp_path / "speech" / "train.jsonl", 8)
    a_manifest(tmp_path / "speech" / "valid.jsonl", 4, seed=1)
    task = asr_search.task(
        replace(SETTINGS, steps=2, valid_steps=1, checkpoint_steps=1),
        a_nemo(tmp_path / "base.nemo"),
        train_manifest=tmp_path / "speech" / "train.jsonl",
        valid_manifest=tmp_path / "speech" / "valid.jsonl",
    )
    assert task.judged_on == "4 validation utterances"
    result, tried = _searched(task, tmp_path, 2)
    assert tried[0] == task.base
    assert tried[1].augmentation != tried[0].augmentation or tried[1] != tried[0]
    assert result.loss <= result.loss_before
    again, tried = _searched(task, tmp_path, 2)
    assert not tried
    assert again.settings == result.settings


def test_K3_the_reader_is_searched_and_never_sees_a_test_contact(tmp_path: Path) -> None:
    examples = training_examples()
    base = replace(SMALL, epochs=1, max_contacts=200)
    result, tried = _searched(reader_search.task(base, SCHEME, examples), tmp_path, 2)
    assert tried[0] == base
    assert result.loss <= result.loss_before
    sides = {side: examples[side] for side in ("train", "valid")}
    (tmp_path / "alone").mkdir()
    alone, _ = _searched(reader_search.task(base, SCHEME, sides), tmp_path / "alone", 2)
    assert (alone.settings, alone.loss) == (result.settings, result.loss)


def test_K3_a_nested_setting_has_a_dotted_name() -> None:
    changed = with_setting(SETTINGS, "augmentation.noise_share", 0.3)
    assert setting(changed, "augmentation.noise_share") == 0.3
    assert replace(changed, augmentation=SETTINGS.augmentation) == SETTINGS
    with pytest.raises(AttributeError):
        setting(SETTINGS, "augmentation.nothing")


def test_K3_every_name_of_a_space_is_a_setting() -> None:
    spaces = ((ChurnTraining(), churn_search), (SMALL, reader_search), (SETTINGS, asr_search))
    for base, module in spaces:
        for name in module.SPACE:
            setting(base, name)
