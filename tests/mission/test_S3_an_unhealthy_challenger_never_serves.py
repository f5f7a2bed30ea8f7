"""S3: a challenger is tried before and while it answers; canary and shadow; going back takes one
command.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from models.registry.registry import PromotionRefusedError
from models.serving import loaded
from models.serving.app import Options, create_app
from models.serving.loaded import from_registry
from models.serving.rollout import Rollout
from tests.registry_helpers import NOW
from tests.service_helpers import ServiceFixture, a_row, figure, running, until

CHURN = {"churn": "churn"}


@pytest.fixture
def fixture(tmp_path: Path) -> ServiceFixture:
    fixture = ServiceFixture(tmp_path)
    fixture.champion()
    return fixture


def a_service(fixture: ServiceFixture, rollout: Rollout, poll_s: float = 600, **more: Any) -> Any:
    champions, challengers = (
        from_registry(fixture.registry, CHURN, fixture.folder / "cache", alias=alias)
        for alias in ("champion", "challenger")
    )
    options = Options(rollout=rollout, poll_s=poll_s)
    app = create_app(champions, ("churn",), options=options, challengers=challengers, **more)
    app.state.models.refresh()
    return app


def answering_versions(client: TestClient, count: int) -> list[str]:
    """The versions that answered `count` customers."""
    versions = []
    for number in range(count):
        reply = client.post("/v1/churn:score", json={"rows": [a_row(number)]})
        assert reply.status_code == 200, reply.text
        versions.append(reply.json()["model"]["version"])
    return versions


def test_S3_a_challenger_that_cannot_answer_is_found_out_before_the_first_customer(
    fixture: ServiceFixture,
) -> None:
    fixture.challenger(bias=float("nan"))
    client = TestClient(a_service(fixture, Rollout("canary", share=1.0)))
    assert set(answering_versions(client, 20)) == {"1"}
    assert "v2 cannot answer" in client.get("/readyz").json()["warnings"]["churn challenger"]
    assert (
        "no risk between 0 and 1" in client.get("/v1/models").json()["details"]["churn challenger"]
    )
    assert figure(client, "keepline_challenger_stopped", version="2") == 1


def test_S3_a_challenger_that_fails_on_real_requests_is_stopped_and_nobody_notices(
    fixture: ServiceFixture,
) -> None:
    fixture.challenger(extra="calls_7d")  # it wants to know what nobody sends
    client = TestClient(a_service(fixture, Rollout("canary", share=1.0, max_errors=2)))
    assert set(answering_versions(client, 10)) == {"1"}
    state = client.get("/v1/models").json()
    assert "3 of its last 3 answers failed" in state["challengers"]["churn"]["stopped"]
    assert state["ready"]
    assert figure(client, "keepline_challenger_stopped", version="2") == 1


class Slow:
    """A model that thinks for a while."""

    def __init__(self, model: Any) -> None:
        self.model, self.config = model, model.config

    def score_rows(self, customers: Any) -> Any:
        time.sleep(0.6)
        return self.model.score_rows(customers)


@pytest.fixture
def slow(fixture: ServiceFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The challenger is slow."""
    fixture.challenger(bias=1.0)
    load = loaded.load_model
    monkeypatch.setattr(
        loaded,
        "load_model",
        lambda b, *to: Slow(load(b, *to)) if "v2" in str(b.path) else load(b, *to),
    )


@pytest.mark.usefixtures("slow")
def test_S3_a_slow_challenger_is_stopped(fixture: ServiceFixture) -> None:
    rules = Rollout("canary", share=0.5, min_answers=3)
    client = TestClient(a_service(fixture, rules))
    versions = answering_versions(client, 30)
    assert "2" in versions
    assert versions[-10:] == ["1"] * 10
    assert "the champion in" in client.get("/readyz").json()["warnings"]["churn challenger"]


@pytest.mark.usefixtures("slow")
def test_S3_a_slow_challenger_is_stopped_in_the_shadow_too(fixture: ServiceFixture) -> None:
    client = TestClient(a_service(fixture, Rollout("shadow", min_answers=3)))
    assert set(answering_versions(client, 5)) == {"1"}
    until(
        lambda: (
            "the champion in"
            in str(client.get("/v1/models").json()["challengers"]["churn"]["stopped"])
        )
    )
    assert figure(client, "keepline_challenger_stopped", version="2") == 1


def test_S3_errors_long_ago_do_not_stop_a_shadow(fixture: ServiceFixture) -> None:
    fixture.challenger(extra="calls_7d")  # it wants to know what most do not send
    client = TestClient(a_service(fixture, Rollout("shadow", max_errors=2, window=3)))
    for number in range(12):
        row = a_row(number)
        if number % 3:
            row["features"]["calls_7d"] = 1.0
        assert client.post("/v1/churn:score", json={"rows": [row]}).status_code == 200
    until(
        lambda: (
            sum(
                figure(client, "keepline_answers_total", version="2", outcome=o)
                for o in ("ok", "error")
            )
            == 12
        )
    )
    assert client.get("/v1/models").json()["challengers"]["churn"]["stopped"] is None


