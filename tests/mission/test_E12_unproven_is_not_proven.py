"""E12: what cannot be told is called unproven, in verdict, summary, page and screen, never held."""

from pathlib import Path
from typing import Any

import pytest

from evaluation.asr.scorecard import asr_scorecard
from evaluation.gates import examples
from evaluation.gates.evidence import Check
from evaluation.gates.record import Decision, read_decision
from evaluation.report.decision import write_decision
from evaluation.report.sections.key_figures import key_figures
from evaluation.scorecard import Scorecard
from flows.commands.pipeline import notes
from models.registry.decision_rules import refusal_reason
from tests.registry_helpers import gate_decision

SAID = 7


def _recogniser(name: str, heard: int, rate: int) -> Scorecard:
    """Sixty voices, seven of whom say "cancel", `heard` of them heard; of ten words `rate` are wrong."""
    rows: list[dict[str, Any]] = []
    texts = []
    for n in range(120):
        word = "cancel" if n < SAID else "hello"
        rows.append(
            {
                "text": f"please {word} it and do not wait for me now",
                "voice": f"v{n % 60}",
                "contact_id": f"k{n}",
                "role": "customer",
                "start_s": 0.0,
                "region": "north" if n % 60 < 30 else "south",
            }
        )
        words = rows[-1]["text"].split()
        if n < SAID and n >= heard:
            words[1] = "can sell"
        texts.append(" ".join(["mumble" if k > 9 - rate else w for k, w in enumerate(words)]))
    return asr_scorecard(
        rows, texts, model=name, data_hash="d1", seed=0, created_at="2026-01-01", bundle_sha256=name
    )


@pytest.fixture(scope="module")
def decision() -> Decision:
    """On the demo of 2026-11-29: one word of seven heard, two of seven by the reference."""
    return gate_decision(
        examples.evidence(_recogniser("candidate", 1, 1), _recogniser("base", 2, 3))
    )


def _check(decision: Decision, name: str) -> Check:
    (check,) = [check for check in decision.checks if check.name == name]
    return check


def test_E12_one_of_seven_is_never_reported_as_held(decision: Decision) -> None:
    check = _check(decision, "critical_words")
    assert check.verdict == "unproven"
    verdicts = {row.what: (row.verdict, row.note) for row in check.measurements}
    assert verdicts["leaving"] == ("unproven", "1 of 7 heard")
    assert verdicts["names"] == ("unproven", "none said")
    assert verdicts["negation"][0] == "pass"
    assert "Unproven: leaving -0.143 (1 of 7 heard" in check.sentence


def test_E12_alone_it_refuses_nobody_and_the_summary_says_it(decision: Decision) -> None:
    assert decision.accepted, decision.record["summary"]
    summary = decision.record["summary"]
    assert "; unproven: words of leaving (1 of 7 heard)" in summary
    assert "slices (60 of a single customer or voice)" in summary
    assert "words of leaving (1 of 7 heard)" in decision.record["unproven"]
    sha = str(decision.record["candidate"]["bundle_sha256"])
    assert refusal_reason(decision.record, sha) == "", "the registry promotes it"


def test_E12_page_report_and_screen_say_unproven(decision: Decision, tmp_path: Path) -> None:
    path, page = write_decision(decision, tmp_path)
    assert read_decision(path).checks == decision.checks
    html = page.read_text()
    assert "unproven" in html
    assert "1 of 7 heard" in html
    unproven = decision.record["unproven"]
    (figure,) = key_figures(
        dict.fromkeys(("ingestion", "labels", "asr", "churn", "at_risk"))
        | {
            "decisions": [{"name": "Recogniser", "verdict": "accepted", "unproven": unproven}],
        }
    )
    assert f"recogniser accepted with {len(unproven)} points unproven" in figure["says"].lower()
    (note,) = notes({"decide_asr": {"verdict": "accepted", "unproven": unproven}})
    assert note.startswith("Unproven of the recogniser: words of leaving (1 of 7 heard)")


def test_E12_a_class_may_be_required_and_planted_sentences_may_prove_it() -> None:
    cards = _recogniser("candidate", 1, 1), _recogniser("base", 2, 3)
    strict = gate_decision(examples.evidence(*cards, required_critical=("leaving",)))
    assert not strict.accepted
    assert "there is no evidence for critical_words" in strict.record["summary"]
    proven = gate_decision(
        examples.evidence(*cards, required_critical=("leaving",), critical_sentences=(0.1, 0.3))
    )
    assert proven.accepted, proven.record["summary"]
    verdicts = {row.what: row.verdict for row in _check(proven, "critical_words").measurements}
    assert verdicts["leaving"] == "unproven", "the calls still prove nothing"
    assert verdicts["leaving in planted sentences"] == "pass"


def test_E12_a_class_surely_missed_is_a_refusal_though_the_reference_misses_as_much() -> None:
    decision = gate_decision(
        examples.evidence(
            examples.asr(0.1, missed_word="cancel"), examples.asr(0.3, missed_word="cancel")
        )
    )
    check = _check(decision, "critical_words")
    assert check.verdict == "fail"
    assert "Heard worse or too rarely: leaving" in check.sentence
