"""A search promises to go on after a kill, to begin with today's settings, and never to look at the test part."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tests.training.test_churn_training import QUICK, Notes, a_table
from training.churn.search import search

BASE = replace(QUICK, epochs=1, additive_steps=15)


def a_search(work: Path, trials: int, table: pl.DataFrame | None = None, record=None):
    opened = []

    @contextlib.contextmanager
    def noted(number, params):
        opened.append((number, params))
        yield Notes()

    storage = f"sqlite:///{work / 'search.db'}"
    rows = a_table(300) if table is None else table
    return search(
        BASE,
        rows,
        trials=trials,
        storage=storage,
        name="churn test",
        work_dir=work / "trials",
        open_run=record or noted,
    ), opened


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    return a_search(tmp_path_factory.mktemp("search"), 3)


def test_a_search_begins_with_the_settings_of_today(searched):
    found, opened = searched
    assert opened[0][1] == BASE
    assert len({params for _, params in opened}) == 3
    assert found.loss <= found.loss_before
    assert found.trials == 3


def test_the_test_part_is_not_looked_at(searched, tmp_path):
    """Garbage among the test rows changes nothing at all."""
    table = a_table(300).with_columns(
        event=pl.when(pl.col("split") == "test").then(~pl.col("event")).otherwise("event"),
        monthly_price=pl.when(pl.col("split") == "test").then(1e9).otherwise("monthly_price"),
    )
    found, _ = a_search(tmp_path, 3, table)
    assert (found.settings, found.loss) == (searched[0].settings, searched[0].loss)


KILLED = """
import contextlib, os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.training.test_search import Notes, a_search

@contextlib.contextmanager
def dying(number, params):
    if number == 1:
        (Path({work!r}) / "tried.txt").write_text(repr(params))
        os.kill(os.getpid(), signal.SIGKILL)
    yield Notes()

a_search(Path({work!r}), 3, record=dying)
"""


def test_a_killed_search_tries_its_trial_again_and_goes_on(tmp_path):
    root = str(Path(__file__).parents[2])
    died = subprocess.run(
        [sys.executable, "-c", KILLED.format(root=root, work=str(tmp_path))], timeout=300
    )
    assert died.returncode == -9
    found, opened = a_search(tmp_path, 3)
    assert found.resumed_from == 1
    assert found.trials == 3
    assert repr(opened[0][1]) == (tmp_path / "tried.txt").read_text()
    again, opened = a_search(tmp_path, 3)
    assert not opened
    assert again.settings == found.settings
