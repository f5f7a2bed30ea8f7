"""A simulated centre lives for sixty days by a clock of the test's own.

Every evening its source system holds what has happened so far. Every night `evaluate` and `watch`
run as their deployments would, and what a night asks for starts `retrain`, as the automation does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from data.simulator import SimulatorParams, simulate
from data.simulator.deliveries import Changes, Deliveries
from flows.runtime.context import RunContext, context_of
from flows.runtime.settings import prepare
from models.kinds import kind_names
from models.registry.learned import Learned, read_learned
from tests.flows.conftest import SMALL

DAYS = int(os.environ.get("KEEPLINE_SOAK_DAYS", "60"))
SITE = "lumora"
CENTRE = SimulatorParams(
    seed=17, customers=1200, days=200, calls=420, transcribed_share=0.5, agents=6, futures=20
)
OPENS = CENTRE.ends - timedelta(days=DAYS)  # the day of the first training
CODEC_DAY, TOPIC_DAY = 12, 30
PATIENCE = 6  # nights until a planted change has to be found

pytestmark = pytest.mark.soak


@dataclass
class Diary:
    """What each night found and what followed."""

    nights: list[dict[str, Any]] = field(default_factory=list)
    retrained: list[tuple[int, list[str]]] = field(default_factory=list)  # day, kinds
    watched: list[dict[str, Any]] = field(default_factory=list)
    examined: dict[str, set[str]] = field(default_factory=dict)  # kind → contacts ever in its test


@dataclass
class Clock:
    """The time that stages are told."""

    now: datetime


@pytest.fixture(scope="module")
def diary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Diary]:
    """Sixty days of a centre with a new codec on day 12 and another mix of topics from day 30."""
    folder = tmp_path_factory.mktemp("lumora")
    patch = pytest.MonkeyPatch()
    clock = Clock(datetime.combine(OPENS, time(3), UTC))
    for name in [name for name in os.environ if name.startswith(("KEEPLINE_", "PREFECT_"))]:
        patch.delenv(name)
    params = yaml.safe_load(SMALL.read_text()) | {"monitoring": {}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (folder / "sites.yaml").write_text(
        yaml.safe_dump(
            {
                SITE: {
                    "export": str(folder / "export"),
                    "source": "folder",
                    "store": str(folder / "store"),
                    "params": str(folder / "params.yaml"),
                }
            }
        )
    )
    patch.setenv("KEEPLINE_SITES", str(folder / "sites.yaml"))
    patch.setenv("KEEPLINE_STORE", str(folder / "default"))
    patch.setenv("PREFECT_HOME", str(folder / "prefect"))
    prepare()  # before Prefect is imported, as every entry point does
    patch.setattr(RunContext, "now", lambda self: clock.now)
    simulate(CENTRE, folder / "raw", folder / "truth")
    deliveries = Deliveries(
        folder / "raw",
        folder / "truth",
        Changes(
            codec_from=OPENS + timedelta(days=CODEC_DAY),
            topic_from=OPENS + timedelta(days=TOPIC_DAY),
            topic="outage",
            topic_share=0.8,
        ),
    )
    yield _live(deliveries, folder / "export", clock)
    patch.undo()


def _live(deliveries: Deliveries, export: Path, clock: Clock) -> Diary:
    from flows.evaluate import evaluate
    from flows.retrain import retrain
    from flows.watch import watch

    diary = Diary(examined={kind: set() for kind in kind_names()})
    deliveries.until(OPENS - timedelta(days=1), export)
    retrain(SITE)
    for day in range(DAYS):
        evening = OPENS + timedelta(days=day)
        deliveries.until(evening, export)
        clock.now = datetime.combine(evening + timedelta(days=1), time(4), UTC)
        night = dict(evaluate(SITE))
        diary.nights.append(night)
        if night["retrain"]:
            kinds = list(night["event"]["kinds"])
            retrain(SITE, cause=night["event"]["id"])
            diary.retrained.append((day, kinds))
        diary.watched.append(dict(watch(SITE)))
        _note_examined(diary)
    return diary


def _note_examined(diary: Diary) -> None:
    context = context_of(SITE)
    splits = pl.read_parquet(context.path("splits.parquet")).drop_nulls("contact_id")
    tested = set(splits.filter(pl.col("split") == "test")["contact_id"])
    for kind in diary.examined:
        diary.examined[kind] |= tested


def _asked(diary: Diary, first: int, last: int) -> list[tuple[int, list[str]]]:
    return [(day, kinds) for day, kinds in diary.retrained if first <= day <= last]


def test_M1_quiet_days_start_nothing_and_each_change_starts_one_retraining(diary: Diary) -> None:
    assert len(diary.nights) == DAYS
    assert not _asked(diary, 0, CODEC_DAY - 1)
    found = _asked(diary, CODEC_DAY, CODEC_DAY + PATIENCE)
    assert len(found) == 1, diary.retrained
    assert "asr" in found[0][1]
    if DAYS > TOPIC_DAY + 3 * PATIENCE:
        later = _asked(diary, TOPIC_DAY, DAYS)
        assert len(later) in (1, 2), diary.retrained  # reader and churn may see it on other nights


def test_M5_every_night_is_in_the_trend_and_names_its_data(diary: Diary) -> None:
    context = context_of(SITE)
    days = {path.stem for path in context.path("trends").glob("*.parquet")}
    assert {night["day"] for night in diary.nights} <= days
    assert sum(night["new_contacts"] for night in diary.nights) > 5 * DAYS
    hashes = {night["dvc_hash"] for night in diary.nights}
    assert len(hashes) > DAYS // 2  # the dataset grows


def test_V3_no_champion_ever_learned_from_what_was_once_examined(diary: Diary) -> None:
    context = context_of(SITE)
    registry = context.registry()
    for kind in kind_names():
        for entry in registry.ledger(kind):
            bundle = registry.fetch(kind, entry.version, context.path("fetched"))
            learned = read_learned(bundle.path)
            assert isinstance(learned, Learned)
            tested = pl.DataFrame({"contact_id": sorted(diary.examined[kind])})
            assert not learned.seen(tested).any(), f"{kind} v{entry.version}"


def test_S1_ledger_and_decisions_tell_the_story_afterwards(diary: Diary) -> None:
    context = context_of(SITE)
    registry = context.registry()
    moves = [entry for kind in kind_names() for entry in registry.ledger(kind)]
    assert {entry.action for entry in moves} >= {"promote"}
    for entry in moves:
        record = context.path(f"decisions/{entry.name}") / f"{entry.decision_id}.json"
        assert json.loads(record.read_text())["kind"] == entry.name
    first = date.fromisoformat(moves[0].at[:10])
    assert first == OPENS  # by the clock of the centre


def test_M6_nothing_is_rolled_back_where_nothing_got_worse(diary: Diary) -> None:
    registry = context_of(SITE).registry()
    assert not [
        entry
        for kind in kind_names()
        for entry in registry.ledger(kind)
        if entry.action == "rollback"
    ]
