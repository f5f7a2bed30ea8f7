"""S1: a line of the ledger is believed only with the record of its decision, whoever wrote it.

A line appended by hand, well hashed, moves no champion: every reader refuses it by name.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.files import file_sha256
from flows.runtime.notifications import notify_move
from flows.runtime.settings import from_environment
from models.registry.ledger import (
    Action,
    LedgerError,
    append_entry,
    decision_id,
    digest,
    read_entries,
)
from models.registry.registry import Registry, RegistryError
from models.serving.loaded import from_registry
from tests.registry_helpers import NOW, RegistryFixture, a_bundle, a_decision

FORGED = {"decision_id": "0123456789abcdef", "actor": "mallory"}


@pytest.fixture
def shop(tmp_path: Path) -> RegistryFixture:
    """A registry with v1 as champion, and v2 registered."""
    fixture = RegistryFixture(tmp_path)
    version, sha256 = fixture.version("one")
    fixture.registry.promote(
        "churn", version, expected=None, decision=a_decision(sha256), actor="anna", now=NOW
    )
    fixture.version("two")
    return fixture


@pytest.fixture(scope="module")
def ec_keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A key pair of the registry's owner, as SECURITY.md says to make one."""
    folder = tmp_path_factory.mktemp("keys")
    keys = {"ours": folder / "private.pem", "ours public": folder / "public.pem"}
    make = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"]
    show = ["openssl", "ec", "-pubout", "-in"]
    subprocess.run([*make, keys["ours"]], check=True, capture_output=True)
    subprocess.run(
        [*show, keys["ours"], "-out", keys["ours public"]], check=True, capture_output=True
    )
    return keys


def sha_of(shop: RegistryFixture, version: int) -> str:
    return shop.registry.version_tags("churn", version)["bundle_sha256"]


def append(shop: RegistryFixture, **changes: Any) -> None:
    """Appends a line that says v2 is champion, with hash and chain as they should be."""
    fields = {
        "at": NOW.isoformat(),
        "action": "promote",
        "name": "churn",
        "version": 2,
        "previous": 1,
        "bundle_sha256": sha_of(shop, 2),
        **FORGED,
        **changes,
    }
    append_entry(shop.registry.ledger_path, fields)


def record_path(shop: RegistryFixture, decided: str) -> Path:
    return shop.folder / "registry" / "decisions" / f"{decided}.json"


def keep(shop: RegistryFixture, record: dict[str, Any]) -> dict[str, Any]:
    """Puts a record where the registry keeps them; returns what a line says of it."""
    path = record_path(shop, record["decision_id"])
    path.write_text(json.dumps(record))
    return {"decision_id": record["decision_id"], "record_sha256": file_sha256(path)}


def readers(shop: RegistryFixture) -> list[Callable[[], object]]:
    """Everybody who asks who is champion, each with a registry that has read nothing yet."""

    def fresh() -> Registry:
        return Registry(shop.uri, shop.folder / "registry")

    serve = from_registry(fresh(), {"churn": "churn"}, shop.folder / "serving")
    return [
        lambda: fresh().alias("churn", "champion"),
        lambda: fresh().peek("churn", "champion"),
        lambda: fresh().fetch("churn", "champion", shop.folder / "cache"),
        lambda: fresh().champion_at("churn", NOW),
        lambda: fresh().ledger(),
        lambda: fresh().rollback("churn", "anna", NOW),
        lambda: serve("churn"),
    ]


def everybody_refuses(shop: RegistryFixture, says: str) -> None:
    before = shop.registry.ledger_path.read_bytes()
    for read in readers(shop):
        with pytest.raises(LedgerError, match=says):
            read()
    assert shop.registry.client.get_registered_model("churn").aliases["champion"] in (1, "1")
    assert shop.registry.ledger_path.read_bytes() == before


