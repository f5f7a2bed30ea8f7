"""`keepline fit-table` and `score-table`: any table in, figures and a model out, clear errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import training.churn.table
from data.files import read_json
from flows.cli import app
from models.registry.bundle import verify_bundle
from training.churn.boosting import Boosting
from training.churn.settings import TABLE

QUICK = replace(TABLE, epochs=4, hidden=16, members=4, boosting=Boosting(rounds=40, depth=3))


def a_table(rows: int = 500, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    calls, tenure = rng.poisson(1.5, rows), rng.uniform(0, 70, rows).round(1)
    plan = rng.choice(["flex", "plus", "max"], rows)
    left = rng.random(rows) < 1 / (
        1 + np.exp(-(1.2 * calls - 0.06 * tenure + (plan == "flex") - 1.5))
    )
    charges = np.where(rng.random(rows) < 0.05, " ", (tenure * 20).round(2).astype(str))
    return pl.DataFrame(
        {
            "customer": [f"C{n}" for n in range(rows)],
            "calls": calls,
            "tenure": tenure,
            "plan": plan,
            "charges": charges,
            "status": np.where(left, "Yes", "No"),
        }
    )


def keepline(*words: object) -> tuple[str, BaseException | None]:
    """What a command printed, as one line, and the error it ended with."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    error = (
        done.exception if not isinstance(done.exception, SystemExit) else ValueError(done.output)
    )
    return " ".join(done.output.split()), error if done.exit_code else None


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        training.churn.table, "TableFit", partial(training.churn.table.TableFit, churn=QUICK)
    )


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("table")
    a_table().write_csv(folder / "customers.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            training.churn.table, "TableFit", partial(training.churn.table.TableFit, churn=QUICK)
        )
        printed, error = keepline(
            "fit-table",
            folder / "customers.csv",
            "--target",
            "status",
            "--id",
            "customer",
            "--out",
            folder / "out",
        )
    assert error is None, error
    return folder / "out", printed


def test_a_table_becomes_a_verified_bundle_with_held_out_figures(fitted: tuple[Path, str]) -> None:
    out, printed = fitted
    bundle = verify_bundle(out / "model")
    assert bundle.kind == "churn"
    assert set(bundle.files) == {"weights.safetensors", "config.json", "table.json", "card.md"}
    rows = pl.read_parquet(out / "held_out.parquet")
    assert rows.height == 100
    reading = read_json(out / "model" / "table.json")
    assert (
        reading["metrics"]["auc"]["low"]
        < reading["metrics"]["auc"]["value"]
        < reading["metrics"]["auc"]["high"]
    )
    assert reading["metrics"]["auc"]["value"] > 0.7
    assert reading["columns"]["numeric"] == ["calls", "tenure", "charges"]
    assert "500 rows, 3 numbers, 1 categories" in printed
    assert "log_loss" in printed
    assert "100 rows held out" in (out / "model" / "card.md").read_text()


def test_another_table_is_scored_with_reasons_and_what_is_new_is_counted(
    fitted: tuple[Path, str], tmp_path: Path
) -> None:
    out, _ = fitted
    other = (
        a_table(60, seed=1)
        .with_columns(plan=pl.when(pl.int_range(60) < 7).then(pl.lit("gold")).otherwise("plan"))
        .drop("status")
    )
    other.write_parquet(tmp_path / "new.parquet")
    printed, error = keepline(
        "score-table", out, tmp_path / "new.parquet", "--out", tmp_path / "scores.csv"
    )
    assert error is None, error
    assert "column plan: 7 rows have values the model never saw: gold (7)" in printed
    scores = pl.read_csv(tmp_path / "scores.csv")
    assert scores.height == 60
    assert set(scores["customer"]) == set(other["customer"])
    assert scores["risk"].is_sorted(descending=True)
    assert scores["risk"].is_between(0, 1).all()
    assert scores.row(0, named=True)["reason_1"].split(":")[0].lower() in (
        "calls",
        "tenure",
        "plan",
        "charges",
    )


def test_a_scored_table_with_its_target_says_how_good_the_scores_were(
    fitted: tuple[Path, str], tmp_path: Path
) -> None:
    a_table(200, seed=2).write_csv(tmp_path / "later.csv")
    printed, error = keepline(
        "score-table", fitted[0], tmp_path / "later.csv", "--out", tmp_path / "s.parquet"
    )
    assert error is None, error
    assert "on later.csv" in printed
    assert "auc" in printed
    assert pl.read_parquet(tmp_path / "s.parquet").height == 200


def test_a_column_that_only_the_outcome_explains_is_refused_by_name(tmp_path: Path) -> None:
    table = a_table().with_columns(closing_fee=pl.when(pl.col("status") == "Yes").then(25.0))
    table.write_csv(tmp_path / "t.csv")
    words = (
        "fit-table",
        tmp_path / "t.csv",
        "--target",
        "status",
        "--id",
        "customer",
        "--out",
        tmp_path / "out",
    )
    _, error = keepline(*words)
    assert "column closing_fee: alone tells status almost without error" in str(error)
    assert not (tmp_path / "out").exists()
    printed, error = keepline(*words, "--exclude", "closing_fee")
    assert error is None, error
    assert "column closing_fee was left out: excluded" in printed
    printed, error = keepline(*words, "--allow-leaks")
    assert error is None, error
    assert "column closing_fee alone has an AUC of 1.000" in printed


def test_with_folds_every_row_is_reported_on_and_suspects_are_listed(tmp_path: Path) -> None:
    a_table(300).write_csv(tmp_path / "t.csv")
    printed, error = keepline(
        "fit-table",
        tmp_path / "t.csv",
        "--target",
        "status",
        "--id",
        "customer",
        "--folds",
        3,
        "--out",
        tmp_path / "out",
    )
    assert error is None, error
    assert pl.read_parquet(tmp_path / "out" / "held_out.parquet").height == 300
    listed = pl.read_parquet(tmp_path / "out" / "suspects.parquet")
    assert f"{listed.height} targets are probably wrong" in printed
    assert listed["margin"].is_sorted(descending=True)


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (lambda t: t, ("--target", "stats"), "no column stats for the target. Did you mean status"),
        (lambda t: t.filter(status="No"), ("--target", "status"), "is No in every one of"),
        (lambda t: t.clear(), ("--target", "status"), "has no rows"),
        (
            lambda t: pl.concat([t, t.head(3)]),
            ("--target", "status", "--id", "customer"),
            "3 ids stand more than once",
        ),
        (lambda t: t.head(30), ("--target", "status"), "20 are needed"),
        (lambda t: t, ("--target", "plan"), "has 3 values"),
        (lambda t: t, ("--target", "status", "--folds", "1"), "one fold leaves nothing"),
    ],
)
def test_what_stands_in_the_way_is_said(
    tmp_path: Path,
    change: Callable[[pl.DataFrame], pl.DataFrame],
    words: tuple[str, ...],
    message: str,
) -> None:
    change(a_table()).write_csv(tmp_path / "t.csv")
    _, error = keepline("fit-table", tmp_path / "t.csv", *words, "--out", tmp_path / "out")
    assert message in str(error)
    assert not (tmp_path / "out").exists()


def test_a_model_of_the_pipeline_is_not_asked_about_tables(tmp_path: Path) -> None:
    _, error = keepline("score-table", tmp_path, tmp_path / "t.csv")
    assert "no bundle.json" in str(error)
