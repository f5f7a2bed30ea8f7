"""The service keeps what its OpenAPI document promises, asked by schemathesis.

Its requests are generated from that document.
"""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from data.speech.transcripts import TranscriptTurn, Word
from models.registry.bundle import write_bundle
from models.serving import loaded
from models.serving.access import Access, add_key
from models.serving.app import create_app
from models.serving.loaded import Served
from tests.mission.test_S5_no_pickle_no_tampering import FACTS, a_tar, honest
from tests.service_helpers import a_churn_bundle

OPERATIONS = (
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "GET /v1/models",
    "POST /v1/models:refresh",
    "POST /v1/churn:score",
    "POST /v1/transcribe",
)


class Transcriber:
    """A recogniser that finds the same turn in every call."""

    def transcribe_file(self, source: Any, roles: dict[int, str]) -> list[Any]:
        return [TranscriptTurn("customer", 0.0, 0.1, "yes", 0.9, [Word("yes", 0.0, 0.1, 0.9)])]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    """The service's document as schemathesis reads it, and a key that opens everything."""
    folder = tmp_path_factory.mktemp("openapi")
    facts: dict[str, Any] = dict(FACTS)
    nemo = a_tar(folder / "m.nemo", honest())
    places = {
        "churn": a_churn_bundle(folder / "churn").path,
        "asr": write_bundle(
            folder / "asr", "asr", {"model.nemo": nemo, "card.md": "# A card"}, **facts
        ).path,
    }
    key = add_key(folder / "keys.json", "tester", ["admin"])
    app = create_app(lambda kind: Served("7", places[kind]), access=Access(folder / "keys.json"))
    load, loaded.load_model = (
        loaded.load_model,
        lambda b, *how: Transcriber() if b.kind == "asr" else load(b),
    )
    try:
        app.state.models.refresh()
    finally:
        loaded.load_model = load
    assert app.state.models.ready
    load_all_checks()
    return schemathesis.openapi.from_asgi("/openapi.json", app), key


def test_nothing_of_the_interface_is_left_out(document: tuple[Any, str]) -> None:
    labels = {operation.ok().label for operation in document[0].get_all_operations()}
    assert labels == set(OPERATIONS)


@pytest.mark.parametrize(
    ("label", "mode"),
    [
        *((label, GenerationMode.POSITIVE) for label in OPERATIONS),
        # Of the others there is nothing to get wrong.
        *(
            (label, GenerationMode.NEGATIVE)
            for label in ("POST /v1/churn:score", "POST /v1/transcribe")
        ),
    ],
)
def test_whatever_is_sent_is_answered_as_the_document_says(
    document: tuple[Any, str], label: str, mode: GenerationMode
) -> None:
    schema, key = document
    (operation,) = [
        candidate.ok() for candidate in schema.get_all_operations() if candidate.ok().label == label
    ]
    # Any bytes are a file to OpenAPI, so a request that fits the document may rightly be refused
    # there.
    excluded = (
        CHECKS.get_by_names(["positive_data_acceptance"]) if label.endswith("transcribe") else []
    )

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=15,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        case.call_and_validate(headers={"Authorization": f"Bearer {key}"}, excluded_checks=excluded)

    ask()
