"""`keepline backtest` prints a table, logs an MLflow run and adds a section to the report."""

from __future__ import annotations

from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from data.files import read_json, write_json
from evaluation.report.run import ReportParams, write_report
from flows.commands import backtest
from tests.flows.conftest import SMALL
from tests.registry_helpers import RegistryFixture
from tests.training.churn.test_backtest import a_panel


def test_the_command_prints_each_day_logs_each_fold_and_is_not_done_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    monkeypatch.setenv("KEEPLINE_STORE", str(store))
    monkeypatch.setenv("KEEPLINE_PARAMS", str(SMALL))
    client = RegistryFixture(store).registry.client  # MLflow's tables, made once for all tests
    a_panel(300).write_parquet(store / "features.parquet")
    write_json(
        store / "version.json",
        {"dvc_hash": "abc.dir", "git_commit": "c", "created_at": "", "size_bytes": 1, "rows": {}},
    )
    printed = StringIO()
    backtest.show(Console(file=printed, width=200), store)
    summary = read_json(store / "backtest.json")
    days = [fold["as_of"] for fold in summary["folds"]]
    assert len(days) == 2
    assert "within 90 days" in printed.getvalue()
    assert all(day in printed.getvalue() for day in days)

    experiment = client.get_experiment_by_name("keepline-backtest")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    logged = client.get_metric_history(run.info.run_id, "brier_90")
    assert {point.step: point.value for point in logged} == {
        n: fold["metrics"]["churn network"]["risk_90"]["brier"]["value"]
        for n, fold in enumerate(summary["folds"])
    }
    assert {"pooled_auc_90_low", "pooled_c_index_30", "pooled_empc_90"} <= set(run.data.metrics)
    assert pl.read_parquet(store / "backtest.parquet")["model"].n_unique() == 3

    backtest.show(Console(file=StringIO()), store)
    assert len(client.search_runs([experiment.experiment_id])) == 1
    write_report(
        store,
        truth=None,
        out=store / "report" / "index.html",
        read_audio=None,
        now=datetime(2026, 3, 1, tzinfo=UTC),
        params=ReportParams(),
    )
    page = (store / "report" / "index.html").read_text()
    assert "Had it been used earlier" in page
    assert all(f'<th scope="row">{day}</th>' in page for day in days)
