"""A finished stage is reused; anything that could change its result makes it run again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.files import write_json
from flows.runtime import stage_cache
from flows.runtime.context import RunContext
from flows.runtime.graph import STAGES
from flows.runtime.params import Params
from flows.runtime.settings import ROOT, from_environment

Run = Callable[..., tuple[dict[str, Any], bool]]


@pytest.fixture
def runs(tmp_path: Path) -> Run:
    """A stage that copies `in` to `out` and counts how often it ran."""
    counted = []

    def run(settings: int = 1, fail: bool = False) -> tuple[dict[str, Any], bool]:
        def work() -> dict[str, Any]:
            counted.append(1)
            if fail:
                raise KeyboardInterrupt
            (tmp_path / "out").write_text((tmp_path / "in").read_text())
            return {"count": len(counted)}

        fingerprint = stage_cache.fingerprint(
            stage_cache.digests({"in": tmp_path / "in"}), {"settings": settings}
        )
        return stage_cache.run_once(tmp_path, "copy", fingerprint, [tmp_path / "out"], work)

    (tmp_path / "in").write_text("a")
    return run


def test_a_finished_stage_is_reused(runs: Run) -> None:
    assert runs() == ({"count": 1}, False)
    assert runs() == ({"count": 1}, True)


@pytest.mark.parametrize("change", ["input", "settings", "output gone", "marker damaged"])
def test_a_changed_stage_runs_again(runs: Run, tmp_path: Path, change: str) -> None:
    runs()
    if change == "input":
        (tmp_path / "in").write_text("b")
    if change == "output gone":
        (tmp_path / "out").unlink()
    if change == "marker damaged":
        (tmp_path / stage_cache.MARKERS / "copy.json").write_text("{")
    assert runs(settings=2 if change == "settings" else 1) == ({"count": 2}, False)


def test_a_killed_stage_leaves_no_marker(runs: Run) -> None:
    runs()
    with pytest.raises(KeyboardInterrupt):
        runs(settings=2, fail=True)
    assert runs() == ({"count": 3}, False)


def test_a_stage_that_does_not_write_what_it_promised_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="promised"):
        stage_cache.run_once(tmp_path, "empty", "x", [tmp_path / "out"], dict)


def test_the_digest_of_a_folder_knows_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a").write_text("1")
    first = stage_cache.digest(tmp_path / "f")
    (tmp_path / "f" / "__pycache__").mkdir()
    (tmp_path / "f" / "__pycache__" / "a.pyc").write_text("x")
    assert stage_cache.digest(tmp_path / "f") == first
    (tmp_path / "f" / "a").rename(tmp_path / "f" / "b")
    assert stage_cache.digest(tmp_path / "f") != first


def test_a_file_that_settings_name_counts_by_its_content_and_not_by_its_place(
    tmp_path: Path,
) -> None:
    def settings(folder: str) -> dict[str, Any]:
        terms = tmp_path / folder / "words.txt"
        return {
            "terms": str(terms),
            "gone": str(tmp_path / "gone.jsonl"),
            "noise_dir": "",
            "order": 3,
        }

    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "words.txt").write_text("modem")
    before = stage_cache.without_places(settings("here"))
    assert before["order"] == 3
    assert before["gone"].endswith("gone.jsonl"), "what is not there is only a word"
    assert stage_cache.without_places(settings("there")) == before
    (tmp_path / "here" / "words.txt").write_text("broadband")
    assert stage_cache.without_places(settings("here")) != before


def test_words_that_happen_to_be_folders_are_no_files() -> None:
    words = {"mode": "data", "kind": "models", "empty": ""}
    assert stage_cache.without_places(words) == words


def test_K4_a_store_that_was_moved_has_the_same_fingerprints(tmp_path: Path) -> None:
    for place in ("here", "there/deeper"):
        context = RunContext(from_environment({}, tmp_path / place / "store"), Params(), "c")
        for stage in STAGES:
            for artefact in stage.makes:
                context.path(artefact).parent.mkdir(parents=True, exist_ok=True)
                if "." in artefact.path.rsplit("/", 1)[-1]:
                    write_json(context.path(artefact), {"path": context.stored(context.path("x"))})
    contexts = [
        RunContext(from_environment({}, tmp_path / place / "store"), Params(), "c")
        for place in ("here", "there/deeper")
    ]
    here, there = (
        {stage.name: stage_cache.stage_fingerprint(context, stage) for stage in STAGES}
        for context in contexts
    )
    assert here == there


def test_K4_paths_in_the_store_and_the_checkout_are_named_without_their_place(
    tmp_path: Path,
) -> None:
    context = RunContext(from_environment({}, tmp_path), Params(), "c")
    for path, stored in (
        (tmp_path / "asr/bundle/model.nemo", "asr/bundle/model.nemo"),
        (ROOT / "models/base/keepline-base.nemo", "checkout:models/base/keepline-base.nemo"),
        (Path("/elsewhere/model.nemo"), "/elsewhere/model.nemo"),
    ):
        assert context.stored(path) == stored
        assert context.path(stored) == path
