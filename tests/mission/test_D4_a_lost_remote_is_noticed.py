"""D4: a remote that was emptied or changed between two runs is noticed, told and filled again."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from data.files import read_lines
from data.versioning import verify_remote
from flows.runtime.context import RunContext
from flows.runtime.params import Params
from flows.runtime.settings import from_environment
from flows.stages import runner
from tests.factories import an_export


@pytest.fixture
def versioned(tmp_path: Path) -> RunContext:
    """A store with a dataset that has been pushed."""
    export = tmp_path / "export"
    an_export(export, calls=2, duration_s=15.0)
    settings = from_environment(
        {"KEEPLINE_DVC_REMOTE": str(tmp_path / "remote")}, tmp_path / "store"
    )
    context = RunContext(settings, Params(), "c" * 40, export, "folder")
    for name in ("ingest", "validate", "version"):
        _run(context, name)
    return context


def _run(context: RunContext, name: str = "version") -> tuple[str, bool, str]:
    """Runs a stage; returns the dataset's hash, whether it was reused, and what was printed."""
    out = io.StringIO()
    summary, reused = runner.run_stage(context, name, Console(file=out, width=400, no_color=True))
    return summary.get("dvc_hash", ""), reused, out.getvalue()


def _problems(context: RunContext, dvc_hash: str) -> list[str]:
    return verify_remote(dvc_hash, context.path("versioned"), remote=context.settings.dvc_remote)


def test_D4_a_whole_remote_is_reused_and_an_emptied_one_told_and_filled(
    versioned: RunContext,
) -> None:
    dvc_hash, reused, printed = _run(versioned)
    assert reused
    assert "missing" not in printed
    shutil.rmtree(versioned.settings.dvc_remote)
    again, reused, printed = _run(versioned)
    assert (again, reused) == (dvc_hash, False)
    assert "are missing" in printed
    assert "keepline data repair" in printed
    notices = [notice["body"] for notice in read_lines(versioned.path("notices.jsonl"))]
    assert any("are missing" in notice for notice in notices)
    assert _problems(versioned, dvc_hash) == []
    assert _run(versioned)[1], "whole again"


def test_D4_one_object_less_is_noticed_as_well(versioned: RunContext) -> None:
    files = [path for path in Path(versioned.settings.dvc_remote).rglob("*") if path.is_file()]
    next(path for path in files if not path.name.endswith(".dir")).unlink()
    dvc_hash, reused, printed = _run(versioned)
    assert not reused
    assert "1 of " in printed
    assert _problems(versioned, dvc_hash) == []


def test_D4_another_remote_gets_the_dataset(versioned: RunContext, tmp_path: Path) -> None:
    settings = replace(versioned.settings, dvc_remote=str(tmp_path / "other"))
    moved = replace(versioned, settings=settings)
    dvc_hash, reused, printed = _run(moved)
    assert not reused
    assert f"{tmp_path / 'other'}: " in printed
    assert _problems(moved, dvc_hash) == []


def test_D4_older_versions_that_are_gone_are_named(versioned: RunContext, tmp_path: Path) -> None:
    first = _run(versioned)[0]
    an_export(tmp_path / "more", calls=3, duration_s=15.0)
    later = replace(versioned, export=tmp_path / "more")
    for name in ("ingest", "validate", "version"):
        second = _run(later, name)[0]
    assert second != first
    shutil.rmtree(versioned.settings.dvc_remote)
    printed = _run(later)[2]
    assert "1 older versions are missing" in printed
    assert first in printed
