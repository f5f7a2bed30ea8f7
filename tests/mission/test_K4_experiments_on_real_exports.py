"""K4: experiments on an export: four queued ones finish, no recogniser is trained again, nothing moves."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from data.files import read_json
from flows.runtime import dvc, settings
from flows.runtime.context import RunContext
from flows.runtime.dvc import PipelineError, dvc_yaml, site_pipeline
from flows.runtime.graph import STAGES
from flows.runtime.params import Params, section_names
from flows.runtime.settings import from_environment, original_checkout
from models.registry.registry import RegistryError
from tests.experiment_helpers import Clone, clone, fill_store
from tests.factories import an_export
from tests.flows.conftest import ROOT, SMALL, environment
from training.browse import browse

FOUR = ("-S", "churn.epochs=2,3", "-S", "++churn.ridge=0.5,5")


def test_K4_an_export_has_a_pipeline_that_begins_with_it(tmp_path: Path) -> None:
    pipeline = site_pipeline(tmp_path / "acme", source="folder")
    made = yaml.safe_load(dvc_yaml(pipeline))
    assert made["vars"] == [
        {"store": "data/store/exports/acme"},
        {"export": str(tmp_path / "acme")},
    ]
    stages = made["stages"]
    assert "simulate" not in stages
    assert "${export}" in stages["ingest"]["deps"]
    assert '--export "${export}" --source folder' in stages["ingest"]["cmd"]
    assert stages["train_churn"]["params"] == [{"sites/acme/params.yaml": ["churn", "features"]}]
    assert {stage["wdir"] for stage in stages.values()} == {"../.."}
    code = {place for stage in stages.values() for place in stage["deps"] if "$" not in place}
    assert all((ROOT / place).exists() for place in code)
    assert set(stages) == {
        stage.name for stage in STAGES if stage.experiment and stage.name != "simulate"
    }


@pytest.mark.parametrize(
    ("name", "store", "says"),
    [("", "/srv/acme", "lies outside of the checkout"), ("a/b", None, "not a folder's name")],
)
def test_K4_what_dvc_cannot_copy_is_refused(name: str, store: str | None, says: str) -> None:
    with pytest.raises(PipelineError, match=says):
        site_pipeline(Path("/exports/acme"), name=name, store=Path(store) if store else None)


def test_K4_the_params_of_a_site_have_every_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dvc, "ROOT", tmp_path)
    (tmp_path / "data").mkdir()
    pipeline = site_pipeline(tmp_path / "acme")
    (tmp_path / "given.yaml").write_text("churn: {epochs: 3}\n")
    folder = dvc.set_up(pipeline, tmp_path / "given.yaml")
    written = yaml.safe_load((folder / "params.yaml").read_text())
    assert set(written) == set(section_names())
    assert written["churn"] == {"epochs": 3}
    (folder / "params.yaml").write_text("churn: {epochs: 9}\n")
    dvc.set_up(pipeline, tmp_path / "given.yaml")
    assert yaml.safe_load((folder / "params.yaml").read_text())["churn"] == {"epochs": 9}


def test_K4_a_copy_uses_the_runs_and_the_registry_of_the_store_it_copies_and_changes_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "work" / ".dvc" / "tmp" / "exps" / "tmpabc"
    assert original_checkout(copy) == tmp_path / "work"
    assert original_checkout(tmp_path) == tmp_path
    monkeypatch.setattr(settings, "ROOT", copy)
    monkeypatch.setattr(settings, "CHECKOUT", tmp_path / "work")
    made = from_environment({"DVC_EXP_NAME": "bold-fish"}, copy / "data" / "store")
    home = tmp_path / "work" / "data" / "store"
    assert (made.store, made.original_store) == (copy / "data" / "store", home)
    assert made.tracking_uri == f"sqlite:///{home}/mlflow.db"
    assert made.dvc_remote == str(home / "remote")
    context = RunContext(made, Params(), "c")
    registry = context.registry()
    assert registry.ledger_path == home / "registry" / "ledger.jsonl"
    acts: list[Any] = [registry.promote, registry.rollback, registry.challenge, registry.register]
    for act in acts:
        with pytest.raises(RegistryError, match="registers and promotes nothing"):
            act("churn", 1)
    (home / "reference").mkdir(parents=True)
    (home / "reference" / "v1.json").write_text("{}")
    assert context.original("reference/v1.json") == home / "reference" / "v1.json"
    assert context.original("here.json") == copy / "data" / "store" / "here.json"


def _export_of(folder: Path) -> Path:
    """A small folder export with calls, messages and outcomes."""
    export = folder / "shop"
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "simulate", str(export), str(folder / "truth")],
        cwd=ROOT,
        env=environment(folder / "unused"),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return export


def _logs(made: Clone) -> dict[str, str]:
    return {
        each["name"]: made.dvc("queue", "logs", each["name"])
        for each in (revision for entry in made.experiments() for revision in entry["revs"])
    }


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_K4_on_an_export_four_queued_experiments_finish_and_hear_nothing_again(
    tmp_path: Path,
) -> None:
    export = _export_of(tmp_path)
    made = clone(tmp_path / "keepline", yaml.safe_load(SMALL.read_text()))
    made.run("flows.cli", "experiments", "--set-up", str(export))
    made.commit("a site")
    made.run("dvc", "repro", "sites/shop/dvc.yaml", timeout_s=2400)
    made.commit("a run of the site")
    store = made.folder / "data" / "store" / "exports" / "shop"
    before = read_json(store / "train_asr.json")
    assert not (store / "decide_asr.json").exists(), "no experiment takes the exam"
    made.dvc("exp", "run", "--queue", *FOUR, cwd=made.folder / "sites" / "shop")
    made.finish_queue(timeout_s=1800)
    logs = _logs(made)
    assert len(logs) == 4
    for name, log in logs.items():
        assert "Running stage 'sites/shop/dvc.yaml:train_churn'" in log, name
        assert "train_asr: " not in log
        assert "transcribe: " not in log
    assert read_json(store / "train_asr.json") == before
    runs = browse(f"sqlite:///{store / 'mlflow.db'}", ["kind=churn"])
    assert len({run["tags"]["experiment"] for run in runs if "experiment" in run["tags"]}) == 4
    assert not (store / "registry" / "ledger.jsonl").exists()


@pytest.mark.soak
def test_K4_an_edit_reruns_what_uses_it_and_nothing_else(tmp_path: Path) -> None:
    an_export(tmp_path / "acme", calls=1)
    made = clone(tmp_path / "keepline")
    made.run("flows.cli", "experiments", "--set-up", str(tmp_path / "acme"))
    fill_store(made, "sites/acme/dvc.yaml")
    assert "up to date" in made.dvc("status", "sites/acme/dvc.yaml")
    edited = made.folder / "training" / "churn" / "likelihood.py"
    edited.write_text(edited.read_text() + "\n# another line\n")
    changed = made.dvc("status", "sites/acme/dvc.yaml")
    assert "train_churn" in changed
    assert "train_asr" not in changed
    assert "train_reader" not in changed


def test_K4_the_table_drops_dependencies_and_keeps_parameters_of_a_site() -> None:
    drop = re.compile(dvc.show_command()[-1])
    for column in (
        "training/churn/train.py",
        "data/store/train_churn.json",
        "../acme",
        "/srv/acme",
    ):
        assert drop.match(column), column
    for column in ("churn_brier", "churn.epochs", "sites/acme/params.yaml:churn.epochs"):
        assert not drop.match(column), column
    assert not drop.match("data/store/exports/acme/metrics/churn.json:churn_brier")