def test_S3_what_was_found_unhealthy_is_not_promoted_nor_tried_again_until_somebody_says_why(
    fixture: ServiceFixture,
) -> None:
    version, bundle = fixture.challenger(extra="calls_7d")

    def tell(kind: str, stopped: str, why: str) -> None:
        fixture.registry.annotate(kind, int(stopped), {"stopped": why})

    app = a_service(fixture, Rollout("canary", share=1.0, max_errors=2), stopped=tell)
    client = TestClient(app)
    answering_versions(client, 5)
    app.state.models.refresh()
    assert (
        "3 of its last 3 answers failed"
        in fixture.registry.version_tags("churn", version)["stopped"]
    )
    with pytest.raises(PromotionRefusedError, match="the service stopped it"):
        fixture.promote(version, bundle)
    again = TestClient(a_service(fixture, Rollout("canary", share=1.0)))
    stopped_reason = again.get("/v1/models").json()["challengers"]["churn"]["stopped"]
    assert "3 of its last 3" in stopped_reason, "a restart forgets nothing"

    fixture.registry.readmit("churn", version, actor="ben", why="everybody sends calls_7d now")
    app.state.models.refresh()
    assert client.get("/v1/models").json()["challengers"]["churn"]["stopped"] is None
    assert figure(client, "keepline_challenger_stopped", version="2") == 0
    answering_versions(client, 3)
    assert (
        "3 of its last 3" in client.get("/v1/models").json()["challengers"]["churn"]["stopped"]
    ), "they do not"


def test_S3_a_stopped_challenger_stays_stopped_until_another_takes_its_place(
    fixture: ServiceFixture,
) -> None:
    fixture.challenger(extra="calls_7d")
    app = a_service(fixture, Rollout("canary", share=1.0))
    client = TestClient(app)
    answering_versions(client, 10)
    app.state.models.refresh()
    answering_versions(client, 10)
    assert "3 of its last 3" in client.get("/v1/models").json()["challengers"]["churn"]["stopped"]
    fixture.challenger(bias=1.0)
    app.state.models.refresh()
    assert set(answering_versions(client, 10)) == {"3"}
    assert client.get("/v1/models").json()["challengers"]["churn"]["stopped"] is None


def test_S3_a_canary_answers_its_share_and_each_customer_keeps_to_one_model(
    fixture: ServiceFixture,
) -> None:
    fixture.challenger(bias=1.0)
    client = TestClient(a_service(fixture, Rollout("canary", share=0.3)))
    first = answering_versions(client, 200)
    assert answering_versions(client, 200) == first
    counts = Counter(first)
    assert 35 <= counts["2"] <= 85, "0.3 of 200, give or take four standard errors"
    for version, role in (("1", "champion"), ("2", "challenger")):
        answers = figure(client, "keepline_answers_total", version=version, role=role, outcome="ok")
        assert answers == 2 * counts[version]
        assert (
            figure(client, "keepline_answer_seconds_count", version=version, role=role) == answers
        )
    key = {"x-canary-key": "household 7"}
    rows = [{"rows": [a_row(number)]} for number in range(20)]
    same = {
        client.post("/v1/churn:score", json=row, headers=key).json()["model"]["version"]
        for row in rows
    }
    assert len(same) == 1, "a key of the caller's own keeps several customers together"


def test_S3_a_shadow_sees_every_request_and_answers_none(fixture: ServiceFixture) -> None:
    fixture.challenger(bias=1.0)
    client = TestClient(a_service(fixture, Rollout("shadow")))
    assert set(answering_versions(client, 30)) == {"1"}
    until(
        lambda: (
            figure(client, "keepline_answers_total", version="2", role="challenger", outcome="ok")
            == 30
        )
    )
    assert figure(client, "keepline_shadow_disagreement_count", version="2") == 30
    assert figure(client, "keepline_shadow_disagreement_sum", version="2") / 30 > 0.05


def test_S3_without_a_rollout_a_challenger_is_left_alone(fixture: ServiceFixture) -> None:
    fixture.challenger(bias=1.0)
    client = TestClient(a_service(fixture, Rollout("off", share=1.0)))
    assert set(answering_versions(client, 10)) == {"1"}
    assert client.get("/v1/models").json()["challengers"] == {}


def test_S3_one_rollback_and_the_service_answers_with_the_champion_before(
    fixture: ServiceFixture,
) -> None:
    fixture.champion(bias=1.0)
    with running(a_service(fixture, Rollout(), poll_s=0.1)) as url:

        def version() -> str:
            return str(
                httpx.post(f"{url}/v1/churn:score", json={"rows": [a_row(1)]}).json()["model"][
                    "version"
                ]
            )

        assert version() == "2"
        fixture.registry.rollback("churn", "anna", NOW)
        until(lambda: version() == "1")
