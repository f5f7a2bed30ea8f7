"""What came in, what was refused and why, and which version of the data the run saw."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import polars as pl

from data.records import CHANNELS, ORIGIN_PERSON, TABLES
from data.splits import SPLITS
from evaluation.report.artefacts import ArtefactReader, MissingArtefactError
from evaluation.report.formatting import several, title


def came_in(shelf: ArtefactReader) -> dict[str, Any]:
    """Contacts by channel with customers and hours; rows added, changed and unchanged in this run."""
    summary = shelf.json("ingest.json", "ingest")
    contacts, recordings, turns = (
        shelf.records(name) for name in ("contacts", "recordings", "turns")
    )
    heard = recordings.group_by("contact_id").agg(pl.col("duration_s").sum().alias("audio_s"))
    transcribed = turns.filter(pl.col("origin") == ORIGIN_PERSON)["contact_id"].unique().implode()
    by_channel = (
        contacts.join(heard, on="contact_id", how="left")
        .group_by("channel")
        .agg(
            pl.len().alias("contacts"),
            pl.col("customer_id").n_unique().alias("customers"),
            pl.col("audio_s").is_not_null().sum().alias("recordings"),
            pl.col("audio_s").sum(),
            pl.col("contact_id").is_in(transcribed).sum().alias("transcribed"),
        )
        .with_columns((pl.col("contacts") / contacts.height).alias("share"))
        .sort(
            pl.col("channel").replace_strict(
                {name: n for n, name in enumerate(CHANNELS)}, default=len(CHANNELS)
            )
        )
    )
    return {
        "contacts": contacts.height,
        "customers": shelf.records("customers").height,
        "in_touch": contacts["customer_id"].n_unique(),
        "recordings": recordings.height,
        "audio_s": recordings["duration_s"].sum(),
        "first": contacts["started_at"].min(),
        "last": contacts["started_at"].max(),
        "by_channel": by_channel.to_dicts(),
        "tables": [
            {
                "name": name,
                **{
                    verb: summary.get(verb, {}).get(name)
                    for verb in ("added", "changed", "unchanged")
                },
            }
            for name in TABLES
        ],
        "nothing_new": not any(summary.get("added", {}).values())
        and not any(summary.get("changed", {}).values()),
    }


def refused(shelf: ArtefactReader) -> dict[str, Any]:
    """Every reason for which something stands in quarantine, with how much and one example.

    Refused audio that cannot be read has no length; its hours are None. `groups` fall by number.
    """
    if not shelf.has("ingest.json"):
        raise MissingArtefactError(
            "The step “ingest” has not run: nothing has been taken in or refused yet."
        )
    checked = shelf.json_or_none("validate.json")
    if checked is None:
        shelf.notes.append(
            "The step “validate” has not run: nothing below was held against the data contract."
        )
    entries = [
        {"stage": "ingest", "kind": line["kind"], **line}
        for line in shelf.lines("quarantine/ingest.jsonl")
    ]
    entries += [
        {"stage": "validate", "kind": line["table"], **line}
        for line in shelf.lines("quarantine/validate.jsonl")
    ]
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for entry in entries:
        # Parentheses hold what differs from thing to thing (data.sources.Refusal).
        reason = re.sub(r"\s*\(.*\)", "", entry["reason"]).replace("-", " ")
        found[entry["stage"], entry["kind"], reason].append(entry)
    groups = [
        {
            "stage": stage,
            "kind": title(kind),
            "reason": reason,
            "count": len(lines),
            "audio_s": _seconds(lines),
            "example": lines[0]["thing"],
            "detail": lines[0].get("detail")
            or (lines[0]["reason"] if "(" in lines[0]["reason"] else None),
            "next_step": lines[0]["next_step"],
        }
        for (stage, kind, reason), lines in found.items()
    ]
    groups.sort(key=lambda group: (-group["count"], group["stage"], group["reason"]))
    stopped = checked.get("stopped") if checked else None
    if stopped:
        shelf.notes.append(f"Validation stopped the street: {stopped}")
    return {
        "groups": groups,
        "total": len(entries),
        "by_stage": {
            stage: sum(entry["stage"] == stage for entry in entries)
            for stage in ("ingest", "validate")
        },
        "rows": _rows(shelf) if checked else None,
        "input_audio_s": checked.get("input_audio_s") if checked else None,
        "accepted_audio_s": checked.get("accepted_audio_s") if checked else None,
        "suites": _suites(checked) if checked else [],
        "stopped": stopped,
        "details_page": "../validation/index.html" if shelf.has("validation/index.html") else None,
    }


def version(shelf: ArtefactReader) -> dict[str, Any]:
    """The DatasetVersion the run saw, and how split.json divided it."""
    made = shelf.json("version.json", "version")
    split = shelf.json_or_none("split.json") or {}
    shelf.notes.extend(split.get("notes", ()))
    wanted = ("dvc_hash", "git_commit", "created_at", "size_bytes", "rows")
    return {
        **{name: made[name] for name in wanted},
        "customers": {side: split["customers"][side] for side in SPLITS} if split else {},
        "voices": split.get("voice_groups"),
    }


def _seconds(lines: list[dict[str, Any]]) -> float | None:
    known = [line["audio_s"] for line in lines if line.get("audio_s") is not None]
    return sum(known) if known else None


def _rows(shelf: ArtefactReader) -> list[dict[str, Any]]:
    tables = shelf.json("validate.json", "validate").get("tables", {})
    return [{"name": name, **counts} for name, counts in tables.items()]


def _suites(checked: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "success": suite["success"],
            "expectations": suite["expectations"],
            "failed": [_failed(one) for one in suite.get("failed", [])],
        }
        for name, suite in checked.get("suites", {}).items()
    ]


def _failed(one: Any) -> str:
    if isinstance(one, dict):
        return f"{str(one.get('reason', 'unknown')).replace('-', ' ')} ({several(one.get('rows', 0), 'row')})"
    return str(one)