def test_S1_everybody_reads_a_genuine_line(shop: RegistryFixture) -> None:
    sha256 = sha_of(shop, 2)
    shop.registry.promote(
        "churn", 2, expected=1, decision=a_decision(sha256, sha_of(shop, 1)), actor="a", now=NOW
    )
    for read in readers(shop)[:-2]:
        read()
    assert shop.registry.peek("churn", "champion") == (2, sha256)
    (first, second) = shop.registry.ledger("churn")
    assert first.record_sha256
    assert second.record_sha256 != first.record_sha256


def test_S1_a_line_appended_by_hand_moves_nobody(shop: RegistryFixture) -> None:
    append(shop)
    assert read_entries(shop.registry.ledger_path)[-1].actor == "mallory", "the chain is whole"
    everybody_refuses(shop, r"line 2: it moves churn to v2 by decision 0123456789abcdef, and there")


@pytest.mark.parametrize("name", ["forged", "../../decisions/x", "", "0123456789ABCDEF"])
def test_S1_a_decision_that_is_no_decision_is_looked_for_nowhere(
    shop: RegistryFixture, name: str
) -> None:
    append(shop, decision_id=name)
    everybody_refuses(shop, "is no decision")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda sha, old: a_decision(sha, old, kind="asr"), "is about asr"),
        (lambda sha, old: a_decision(sha, old, "refused"), "refused it"),
        (lambda sha, old: {**a_decision(sha, old, "refused"), "verdict": "accepted"}, "altered"),
        (lambda sha, old: a_decision("f" * 64, old), "another bundle"),
        (lambda sha, old: a_decision(sha, "f" * 64), "did not compare it with v1"),
    ],
)
def test_S1_a_record_that_does_not_allow_it_moves_nobody(
    shop: RegistryFixture, make: Callable[[str, str], dict[str, Any]], says: str
) -> None:
    append(shop, **keep(shop, make(sha_of(shop, 2), sha_of(shop, 1))))
    everybody_refuses(shop, says)


def test_S1_a_decision_that_waits_for_approval_moves_nobody(shop: RegistryFixture) -> None:
    record = a_decision(sha_of(shop, 2), sha_of(shop, 1))
    record["params"]["approval"] = "required"
    record["decision_id"] = decision_id(record)
    append(shop, **keep(shop, record))
    everybody_refuses(shop, "waits for approval")


def test_S1_an_old_decision_cannot_be_used_again(shop: RegistryFixture) -> None:
    """The record that made v1 champion is genuine, and does not make it so over v2."""
    one, two = sha_of(shop, 1), sha_of(shop, 2)
    shop.registry.promote(
        "churn", 2, expected=1, decision=a_decision(two, one), actor="anna", now=NOW
    )
    first = shop.registry.ledger("churn")[0]
    again = {"decision_id": first.decision_id, "record_sha256": first.record_sha256}
    append(shop, version=1, previous=2, bundle_sha256=one, **again)
    with pytest.raises(LedgerError, match=r"line 3 .* did not compare it with v2"):
        shop.registry.alias("churn", "champion")


def test_S1_a_record_altered_afterwards_or_gone_is_noticed(shop: RegistryFixture) -> None:
    (entry,) = shop.registry.ledger("churn")
    path = record_path(shop, entry.decision_id)
    genuine = path.read_bytes()
    path.write_bytes(genuine.replace(b"accepted", b"accepteD", 1))
    everybody_refuses(shop, "was altered after it")
    path.write_bytes(genuine + b" ")  # not even a space
    everybody_refuses(shop, "was altered after it")
    path.write_bytes(b"[]")
    everybody_refuses(shop, "is no decision record")
    path.unlink()
    everybody_refuses(shop, "there is no such record")
    path.write_bytes(genuine)
    assert shop.registry.alias("churn", "champion") == 1


