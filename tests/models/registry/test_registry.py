"""The registry keeps bundles whole and its ledger and aliases in step."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from models.registry import ledger
from models.registry.ledger import LedgerError
from models.registry.registry import PromotionRefusedError, Registry, RegistryError
from tests.registry_helpers import NOW, RegistryFixture, a_bundle, a_decision


@pytest.fixture
def shop(tmp_path: Path) -> RegistryFixture:
    return RegistryFixture(tmp_path)


def _promote(shop: RegistryFixture, content: str, at: datetime = NOW) -> int:
    """Registers and promotes a bundle over the present champion."""
    version, sha256 = shop.version(content)
    entries = shop.registry.ledger("churn")
    last = entries[-1] if entries else None
    decision = a_decision(sha256, last.bundle_sha256 if last else None)
    shop.registry.promote(
        "churn",
        version,
        expected=last.version if last else None,
        decision=decision,
        actor="anna",
        now=at,
    )
    return version


def test_a_bundle_comes_back_as_it_was_registered(shop: RegistryFixture, tmp_path: Path) -> None:
    version, sha256 = shop.version("one")
    bundle = shop.registry.fetch("churn", version, tmp_path / "cache")
    assert bundle.sha256 == sha256
    assert bundle.path == tmp_path / "cache" / "churn" / f"v{version}"
    assert shop.registry.version_tags("churn", version)["data_hash"] == bundle.data_hash


def test_registering_the_same_bundle_again_is_the_same_version(shop: RegistryFixture) -> None:
    assert shop.version("one") == shop.version("one")
    assert shop.version("two")[0] == 2


def test_a_damaged_copy_in_the_cache_is_fetched_again(
    shop: RegistryFixture, tmp_path: Path
) -> None:
    version, sha256 = shop.version("one")
    path = shop.registry.fetch("churn", version, tmp_path / "cache").path
    (path / "config.json").write_text('{"planted": true}')
    assert shop.registry.fetch("churn", version, tmp_path / "cache").sha256 == sha256


def test_a_bundle_changed_in_the_store_is_never_delivered(
    shop: RegistryFixture, tmp_path: Path
) -> None:
    version, _ = shop.version("one")
    (stored,) = (tmp_path / "art").rglob("config.json")
    stored.write_text('{"planted": true}')
    with pytest.raises(ValueError, match=r"config\.json has changed"):
        shop.registry.fetch("churn", version, tmp_path / "cache")
    assert list((tmp_path / "cache" / "churn").iterdir()) == []


def test_a_whole_other_bundle_in_its_place_is_never_delivered(
    shop: RegistryFixture, tmp_path: Path
) -> None:
    version, _ = shop.version("one")
    (stored,) = (tmp_path / "art").rglob("config.json")
    a_bundle(stored.parent, "planted")
    with pytest.raises(RegistryError, match="tampered"):
        shop.registry.fetch("churn", version, tmp_path / "cache")


def test_a_version_or_alias_that_is_not_there_is_named(
    shop: RegistryFixture, tmp_path: Path
) -> None:
    with pytest.raises(RegistryError, match="nothing has the alias 'champion'"):
        shop.registry.fetch("churn", "champion", tmp_path)
    with pytest.raises(RegistryError, match="no version 7"):
        shop.registry.fetch("churn", 7, tmp_path)


def test_rollback_goes_one_champion_back_each_time_and_then_says_no(shop: RegistryFixture) -> None:
    for content in ("one", "two", "three"):
        _promote(shop, content)
    assert shop.registry.alias("churn", "previous") == 2
    assert shop.registry.rollback("churn", "ben", NOW).version == 2
    assert (shop.registry.alias("churn", "champion"), shop.registry.alias("churn", "previous")) == (
        2,
        1,
    )
    assert shop.registry.rollback("churn", "ben", NOW).version == 1
    assert shop.registry.alias("churn", "previous") is None
    with pytest.raises(RegistryError, match="no earlier champion"):
        shop.registry.rollback("churn", "ben", NOW)
    assert [entry.action for entry in shop.registry.ledger()] == ["promote"] * 3 + ["rollback"] * 2


def test_rollback_goes_only_to_the_bundle_that_was_promoted(
    shop: RegistryFixture, tmp_path: Path
) -> None:
    _promote(shop, "one")
    _promote(shop, "two")
    (stored,) = (
        path
        for path in (tmp_path / "art").rglob("weights.safetensors")
        if b"one" in path.read_bytes()
    )
    stored.write_bytes(stored.read_bytes().replace(b"one", b"eno"))
    with pytest.raises(ValueError, match=r"weights\.safetensors has changed"):
        shop.registry.rollback("churn", "ben", NOW)
    assert (shop.registry.alias("churn", "champion"), len(shop.registry.ledger())) == (2, 2)
    stored.write_bytes(stored.read_bytes().replace(b"eno", b"one"))
    shop.registry.client.set_model_version_tag(
        "churn", "1", "bundle_sha256", shop.version("three")[1]
    )
    with pytest.raises(LedgerError, match="knows another 'churn' v1"):
        shop.registry.rollback("churn", "ben", NOW)
    assert shop.registry.alias("churn", "champion") == 2


def test_two_who_roll_back_at_once_go_one_champion_back(shop: RegistryFixture) -> None:
    for content in ("one", "two", "three"):
        _promote(shop, content)
    with pytest.raises(PromotionRefusedError, match="champion is v3, not v2"):
        shop.registry.rollback("churn", "ben", NOW, expected=2)
    start = threading.Barrier(2)

    def rolls_back(actor: str) -> str:
        registry = Registry(shop.uri, shop.folder / "registry")
        deliver = registry._check_delivery

        def deliver_and_wait(name: str, version: int, sha256: str) -> None:
            deliver(name, version, sha256)
            start.wait()

        registry._check_delivery = deliver_and_wait  # type: ignore[method-assign]
        try:
            return f"v{registry.rollback('churn', actor, NOW).version}"
        except PromotionRefusedError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        refusal, version = sorted(pool.map(rolls_back, ["ben", "cleo"]))
    assert "somebody moved the alias meanwhile; the champion is v2" in refusal
    assert version == "v2"
    assert shop.registry.alias("churn", "champion") == 2


def test_bundles_travel_while_the_lease_is_free(
    shop: RegistryFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    transfers = []

    def watched(transfer: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*arguments: Any) -> Any:
            with FileLock(shop.folder / "registry" / "registry.lock", timeout=0):
                transfers.append(arguments)
            return transfer(*arguments)

        return checked

    (shop.folder / "registry").mkdir()
    monkeypatch.setattr(shop.registry, "fetch", watched(shop.registry.fetch))
    monkeypatch.setattr(
        shop.registry.client, "log_artifacts", watched(shop.registry.client.log_artifacts)
    )
    _promote(shop, "one")
    _promote(shop, "two")
    shop.registry.rollback("churn", "ben", NOW)
    assert len(transfers) == 5, "two bundles stored, three looked at"


def test_a_decision_against_an_older_champion_is_refused(shop: RegistryFixture) -> None:
    _promote(shop, "one")
    version, sha256 = shop.version("two")
    with pytest.raises(PromotionRefusedError, match="did not compare v2 with the champion v1"):
        shop.registry.promote(
            "churn",
            version,
            expected=1,
            decision=a_decision(sha256, "another"),
            actor="anna",
            now=NOW,
        )
    assert shop.registry.alias("churn", "champion") == 1


def test_a_promotion_done_twice_is_one_entry(shop: RegistryFixture) -> None:
    version, sha256 = shop.version("one")
    first = shop.registry.promote(
        "churn", version, expected=None, decision=a_decision(sha256), actor="anna", now=NOW
    )
    again = shop.registry.promote(
        "churn",
        version,
        expected=None,
        decision=a_decision(sha256),
        actor="anna",
        now=NOW + timedelta(hours=1),
    )
    assert again == first
    assert len(shop.registry.ledger()) == 1


def test_an_alias_moved_by_hand_goes_back_to_what_the_ledger_says(shop: RegistryFixture) -> None:
    _promote(shop, "one")
    shop.version("two")
    shop.registry.client.set_registered_model_alias("churn", "champion", "2")
    assert shop.registry.alias("churn", "champion") == 1


def test_a_ledger_with_an_altered_line_stops_every_promotion(shop: RegistryFixture) -> None:
    _promote(shop, "one")
    _promote(shop, "two")
    path = shop.registry.ledger_path
    path.write_text(path.read_text().replace("anna", "olga", 1))
    with pytest.raises(LedgerError, match="line 1: altered"):
        _promote(shop, "three")


def test_a_ledger_cut_short_is_noticed(shop: RegistryFixture) -> None:
    _promote(shop, "one")
    _promote(shop, "two")
    path = shop.registry.ledger_path
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    for look_up in (
        lambda: shop.registry.alias("churn", "champion"),
        lambda: shop.registry.peek("churn", "champion"),
        lambda: shop.registry.champion_at("churn", NOW),
        lambda: shop.registry.ledger(),
    ):
        with pytest.raises(LedgerError, match="lacks the last promotion"):
            look_up()


def test_without_its_ledger_an_alias_moved_by_hand_is_not_believed(shop: RegistryFixture) -> None:
    shop.version("zero")
    shop.registry.client.set_registered_model_alias("churn", "champion", "1")
    assert shop.registry.peek("churn", "champion") is None, "nobody was ever promoted"
    _promote(shop, "one")
    shop.registry.ledger_path.unlink()
    shop.registry.client.set_registered_model_alias("churn", "champion", "1")
    for look_up in (shop.registry.alias, shop.registry.peek):
        with pytest.raises(LedgerError, match="lacks the last promotion"):
            look_up("churn", "champion")


def test_a_version_the_service_stopped_is_not_promoted_until_somebody_says_why_it_may_be(
    shop: RegistryFixture,
) -> None:
    version, sha256 = shop.version("one")
    shop.registry.annotate("churn", version, {"stopped": "3 of its last 3 answers failed"})
    for move in (
        shop.registry.challenge,
        partial(shop.registry.promote, expected=None),
    ):
        with pytest.raises(
            PromotionRefusedError, match=r"3 of its last 3.*keepline readmit churn 1"
        ):
            move("churn", version, decision=a_decision(sha256), actor="anna", now=NOW)
    assert shop.registry.ledger() == []
    with pytest.raises(RegistryError, match="Say why"):
        shop.registry.readmit("churn", version, actor="ben", why=" ")
    assert (
        shop.registry.readmit("churn", version, actor="ben", why="the network was down")
        == "3 of its last 3 answers failed"
    )
    assert (
        "by ben: the network was down" in shop.registry.version_tags("churn", version)["readmitted"]
    )
    assert (
        shop.registry.promote(
            "churn", version, expected=None, decision=a_decision(sha256), actor="anna", now=NOW
        ).version
        == version
    )
    with pytest.raises(RegistryError, match="nobody stopped it"):
        shop.registry.readmit("churn", version, actor="ben", why="again")


def test_a_second_machine_with_a_ledger_of_its_own_cannot_promote(
    shop: RegistryFixture, tmp_path: Path
) -> None:
    _promote(shop, "one")
    version, sha256 = shop.version("two")
    elsewhere = Registry(shop.uri, tmp_path / "elsewhere")
    with pytest.raises(LedgerError, match="not this registry's"):
        elsewhere.promote(
            "churn", version, expected=None, decision=a_decision(sha256), actor="anna", now=NOW
        )


def test_half_a_line_left_by_a_kill_is_no_entry_and_is_written_over(shop: RegistryFixture) -> None:
    _promote(shop, "one")
    with shop.registry.ledger_path.open("a") as handle:
        handle.write('{"seq": 2, "at": "20')
    assert len(shop.registry.ledger()) == 1
    _promote(shop, "two")
    lines = shop.registry.ledger_path.read_text().splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [1, 2]


def test_time_never_runs_backwards_in_the_ledger(shop: RegistryFixture) -> None:
    _promote(shop, "one", NOW)
    _promote(shop, "two", NOW - timedelta(days=2))
    assert [entry.at for entry in shop.registry.ledger()] == [NOW.isoformat()] * 2


def test_a_time_without_zone_is_refused_before_anything_is_written(shop: RegistryFixture) -> None:
    version, sha256 = shop.version("one")
    with pytest.raises(ValueError, match="no time zone"):
        shop.registry.promote(
            "churn",
            version,
            expected=None,
            decision=a_decision(sha256),
            actor="anna",
            now=datetime(2026, 3, 1),
        )
    assert shop.registry.ledger() == []


def test_a_text_with_odd_characters_stays_one_line(tmp_path: Path) -> None:
    fields = {
        "at": NOW.isoformat(),
        "action": "promote",
        "name": "churn",
        "version": 1,
        "previous": None,
    }
    odd = "é\u2028\x85\n"
    ledger.append_entry(
        tmp_path / "l", {**fields, "bundle_sha256": "b", "decision_id": "d", "actor": odd}
    )
    assert [entry.actor for entry in ledger.read_entries(tmp_path / "l")] == [odd]


def test_the_ledger_names_the_champion_of_any_day(shop: RegistryFixture) -> None:
    _promote(shop, "one", datetime(2026, 3, 1, 12, tzinfo=UTC))
    _promote(shop, "two", datetime(2026, 3, 5, 12, tzinfo=UTC))
    shop.registry.rollback("churn", "ben", datetime(2026, 3, 9, 12, tzinfo=UTC))
    days = [datetime(2026, 2, 28).date(), datetime(2026, 3, 1).date(), datetime(2026, 3, 5).date()]
    assert [shop.registry.champion_at("churn", day) for day in days] == [None, 1, 2]
    assert shop.registry.champion_at("churn", datetime(2026, 3, 5, 11, tzinfo=UTC)) == 1
    assert shop.registry.champion_at("churn", datetime(2027, 1, 1).date()) == 1
