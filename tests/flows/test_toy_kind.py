"""A kind of model in one file, this one, is trained, evaluated, judged and released like others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

from data.files import write_json
from data.progress import Progress
from evaluation.behaviour import Probe
from evaluation.gates.params import GateParams
from evaluation.monitoring.observed import Observed
from evaluation.scorecard import Ratio, Scorecard, score_units
from flows.candidate import bundles, probes, release, scorecards
from flows.candidate import decision as candidate_decision
from flows.candidate.active_model import active_model_path, write_active_model
from flows.candidate.runs import training_run
from flows.runtime import code, graph
from flows.runtime.context import RunContext
from flows.runtime.params import Params
from flows.runtime.settings import from_environment
from flows.stages import nightly
from models import kinds
from models.registry.bundle import Bundle
from models.registry.learned import Learned
from tests.toy_kind import TOY, ToyGate, a_toy_kind

SEED = 3


# --- the kind: its row, its gate, and the functions of its stages ---

KIND = a_toy_kind(__name__, "customer")


def train(context: RunContext, progress: Progress) -> dict[str, Any]:
    with training_run(context, TOY, {"guess": 0.5}) as run:
        weights = context.path("toy/work/guess.safetensors")
        weights.parent.mkdir(parents=True)
        save_file({"guess": np.array([0.5])}, weights)
    files = {weights.name: weights}
    learned = Learned.of(customers=["t1", "t2"])
    return bundles.write_candidate_bundle(
        context, TOY, files, run.run_id, {"error": 0.1}, learned=learned
    )


def training_line(summary: dict[str, Any]) -> str:
    return f"error {summary['error']}"


def guess_in(bundle: Path) -> float:
    return float(load_file(bundle / "guess.safetensors")["guess"][0])


def baseline(context: RunContext) -> dict[str, Any]:
    return {"model": "always 1", "path": None}


def score(model: Path | None, name: str, checksum: str, now: str) -> Scorecard:
    guess = 1.0 if model is None else guess_in(model)
    truth = np.random.default_rng(SEED).normal(0.5, 0.1, 200)
    units = pl.DataFrame(
        {
            "unit": [f"c{n}" for n in range(200)],
            "cluster": [f"c{n}" for n in range(200)],
            "plan": ["basic", "plus"] * 100,
            "loss": np.abs(truth - guess),
            "weight": np.ones(200),
        }
    )
    ratios = {"error": Ratio("loss", "weight")}
    metrics, slices = score_units(units, ratios, ("plan",), seed=SEED)
    return Scorecard(
        TOY, name, "same data", now, metrics, ratios, units, slices, bundle_sha256=checksum
    )


def evaluate(context: RunContext, progress: Progress) -> dict[str, Any]:
    cards = {
        role: score(
            path,
            scorecards.model_name(context, TOY, role),
            scorecards.model_checksum(context, TOY, role),
            context.now().isoformat(),
        )
        for role, path in scorecards.models_to_compare(context, TOY).items()
    }
    return scorecards.write_scorecards(context, TOY, cards, pl.DataFrame({"unit": ["c0"]}))


def probe(context: RunContext, progress: Progress) -> dict[str, Any]:
    probes.empty_probes_folder(context, TOY)
    record = [Probe("asked_twice", "invariance", "The same question, the same answer.", 0.0)]
    return probes.write_probes(context, TOY, record, {})


def smoke_test(context: RunContext, bundle: Path) -> dict[str, Any]:
    return {"ok": True, "latency_s": 0.0, "answer": guess_in(bundle), "error": None}


def fallback(context: RunContext, decided: Mapping[str, Any]) -> tuple[Path | None, str]:
    return None, ""


def evaluate_new(
    context: RunContext, bundle: Bundle, name: str, contacts: Sequence[str], progress: Progress
) -> Scorecard | None:
    return score(bundle.path, name, bundle.sha256, context.now().isoformat())


def observe(
    context: RunContext, bundle: Bundle, contacts: pl.DataFrame, progress: Progress
) -> Observed:
    return Observed()


# --- the tests ---


def quiet(done: int, total: int) -> None:
    """Nobody watches."""


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunContext]:
    """A store with a version and a contract, and the toy kind registered."""
    kinds.register(KIND)
    stage = graph.Stage(f"train_{TOY}", "training", f"{__name__}:train")
    monkeypatch.setitem(graph.BY_NAME, stage.name, stage)
    monkeypatch.setattr(code, "files_of", lambda function: [])
    params = Params(gates=GateParams(others={TOY: ToyGate()}))
    context = RunContext(from_environment({}, tmp_path), params, "c" * 40)
    write_json(context.path("version.json"), {"dvc_hash": "d" * 32, "rows": {"customers": 200}})
    write_json(context.path("validate.json"), {"stopped": None, "rejected": 0})
    try:
        yield context
    finally:
        kinds.unregister(TOY)


def test_a_kind_in_one_file_goes_from_training_to_champion(context: RunContext) -> None:
    train(context, quiet)
    scorecards.write_reference(context, TOY)
    evaluated = evaluate(context, quiet)
    assert evaluated["candidate"]["error"]["value"] < evaluated["reference"]["error"]["value"]
    probe(context, quiet)
    decided = candidate_decision.decide(context, TOY)
    record = json.loads((context.path(f"decisions/{TOY}") / decided["record"]).read_text())
    checks = {check["name"]: check["verdict"] for check in record["checks"]}
    assert set(checks) == set(KIND.all_checks)
    assert decided["verdict"] == "accepted", checks
    released = release.release(context, TOY)
    assert (released["says"], released["champion"]) == ("promoted", 1)
    write_active_model(context, TOY)
    assert active_model_path(context, TOY) is not None


def test_the_nightly_evaluation_asks_every_kind(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nightly, "_matured", lambda context: [])
    test_a_kind_in_one_file_goes_from_training_to_champion(context)
    evening = nightly.nightly(context, quiet)
    assert set(evening["models"]) == {"asr", "reader", "churn", TOY}
    toy = evening["models"][TOY]
    assert (toy["verdict"], toy["units"]) == ("unproven", 200)  # 200 units do not prove a margin
    assert evening["models"]["reader"]["verdict"] == "none"


def test_a_name_that_is_taken_or_unknown_is_refused(context: RunContext) -> None:
    with pytest.raises(ValueError, match="'toy' exists already"):
        kinds.register(KIND)
    with pytest.raises(kinds.UnknownKindError, match="Known: asr, reader, churn, toy"):
        kinds.kind_of("nosuch")