def test_S1_a_rollback_or_withdrawal_nobody_could_make_is_refused(shop: RegistryFixture) -> None:
    path = shop.registry.ledger_path
    genuine = path.read_bytes()
    append(shop, action="rollback")
    with pytest.raises(LedgerError, match="not the champion before"):
        shop.registry.alias("churn", "champion")
    path.write_bytes(genuine)
    append(shop, action="withdraw")
    with pytest.raises(LedgerError, match="was no challenger"):
        shop.registry.alias("churn", "champion")
    path.write_bytes(b"")
    append(shop, action="rollback", previous=None)
    with pytest.raises(LedgerError):
        Registry(shop.uri, shop.folder / "registry").ledger("churn")


# --- ledgers from before lines covered their records ---


def old_ledger(shop: RegistryFixture, *, with_record: bool) -> None:
    """Writes the ledger as Keepline 0.5 did, and the record where its gate wrote it."""
    record = a_decision(sha_of(shop, 1))
    (entry,) = read_entries(shop.registry.ledger_path)
    new = ("hash", "signature", "record_sha256")
    body = {key: value for key, value in vars(entry).items() if key not in new}
    line = {**body, "hash": digest(body)}
    shop.registry.ledger_path.write_text(json.dumps(line, sort_keys=True) + "\n")
    shop.registry.client.set_registered_model_tag("churn", "ledger_head", line["hash"])
    record_path(shop, record["decision_id"]).unlink()
    if with_record:
        folder = shop.folder / "decisions" / "churn"
        folder.mkdir(parents=True)
        (folder / f"{record['decision_id']}.json").write_text(json.dumps(record))


def test_S1_an_old_ledger_is_believed_with_the_gates_own_record(shop: RegistryFixture) -> None:
    old_ledger(shop, with_record=True)
    assert shop.registry.alias("churn", "champion") == 1
    one, two = sha_of(shop, 1), sha_of(shop, 2)
    shop.registry.promote(
        "churn", 2, expected=1, decision=a_decision(two, one), actor="anna", now=NOW
    )
    assert [bool(entry.record_sha256) for entry in shop.registry.ledger("churn")] == [False, True]
    # From here on a line without the hash is no old one.
    three, sha256 = shop.version("three")
    record = a_decision(sha256, two)
    keep(shop, record)
    named = record["decision_id"]
    append(shop, version=three, previous=2, bundle_sha256=sha256, decision_id=named)
    with pytest.raises(LedgerError, match="does not cover the record"):
        shop.registry.alias("churn", "champion")


def test_S1_an_old_ledger_without_its_record_is_refused(shop: RegistryFixture) -> None:
    old_ledger(shop, with_record=False)
    everybody_refuses(shop, "there is no such record")


# --- what is served is what was decided on ---


def test_S1_rights_in_mlflow_alone_do_not_swap_the_champion(shop: RegistryFixture) -> None:
    """Another bundle in the version's place, and MLflow's tag says that it is the right one."""
    stored = next(
        path.parent
        for path in (shop.folder / "art").rglob("weights.safetensors")
        if b"one" in path.read_bytes()
    )
    planted = a_bundle(stored, "planted").sha256
    with pytest.raises(RegistryError, match="tampered"):
        shop.registry.fetch("churn", "champion", shop.folder / "cache")
    shop.registry.client.set_model_version_tag("churn", "1", "bundle_sha256", planted)
    fresh = Registry(shop.uri, shop.folder / "registry")
    for which in ("champion", 1):
        with pytest.raises(LedgerError, match="knows another 'churn' v1"):
            fresh.fetch("churn", which, shop.folder / "cache")
    with pytest.raises(LedgerError, match="knows another 'churn' v1"):
        from_registry(fresh, {"churn": "churn"}, shop.folder / "serving")("churn")
    assert list((shop.folder / "cache" / "churn").iterdir()) == []


# --- signed ledgers ---


