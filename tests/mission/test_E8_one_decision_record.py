"""E8: one record a candidate, for a person and for a program, accepted and refused alike."""

import dataclasses
import json
import re
from html import unescape
from pathlib import Path

import jsonschema
import pytest
from rich.console import Console

from evaluation.gates import examples
from evaluation.gates.decide import check_modules
from evaluation.gates.record import SCHEMA, read_decision
from evaluation.report.decision import write_decision
from flows.commands.decisions import decisions
from models.registry.ledger import decision_id
from tests.registry_helpers import NOW, gate_decision

CANDIDATES = {
    "accepted": lambda: examples.evidence(),
    "refused": lambda: examples.evidence(examples.asr(0.3, seed=2)),
    "refused for lack of evidence": lambda: examples.evidence(
        reference=None, facts={"card": None, "smoke_ok": None}
    ),
    "accepted churn": lambda: examples.evidence(examples.churn(0.2)),
    "refused churn": lambda: examples.evidence(examples.churn(0.5), examples.churn(0.5, seed=2)),
}


@pytest.mark.parametrize("case", CANDIDATES)
def test_E8_is_written_with_every_check_and_figure_for_programs_and_people(
    case: str, tmp_path: Path
) -> None:
    evidence = CANDIDATES[case]()
    decision = gate_decision(evidence)
    record_path, page_path = write_decision(decision, tmp_path)
    record = json.loads(record_path.read_text())

    jsonschema.validate(record, json.loads(SCHEMA.read_text()))
    assert record["verdict"] == case.split()[0]
    assert record_path.name == f"{record['decision_id']}.json"
    assert record["decision_id"] == decision_id(record)
    assert record["candidate"]["bundle_sha256"] == evidence.candidate.bundle_sha256
    assert record["data_hash"] == evidence.candidate.data_hash
    assert (record["decided_by"], record["decided_at"]) == ("nightly evaluation", NOW.isoformat())
    assert [check["name"] for check in record["checks"]] == [
        module.NAME for module in check_modules() if module.applies(evidence.candidate.kind)
    ]
    assert (record["verdict"] == "accepted") == all(
        check["verdict"] in ("pass", "unproven") for check in record["checks"]
    )
    better = next(check for check in record["checks"] if check["name"] == "better")
    if evidence.reference is not None:
        assert better["low"] <= better["estimate"] <= better["high"]
        assert better["threshold"] == 0

    page = unescape(page_path.read_text())
    for check in record["checks"]:
        assert check["sentence"] in page
        assert check["promise"] in page
    for text in (
        record["summary"],
        record["data_hash"],
        record["decided_by"],
        record["candidate"]["model"],
    ):
        assert text in page
    if better["low"] is not None:
        assert f"{better['low']:.4f}".replace("-", "−") in page
    assert not re.search(r"""(src|href)\s*=|url\(|@import""", page), (
        "the page must need nothing else"
    )
    assert read_decision(record_path).record == record


def test_E8_shows_the_figures_of_every_condition_and_every_second_test(tmp_path: Path) -> None:
    evidence = examples.evidence()
    through = {"gsm": {"wer": dataclasses.replace(evidence.candidate.metrics["wer"], value=0.4321)}}
    evidence = dataclasses.replace(
        evidence, candidate=dataclasses.replace(evidence.candidate, conditions=through)
    )
    record_path, page_path = write_decision(gate_decision(evidence), tmp_path)
    record, page = json.loads(record_path.read_text()), unescape(page_path.read_text())
    assert record["candidate"]["conditions"]["gsm"]["wer"]["value"] == 0.4321
    assert "wer, gsm" in page
    assert "0.4321" in page
    for name, metric in (
        ("guardrail", "wer"),
        ("reading", "reading_errors"),
        ("churn_on_text", "brier_180"),
    ):
        test = record["secondary"][name]
        assert name.replace("_", " ").capitalize() in page
        for role in ("candidate", "reference"):
            assert f"{test[role]['metrics'][metric]['value']:.4f}" in page, (name, role)


def test_E8_the_list_marks_what_is_not_genuine_and_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "decisions" / "asr"
    genuine = gate_decision(CANDIDATES["accepted"]())
    write_decision(genuine, folder)
    record, _ = write_decision(gate_decision(CANDIDATES["refused"]()), folder)
    record.write_text(json.dumps({**json.loads(record.read_text()), "verdict": "accepted"}))
    (folder / "broken.json").write_text("{")
    (folder / "deep.json").write_text("[" * 200_000)
    (folder / "short.json").write_text("{}")
    console = Console(record=True, width=300)
    decisions(console, tmp_path)
    lines = [line.split() for line in console.export_text().splitlines()]
    verdicts = {line[1]: " ".join(line[2:]) for line in lines if len(line) > 2 and line[2] == "asr"}
    assert verdicts[genuine.decision_id].startswith("asr accepted")
    assert set(verdicts) == {genuine.decision_id, record.stem, "broken", "deep", "short"}
    assert "asr not genuine" in verdicts[record.stem]
    assert "altered" in verdicts[record.stem]
    for name, says in (
        ("broken", "cannot be read"),
        ("deep", "cannot be read"),
        ("short", "required property"),
    ):
        assert verdicts[name].startswith("asr not genuine")
        assert says in verdicts[name]


def test_E8_is_the_same_record_when_the_same_evidence_is_judged_again(tmp_path: Path) -> None:
    evidence = CANDIDATES["refused"]()
    for _ in range(2):
        write_decision(gate_decision(evidence), tmp_path)
    assert len(list(tmp_path.glob("*.json"))) == 1
