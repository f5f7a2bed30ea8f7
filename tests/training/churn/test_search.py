"""A search resumes after a kill, starts with the given settings, and never reads the test split."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tests.churn_helpers import QUICK, RecordedRun, churn_table
from training.churn.search import task
from training.churn.settings import ChurnTraining
from training.search import SearchResult, search

OpenRun = Callable[[int, ChurnTraining], AbstractContextManager[RecordedRun]]
BASE = replace(QUICK, epochs=1, additive_steps=15)


def run_search(
    work: Path,
    trials: int,
    table: pl.DataFrame | None = None,
    open_run: OpenRun | None = None,
) -> tuple[SearchResult, list[tuple[int, ChurnTraining]]]:
    opened: list[tuple[int, ChurnTraining]] = []

    @contextlib.contextmanager
    def recorded(number: int, params: ChurnTraining) -> Iterator[RecordedRun]:
        opened.append((number, params))
        yield RecordedRun()

    storage = f"sqlite:///{work / 'search.db'}"
    rows = churn_table(300) if table is None else table
    return search(
        task(BASE, rows),
        trials=trials,
        storage=storage,
        name="churn test",
        work_dir=work / "trials",
        open_run=open_run or recorded,
    ), opened


@pytest.fixture(scope="module")
def searched(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[SearchResult, list[tuple[int, ChurnTraining]]]:
    return run_search(tmp_path_factory.mktemp("search"), 3)


def test_a_search_begins_with_the_settings_of_today(
    searched: tuple[SearchResult, list[tuple[int, ChurnTraining]]],
) -> None:
    result, opened = searched
    assert opened[0][1] == BASE
    assert len({params for _, params in opened}) == 3
    assert result.loss <= result.loss_before
    assert result.trials == 3


def test_the_test_part_is_not_looked_at(
    searched: tuple[SearchResult, list[tuple[int, ChurnTraining]]], tmp_path: Path
) -> None:
    """Garbage among the test rows changes nothing at all."""
    table = churn_table(300).with_columns(
        event=pl.when(pl.col("split") == "test").then(~pl.col("event")).otherwise("event"),
        monthly_price=pl.when(pl.col("split") == "test").then(1e9).otherwise("monthly_price"),
    )
    result, _ = run_search(tmp_path, 3, table)
    assert (result.settings, result.loss) == (searched[0].settings, searched[0].loss)


KILLED = """
import contextlib, os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.training.churn.test_search import RecordedRun, run_search

@contextlib.contextmanager
def dying(number, params):
    if number == 1:
        (Path({work!r}) / "tried.txt").write_text(repr(params))
        os.kill(os.getpid(), signal.SIGKILL)
    yield RecordedRun()

run_search(Path({work!r}), 3, open_run=dying)
"""


def test_a_killed_search_tries_its_trial_again_and_goes_on(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[3])
    died = subprocess.run(
        [sys.executable, "-c", KILLED.format(root=root, work=str(tmp_path))], timeout=300
    )
    assert died.returncode == -9
    result, opened = run_search(tmp_path, 3)
    assert result.resumed_from == 1
    assert result.trials == 3
    assert repr(opened[0][1]) == (tmp_path / "tried.txt").read_text()
    again, opened = run_search(tmp_path, 3)
    assert not opened
    assert again.settings == result.settings
