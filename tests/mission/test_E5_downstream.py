"""E5: fewer word errors do not count when what reads the text reads it worse."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from data.files import write_json
from data.labelling import label
from data.records import Contact, Turn, frame
from evaluation.asr.labels_on_text import heard_turns, reading_scorecard
from evaluation.asr.scorecard import asr_scorecard
from evaluation.gates import examples
from evaluation.gates.evidence import Evidence, SecondaryTest
from evaluation.scorecard import Scorecard
from flows.candidate import probes, release, scorecards
from flows.runtime import stage_cache
from flows.runtime.context import RunContext
from flows.runtime.graph import BY_NAME
from flows.runtime.params import Params
from flows.runtime.settings import from_environment
from models.registry.ledger import decision_id
from tests.registry_helpers import NOW, RegistryFixture, a_bundle, a_decision, gate_decision

TEXTS = (
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
    turns = [Turn(f"k{n}", 0, "customer", TEXTS[n % 2], 0.0, 9.0) for n in range(120)]
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
    transcripts = [" ".join(wrong.get(word, word) for word in row["text"].split()) for row in rows]
    return asr_scorecard(name, "d1", rows, transcripts, 0, NOW.isoformat(), name)


def _read(card: Scorecard, contacts: pl.DataFrame, turns: pl.DataFrame) -> Scorecard:
    labels = {
        column: label(contacts, heard_turns(card, turns, column)).labels
        for column in ("ref", "hyp")
    }
    clusters = dict(zip(card.units["contact_id"], card.units["cluster"], strict=True))
    return reading_scorecard(
        card.model,
        card.bundle_sha256,
        "d1",
        labels["ref"],
        labels["hyp"],
        clusters,
        0,
        NOW.isoformat(),
    )


def with_reading(evidence: Evidence, reading: SecondaryTest) -> Evidence:
    """Returns the evidence with another secondary test of the text readers."""
    return replace(evidence, beside={**evidence.beside, "reading": reading})


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
        for name, card in (("candidate", candidate), ("champion", champion))
    }
    assert (
        cards["candidate"].metrics["reading_errors"].value
        > cards["champion"].metrics["reading_errors"].value
    )

    evidence = examples.evidence(candidate, champion, facts=examples.readers(churn=""))
    evidence = with_reading(evidence, SecondaryTest(cards["candidate"], cards["champion"]))
    (check,) = [check for check in gate_decision(evidence).checks if check.name == "downstream"]
    assert check.verdict == "fail", check.sentence
    assert "eading errors" in check.sentence

    other_way = examples.evidence(champion, candidate, facts=examples.readers(churn=""))
    other_way = with_reading(other_way, SecondaryTest(cards["champion"], cards["candidate"]))
    (check,) = [check for check in gate_decision(other_way).checks if check.name == "downstream"]
    assert check.verdict == "pass", check.sentence


def test_E5_refuses_fewer_word_errors_that_cost_the_churn_model_its_accuracy() -> None:
    decision = gate_decision(examples.evidence(churn_on_text=(1.5, 0.2)))
    assert {check.name for check in decision.checks if check.verdict != "pass"} == {"downstream"}
    (check,) = [check for check in decision.checks if check.name == "downstream"]
    assert check.metric == "Brier score of churn"
    assert check.high is not None
    assert check.high < 0


def test_E5_refuses_when_a_churn_model_is_active_and_was_not_evaluated_on_the_text() -> None:
    decision = gate_decision(examples.evidence(churn_on_text=None))
    assert "no evidence for downstream" in decision.record["summary"]
    assert gate_decision(
        examples.evidence(churn_on_text=None, facts=examples.readers(churn=""))
    ).accepted


# --- evidence that has gone stale ---


def _context(folder: Path) -> tuple[RunContext, RegistryFixture]:
    """A store with a trained recogniser, before the gate decided on it."""
    fixture = RegistryFixture(folder)
    bundle = a_bundle(folder / "asr" / "bundle", "a recogniser", "asr")
    write_json(
        folder / "train_asr.json",
        {"run_id": fixture.run_id, "bundle_sha256": bundle.sha256, "trained_by": "a"},
    )
    return RunContext(
        from_environment({"KEEPLINE_ACTOR": "schedule"}, folder), Params(), "c"
    ), fixture


def _champion(fixture: RegistryFixture, content: str, kind: str = "churn") -> str:
    version, sha = fixture.version(content, kind)
    entries = fixture.registry.ledger(kind)
    last = entries[-1] if entries else None
    reference = last.bundle_sha256 if last else None
    fixture.registry.promote(
        kind,
        version,
        expected=last.version if last else None,
        decision=a_decision(sha, reference, kind=kind),
        actor="anna",
        now=NOW,
    )
    return sha


def test_E5_the_text_is_read_again_when_another_model_comes_to_read_it(tmp_path: Path) -> None:
    context, fixture = _context(tmp_path)
    probe = BY_NAME["probe_asr"]
    seen: list[str] = []
    for kind in ("nobody", "churn", "churn", "reader"):
        if kind != "nobody":
            _champion(fixture, f"{kind} {len(seen)}", kind)
        for _ in range(2):  # a second run changes nothing
            probes.write_text_readers(context, "asr")
            seen.append(stage_cache.stage_fingerprint(context, probe))
    assert seen[0::2] == seen[1::2]
    assert len(set(seen)) == 4


def test_E5_what_read_the_text_of_the_champion_stays(tmp_path: Path) -> None:
    context, fixture = _context(tmp_path)
    churn = _champion(fixture, "one")
    probes.write_text_readers(context, "asr")
    sha = scorecards.model_checksum(context, "asr", "candidate")
    version = fixture.registry.register(context.path("asr/bundle"), "asr", fixture.run_id)
    fixture.registry.promote(
        "asr", version, expected=None, decision=a_decision(sha, kind="asr"), actor="anna", now=NOW
    )
    _champion(fixture, "two")
    probes.write_text_readers(context, "asr")
    assert probes.checksums(probes.text_readers(context, "asr")) == {"churn": churn, "reader": ""}


def test_E5_a_recogniser_decided_on_before_another_churn_champion_came_is_not_promoted(
    tmp_path: Path,
) -> None:
    context, fixture = _context(tmp_path)
    churn = _champion(fixture, "one")
    record = a_decision(scorecards.model_checksum(context, "asr", "candidate"), kind="asr")
    record["facts"] |= examples.readers(churn, "")
    record["decision_id"] = decision_id(record)
    write_json(context.path("decisions/asr/one.json"), record)
    decision = {name: record[name] for name in ("decision_id", "verdict", "summary")}
    write_json(
        context.path("decide_asr.json"), {**decision, "record": "one.json", "approval": "none"}
    )
    second = _champion(fixture, "two")
    stale = release.release(context, "asr")
    assert stale["champion"] is None
    assert "another champion reads its text" in stale["says"]
    record["facts"] |= examples.readers(second, "")
    record["decision_id"] = decision_id(record)
    write_json(context.path("decisions/asr/one.json"), record)
    assert release.release(context, "asr")["champion"] == 1
