"""Who may ask what and how often, what is counted and logged, and that no customer's words are."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from flows.commands.serve import serve
from flows.runtime.settings import SettingsError
from models.serving.access import Access, AccessError, RateLimiter, add_key
from models.serving.app import Options, create_app
from models.serving.loaded import Served
from models.serving.telemetry import JsonLines
from tests.service_helpers import ROW, a_churn_bundle

SECRET = "cancel my contract, said Wilhelmine"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_churn_bundle(tmp_path_factory.mktemp("churn") / "b").path


def a_client(bundle: Path, keys: Path | None = None, **options: Any) -> TestClient:
    access = Access(keys) if keys else None
    app = create_app(
        lambda kind: Served("7", bundle), ("churn",), options=Options(**options), access=access
    )
    app.state.models.refresh()
    app.state.access = access
    return TestClient(app, raise_server_exceptions=False)


def score(client: TestClient, key: str | None = None, body: Any = None, **headers: str) -> Any:
    if key:
        headers["authorization"] = f"Bearer {key}"
    return client.post("/v1/churn:score", json=body or {"rows": [ROW]}, headers=headers)


def test_a_role_opens_its_own_paths_and_no_others(bundle: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    crm, boss, prometheus = (
        add_key(keys, name, [role])
        for name, role in (("crm", "score"), ("boss", "admin"), ("prometheus", "metrics"))
    )
    client = a_client(bundle, keys)
    assert score(client).status_code == 401
    assert score(client).headers["www-authenticate"] == "Bearer"
    assert score(client, crm + "x").status_code == 401
    assert score(client, crm).status_code == 200
    assert score(client, prometheus).status_code == 403
    for path, expected in (
        ("/metrics", {crm: 403, boss: 200, prometheus: 200}),
        ("/v1/models", {crm: 403, boss: 200}),
    ):
        for key, status in expected.items():
            assert (
                client.get(path, headers={"authorization": f"Bearer {key}"}).status_code == status
            )
    for path in ("/healthz", "/readyz", "/openapi.json"):
        assert client.get(path).status_code == 200


def test_keys_are_kept_as_hashes_and_can_be_taken_back_while_running(
    bundle: Path, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.json"
    old = add_key(keys, "crm", ["score"])
    assert old not in keys.read_text()
    assert keys.stat().st_mode & 0o077 == 0
    client = a_client(bundle, keys)
    new = add_key(keys, "crm", ["score"])
    client.app.state.access.refresh()  # type: ignore[attr-defined]
    assert (score(client, old).status_code, score(client, new).status_code) == (401, 200)
    keys.write_text("{")
    client.app.state.access.refresh()  # type: ignore[attr-defined]
    assert score(client, new).status_code == 200, "a damaged file locks nobody out"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "must hold"),
        ('{"keys": [1]}', "must hold"),
        ('{"keys": [{"name": "crm", "sha256": "secret", "roles": ["score"]}]}', "no SHA-256"),
        (
            '{"keys": [{"name": "crm", "sha256": "' + "0" * 64 + '", "roles": ["root"]}]}',
            "needs roles",
        ),
        (
            '{"keys": [{"name": "a b", "sha256": "' + "0" * 64 + '", "roles": ["score"]}]}',
            "needs a name",
        ),
    ],
)
def test_a_damaged_file_of_keys_keeps_the_service_from_starting(
    tmp_path: Path, content: str, says: str
) -> None:
    (tmp_path / "keys.json").write_text(content)
    with pytest.raises(AccessError, match=says):
        Access(tmp_path / "keys.json")
    with pytest.raises(AccessError, match="no such file"):
        Access(tmp_path / "none.json")
    with pytest.raises(AccessError, match="root is not a role"):
        add_key(tmp_path / "new.json", "crm", ["root"])


def test_without_keys_nobody_but_this_machine_is_listened_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KEEPLINE_API_KEYS", raising=False)
    with pytest.raises(
        SettingsError, match=r"0\.0\.0\.0 can be reached by others, and nobody needs a key"
    ):
        serve("0.0.0.0", None, tmp_path)


def test_a_caller_above_the_rate_gets_a_time_to_come_back(bundle: Path) -> None:
    client = a_client(bundle, rate_per_s=0.5)
    replies = [score(client) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200, 429, 429]
    assert 1 <= int(replies[-1].headers["retry-after"]) <= 2
    assert client.get("/healthz").status_code == 200


def test_a_rate_is_each_callers_own_and_comes_back_with_time() -> None:
    rate = RateLimiter(2.0)
    assert [rate.wait_s("a", 0.0) for _ in range(5)] == [0, 0, 0, 0, 1]
    assert rate.wait_s("b", 0.0) == 0
    assert rate.wait_s("a", 0.4) == 1
    assert rate.wait_s("a", 1.0) == 0


def test_every_answer_has_an_id_the_callers_own_if_it_is_harmless(bundle: Path) -> None:
    client = a_client(bundle)
    assert score(client, **{"x-request-id": "crm-42"}).headers["x-request-id"] == "crm-42"
    made = score(client, **{"x-request-id": "a b\tc"}).headers["x-request-id"]
    assert made.isalnum()
    assert len(made) == 24
    assert client.get("/nothing").headers["x-request-id"] != made


def test_the_log_tells_who_asked_and_which_model_answered_but_not_what(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = add_key(tmp_path / "keys.json", "crm", ["score"])
    client = a_client(bundle, tmp_path / "keys.json")
    caplog.set_level(logging.INFO)
    row = {"customer_id": SECRET, "features": {"contacts_30d": 3, "plan": SECRET, SECRET: SECRET}}
    assert score(client, key, {"rows": [row]}, **{"x-request-id": "r1"}).status_code == 200
    assert score(client, key, {"rows": [{**row, "features": {SECRET: 1}}]}).status_code == 422
    assert client.get(f"/v1/{SECRET}?said={SECRET}").status_code == 404
    lines = [
        JsonLines().format(record) for record in caplog.records if record.name.startswith("models")
    ]
    assert len(lines) == 3
    assert not any("Wilhelmine" in line or key in line for line in lines)
    first = json.loads(lines[0])
    assert (first["request_id"], first["caller"], first["status"]) == ("r1", "crm", 200)
    assert first["model"] == {"kind": "churn", "version": "7", "role": "champion"}
    assert json.loads(lines[2])["route"] == "other"


def test_requests_are_counted_by_route_and_status(bundle: Path) -> None:
    client = a_client(bundle)
    score(client)
    score(client, body={"rows": []})
    client.get("/no/such/path")
    page = client.get("/metrics").text
    for labels in (
        'route="/v1/churn:score",status="200"',
        'route="/v1/churn:score",status="422"',
        'route="other"',
    ):
        assert labels in page
    assert 'keepline_model{kind="churn",role="champion",version="7"} 1.0' in page
