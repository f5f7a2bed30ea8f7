"""The service answers with the version it holds and says clearly what is wrong with a request."""

from __future__ import annotations

import json
import threading
import time
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from models.churn.model import ChurnModel
from models.registry.bundle import Bundle
from models.serving.app import Options, create_app
from models.serving.loaded import Resolver, Served, from_registry
from models.serving.smoke import smoke_test
from tests.registry_helpers import NOW, RegistryFixture, a_decision
from tests.service_helpers import ROW, a_churn_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return a_churn_bundle(tmp_path_factory.mktemp("churn") / "bundle")


@pytest.fixture(scope="module")
def client(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    table = tmp_path_factory.mktemp("features") / "features.parquet"
    pl.DataFrame(
        {
            "customer_id": ["C1", "C1", "C2"],
            "as_of": [date(2026, 1, 1), date(2026, 2, 1), date(2026, 2, 1)],
            "contacts_30d": [0.0, 9.0, None],
            "plan": ["basic", "gold", "never seen"],
        }
    ).write_parquet(table)
    app = create_app(
        lambda kind: Served("7", bundle.path),
        ("churn",),
        features=table,
        options=Options(max_body_bytes=100_000),
    )
    app.state.models.refresh()
    return TestClient(app, raise_server_exceptions=False)


def test_scores_rise_with_the_horizon_and_name_the_model(
    client: TestClient, bundle: Bundle
) -> None:
    reply = client.post("/v1/churn:score", json={"rows": [ROW]})
    assert reply.status_code == 200, reply.text
    assert reply.json()["model"] == {
        "kind": "churn",
        "version": "7",
        "bundle_sha256": bundle.sha256,
        "data_hash": "d1",
    }
    (score,) = reply.json()["scores"]
    assert (score["customer_id"], score["as_of"]) == ("C1", "2026-03-01")
    assert 0 < score["risks"]["risk_30"] < score["risks"]["risk_90"] < 1


def test_the_answer_is_what_the_model_says(client: TestClient, bundle: Bundle) -> None:
    rows: list[dict[str, Any]] = [
        {
            "customer_id": f"C{n}",
            "features": {"contacts_30d": n or None, "plan": ["gold", None, "other"][n % 3]},
        }
        for n in range(6)
    ]
    frame = pl.DataFrame([{"customer_id": row["customer_id"], **row["features"]} for row in rows])
    expected = ChurnModel.load(bundle.path).predict(frame)
    scores = client.post("/v1/churn:score", json={"rows": rows}).json()["scores"]
    assert [score["customer_id"] for score in scores] == expected["customer_id"].to_list()
    for name in ("risk_30", "risk_90"):
        assert [score["risks"][name] for score in scores] == pytest.approx(
            expected[name].to_list(), abs=1e-9
        )


def test_customers_are_looked_up_at_their_latest_date_in_the_order_asked(
    client: TestClient,
) -> None:
    scores = client.post("/v1/churn:score", json={"customer_ids": ["C2", "C1"]}).json()["scores"]
    assert [(score["customer_id"], score["as_of"]) for score in scores] == [
        ("C2", "2026-02-01"),
        ("C1", "2026-02-01"),
    ]
    row = {"customer_id": "C1", "features": {"contacts_30d": 9, "plan": "gold"}}
    given = client.post("/v1/churn:score", json={"rows": [row]}).json()["scores"]
    assert scores[1]["risks"] == pytest.approx(given[0]["risks"], abs=1e-9)


def test_an_unknown_customer_is_named(client: TestClient) -> None:
    reply = client.post("/v1/churn:score", json={"customer_ids": ["C1", "C9"]})
    assert reply.status_code == 404
    assert "C9" in reply.json()["error"]
    assert "C1," not in reply.json()["error"]


def _body(value: str) -> str:
    return json.dumps({"rows": [ROW]}).replace(" 3,", f" {value},")


@pytest.mark.parametrize(
    "body",
    [
        _body("NaN"),
        _body("1e400"),
        _body("-Infinity"),
        _body("1" + "0" * 400),
        _body('"\\ud800"'),
        _body('3, "\\ud800": NaN'),
        _body("[1]"),
        _body('"three"'),
        "",
        "{",
        "NaN",
        "[]",
        '{"rows": []}',
        '{"rows": [], "customer_ids": ["C1"], "more": NaN}',
        '{"customer_ids": ["\\ud800"]}',
        '{"customer_ids": [""]}',
        json.dumps({"rows": [ROW], "customer_ids": ["C1"]}),
        json.dumps({"rows": [{**ROW, "features": {}}]}),
        json.dumps({"rows": [{**ROW, "as_of": "soon"}]}),
        json.dumps({"customer_ids": ["C1"] * 1001}),
    ],
)
def test_a_bad_body_is_the_senders_mistake_never_ours(client: TestClient, body: str) -> None:
    reply = client.post(
        "/v1/churn:score", content=body, headers={"content-type": "application/json"}
    )
    assert reply.status_code == 422, reply.text
    assert reply.json()["error"]


@pytest.mark.parametrize("body", ["[" * 50_000, b"\xff\xfe{", "1" * 5000])
def test_a_body_that_cannot_be_parsed_is_refused(client: TestClient, body: str | bytes) -> None:
    reply = client.post(
        "/v1/churn:score", content=body, headers={"content-type": "application/json"}
    )
    assert 400 <= reply.status_code < 500, reply.text


def test_a_missing_feature_is_named_with_its_row(client: TestClient) -> None:
    bad = {"customer_id": "C2", "features": {"plan": "gold"}}
    reply = client.post("/v1/churn:score", json={"rows": [ROW, bad]})
    assert "rows.1.features.contacts_30d: missing" in reply.json()["error"]


def test_a_body_over_the_limit_is_refused_whether_it_says_its_length_or_not(
    client: TestClient,
) -> None:
    big = b'{"customer_ids": ["' + b"x" * 200_000 + b'"]}'
    announced = client.post("/v1/churn:score", content=big)
    streamed = client.post("/v1/churn:score", content=iter([big[:60_000], big[60_000:]]))
    assert "content-length" not in streamed.request.headers
    assert (announced.status_code, streamed.status_code) == (413, 413)
    assert "larger than 100000 bytes" in streamed.json()["error"]


def test_what_is_not_served_here_says_so(client: TestClient) -> None:
    reply = client.post("/v1/transcribe", files={"recording": ("a.wav", b"RIFF", "audio/wav")})
    assert reply.status_code == 503
    assert client.post("/v1/nothing").status_code == 404
    assert client.get("/v1/churn:score").status_code == 405


def test_the_interface_describes_itself(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/churn:score",
        "/v1/transcribe",
        "/v1/models",
        "/v1/models:refresh",
    }
    assert {"200", "404", "413", "422", "503"} <= set(paths["/v1/churn:score"]["post"]["responses"])


def test_the_process_is_alive_while_models_load_and_ready_when_they_have(bundle: Bundle) -> None:
    gate = threading.Event()

    def slow(_kind: str) -> Served:
        gate.wait(30)
        return Served("7", bundle.path)

    with TestClient(create_app(slow, ("churn",))) as client:
        assert client.get("/healthz").status_code == 200
        waiting = client.get("/readyz")
        assert (waiting.status_code, waiting.json()["problems"]) == (
            503,
            {"churn": "still loading"},
        )
        assert client.post("/v1/churn:score", json={"rows": [ROW]}).status_code == 503
        gate.set()
        until = time.monotonic() + 30
        while client.get("/readyz").status_code != 200 and time.monotonic() < until:
            time.sleep(0.02)
        assert client.get("/readyz").json()["models"]["churn"]["version"] == "7"


def test_a_tampered_bundle_is_never_served_and_readyz_says_why(tmp_path: Path) -> None:
    bundle = a_churn_bundle(tmp_path / "bundle")
    (bundle.path / "config.json").write_text("{}")
    app = create_app(lambda kind: Served("7", bundle.path), ("churn",))
    app.state.models.refresh()
    client = TestClient(app)
    assert client.get("/readyz").json()["problems"]["churn"] == "champion v7 cannot be served", (
        "it is open to all"
    )
    assert "config.json has changed" in client.get("/v1/models").json()["details"]["churn"]
    assert client.post("/v1/churn:score", json={"rows": [ROW]}).status_code == 503


def test_without_a_registry_a_restarted_service_answers_as_before_but_not_with_a_tampered_bundle(
    tmp_path: Path,
) -> None:
    def away(kind: str) -> Served:
        raise OSError("connection refused by db.example.org")

    def started(resolver: Resolver) -> TestClient:
        app = create_app(resolver, ("asr", "churn"), memory=tmp_path / "serving")
        app.state.models.refresh()
        return TestClient(app)

    assert started(away).get("/readyz").status_code == 503, "it has never served anything"
    bundle = a_churn_bundle(tmp_path / "bundle")
    started(lambda kind: Served("7", bundle.path) if kind == "churn" else None)
    client = started(away)
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["models"]["churn"]["version"]) == (200, "7")
    assert ready.json()["warnings"] == {"churn": "the registry cannot be asked; v7 answers"}
    assert set(ready.json()["problems"]) == {"asr"}, (
        "nobody was ever promoted: no reason not to be ready"
    )
    assert "db.example.org" in client.get("/v1/models").json()["details"]["churn"]
    assert client.post("/v1/churn:score", json={"rows": [ROW]}).status_code == 200
    (bundle.path / "config.json").write_text("{}")
    assert started(away).get("/readyz").status_code == 503
    a_churn_bundle(tmp_path / "other", bias=1.0)
    bundle.path.rename(tmp_path / "was")
    (tmp_path / "other").rename(bundle.path)
    assert started(away).get("/readyz").status_code == 503, (
        "a whole bundle, but another than was served"
    )