def test_S1_with_a_key_only_its_owner_moves_a_champion(
    shop: RegistryFixture, ec_keys: dict[str, Path]
) -> None:
    owner = Registry(
        shop.uri,
        shop.folder / "registry",
        public_key=ec_keys["ours public"],
        signing_key=ec_keys["ours"],
    )
    service = Registry(shop.uri, shop.folder / "registry", public_key=ec_keys["ours public"])
    for registry in (owner, service):
        with pytest.raises(LedgerError, match="not signed by the owner"):
            registry.peek("churn", "champion")
    signed = owner.sign_ledger()
    assert signed is not None
    assert service.ledger() == [signed]
    with pytest.raises(RegistryError, match="no key to sign with"):
        service.sign_ledger()
    # A forgery that is whole in itself: record, hashes and chain.
    two = sha_of(shop, 2)
    forged = keep(shop, a_decision(two, sha_of(shop, 1)))
    genuine = shop.registry.ledger_path.read_bytes()
    append(shop, **forged)
    assert shop.registry.peek("churn", "champion") == (2, two), "nobody asked for a signature"
    for registry in (owner, service):
        with pytest.raises(
            LedgerError, match=r"line 2 \(promote churn v2, by mallory\): not signed"
        ):
            registry.peek("churn", "champion")
    # Nor with the signature of the line before, or of another key.
    for signature in (signed.signature, "00", "not hex"):
        line = json.loads(shop.registry.ledger_path.read_text().splitlines()[-1])
        line["signature"] = signature
        shop.registry.ledger_path.write_bytes(genuine + json.dumps(line).encode() + b"\n")
        with pytest.raises(LedgerError, match="not signed"):
            service.peek("churn", "champion")


def test_S1_a_signed_ledger_takes_no_line_without_a_key(
    shop: RegistryFixture, ec_keys: dict[str, Path]
) -> None:
    folder, public = shop.folder / "registry", ec_keys["ours public"]
    owner = Registry(shop.uri, folder, public_key=public, signing_key=ec_keys["ours"])
    owner.sign_ledger()
    decision = a_decision(sha_of(shop, 2), sha_of(shop, 1))
    keyless = Registry(shop.uri, folder, public_key=public)
    before = shop.registry.ledger_path.read_bytes()
    # Bundles of this shop are not signed, so the move itself is asked.
    with keyless._lease(), pytest.raises(RegistryError, match="no key to sign with"):
        keyless._append(
            Action.PROMOTE,
            "churn",
            version=2,
            previous=1,
            bundle_sha256=sha_of(shop, 2),
            decision_id=decision["decision_id"],
            record_sha256="",
            actor="ben",
            now=NOW,
        )
    assert shop.registry.ledger_path.read_bytes() == before


def test_S1_a_ledger_whose_last_lines_are_cut_off_is_noticed(shop: RegistryFixture) -> None:
    one, two = sha_of(shop, 1), sha_of(shop, 2)
    shop.registry.promote(
        "churn", 2, expected=1, decision=a_decision(two, one), actor="anna", now=NOW
    )
    path = shop.registry.ledger_path
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    for read in readers(shop):
        with pytest.raises(LedgerError, match="lacks the last promotion"):
            read()


# --- people are told ---


def test_S1_people_are_told_of_each_promotion_and_rollback_once(
    shop: RegistryFixture, tmp_path: Path
) -> None:
    settings = from_environment({}, tmp_path / "store")
    telling = Registry(
        shop.uri, shop.folder / "registry", on_move=lambda entry: notify_move(settings, entry)
    )
    decision = a_decision(sha_of(shop, 2), sha_of(shop, 1))
    for _ in range(2):  # the second changes nothing
        telling.promote("churn", 2, expected=1, decision=decision, actor="anna", now=NOW)
    telling.rollback("churn", "ben", NOW)
    notices = [
        json.loads(line) for line in (tmp_path / "store" / "notices.jsonl").read_text().splitlines()
    ]
    assert [notice["title"] for notice in notices] == [
        "churn: v2 promoted",
        "churn: rolled back to v1",
    ]
    assert "Moved by ben" in notices[1]["body"]
