"""Report sections on the data: what was ingested, what was refused, and the dataset version."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from data.records import CHANNELS, DELIVERED
from data.splits import SPLITS
from evaluation.report.artefacts import ArtefactReader, MissingArtefactError
from evaluation.report.formatting import several, title


def ingestion_summary(artefacts: ArtefactReader) -> dict[str, Any]:
    """Returns contacts by channel, and rows added, changed and unchanged in this run.

    Each channel has contacts, customers, recordings, audio_s and transcribed calls.
    """
    summary = artefacts.json("ingest.json", "ingest")
    contacts, recordings, turns = (
        artefacts.records(name) for name in ("contacts", "recordings", "turns")
    )
    audio = recordings.group_by("contact_id").agg(pl.col("duration_s").sum().alias("audio_s"))
    transcribed = turns.filter(pl.col("origin") == "person")["contact_id"].unique().implode()
    by_channel = (
        contacts.join(audio, on="contact_id", how="left")
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
        "customers": artefacts.records("customers").height,
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
            for name in DELIVERED
        ],
        "nothing_new": not any(summary.get("added", {}).values())
        and not any(summary.get("changed", {}).values()),
    }


def quarantine_summary(artefacts: ArtefactReader) -> dict[str, Any]:
    """Returns the reasons of refusal, most frequent first, and the results of validation.

    `groups` have count, audio_s (None where refused audio cannot be read), one example and the next
    step. Raises MissingArtefactError before ingestion.
    """
    if not artefacts.has("ingest.json"):
        raise MissingArtefactError(
            "The stage “ingest” has not run: nothing has been taken in or refused yet."
        )
    validation = artefacts.json_or_none("validate.json")
    if validation is None:
        artefacts.notes.append(
            "The stage “validate” has not run: nothing below was held against the data contract."
        )
    entries = [
        {"stage": "ingest", "source": line["kind"], **line}
        for line in artefacts.lines("quarantine/ingest.jsonl")
    ]
    entries += [
        {"stage": "validate", "source": line["table"], **line}
        for line in artefacts.lines("quarantine/validate.jsonl")
    ]
    stopped = validation.get("stopped") if validation else None
    if stopped:
        artefacts.notes.append(f"Validation stopped the run: {stopped}")
    return {
        "groups": _groups_by_reason(entries),
        "total": len(entries),
        "by_stage": {
            stage: sum(entry["stage"] == stage for entry in entries)
            for stage in ("ingest", "validate")
        },
        "rows": _table_rows(artefacts) if validation else None,
        "input_audio_s": validation.get("input_audio_s") if validation else None,
        "accepted_audio_s": validation.get("accepted_audio_s") if validation else None,
        "suites": _suites(validation) if validation else [],
        "stopped": stopped,
        "details_page": "../validation/index.html"
        if artefacts.has("validation/index.html")
        else None,
    }


def _groups_by_reason(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns refusals grouped by stage, source and reason, the largest group first."""
    by_reason: dict[tuple[str, str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for entry in entries:
        # Parentheses hold what differs from thing to thing (data.sources.Refusal).
        reason = re.sub(r"\s*\(.*\)", "", entry["reason"]).replace("-", " ")
        by_reason[entry["stage"], entry["source"], reason].append(entry)
    groups = [
        {
            "stage": stage,
            "source": title(source),
            "reason": reason,
            "count": len(lines),
            "audio_s": _total_audio_s(lines),
            "example": lines[0]["thing"],
            "detail": lines[0].get("detail")
            or (lines[0]["reason"] if "(" in lines[0]["reason"] else None),
            "next_step": lines[0]["next_step"],
        }
        for (stage, source, reason), lines in by_reason.items()
    ]
    return sorted(groups, key=lambda group: (-group["count"], group["stage"], group["reason"]))


def dataset_version(artefacts: ArtefactReader) -> dict[str, Any]:
    """Returns the dataset version of the run, and how split.json divided its customers."""
    version = artefacts.json("version.json", "version")
    split = artefacts.json_or_none("split.json") or {}
    artefacts.notes.extend(split.get("notes", ()))
    fields = ("dvc_hash", "git_commit", "created_at", "size_bytes", "rows")
    return {
        **{name: version[name] for name in fields},
        "customers": {side: split["customers"][side] for side in SPLITS} if split else {},
        "voices": split.get("voice_groups"),
    }


def _total_audio_s(lines: Sequence[Mapping[str, Any]]) -> float | None:
    """Returns the duration of refused audio in seconds; None where no line has one."""
    durations = [line["audio_s"] for line in lines if line.get("audio_s") is not None]
    return sum(durations) if durations else None


def _table_rows(artefacts: ArtefactReader) -> list[dict[str, Any]]:
    tables = artefacts.json("validate.json", "validate").get("tables", {})
    return [{"name": name, **counts} for name, counts in tables.items()]


def _suites(validation: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "success": suite["success"],
            "expectations": suite["expectations"],
            "failed": [_failed_expectation(failed) for failed in suite.get("failed", [])],
        }
        for name, suite in validation.get("suites", {}).items()
    ]


def _failed_expectation(failed: Any) -> str:
    if isinstance(failed, dict):
        reason = str(failed.get("reason", "unknown")).replace("-", " ")
        return f"{reason} ({several(failed.get('rows', 0), 'row')})"
    return str(failed)
