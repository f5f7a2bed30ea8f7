"""What a Prefect worker starts is bound by the same settings and rules as what a person types."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from flows.evaluate import evaluate
from flows.retrain import retrain
from flows.runtime import settings


@pytest.mark.parametrize("flow", [retrain, evaluate])
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
        flow.fn(store=str(tmp_path / "store"))
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in os.environ
