"""The code a stage depends on follows from imports, so any edit it reaches runs it again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.runtime import code, stage_cache
from flows.runtime.context import RunContext
from flows.runtime.graph import BY_NAME, STAGES
from flows.runtime.params import Params
from flows.runtime.settings import ROOT, from_environment

# Edits that hand-kept lists had missed: module and a stage whose result it changes.
MISSED = [
    ("evaluation/asr/test_sets.py", "evaluate_asr"),
    ("flows/candidate/decision.py", "decide_asr"),
    ("data/speech/manifests.py", "pseudo"),
    ("data/text.py", "evaluate_asr"),
    ("models/asr/decoding.py", "evaluate_asr"),
    ("evaluation/params.py", "evaluate_asr"),
    ("data/labelling/scheme.py", "label"),
    ("training/churn/temporal_calibration.py", "train_churn"),
    ("training/churn/additive.py", "backtest"),
    ("flows/stages/churn.py", "features"),
    ("flows/stages/reader.py", "decide_reader"),
]


@pytest.mark.parametrize(("module", "stage"), MISSED)
def test_K4_a_module_that_a_stage_reaches_is_part_of_its_code(module: str, stage: str) -> None:
    functions = (BY_NAME[stage].function, *BY_NAME[stage].hooks)
    assert Path(module) in {path for name in functions for path in code.files_of(name)}


@pytest.mark.parametrize(
    ("what", "stage"),
    [
        ("data/labelling/rules/cancel_phrases.py", "label"),
        ("evaluation/gates/checks/slices.py", "decide_churn"),
        ("evaluation/gates/decision.schema.json", "decide_churn"),
        ("data/sources/asterisk.py", "ingest"),
        ("evaluation/report/templates/run.html.j2", "report"),
    ],
)
def test_K4_what_is_found_at_run_time_counts_too(what: str, stage: str) -> None:
    files = {path.as_posix() for path in code.files_of(BY_NAME[stage].function)}
    folder = Path(what).parent.as_posix()
    siblings = {path.name for path in (ROOT / folder).iterdir() if path.suffix == Path(what).suffix}
    assert siblings, "the folder holds such files"
    assert {f"{folder}/{name}" for name in siblings} <= files


def test_K4_what_a_stage_does_not_use_does_not_run_it_again() -> None:
    features = {path.as_posix() for path in code.files_of(BY_NAME["features"].function)}
    assert not any(path.startswith(("training/", "models/asr/")) for path in features)
    asr = {path.as_posix() for path in code.files_of(BY_NAME["train_asr"].function)}
    assert not any(path.startswith("training/churn/") for path in asr)


def test_K4_an_edit_changes_the_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in code.PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "store", "base")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    monkeypatch.setattr(stage_cache, "ROOT", tmp_path)
    context = RunContext(from_environment({}, tmp_path / "store"), Params(), "c")
    before = {stage.name: stage_cache.stage_fingerprint(context, stage) for stage in STAGES}
    edited = tmp_path / "training" / "churn" / "additive.py"
    edited.write_text(edited.read_text() + "\n# another line\n")
    after = {stage.name: stage_cache.stage_fingerprint(context, stage) for stage in STAGES}
    # The evaluation trains the recipe again on what was known before the last quarter.
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"train_churn", "evaluate_churn"}


def test_K4_a_name_that_no_module_has_is_a_fault() -> None:
    with pytest.raises(ValueError, match="has no function nothing"):
        code.code_of("flows.stages.churn:nothing")


@pytest.mark.parametrize(("option", "file"), [("--dvc", "dvc.yaml"), ("--store", "docs/store.md")])
def test_what_is_made_from_the_graph_is_up_to_date(option: str, file: str) -> None:
    command = [sys.executable, "-m", "flows.cli", "graph", option]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert made == (ROOT / file).read_text(), f"run: keepline graph {option} > {file}"
