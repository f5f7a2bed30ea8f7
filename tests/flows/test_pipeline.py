"""The whole pipeline, run by `keepline demo` on a small simulated centre."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import polars as pl

from data.files import file_sha256, read_json
from flows.runtime.graph import STAGES
from flows.runtime.settings import from_environment
from models.registry.bundle import verify_bundle
from models.registry.registry import Registry
from tests.flows.conftest import ROOT, environment, keepline
from training.tracking import get_run


def _registry(store: Path) -> Registry:
    return Registry(from_environment({}, store).tracking_uri, store / "registry")


def test_the_demo_ends_by_saying_where_the_report_is(walked: Path) -> None:
    last = (walked / "demo.txt").read_text().strip().splitlines()[-1]
    assert last.endswith("report/index.html")
    assert (walked / "report" / "index.html").stat().st_size > 20_000


def test_the_service_answered_with_the_promoted_versions(walked: Path) -> None:
    printed = (walked / "demo.txt").read_text()
    for kind in ("asr", "churn"):
        version = _registry(walked).alias(kind, "champion")
        assert version is not None
        assert (
            f"serving {kind} v{version} ({verify_bundle(walked / kind / 'bundle').sha256[:12]})"
            in printed
        )


def test_the_verdict_is_true_to_its_numbers(walked: Path) -> None:
    for kind in ("asr", "churn"):
        decided = read_json(walked / f"decide_{kind}.json")
        record = read_json(walked / "decisions" / kind / decided["record"])
        better = next(check for check in record["checks"] if check["name"] == "better")
        assert (better["low"] > better["threshold"]) == (better["verdict"] == "pass")
        assert (record["verdict"] == "accepted") == all(
            c["verdict"] in ("pass", "unproven", "skipped") for c in record["checks"]
        )
        assert read_json(walked / f"release_{kind}.json")["verdict"] == record["verdict"]


def test_a_run_knows_its_data_its_code_its_scores_and_its_decision(walked: Path) -> None:
    dvc_hash = read_json(walked / "version.json")["dvc_hash"]
    for kind, metric in (("asr", "test_wer"), ("churn", "test_brier")):
        run = get_run(
            from_environment({}, walked).tracking_uri,
            read_json(walked / f"train_{kind}.json")["run_id"],
        )
        assert run["status"] == "FINISHED"
        assert run["inputs"][0]["source"]["dvc_hash"] == dvc_hash
        assert run["tags"]["git_commit"]
        assert {metric, f"{metric}_low", f"{metric}_high"} <= set(run["metrics"])
        assert run["tags"]["decision"] == read_json(walked / f"decide_{kind}.json")["decision_id"]


def test_every_recorded_hour_and_every_fault_is_accounted_for(walked: Path) -> None:
    account = read_json(walked / "validate.json")
    lost = sum(account["rejected_audio_s"].values())
    assert abs(account["input_audio_s"] - account["accepted_audio_s"] - lost) < 0.1
    planted = read_json(walked / "truth" / "faults.json")
    quarantined = "".join(
        (walked / "quarantine" / f"{name}.jsonl").read_text() for name in ("ingest", "validate")
    )
    missed = [
        fault for fault in planted if fault["contact_id"] and fault["contact_id"] not in quarantined
    ]
    assert not missed


def test_every_active_customer_has_a_rising_risk_and_reasons(walked: Path) -> None:
    scores = pl.read_parquet(walked / "scores.parquet")
    names = [name for name in scores.columns if name.startswith("risk_")]
    assert scores.height == pl.read_parquet(walked / "current.parquet").height > 0
    assert all((scores[a] <= scores[b]).all() for a, b in pairwise(names))
    assert set(pl.read_parquet(walked / "reasons.parquet")["customer_id"]) == set(
        scores["customer_id"]
    )


def test_a_second_run_adds_nothing_and_reuses_what_has_not_changed(walked: Path) -> None:
    before = {
        name: pl.read_parquet(walked / "tables" / f"{name}.parquet").height
        for name in ("contacts", "turns")
    }
    ledger = len(_registry(walked).ledger())
    again = keepline(walked, "run")
    assert again.returncode == 0, again.stderr[-2000:]
    after = {name: pl.read_parquet(walked / "tables" / f"{name}.parquet").height for name in before}
    assert after == before
    assert again.stdout.count("(unchanged)") >= 14
    assert "training the recogniser" in again.stdout
    assert len(_registry(walked).ledger()) == ledger


def test_the_questions_people_ask_afterwards_are_answered(walked: Path, tmp_path: Path) -> None:
    run = read_json(walked / "train_asr.json")["run_id"]
    assert run[:8] in keepline(walked, "runs").stdout
    page = tmp_path / "compare.html"
    compared = keepline(
        walked,
        "compare",
        run,
        read_json(walked / "train_asr.json")["run_id"][:8],
        "--html",
        str(page),
    )
    assert compared.returncode == 0, compared.stderr
    assert page.stat().st_size > 1000
    assert (
        read_json(walked / "decide_asr.json")["decision_id"] in keepline(walked, "decisions").stdout
    )
    assert "promote" in keepline(walked, "ledger").stdout
    assert "asr: v1" in keepline(walked, "ledger", "--at", "2999-01-01").stdout
    unknown = keepline(walked, "compare", "zzz", "yyy")
    assert unknown.returncode == 1
    assert "no run begins so" in unknown.stderr


def test_C5_one_customer_is_shown_with_what_happened_and_what_it_led_to(walked: Path) -> None:
    reasons = pl.read_parquet(walked / "reasons.parquet").filter(pl.col("contact_id").is_not_null())
    reason = reasons.row(0, named=True)
    shown = keepline(walked, "customer", reason["customer_id"])
    assert shown.returncode == 0, shown.stderr
    assert "Risk of leaving as of" in shown.stdout
    assert reason["sentence"] in shown.stdout
    began = pl.read_parquet(walked / "clean/contacts.parquet").filter(
        customer_id=reason["customer_id"]
    )["started_at"]
    assert all(f"{day:%Y-%m-%d %H:%M}" in shown.stdout for day in began)
    nobody = keepline(walked, "customer", "nobody")
    assert nobody.returncode == 1
    assert "no customer is called nobody" in nobody.stderr


def test_D1_from_an_alias_alone_the_data_comes_back(walked: Path, tmp_path: Path) -> None:
    out = tmp_path / "dataset"
    back = keepline(walked, "checkout", "asr@champion", str(out), "--test")
    assert back.returncode == 0, back.stderr
    for name in ("contacts", "turns", "recordings"):
        assert (out / "tables" / f"{name}.parquet").read_bytes() == (
            walked / "clean" / f"{name}.parquet"
        ).read_bytes()
    for shard in (walked / "shards").glob("*.tar"):
        assert (out / "shards" / shard.name).read_bytes() == shard.read_bytes()
    manifest = (out / "test_set" / "test.jsonl").read_text().splitlines()
    assert sorted(manifest) == sorted((walked / "speech" / "test.jsonl").read_text().splitlines())
    for line in manifest:
        name = json.loads(line)["audio_filepath"]
        assert (out / "test_set" / name).read_bytes() == (walked / "speech" / name).read_bytes()


def test_M5_a_night_without_anything_new_proves_nothing(walked: Path) -> None:
    done = keepline(walked, "step", "nightly")
    assert done.returncode == 0, done.stderr
    night = json.loads((walked / "nightly.json").read_text())
    assert {kind: model["verdict"] for kind, model in night["models"].items()} == {
        "asr": "unproven",
        "reader": "unproven",
        "churn": "unproven",
    }
    assert (night["new_contacts"], night["retrain"]) == (0, False)
    assert night["dvc_hash"] == read_json(walked / "version.json")["dvc_hash"]
    listed = keepline(walked, "trends", "--json")
    assert listed.returncode == 0, listed.stderr
    assert "promote" in {json.loads(line)["event"] for line in listed.stdout.splitlines()}


def _moved(walked: Path, to: Path) -> Path:
    """A copy of what commands after a run need, at another place."""
    large = shutil.ignore_patterns("raw", "truth", "prefect", "exports")
    return shutil.copytree(walked, to, ignore=large)


def _without_markers(store: Path, stage: str) -> None:
    (store / ".markers" / f"{stage}.json").unlink()


def _digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): file_sha256(path)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_O3_of_two_trainings_at_once_one_waits_and_no_metric_is_logged_twice(
    walked: Path, tmp_path: Path
) -> None:
    """Both entered one MLflow run once, and logged its steps side by side."""
    store = _moved(walked, tmp_path / "twice")
    _without_markers(store, "train_churn")
    shutil.rmtree(store / "churn")
    with sqlite3.connect(store / "mlflow.db") as connection:
        connection.execute("UPDATE runs SET status = 'FAILED'")  # so that the same run goes on
        connection.execute("DELETE FROM metrics WHERE key = 'train_loss'")
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "stage", "train_churn", "--store", str(store)],
            cwd=ROOT,
            env=environment(store),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted("unchanged, reused" in out for out, _ in said) == [False, True]
    assert any("waiting for stage train_churn of" in error for _, error in said)
    with sqlite3.connect(store / "mlflow.db") as connection:
        steps = connection.execute(
            "SELECT run_uuid, key, step, count(*) FROM metrics WHERE key = 'train_loss' "
            "GROUP BY run_uuid, key, step"
        ).fetchall()
    assert steps
    assert all(count == 1 for *_, count in steps)


def test_O5_a_moved_store_serves_compares_and_checks_out(walked: Path, tmp_path: Path) -> None:
    from models.serving.loaded import from_registry, load_model

    before = _digest(walked)
    store = _moved(walked, tmp_path / "restored")
    run = read_json(store / "train_asr.json")["run_id"]
    compared = keepline(store, "compare", run, run)
    assert compared.returncode == 0, compared.stderr
    assert f"it was at {walked}" in compared.stderr
    done = keepline(store, "checkout", "asr@champion", str(tmp_path / "data"), "--test")
    assert done.returncode == 0, done.stderr
    registry = _registry(store)
    served = from_registry(registry, {"churn": "churn"}, tmp_path / "fetched anew")("churn")
    assert served is not None
    assert load_model(verify_bundle(served.fetch_bundle()))
    again = keepline(store, "stage", "train_churn", "--force")
    assert again.returncode == 0, again.stderr
    assert _digest(walked) == before


def test_O2_the_history_of_a_run_by_hand_stays_for_a_later_server(walked: Path) -> None:
    """`keepline prefect server start` opens the same database."""
    database = sqlite3.connect(f"file:{walked / 'prefect' / 'prefect.db'}?mode=ro", uri=True)
    with closing(database):
        flows = dict(database.execute("SELECT name, state_name FROM flow_run ORDER BY created"))
        stages = {name for (name,) in database.execute("SELECT name FROM task_run")}
        artifacts = {key for (key,) in database.execute("SELECT key FROM artifact_collection")}
    assert flows["retrain demo"] == flows["finetune asr demo"] == "Completed"
    assert {stage.name for stage in STAGES} <= stages
    assert {"demo-decision-churn", "demo-figures-asr", "demo-hours", "demo-report"} <= artifacts
