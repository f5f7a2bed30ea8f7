"""From a run to an answer on either set of stores, by settings alone: SQLite and folders,
PostgreSQL and S3.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from flows.runtime.settings import Settings, from_environment
from models.registry.registry import Registry, RegistryError
from models.serving.app import create_app
from models.serving.loaded import from_registry
from tests.registry_helpers import NOW, a_decision
from tests.service_helpers import ROW, a_churn_bundle
from training.tracking import fetch_artifact, get_run, start_or_resume


@pytest.fixture
def settings(environment: Path) -> Settings:
    return from_environment()


def _run(settings: Settings, key: str) -> str:
    """A finished run with a parameter, a metric and an artifact."""
    with start_or_resume(
        settings.tracking_uri,
        f"stores-{settings.store.parent.name}",
        key,
        params={"steps": 3},
        artifact_root=settings.artifact_root,
    ) as run:
        run.log_metrics({"wer": 0.25}, 1)
        (settings.store / "note.txt").parent.mkdir(parents=True, exist_ok=True)
        (settings.store / "note.txt").write_text("heard")
        run.log_artifact(settings.store / "note.txt", "notes")
    return run.run_id


def test_a_run_and_its_artifacts_are_kept_and_found_again(
    settings: Settings, tmp_path: Path
) -> None:
    run_id = _run(settings, "one")
    run = get_run(settings.tracking_uri, run_id)
    assert (run["status"], run["params"]["steps"], run["metrics"]["wer"]) == (
        "FINISHED",
        "3",
        0.25,
    )
    back = fetch_artifact(settings.tracking_uri, run_id, "notes/note.txt", to_dir=tmp_path / "back")
    assert back is not None
    assert back.read_text() == "heard"


def test_what_is_promoted_answers_and_a_rollback_brings_the_one_before(
    settings: Settings, tmp_path: Path
) -> None:
    registry = Registry(settings.tracking_uri, settings.store / "registry")
    # PostgreSQL is shared by the tests of one session, so each has models of its own.
    name = f"churn-{tmp_path.name}"
    run_id = _run(settings, "two")
    bundles = [a_churn_bundle(tmp_path / f"b{n}", bias=float(n)) for n in range(2)]
    versions = [registry.register(bundle.path, name, run_id) for bundle in bundles]
    app = create_app(from_registry(registry, {"churn": name}, tmp_path / "cache"), ("churn",))
    client = TestClient(app)

    def answers() -> str:
        app.state.models.refresh()
        reply = client.post("/v1/churn:score", json={"rows": [ROW]})
        assert reply.status_code == 200, reply.text
        return str(reply.json()["model"]["bundle_sha256"])

    champion = reference = None
    for version, bundle in zip(versions, bundles, strict=True):
        registry.promote(
            name,
            version,
            expected=champion,
            decision=a_decision(bundle.sha256, reference),
            actor="anna",
            now=NOW,
        )
        assert registry.alias(name, "champion") == version
        assert answers() == bundle.sha256
        champion, reference = version, bundle.sha256
    registry.rollback(name, "anna", NOW)
    assert answers() == bundles[0].sha256
    assert [entry.version for entry in registry.ledger(name)] == [
        versions[0],
        versions[1],
        versions[0],
    ]
    with pytest.raises(RegistryError, match="no version 9"):
        registry.fetch(name, 9, tmp_path)


def test_a_dataset_is_pushed_checked_and_comes_back_byte_for_byte(
    settings: Settings, tmp_path: Path
) -> None:
    if settings.dvc_remote.startswith("s3://"):
        pytest.importorskip("dvc_s3", reason="the extra s3 brings it")
    from data.versioning import checkout, version

    for name in ("tables/calls.parquet", "shards/00000.tar"):
        (tmp_path / name).parent.mkdir()
    import polars as pl

    pl.DataFrame({"call": ["a", "b"]}).write_parquet(tmp_path / "tables" / "calls.parquet")
    (tmp_path / "shards" / "00000.tar").write_bytes(b"sound" * 1000)
    made = version(
        tmp_path / "tables",
        tmp_path / "shards",
        tmp_path / "repo",
        remote=settings.dvc_remote,
        git_commit="c",
        now=datetime.now(UTC),
    )
    checkout(
        made.dvc_hash, tmp_path / "elsewhere", remote=settings.dvc_remote, out=tmp_path / "out"
    )
    for name in ("tables/calls.parquet", "shards/00000.tar"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / name).read_bytes()
