"""A contact centre of nights: a kind of model in one file, real registry, gate, ledger and stages.

The model is one number, its guess at what a contact turns out to be. What contacts turn out to be,
and how their calls sound, is a `World` that tests change from day to day.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

from data import artefacts
from data.files import write_json, write_table
from data.progress import Progress
from data.records import frame
from evaluation.behaviour import Probe
from evaluation.gates.params import GateParams
from evaluation.monitoring.observed import Observed
from evaluation.monitoring.params import MonitoringParams
from evaluation.scorecard import Ratio, Scorecard, score_units
from flows.candidate import bundles, probes, release, scorecards
from flows.candidate import decision as candidate_decision
from flows.candidate.runs import training_run
from flows.runtime import code, graph
from flows.runtime.context import RunContext
from flows.runtime.params import Params
from flows.runtime.settings import from_environment
from flows.stages import nightly, watch
from models import kinds
from models.registry.bundle import Bundle
from models.registry.learned import Learned
from tests.factories import a_contact
from tests.registry_helpers import RegistryFixture
from tests.toy_kind import TOY, ToyGate, a_toy_kind

FIRST = date(2026, 3, 2)  # a Monday, the day of the first contacts
PROMOTED = FIRST + timedelta(days=70)
MORNING = datetime.combine(PROMOTED, time(4), UTC)
SEED = 3
GUESS = artefacts.WORK.of(TOY).within("guess.json")  # what the next candidate guesses
RATIOS = {"error": Ratio("loss", "weight")}


@dataclass
class World:
    """What a test changes: calls a day, the truth, the codec, the model to train next."""

    calls: int = 20
    truth: float = 0.5  # what contacts turn out to be, on average
    past: float = 0.5  # the same in the test set of the next candidate
    guess: float = 0.5  # of the next candidate
    codec: dict[date, str] = field(default_factory=dict)  # from a day on
    today: datetime = MORNING


WORLD = World()
KIND = a_toy_kind(__name__, "contact")


# --- the functions of the kind's stages ---


def quiet(done: int, total: int) -> None:
    """Nobody watches."""


def _guess(bundle: Path) -> float:
    return float(load_file(bundle / "guess.safetensors")["guess"][0])


def _card(units: pl.DataFrame, name: str, checksum: str) -> Scorecard:
    slice_by = [name for name in ("plan",) if name in units.columns]
    metrics, slices = score_units(units, RATIOS, slice_by, seed=SEED)
    digest = f"{zlib.crc32(','.join(units['unit']).encode()):08x}"
    return Scorecard(
        TOY,
        name,
        digest,
        WORLD.today.isoformat(),
        metrics,
        RATIOS,
        units,
        slices,
        bundle_sha256=checksum,
    )


def baseline(context: RunContext) -> dict[str, Any]:
    return {"model": "always 1", "path": None}


def evaluate(context: RunContext) -> None:
    """Scores candidate and reference on 400 contacts of the past."""
    truth = np.random.default_rng(SEED).normal(WORLD.past, 0.1, 400)
    cards = {}
    for role, path in scorecards.models_to_compare(context, TOY).items():
        units = pl.DataFrame(
            {
                "unit": [f"past-{n}" for n in range(400)],
                "cluster": [f"past-{n}" for n in range(400)],
                "plan": ["basic", "plus"] * 200,
                "loss": np.abs(truth - (1.0 if path is None else _guess(path))),
                "weight": np.ones(400),
            }
        )
        cards[role] = _card(
            units,
            scorecards.model_name(context, TOY, role),
            scorecards.model_checksum(context, TOY, role),
        )
    scorecards.write_scorecards(context, TOY, cards, pl.DataFrame({"unit": ["past-0"]}))


def smoke_test(context: RunContext, bundle: Path) -> dict[str, Any]:
    return {"ok": True, "latency_s": 0.0, "answer": _guess(bundle), "error": None}


def fallback(context: RunContext, decided: Mapping[str, Any]) -> tuple[Path | None, str]:
    return None, ""


def evaluate_new(
    context: RunContext, bundle: Bundle, name: str, contacts: Sequence[str], progress: Progress
) -> Scorecard | None:
    """Scores a version on contacts; of every second one the truth is known."""
    known = [contact for contact in contacts if int(contact.rpartition("-")[2]) % 2 == 0]
    if not known:
        return None
    truth = [WORLD.truth + 0.1 * _draw(contact, "truth") for contact in known]
    units = pl.DataFrame(
        {
            "unit": known,
            "cluster": known,
            "contact_id": known,
            "loss": np.abs(np.array(truth) - _guess(bundle.path)),
            "weight": np.ones(len(known)),
        }
    )
    return _card(units, name, bundle.sha256)


def observe(
    context: RunContext, bundle: Bundle, contacts: pl.DataFrame, progress: Progress
) -> Observed:
    """Returns a level and a codec of each contact; weekends are quieter."""
    rows = [
        {
            "level_dbfs": -24 - 2 * (day.weekday() >= 5) + 3 * _draw(contact, "level"),
            "codec": next(
                (name for begin, name in sorted(WORLD.codec.items(), reverse=True) if day >= begin),
                "ULAW",
            ),
        }
        for contact, day in contacts.select("contact_id", "day").iter_rows()
    ]
    return Observed(pl.concat([contacts, pl.DataFrame(rows)], how="horizontal"))


def _draw(contact: str, what: str) -> float:
    """Returns the same standard normal number for the same contact, whenever it is asked for."""
    return float(np.random.default_rng(zlib.crc32(f"{contact}{what}".encode())).normal())


# --- the centre ---


@contextmanager
def a_centre(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **monitoring: Any
) -> Iterator[RunContext]:
    """A store with ten weeks of contacts and the toy kind registered; WORLD is made anew."""
    WORLD.__init__()  # type: ignore[misc]
    kinds.register(KIND)
    stage = graph.Stage(f"train_{TOY}", "training", f"{__name__}:evaluate", needs=(GUESS,))
    monkeypatch.setitem(graph.BY_NAME, stage.name, stage)
    monkeypatch.setattr(code, "files_of", lambda function: [])
    monkeypatch.setattr(RunContext, "now", lambda self: WORLD.today)
    params = Params(
        gates=GateParams(others={TOY: ToyGate()}), monitoring=MonitoringParams(**monitoring)
    )
    context = RunContext(from_environment({}, tmp_path / "centre"), params, "c" * 40)
    write_json(context.path("version.json"), {"dvc_hash": "d" * 32, "rows": {"contacts": 1}})
    write_json(context.path("validate.json"), {"stopped": None, "rejected": 0})
    deliver(context)
    RegistryFixture(context.store)  # with MLflow's empty database
    try:
        yield context
    finally:
        kinds.unregister(TOY)


def deliver(context: RunContext) -> None:
    """Writes every contact until the evening before today."""
    days = (WORLD.today.date() - FIRST).days
    contacts = [
        a_contact(
            f"{FIRST + timedelta(days=day)}-{n}",
            f"C{day}-{n}",
            started_at=datetime.combine(FIRST + timedelta(days=day), time(9), UTC),
        )
        for day in range(days)
        for n in range(WORLD.calls)
    ]
    write_table(context.path("clean/contacts.parquet"), frame("contacts", contacts))


def promote(context: RunContext) -> dict[str, Any]:
    """Trains a candidate that guesses WORLD.guess and lets gate and registry release it."""
    write_json(context.path(GUESS), {"guess": WORLD.guess})
    with training_run(context, TOY, {"guess": WORLD.guess}) as run:
        weights = context.path("toy/work/guess.safetensors")
        weights.parent.mkdir(parents=True, exist_ok=True)
        save_file({"guess": np.array([WORLD.guess])}, weights)
    bundles.write_candidate_bundle(
        context,
        TOY,
        {weights.name: weights},
        run.run_id,
        {"error": 0.1},
        learned=Learned.of(),
    )
    scorecards.write_reference(context, TOY)
    evaluate(context)
    probes.empty_probes_folder(context, TOY)
    record = [Probe("asked_twice", "invariance", "The same question, the same answer.", 0.0)]
    probes.write_probes(context, TOY, record, {})
    decided = candidate_decision.decide(context, TOY)
    assert decided["verdict"] == "accepted", decided["summary"]
    return release.release(context, TOY)


def a_night(context: RunContext, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Delivers what came in until the evening before and runs the night's two last stages.

    Night 1 is the one after the promotion.
    """
    WORLD.today = datetime.combine(PROMOTED + timedelta(days=number), time(4), UTC)
    deliver(context)
    return nightly.nightly(context, quiet), watch.watch(context, quiet)
