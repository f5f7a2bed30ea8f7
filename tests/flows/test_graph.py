"""The stage graph is consistent: every stage has its function, parameters and needs."""

from __future__ import annotations

import pytest
import yaml

from data import artefacts
from flows.runtime import code
from flows.runtime.graph import BACKTEST, NIGHTLY, STAGES, Stage
from flows.runtime.params import Params
from flows.runtime.settings import ROOT
from models.kinds import kind_names

ALL = (*STAGES, NIGHTLY, BACKTEST)
# What an experiment takes as the last run has left it: it reads, and never makes it.
OUTSIDE = {artefacts.REGISTRY, *(artefacts.DECIDE.of(kind) for kind in kind_names())}


def test_dvc_yaml_has_the_stages_that_act_on_nothing_outside_the_store() -> None:
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    stages = pipeline["stages"]
    assert pipeline["vars"] == [{"store": "data/store"}]
    assert list(stages) == [stage.name for stage in STAGES if stage.experiment]
    for stage in STAGES:
        if not stage.experiment:
            continue
        entry = stages[stage.name]
        command = f"python -m flows.cli stage {stage.name} --store ${{store}} --params params.yaml"
        assert entry["cmd"] == command
        needs = {f"${{store}}/{need}" for need in stage.needs if need not in OUTSIDE}
        assert needs <= set(entry["deps"]), stage.name
        assert set(entry.get("params", [])) == set(stage.params), stage.name
        made = {path for out in [*entry["outs"], *entry.get("metrics", [])] for path in out}
        assert made == {f"${{store}}/{artefact}" for artefact in stage.makes}, stage.name
        # DVC's run cache would bring back who was on which side before today.
        assert not made & {f"${{store}}/{artefact}" for artefact in stage.keeps}, stage.name


def test_E13_no_stage_of_dvc_yaml_reads_or_writes_what_the_gate_sees() -> None:
    sealed = ("scorecards/", "probes/", "evaluate_", "decide_", "probe_", "decisions/")
    text = (ROOT / "dvc.yaml").read_text()
    for place in sealed:
        assert f"${{store}}/{place}" not in text
    assert text.count("${store}/metrics/") == len(kind_names())


def test_no_stage_of_dvc_yaml_runs_always_so_that_repro_can_find_nothing_to_do() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert not any("always_changed" in entry for entry in stages.values())


@pytest.mark.parametrize("stage", ALL, ids=lambda stage: stage.name)
def test_every_stage_has_its_functions_and_its_parameters(stage: Stage) -> None:
    assert all(callable(code.load(name)) for name in (stage.function, *stage.hooks))
    assert all(hasattr(Params(), section) for section in stage.params)


def test_a_stage_needs_only_what_an_earlier_one_made() -> None:
    made = {artefacts.REGISTRY.path}  # the ledger is there before the first run of a stage
    for stage in STAGES:
        for need in stage.needs:
            assert any(need.path == out or need.path.startswith(f"{out}/") for out in made), (
                f"{stage.name} needs {need}"
            )
        made |= {artefact.path for artefact in (*stage.makes, *stage.keeps)}


def test_no_experiment_depends_on_a_stage_that_acts_on_the_world() -> None:
    outside = {made for stage in STAGES if not stage.experiment for made in stage.makes}
    needed = {need for stage in STAGES if stage.experiment for need in stage.needs}
    assert outside & needed == OUTSIDE


def test_every_artefact_that_a_stage_names_is_declared() -> None:
    declared = {
        artefact.of(kind).path
        for artefact in vars(artefacts).values()
        if isinstance(artefact, artefacts.Artefact)
        for kind in kind_names()
    }
    named = {
        artefact.path for stage in ALL for artefact in (*stage.needs, *stage.makes, *stage.keeps)
    }
    assert named <= declared
