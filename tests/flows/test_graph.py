"""dvc.yaml and Prefect walk the same street."""

from __future__ import annotations

import yaml

from flows.runtime.graph import STAGES
from flows.runtime.params import Params
from flows.runtime.settings import ROOT
from flows.stages import runner


def _paths(entries):
    return {(entry if isinstance(entry, str) else next(iter(entry))) for entry in entries or []}


def test_dvc_yaml_says_what_the_graph_says():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert list(stages) == [step.name for step in STAGES if step.experiment]
    for step in STAGES:
        if not step.experiment:
            continue
        stage = stages[step.name]
        assert stage["cmd"] == f"python -m flows.cli step {step.name}"
        assert _paths(stage.get("deps")) == set(step.code) | {
            f"data/store/{need}" for need in step.needs
        }, step.name
        assert set(stage.get("params", [])) == set(step.params), step.name
        made = _paths(stage.get("outs")) | _paths(stage.get("metrics"))
        assert made == {f"data/store/{out}" for out in step.outs}, step.name
        kept = {path for out in stage["outs"] if isinstance(out, dict) for path in out}
        assert kept == {f"data/store/{out}" for out in step.keeps}, step.name


def test_every_step_has_its_function_its_settings_and_its_code():
    for step in STAGES:
        assert any(hasattr(module, step.name) for module in runner.MODULES), step.name
        assert all(hasattr(Params(), section) for section in step.params), step.name
        assert all((ROOT / path).exists() for path in step.code), step.name


def test_a_step_needs_only_what_an_earlier_one_made():
    made: set[str] = set()
    for step in STAGES:
        for need in step.needs:
            assert any(need == out or need.startswith(f"{out}/") for out in made), (
                f"{step.name} needs {need}"
            )
        made |= set(step.outs)


def test_no_experiment_depends_on_a_step_that_acts_on_the_world():
    outside = {out for step in STAGES if not step.experiment for out in step.outs}
    assert not any(need in outside for step in STAGES if step.experiment for need in step.needs)
