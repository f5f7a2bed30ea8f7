"""S1: the champion moves only through the gate, once at a time, and the ledger says who was
champion on any date.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from evaluation.gates.decide import check_modules
from models.kinds import kind_names, kind_of
from models.registry.decision_rules import describe_gaps
from models.registry.ledger import decision_id
from models.registry.registry import PromotionRefusedError, Registry
from tests.registry_helpers import NOW, RegistryFixture, a_decision

PROMOTE = """
import json, sys, time
from datetime import datetime
from pathlib import Path
from models.registry.registry import PromotionRefusedError, Registry

uri, folder, version, decision, ready, go = sys.argv[1:]
registry = Registry(uri, Path(folder))
registry.client
Path(ready).touch()
while not Path(go).exists():
    time.sleep(0.005)
try:
    registry.promote("churn", int(version), expected=None, decision=json.loads(decision),
                     actor=f"process {version}",
                     now=datetime.fromisoformat("2026-03-01T12:00:00+00:00"))
    print("won")
except PromotionRefusedError as error:
    print(error)
"""

DIE_BEFORE_THE_ALIAS = """
import json, os, signal, sys
from datetime import datetime
from pathlib import Path
from models.registry import registry as module

uri, folder, version, decision = sys.argv[1:]
written = module.append_entry
def append_and_die(*arguments):
    written(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
module.append_entry = append_and_die
module.Registry(uri, Path(folder)).promote(
    "churn", int(version), expected=None, decision=json.loads(decision), actor="anna",
    now=datetime.fromisoformat("2026-03-01T12:00:00+00:00"))
"""


@pytest.fixture
def fixture(tmp_path: Path) -> RegistryFixture:
    return RegistryFixture(tmp_path)


def _start(script: str, *arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_S1_concurrent_promotions_have_one_winner(fixture: RegistryFixture, tmp_path: Path) -> None:
    versions = [fixture.version(content) for content in ("one", "two")]
    racers = [
        _start(
            PROMOTE,
            fixture.uri,
            tmp_path / "registry",
            version,
            json.dumps(a_decision(sha)),
            tmp_path / f"ready{version}",
            tmp_path / "go",
        )
        for version, sha in versions
    ]
    try:
        while not all((tmp_path / f"ready{version}").exists() for version, _ in versions):
            assert all(racer.poll() is None for racer in racers), racers[0].communicate()
        (tmp_path / "go").touch()
        outputs = [racer.communicate(timeout=120) for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
    answers = [out.strip() for out, _ in outputs]
    assert answers.count("won") == 1, outputs
    winner = versions[answers.index("won")][0]
    assert all(
        f"champion is v{winner}, not nobody" in answer for answer in answers if answer != "won"
    )
    assert [entry.version for entry in fixture.registry.ledger("churn")] == [winner]
    assert fixture.registry.alias("churn", "champion") == winner


def test_S1_a_promotion_killed_before_the_alias_moved_is_finished_by_the_next_call(
    fixture: RegistryFixture, tmp_path: Path
) -> None:
    version, sha = fixture.version("one")
    killed = _start(
        DIE_BEFORE_THE_ALIAS,
        fixture.uri,
        tmp_path / "registry",
        version,
        json.dumps(a_decision(sha)),
    )
    _, errors = killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL, errors
    assert fixture.registry.client.get_registered_model("churn").aliases == {}
    assert fixture.registry.champion_at("churn", NOW) == version
    assert fixture.registry.alias("churn", "champion") == version
    assert fixture.registry.fetch("churn", "champion", tmp_path / "cache").sha256 == sha


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda sha: a_decision(sha, verdict="refused"), "refused it"),
        (lambda sha: {**a_decision(sha, verdict="refused"), "verdict": "accepted"}, "altered"),
        (lambda sha: a_decision("f" * 64), "about another bundle"),
        (lambda sha: {}, "altered"),
    ],
)
def test_S1_without_an_accepted_decision_about_this_bundle_nothing_moves(
    fixture: RegistryFixture, change: Callable[[str], dict[str, Any]], says: str
) -> None:
    version, sha = fixture.version("one")
    with pytest.raises(PromotionRefusedError, match=says):
        fixture.registry.promote(
            "churn", version, expected=None, decision=change(sha), actor="anna", now=NOW
        )
    assert fixture.registry.alias("churn", "champion") is None
    assert fixture.registry.ledger() == []


def test_S1_the_ledger_names_the_champion_on_any_date_and_equals_the_alias(
    fixture: RegistryFixture,
) -> None:
    champion: int | None = None
    reference: str | None = None
    for number, content in enumerate(("one", "two", "three")):
        version, sha = fixture.version(content)
        at = NOW + timedelta(days=10 * number)
        entry = fixture.registry.promote(
            "churn",
            version,
            expected=champion,
            decision=a_decision(sha, reference),
            actor="anna",
            now=at,
        )
        champion, reference = version, sha
        assert fixture.registry.alias("churn", "champion") == entry.version == version
    on = {
        date(2026, 2, 28): None,
        date(2026, 3, 1): 1,
        date(2026, 3, 10): 1,
        date(2026, 3, 11): 2,
        date(2027, 1, 1): 3,
    }
    assert {day: fixture.registry.champion_at("churn", day) for day in on} == on
    assert (
        fixture.registry.champion_at("churn", datetime.fromisoformat("2026-03-21T11:59:59+00:00"))
        == 2
    )


def test_S1_many_promoters_in_many_rounds_have_one_winner_each(fixture: RegistryFixture) -> None:
    """Threads, each with a registry of its own; benchmarks/bench_promotions.py does it with 20
    processes, 50 rounds.
    """
    versions = [fixture.version(content) for content in ("one", "two", "three", "four")]
    champion: int | None = None
    reference: str | None = None
    for number in range(1, 6):
        racing = [(version, sha) for version, sha in versions if version != champion]
        start = threading.Barrier(len(racing))

        def race(
            contender: tuple[int, str],
            expected: int | None = champion,
            beaten: str | None = reference,
            start: threading.Barrier = start,
        ) -> int | None:
            version, sha = contender
            registry = Registry(fixture.uri, fixture.folder / "registry")
            start.wait()
            try:
                return registry.promote(
                    "churn",
                    version,
                    expected=expected,
                    decision=a_decision(sha, beaten),
                    actor=f"v{version}",
                    now=NOW,
                ).version
            except PromotionRefusedError:
                return None

        with ThreadPoolExecutor(len(racing)) as pool:
            results = list(pool.map(race, racing))
        winners = [version for version in results if version is not None]
        ledger = fixture.registry.ledger("churn")
        assert len(winners) == 1
        assert len(ledger) == number
        assert ledger[-1].version == winners[0] == fixture.registry.alias("churn", "champion")
        champion, reference = ledger[-1].version, ledger[-1].bundle_sha256


def test_S1_challengers_stand_in_the_ledger_and_need_an_accepted_decision(
    fixture: RegistryFixture,
) -> None:
    (version, first), (later_version, second) = fixture.version("one"), fixture.version("two")
    fixture.registry.promote(
        "churn", version, expected=None, decision=a_decision(first), actor="anna", now=NOW
    )
    with pytest.raises(PromotionRefusedError, match="refused it"):
        fixture.registry.challenge(
            "churn",
            later_version,
            decision=a_decision(second, first, "refused"),
            actor="anna",
            now=NOW,
        )
    with pytest.raises(PromotionRefusedError, match="cannot challenge itself"):
        fixture.registry.challenge(
            "churn", version, decision=a_decision(first), actor="anna", now=NOW
        )
    fixture.registry.challenge(
        "churn", later_version, decision=a_decision(second, first), actor="anna", now=NOW
    )
    fixture.registry.client.set_registered_model_alias("churn", "challenger", str(version))
    assert fixture.registry.alias("churn", "challenger") == later_version, "the ledger is the truth"
    assert fixture.registry.peek("churn", "challenger") == (later_version, second)
    assert fixture.registry.champion_at("churn", NOW) == version
    fixture.registry.withdraw("churn", "anna", NOW)
    assert fixture.registry.alias("churn", "challenger") is None
    assert fixture.registry.withdraw("churn", "anna", NOW) is None
    assert fixture.registry.alias("churn", "champion") == version


def test_S1_a_record_that_accepts_in_spite_of_a_failed_check_moves_nothing(
    fixture: RegistryFixture,
) -> None:
    version, sha = fixture.version("one")
    record = {**a_decision(sha), "checks": [{"name": "floor", "verdict": "fail"}]}
    # Whoever forges a record can compute its id as well.
    record["decision_id"] = decision_id(record)
    with pytest.raises(PromotionRefusedError, match="although floor did not pass"):
        fixture.registry.promote(
            "churn", version, expected=None, decision=record, actor="anna", now=NOW
        )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"checks": []}, "says nothing about behaviour, better"),
        ({"params": {}}, "does not say whether a person has to approve"),
        ({"params": {"approval": "never"}}, "does not say whether a person has to approve"),
        ({"kind": "weather"}, "does not say which kind of model"),
    ],
)
def test_S1_a_record_that_leaves_something_out_moves_nothing(
    fixture: RegistryFixture, change: dict[str, Any], says: str
) -> None:
    version, sha = fixture.version("one")
    record = {**a_decision(sha), **change}
    record["decision_id"] = decision_id(record)
    with pytest.raises(PromotionRefusedError, match=says):
        fixture.registry.promote(
            "churn", version, expected=None, decision=record, actor="anna", now=NOW
        )
    with pytest.raises(PromotionRefusedError, match=says):
        fixture.registry.challenge("churn", version, decision=record, actor="anna", now=NOW)
    assert fixture.registry.ledger() == []


@pytest.mark.parametrize("kind", kind_names())
def test_S1_every_check_that_a_kind_of_model_has_to_pass_must_be_on_its_record(kind: str) -> None:
    check_names = {module.NAME for module in check_modules() if module.applies(kind)}
    assert set(kind_of(kind).all_checks) == check_names, (
        "a new check has to be named in models/kinds.py as well"
    )
    whole = {"kind": kind, "params": {"approval": "none"}}
    assert describe_gaps({**whole, "checks": [{"name": name} for name in check_names]}) == ""
    for left_out in check_names:
        assert describe_gaps(
            {**whole, "checks": [{"name": name} for name in check_names - {left_out}]}
        ).endswith(left_out)
