"""What a Prefect worker starts is bound by the same settings and rules as what a person types."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.evaluate import evaluate
from flows.finetune import finetune
from flows.guard import guard
from flows.ingest import ingest
from flows.judge import judge
from flows.label import label
from flows.release import release
from flows.retrain import retrain
from flows.runtime import retrainings, settings
from flows.runtime.context import load_context
from flows.watch import watch

OF_A_KIND = (finetune, judge, release)
FLOWS = (*OF_A_KIND, ingest, label, evaluate, watch, retrain)


@pytest.mark.parametrize("flow", [*FLOWS, guard], ids=lambda flow: flow.name)
def test_S5_a_scheduled_flow_reads_env_and_cannot_switch_pickles_on(
    flow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    monkeypatch.setattr(
        os, "environ", {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "true"}
    )
    monkeypatch.delenv("KEEPLINE_PARAMS", raising=False)
    lines = f"KEEPLINE_PARAMS={tmp_path}/as-env-says.yaml\nTORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1\n"
    (tmp_path / ".env").write_text(lines)
    with pytest.raises(ValueError, match="as-env-says"):
        flow.fn("demo", **({"kind": "churn"} if flow in OF_A_KIND else {}))
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in os.environ


@pytest.mark.parametrize("flow", [*FLOWS, guard], ids=lambda flow: flow.name)
def test_O1_no_flow_runs_without_naming_a_site(flow: Any) -> None:
    of_a_kind = {"kind": "churn"} if flow in OF_A_KIND else {}
    with pytest.raises(TypeError, match="site"):
        flow.fn(**of_a_kind)
    with pytest.raises(ValueError, match="'acme' is no site"):
        flow.fn("acme", **of_a_kind)


def test_O1_a_flow_does_not_work_in_another_sites_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEPLINE_STORE", str(tmp_path / "store"))
    with pytest.raises(ValueError, match="is the store of demo, not of acme"):
        ingest.fn("acme", store=str(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_O1_a_kind_alone_needs_what_the_others_have_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEPLINE_STORE", str(tmp_path / "store"))
    with pytest.raises(ValueError, match="nothing has been heard yet, and churn learns from"):
        retrain.fn("demo", kinds=["churn"])
    with pytest.raises(ValueError, match="'speech' is no kind of model"):
        retrain.fn("demo", kinds=["speech"])


def test_O2_one_cause_takes_the_day_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = load_context(tmp_path)
    for flow_run, taken in (("one", True), ("two", False), ("one", True)):
        monkeypatch.setattr(retrainings, "running", SimpleNamespace(id=flow_run))
        assert retrainings.claim_day(context, "drift") is taken, flow_run
    assert retrainings.claim_day(context, "a move of calls"), "another cause"
