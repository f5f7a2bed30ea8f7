"""What the gate decided, check by check."""

from __future__ import annotations

from typing import Any

from evaluation.gates.record import read_decision
from evaluation.report.artefacts import UNREADABLE, ArtefactReader, MissingArtefactError
from evaluation.report.formatting import listing, title
from models.kinds import kind_of, kinds

WANTED = ("name", "verdict", "summary", "page", "decided_by", "decided_at", "decision_id")
VERDICTS = {"pass": "passed", "fail": "failed", "no_evidence": "no evidence", "skipped": "skipped"}


def verdicts(shelf: ArtefactReader) -> list[dict[str, Any]]:
    """The newest decision about each kind of model. Older records are counted, not shown."""
    records = []
    for path in sorted((shelf.store / "decisions").rglob("*.json")):
        try:
            record = read_decision(path).record
            page = path.with_suffix(".html")
            link = f"../{page.relative_to(shelf.store).as_posix()}" if page.exists() else None
            records.append({**record, "page": link, "name": kind_of(record["kind"]).title})
        except UNREADABLE as error:
            shelf.notes.append(f"Decision {path.name} cannot be read: {error}")
    if not records:
        raise MissingArtefactError(
            "The gate has not decided anything: there is no decision record in the store."
        )
    newest = []
    for kind in kinds():
        mine = sorted(
            (one for one in records if one["kind"] == kind.name), key=lambda one: one["decided_at"]
        )
        if not mine:
            shelf.notes.append(f"The gate has not judged a {kind.title.lower()} yet.")
            continue
        record = mine[-1]
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
        released = shelf.json_or_none(f"release_{kind.name}.json") or {}
        newest.append(
            {
                **{name: record[name] for name in WANTED},
                "checks": checks,
                "earlier": len(mine) - 1,
                "released": f"Version {released['version']}: {released['says']}."
                if released
                else None,
            }
        )
        short = [check["title"] for check in checks if check["verdict"] in ("fail", "no_evidence")]
        if short:
            shelf.notes.append(
                f"{kind.title} {record['candidate']['model']} fell short of: {listing(short)}."
            )
        skipped = [check["title"] for check in checks if check["verdict"] == "skipped"]
        if skipped:
            shelf.notes.append(
                f"{kind.title}: skipped on purpose, with a written reason: {listing(skipped)}."
            )
    return newest