def test_the_champion_is_served_and_nobody_where_there_is_none(tmp_path: Path) -> None:
    shop = RegistryFixture(tmp_path)
    resolver = from_registry(shop.registry, {"churn": "churn"}, tmp_path / "cache")
    app = create_app(resolver, ("churn",))
    app.state.models.refresh()
    vacant = TestClient(app).get("/readyz")
    assert vacant.status_code == 503
    assert "no churn champion yet" in vacant.json()["problems"]["churn"]
    bundle = a_churn_bundle(tmp_path / "bundle")
    version = shop.registry.register(bundle.path, "churn", shop.run_id)
    shop.registry.promote(
        "churn", version, expected=None, decision=a_decision(bundle.sha256), actor="anna", now=NOW
    )
    # A kind nobody has promoted yet does not keep the other from answering.
    app = create_app(lambda kind: resolver(kind) if kind == "churn" else None, ("asr", "churn"))
    app.state.models.refresh()
    client = TestClient(app)
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["models"]["churn"]["bundle_sha256"] == bundle.sha256
    assert "no asr champion yet" in ready.json()["problems"]["asr"]
    assert client.post("/v1/churn:score", json={"rows": [ROW]}).json()["model"]["version"] == str(
        version
    )


def test_a_smoke_test_tells_a_bundle_that_answers_from_one_that_does_not(
    bundle: Bundle, tmp_path: Path
) -> None:
    good = smoke_test(bundle.path, "churn", {"rows": [ROW]})
    assert good["ok"], good["error"]
    assert good["latency_s"] > 0
    assert good["answer"]["scores"][0]["customer_id"] == "C1"
    assert "422" in smoke_test(bundle.path, "churn", {"rows": [{**ROW, "features": {}}]})["error"]
    assert "is churn, not asr" in smoke_test(bundle.path, "asr", b"")["error"]
    assert "no bundle.json" in smoke_test(tmp_path, "churn", {"rows": [ROW]})["error"]
    sick = a_churn_bundle(tmp_path / "sick", bias=float("nan"))
    assert "no risk between 0 and 1" in smoke_test(sick.path, "churn", {"rows": [ROW]})["error"]
