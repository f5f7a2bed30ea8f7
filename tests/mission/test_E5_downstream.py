"""E5: fewer word errors do not count when what reads the text reads it worse."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from data.files import write_json
from data.labelling import label
from data.records import Contact, Turn, frame
from evaluation.asr.labels_on_text import reading_scorecard, scored_turns
from evaluation.asr.scorecard import asr_scorecard
from evaluation.gates import examples
from evaluation.gates.evidence import NOT_REFUSING, Evidence, SecondaryTest
from evaluation.scorecard import Scorecard
from flows.candidate import probes, release, scorecards
from flows.runtime import stage_cache
from flows.runtime.context import RunContext
from flows.runtime.graph import BY_NAME
from flows.runtime.params import Params
from flows.runtime.settings import from_environment
from models.registry.ledger import decision_id
from tests.registry_helpers import NOW, RegistryFixture, a_bundle, a_decision, gate_decision
from tests.typing_helpers import known

SAID = (
    "hello i have called three times about my broken line and you still have not fixed it i want to cancel my contract",
    "hello good morning i would like to know what the bigger plan costs each month and how fast it is thank you",
)


@pytest.fixture(scope="module")
def calls() -> tuple[pl.DataFrame, pl.DataFrame]:
    """120 calls of 40 customers, every other one about cancelling."""
    at = datetime(2026, 3, 1, 9, tzinfo=UTC)
    contacts = [
        Contact(f"k{n}", f"c{n % 40}", "phone", at.replace(day=1 + n % 28), 60.0)
        for n in range(120)
    ]
    turns = [Turn(f"k{n}", 0, "customer", SAID[n % 2], 0.0, 9.0) for n in range(120)]
    return frame("contacts", contacts), frame("turns", turns)


def _recogniser(name: str, turns: pl.DataFrame, wrong: dict[str, str]) -> Scorecard:
    """Hears every word but those in `wrong`."""
    rows = [
        {
            "text": text,
            "contact_id": contact,
            "voice": f"v{n % 20}",
            "start_s": 0.0,
            "role": "customer",
        }
        for n, (contact, text) in enumerate(turns.select("contact_id", "text").iter_rows())
    ]
    hypotheses = [" ".join(wrong.get(word, word) for word in row["text"].split()) for row in rows]
    return asr_scorecard(
        rows,
        hypotheses,
        model=name,
        data_hash="d1",
        seed=0,
        created_at=NOW.isoformat(),
        bundle_sha256=name,
    )


def _read(card: Scorecard, contacts: pl.DataFrame, turns: pl.DataFrame) -> Scorecard:
    labels = {
        column: label(contacts, scored_turns(card, turns, column)).labels
        for column in ("ref", "hyp")
    }
    clusters = dict(zip(card.units["contact_id"], card.units["cluster"], strict=True))
    return reading_scorecard(
        labels["ref"],
        labels["hyp"],
        clusters,
        model=card.model,
        bundle_sha256=card.bundle_sha256,
        data_hash="d1",
        seed=0,
        created_at=NOW.isoformat(),
    )


def _with_reading(evidence: Evidence, test: SecondaryTest) -> Evidence:
    return replace(evidence, secondary={**evidence.secondary, "reading": test})


def test_E5_refuses_fewer_word_errors_that_hide_who_wants_to_cancel(
    calls: tuple[pl.DataFrame, pl.DataFrame],
) -> None:
    contacts, turns = calls
    small_words = {
        "hello": "yellow",
        "good": "could",
        "morning": "warning",
        "each": "peach",
        "month": "mouth",
    }
    champion = _recogniser("champion", turns, small_words)
    candidate = _recogniser("candidate", turns, {"cancel": "council", "contract": "contact"})
    assert candidate.metrics["wer"].value < champion.metrics["wer"].value / 2
    cards = {
        name: _read(card, contacts, turns)
        for name, card in (("ours", candidate), ("theirs", champion))
    }
    assert (
        cards["ours"].metrics["reading_errors"].value
        > cards["theirs"].metrics["reading_errors"].value
    )

    evidence = examples.evidence(candidate, champion, facts=examples.readers(churn=""))
    evidence = _with_reading(evidence, SecondaryTest(cards["ours"], cards["theirs"]))
    (check,) = [check for check in gate_decision(evidence).checks if check.name == "downstream"]
    assert check.verdict == "fail", check.sentence
    assert "eading errors" in check.sentence

    other_way = examples.evidence(champion, candidate, facts=examples.readers(churn=""))
    other_way = _with_reading(other_way, SecondaryTest(cards["theirs"], cards["ours"]))
    (check,) = [check for check in gate_decision(other_way).checks if check.name == "downstream"]
    assert check.verdict == "pass", check.sentence


def test_E5_refuses_fewer_word_errors_that_cost_the_churn_model_its_accuracy() -> None:
    decision = gate_decision(examples.evidence(churn_on_text=(1.5, 0.2)))
    refusing = {check.name for check in decision.checks if check.verdict not in NOT_REFUSING}
    assert refusing == {"downstream"}
    (check,) = [check for check in decision.checks if check.name == "downstream"]
    assert check.metric == "Brier score of churn"
    assert known(check.high) < 0


def test_E5_refuses_when_a_churn_model_is_in_office_and_nobody_asked_it() -> None:
    decision = gate_decision(examples.evidence(churn_on_text=None))
    assert "no evidence for downstream" in decision.record["summary"]
    assert gate_decision(
        examples.evidence(churn_on_text=None, facts=examples.readers(churn=""))
    ).accepted


# --- evidence that has gone stale ---


def _context(folder: Path) -> tuple[RunContext, RegistryFixture]:
    """A store with a trained recogniser, before anybody judged it."""
    shop = RegistryFixture(folder)
    bundle = a_bundle(folder / "asr" / "bundle", "a recogniser", "asr")
    write_json(
        folder / "train_asr.json",
        {"run_id": shop.run_id, "bundle_sha256": bundle.sha256, "trained_by": "a"},
    )
    return RunContext(from_environment({"KEEPLINE_ACTOR": "schedule"}, folder), Params(), "c"), shop


def _champion(shop: RegistryFixture, content: str, kind: str = "churn") -> str:
    version, sha = shop.version(content, kind)
    entries = shop.registry.ledger(kind)
    last = entries[-1] if entries else None
    beaten = last.bundle_sha256 if last else None
    shop.registry.promote(
        kind,
        version,
        expected=last.version if last else None,
        decision=a_decision(sha, beaten, kind=kind),
        actor="anna",
        now=NOW,
    )
    return sha


def test_E5_the_text_is_read_again_when_another_model_comes_to_read_it(tmp_path: Path) -> None:
    context, shop = _context(tmp_path)
    probe = BY_NAME["probe_asr"]
    fingerprints: list[str] = []
    for kind in ("nobody", "churn", "churn", "reader"):
        if kind != "nobody":
            _champion(shop, f"{kind} {len(fingerprints)}", kind)
        for _ in range(2):  # a second walk changes nothing
            probes.write_text_readers(context, "asr")
            fingerprints.append(stage_cache.stage_fingerprint(context, probe))
    assert fingerprints[0::2] == fingerprints[1::2]
    assert len(set(fingerprints)) == 4


def test_E5_what_read_the_text_of_the_champion_stays(tmp_path: Path) -> None:
    context, shop = _context(tmp_path)
    churn = _champion(shop, "one")
    probes.write_text_readers(context, "asr")
    sha = scorecards.model_checksum(context, "asr", "candidate")
    version = shop.registry.register(context.path("asr/bundle"), "asr", shop.run_id)
    shop.registry.promote(
        "asr", version, expected=None, decision=a_decision(sha, kind="asr"), actor="anna", now=NOW
    )
    _champion(shop, "two")
    probes.write_text_readers(context, "asr")
    assert probes.checksums(probes.text_readers(context, "asr")) == {"churn": churn, "reader": ""}


def test_E5_a_recogniser_judged_before_another_churn_champion_came_is_not_promoted(
    tmp_path: Path,
) -> None:
    context, shop = _context(tmp_path)
    churn = _champion(shop, "one")
    record = a_decision(scorecards.model_checksum(context, "asr", "candidate"), kind="asr")
    record["facts"] |= examples.readers(churn, "")
    record["decision_id"] = decision_id(record)
    write_json(context.path("decisions/asr/one.json"), record)
    summary = {name: record[name] for name in ("decision_id", "verdict", "summary")}
    write_json(
        context.path("decide_asr.json"), {**summary, "record": "one.json", "approval": "none"}
    )
    second = _champion(shop, "two")
    stale = release.release(context, "asr")
    assert stale["champion"] is None
    assert "another champion reads its text" in stale["says"]
    record["facts"] |= examples.readers(second, "")
    record["decision_id"] = decision_id(record)
    write_json(context.path("decisions/asr/one.json"), record)
    assert release.release(context, "asr")["champion"] == 1
