"""E9: a whole sequence of candidates keeps the level; looks are counted, and new voices restore it."""

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.bench_looks import WEEKS, World, differences, power, spent, swap_p
from data.files import read_json, write_json
from evaluation.gates import examples
from evaluation.gates.checks import better, enough_evidence
from evaluation.gates.looks import LookLevels, look_at
from evaluation.gates.record import read_decision
from evaluation.metrics.bootstrap import swapped_p
from evaluation.metrics.power import least_clusters
from evaluation.scorecard import Scorecard
from flows.candidate import decision as candidate_decision
from flows.candidate import scorecards
from flows.candidate.looks import count_look, name_decision
from flows.runtime.context import RunContext
from flows.runtime.params import Params
from flows.runtime.settings import from_environment
from flows.stages import churn
from models.registry import looks
from models.registry.ledger import LedgerError
from tests.registry_helpers import RegistryFixture
from tests.service_helpers import ROW, a_churn_bundle

LEVELS = LookLevels()
YEARS = 200


@pytest.mark.parametrize(
    "world", [World(), World(family=0.8), World(new_voices=2)], ids=["49", "alike", "growing"]
)
def test_E9_of_200_years_of_52_equal_candidates_few_promote_any(world: World) -> None:
    p = swap_p(differences(world, YEARS, 0.0, np.random.default_rng(9)))
    assert (p <= spent(LEVELS, world)).any(1).sum() <= 0.05 * YEARS
    # The level of a single look, as before looks were counted, is what breaks it.
    assert (p <= LEVELS.life).any(1).sum() > 0.1 * YEARS


def test_E9_a_true_gain_of_three_points_passes_in_the_stated_weeks() -> None:
    rng = np.random.default_rng(10)
    for voices, weeks in ((49, 12), (120, 2), (470, 1)):
        world = World(voices=voices)
        p = swap_p(differences(world, 60, 0.03, rng))
        assert power(p <= spent(LEVELS, world))["weeks_80"] <= weeks


def test_E9_no_year_and_no_test_set_spends_more_than_its_level() -> None:
    """Four years of weekly looks: at one test set, and at one that is all new every week."""
    assert spent(LEVELS, World(), 4 * WEEKS).sum() < LEVELS.life
    found: list[float] = []
    for week in range(4 * WEEKS):
        year = sum(found[max(0, week - WEEKS + 1) :])
        look = look_at([f"{week}"], spent={}, spent_in_year=year, earlier=week, levels=LEVELS)
        found.append(look.level)
    years = np.convolve(found, np.ones(WEEKS), "valid")
    assert LEVELS.life < years.max() <= LEVELS.year


def test_E9_new_voices_restore_the_level() -> None:
    old = {f"v{n}": 0.02 for n in range(40)}
    worn = look_at(old, spent=old, spent_in_year=0.02, earlier=30)
    joined = look_at(
        [*old, *(f"new{n}" for n in range(40))], spent=old, spent_in_year=0.02, earlier=30
    )
    assert worn.wear == pytest.approx(0.8)
    assert joined.wear == pytest.approx(0.4)
    assert joined.fresh_units == 40
    assert joined.level == pytest.approx(3 * worn.level)
    assert "New voices restore the level: 40 more" in worn.sentence("voices")


def test_E9_five_voices_are_told_that_they_can_prove_nothing() -> None:
    evidence = examples.evidence(
        examples.asr(0.02, voices=5),
        examples.asr(0.45, voices=5),
        min_clusters=5,
        relaxation_reason="five voices are all there are",
    )
    assert better.check(evidence).verdict == "fail"
    check = enough_evidence.check(evidence)
    assert check.verdict == "no_evidence"
    assert (
        "5 customers or voices can prove nothing at this level (at best p = 3.1 %" in check.sentence
    )
    assert least_clusters(0.025) == 6
    assert enough_evidence.check(examples.evidence()).verdict == "pass"


@pytest.mark.parametrize("seed", [0, 1])
def test_E9_few_clusters_are_enumerated_and_many_come_close_to_it(seed: int) -> None:
    five = (np.array([9.0, 8, 7, 9, 8]), np.full(5, 40))
    assert swapped_p(five, (np.zeros(5), five[1]), list("abcde"), seed=seed) == 2**-5
    rng = np.random.default_rng(3)
    first, second = rng.binomial(40, 0.4, 16), rng.binomial(40, 0.27, 16)
    swaps = (np.arange(2**16)[:, None] >> np.arange(16)) & 1
    exact = float(((1 - 2 * swaps) @ (first - second) >= (first - second).sum()).mean())
    weight, names = np.full(16, 40), [f"v{n}" for n in range(16)]
    drawn = swapped_p((first, weight), (second, weight), names, seed=seed)
    assert exact < 0.001
    assert exact <= drawn <= 1.4 * exact


