"""S1: the champion moves only through the gate, once at a time, and the ledger says who was champion on any date."""

import json
import os
import signal
import subprocess
import sys
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from models.registry import PromotionRefusedError
from tests.judging import NOW, Shop, a_decision

PROMOTE = """
import json, sys, time
from datetime import datetime
from pathlib import Path
from models.registry import PromotionRefusedError, Registry

uri, folder, version, decision, ready, go = sys.argv[1:]
registry = Registry(uri, Path(folder))
registry.client
Path(ready).touch()
while not Path(go).exists():
    time.sleep(0.005)
try:
    registry.promote("churn", int(version), None, json.loads(decision), f"process {version}",
                     datetime.fromisoformat("2026-03-01T12:00:00+00:00"))
    print("won")
except PromotionRefusedError as error:
    print(error)
"""

DIE_BEFORE_THE_ALIAS = """
import json, os, signal, sys
from datetime import datetime
from pathlib import Path
from models import registry as module

uri, folder, version, decision = sys.argv[1:]
written = module.append
def append_and_die(*arguments):
    written(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
module.append = append_and_die
module.Registry(uri, Path(folder)).promote("churn", int(version), None, json.loads(decision), "anna",
                                           datetime.fromisoformat("2026-03-01T12:00:00+00:00"))
"""


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def _start(script: str, *arguments: object) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_S1_concurrent_promotions_have_one_winner(shop: Shop, tmp_path: Path):
    versions = [shop.version(content) for content in ("one", "two")]
    racers = [
        _start(
            PROMOTE,
            shop.uri,
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
        said = [racer.communicate(timeout=120) for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
    answers = [out.strip() for out, _ in said]
    assert answers.count("won") == 1, said
    winner = versions[answers.index("won")][0]
    assert all(f"champion is v{winner}, not nobody" in answer for answer in answers if answer != "won")
    assert [entry.version for entry in shop.registry.ledger("churn")] == [winner]
    assert shop.registry.alias("churn", "champion") == winner


def test_S1_a_promotion_killed_before_the_alias_moved_is_finished_by_the_next_call(shop: Shop, tmp_path: Path):
    version, sha = shop.version("one")
    killed = _start(DIE_BEFORE_THE_ALIAS, shop.uri, tmp_path / "registry", version, json.dumps(a_decision(sha)))
    _, errors = killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL, errors
    assert shop.registry.client.get_registered_model("churn").aliases == {}
    assert shop.registry.champion_at("churn", NOW) == version
    assert shop.registry.alias("churn", "champion") == version
    assert shop.registry.fetch("churn", "champion", tmp_path / "cache").sha256 == sha


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda sha: a_decision(sha, verdict="refused"), "refused it"),
        (lambda sha: {**a_decision(sha, verdict="refused"), "verdict": "accepted"}, "altered"),
        (lambda sha: a_decision("f" * 64), "about another bundle"),
        (lambda sha: {}, "altered"),
    ],
)
def test_S1_without_an_accepted_decision_about_this_bundle_nothing_moves(shop: Shop, change, says):
    version, sha = shop.version("one")
    with pytest.raises(PromotionRefusedError, match=says):
        shop.registry.promote("churn", version, None, change(sha), "anna", NOW)
    assert shop.registry.alias("churn", "champion") is None
    assert shop.registry.ledger() == []


def test_S1_the_ledger_names_the_champion_on_any_date_and_equals_the_alias(shop: Shop):
    champion, reference = None, None
    for number, content in enumerate(("one", "two", "three")):
        version, sha = shop.version(content)
        at = NOW + timedelta(days=10 * number)
        entry = shop.registry.promote("churn", version, champion, a_decision(sha, reference), "anna", at)
        champion, reference = version, sha
        assert shop.registry.alias("churn", "champion") == entry.version == version
    on = {date(2026, 2, 28): None, date(2026, 3, 1): 1, date(2026, 3, 10): 1, date(2026, 3, 11): 2, date(2027, 1, 1): 3}
    assert {day: shop.registry.champion_at("churn", day) for day in on} == on
    assert shop.registry.champion_at("churn", datetime.fromisoformat("2026-03-21T11:59:59+00:00")) == 2
