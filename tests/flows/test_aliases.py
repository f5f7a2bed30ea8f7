"""A person moves aliases on the command line: challenge, withdraw, readmit, rollback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data import artefacts
from data.files import write_json
from flows.cli import app
from tests.registry_helpers import NOW, RegistryFixture, a_decision


@pytest.fixture
def shop(tmp_path: Path) -> RegistryFixture:
    """Three champions, one after the other, as runs of the pipeline leave them."""
    shop, beaten = RegistryFixture(tmp_path), None
    (tmp_path / artefacts.MARKERS.path).mkdir()  # a run has been here
    for number, content in enumerate(("one", "two", "three"), 1):
        version, sha256 = shop.version(content)
        record = a_decision(sha256, beaten)
        shop.registry.promote(
            "churn",
            version,
            expected=number - 1 or None,
            decision=record,
            actor="schedule",
            now=NOW,
        )
        write_json(tmp_path / "decisions" / "churn" / f"{record['decision_id']}.json", record)
        beaten = sha256
    return shop


def keepline(
    shop: RegistryFixture, *words: str, fails: type[Exception] | None = None, says: str
) -> None:
    done = CliRunner().invoke(
        app, [*words, "--store", str(shop.folder)], env={"KEEPLINE_ACTOR": "ben"}
    )
    assert type(done.exception) is (fails or type(None)), done.output
    assert says in (str(done.exception) if fails else done.output)


def test_S3_anybody_can_have_a_version_tried_that_the_gate_has_accepted(
    shop: RegistryFixture,
) -> None:
    from models.registry.registry import PromotionRefusedError, RegistryError

    keepline(shop, "challenge", "churn", "1", says="v1 is challenger")
    challenger = shop.registry.peek("churn", "challenger")
    assert challenger is not None
    assert challenger[0] == 1
    assert (shop.registry.ledger()[-1].action, shop.registry.ledger()[-1].actor) == (
        "challenge",
        "ben",
    )
    keepline(shop, "withdraw", "churn", says="v1 is no challenger any more")
    keepline(shop, "withdraw", "churn", says="there is no challenger")
    assert shop.registry.peek("churn", "challenger") is None

    keepline(
        shop, "challenge", "churn", "3", fails=PromotionRefusedError, says="cannot challenge itself"
    )
    keepline(shop, "challenge", "churn", "9", fails=RegistryError, says="no version 9")
    version, _ = shop.version("never judged")
    keepline(
        shop,
        "challenge",
        "churn",
        str(version),
        fails=FileNotFoundError,
        says="no decision about churn v4",
    )
    refused = a_decision(shop.registry.version_tags("churn", 4)["bundle_sha256"], verdict="refused")
    write_json(shop.folder / "decisions" / "churn" / f"{refused['decision_id']}.json", refused)
    shop.registry.annotate("churn", 4, {"decision_id": refused["decision_id"]})
    keepline(shop, "challenge", "churn", "4", fails=PromotionRefusedError, says="refused it")


def test_S3_what_was_stopped_is_readmitted_only_with_a_reason(shop: RegistryFixture) -> None:
    from models.registry.registry import PromotionRefusedError

    shop.registry.annotate("churn", 1, {"stopped": "3 of its last 3 answers failed"})
    keepline(
        shop, "challenge", "churn", "1", fails=PromotionRefusedError, says="the service stopped it"
    )
    keepline(
        shop, "readmit", "churn", "1", "--why", "the network was down", says="v1 is readmitted"
    )
    keepline(shop, "challenge", "churn", "1", says="v1 is challenger")


def test_S3_a_rollback_leaves_the_champion_it_was_meant_for(shop: RegistryFixture) -> None:
    from models.registry.registry import PromotionRefusedError

    keepline(shop, "rollback", "churn", "--from", "3", says="v2 is champion again, v3 is not")
    keepline(
        shop, "rollback", "churn", "--from", "3", fails=PromotionRefusedError, says="is v2, not v3"
    )
    keepline(shop, "rollback", "churn", says="v1 is champion again")
    moved = [
        json.loads(line)["action"] for line in shop.registry.ledger_path.read_text().splitlines()
    ]
    assert moved == ["promote"] * 3 + ["rollback"] * 2
