"""Report section on the gate's decisions: the newest of each kind of model, check by check."""

from __future__ import annotations

from typing import Any

from evaluation.gates.record import read_decision
from evaluation.report.artefacts import UNREADABLE, ArtefactReader, MissingArtefactError
from evaluation.report.decision import VERDICTS
from evaluation.report.formatting import listing, title
from models.kinds import kind_of, kinds

FIELDS = ("name", "verdict", "summary", "page", "decided_by", "decided_at", "decision_id")


def latest_decisions(artefacts: ArtefactReader) -> list[dict[str, Any]]:
    """Returns the newest decision of each kind of model; older ones are counted.

    Raises MissingArtefactError where there is no decision record.
    """
    records = _records(artefacts)
    if not records:
        raise MissingArtefactError(
            "The gate has not decided anything: there is no decision record in the store."
        )
    latest = []
    for kind, name in ((row.name, row.title) for row in kinds()):
        of_kind = sorted(
            (record for record in records if record["kind"] == kind),
            key=lambda record: record["decided_at"],
        )
        if not of_kind:
            artefacts.notes.append(f"The gate has not judged a {name.lower()} yet.")
            continue
        latest.append(_decision(artefacts, kind, of_kind[-1], earlier=len(of_kind) - 1))
    return latest


def _records(artefacts: ArtefactReader) -> list[dict[str, Any]]:
    """Returns every readable decision record with its page and name; others leave a note."""
    records = []
    for path in sorted((artefacts.store / "decisions").rglob("*.json")):
        try:
            record = read_decision(path).record
            page = path.with_suffix(".html")
            link = f"../{page.relative_to(artefacts.store).as_posix()}" if page.exists() else None
            records.append({**record, "page": link, "name": kind_of(record["kind"]).title})
        except UNREADABLE as error:
            artefacts.notes.append(f"Decision {path.name} cannot be read: {error}")
    return records


def _decision(
    artefacts: ArtefactReader, kind: str, record: dict[str, Any], *, earlier: int
) -> dict[str, Any]:
    """Returns what the page shows of a record; what fell short or is unproven leaves a note."""
    checks = [
        {
            **{
                name: check[name]
                for name in ("verdict", "sentence", "estimate", "low", "high", "threshold")
            },
            "title": title(check["name"]),
            "says": VERDICTS.get(check["verdict"], check["verdict"]),
        }
        for check in record["checks"]
    ]
    fell_short = [check["title"] for check in checks if check["verdict"] in ("fail", "no_evidence")]
    if fell_short:
        artefacts.notes.append(
            f"{kind_of(kind).title} {record['candidate']['model']} fell short of: {listing(fell_short)}."
        )
    unproven = record.get("unproven", [])
    if unproven:
        artefacts.notes.append(
            f"{kind_of(kind).title} {record['candidate']['model']}, unproven: {listing(unproven)}."
        )
    skipped = [check["title"] for check in checks if check["verdict"] == "skipped"]
    if skipped:
        artefacts.notes.append(
            f"{kind_of(kind).title}: skipped on purpose, with a written reason: {listing(skipped)}."
        )
    released = artefacts.json_or_none(f"release_{kind}.json") or {}
    return {
        **{name: record[name] for name in FIELDS},
        "checks": checks,
        "unproven": unproven,
        "earlier": earlier,
        "look": (record.get("look") or {}).get("sentence"),
        "released": f"Version {released['version']}: {released['says']}." if released else None,
    }