def _context(store: Path) -> RunContext:
    return RunContext(from_environment({"KEEPLINE_ACTOR": "schedule"}, store), Params(), "c" * 40)


def _cards(number: int, voices: int = 12) -> tuple[Scorecard, Scorecard]:
    reference = examples.asr(0.3, voices=voices)
    return dataclasses.replace(reference, bundle_sha256=f"candidate {number}"), reference


def test_E9_a_decision_made_again_is_one_look_and_another_candidate_is_another(
    tmp_path: Path,
) -> None:
    context, path = _context(tmp_path), tmp_path / "registry/looks_asr.jsonl"
    first = count_look(context, "asr", *_cards(1))  # killed before its decision was written
    again = count_look(context, "asr", *_cards(1))
    name_decision(context, "asr", "a" * 16, _cards(1))
    name_decision(context, "asr", "a" * 16, _cards(1))
    second = count_look(context, "asr", *_cards(2))
    assert first is not None
    assert second is not None
    assert first == again
    assert (first.number, second.number) == (1, 2)
    assert first.level == pytest.approx(LEVELS.share * LEVELS.life)
    assert second.level == pytest.approx(first.level * (1 - LEVELS.share))
    assert [entry.action for entry in looks.read_looks(path)] == ["look", "decided", "look"]
    assert "v3" not in path.read_text()  # voices are hashed
    with path.open("ab") as handle:
        handle.write(b'{"a write that was killed')
    assert count_look(context, "asr", *_cards(2)) == second
    path.write_text(path.read_text().replace('"level": 0.001', '"level": 0.000'))
    with pytest.raises(LedgerError, match="altered"):
        count_look(context, "asr", *_cards(3))


def test_E9_voices_that_joined_or_left_carry_what_was_spent_on_them(tmp_path: Path) -> None:
    path, at = tmp_path / "looks.jsonl", datetime(2026, 3, 1, tzinfo=UTC)
    for week, units in enumerate(("ab", "abc", "bc", "abc")):
        when = (at + timedelta(weeks=week)).isoformat()
        looks.append_look(path, units, at=when, kind="asr", look_id=f"{week}", level=0.001)
    entries = looks.read_looks(path)
    assert looks.spent_by_unit(entries) == pytest.approx({"a": 0.003, "b": 0.004, "c": 0.003})
    late = at + timedelta(days=365 + 8)
    assert looks.spent_since(entries, late, 365) == pytest.approx(0.002)


def test_E9_the_decision_record_and_its_page_tell_the_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = _judged_store(tmp_path)
    monkeypatch.setattr(churn, "smoke_sample", lambda context: {"rows": [ROW]})
    decided = [candidate_decision.decide(context, "churn") for _ in range(2)]
    record, again = (
        read_decision(tmp_path / "decisions/churn" / one["record"]).record for one in decided
    )
    assert record["verdict"] == "accepted", record["summary"]
    assert record["look"] == again["look"]
    assert record["look"]["number"] == 1
    assert record["look"]["level"] == pytest.approx(0.001)
    page = (tmp_path / "decisions/churn" / f"{decided[0]['decision_id']}.html").read_text()
    assert "Look 1 at the test set, at a level of 0.1 %" in page
    said = looks.read_looks(tmp_path / "registry/looks_churn.jsonl")
    assert [entry.action for entry in said].count("look") == 1
    assert {entry.decision_id for entry in said[1:]} == {one["decision_id"] for one in decided}
    assert read_json(tmp_path / "proof_churn.json")["proof"] is None


def _judged_store(folder: Path) -> RunContext:
    """A store with a better churn model, as the stages before the gate leave it."""
    shop, bundle = RegistryFixture(folder), a_churn_bundle(folder / "churn" / "bundle")
    written: dict[str, Any] = {
        "train_churn": {"run_id": shop.run_id, "bundle_sha256": bundle.sha256, "trained_by": "a"},
        "validate": {"stopped": None, "rejected": 0},
        "reference/churn": {
            "model": "life table",
            "path": None,
            "version": None,
            "bundle_sha256": "",
        },
        "probe_churn": {},
        "scorecards/churn/next_quarter": {"says": "A history of two months."},
        "probes/churn/probes": {
            "bundle_sha256": bundle.sha256,
            "probes": [dataclasses.asdict(probe) for probe in examples.good_probes("churn")],
        },
    }
    for name, content in written.items():
        write_json(folder / f"{name}.json", content)
    context = _context(folder)
    sha = scorecards.model_checksum(context, "churn", "candidate")
    for role, card in (("candidate", examples.churn(0.1)), ("reference", examples.churn(1.5))):
        named = dataclasses.replace(card, bundle_sha256=sha if role == "candidate" else "")
        named.save(context.path(f"scorecards/churn/{role}.json"))
    return context
