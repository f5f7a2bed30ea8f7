"""The stages before any model: simulate, ingest, validate, version, split, cut."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import polars as pl

from data import artefacts
from data.files import read_json, read_tables, write_json, write_lines, write_table
from data.progress import Progress
from data.speech import utterances
from flows.runtime.context import RunContext


def simulate(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Writes the simulated export to raw/ and its truth to truth/."""
    from data.simulator import simulate

    return simulate(
        context.params.simulator,
        context.path(artefacts.RAW),
        context.path(artefacts.TRUTH),
        progress=progress,
    )


def ingest(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Merges the export into tables/ and shards/."""
    from data.ingest import ingest
    from data.sources import read

    delivery = read(context.source, context.raw, context.params.sources)
    return ingest(
        delivery, context.store, context.now(), progress=progress, params=context.params.ingest
    )


def validate(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Writes to clean/ what keeps the data contract; returns the summary.

    Raises ContractBroken when the whole does not keep it.
    """
    from data.validation import validate

    content = context.delivered(artefacts.TABLES)
    return validate(
        context.store,
        context.params.validation,
        read_audio=content,
        now=context.now(),
        progress=progress,
    )


def version(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Adds clean tables and shards to DVC, pushes them and checks the remote."""
    from data.versioning import version

    made = version(
        context.path(artefacts.CLEAN),
        context.path(artefacts.SHARDS),
        context.path(artefacts.VERSIONED),
        remote=context.settings.dvc_remote,
        git_commit=context.git_commit,
        now=context.now(),
        progress=progress,
    )
    write_json(context.path(artefacts.VERSION), asdict(made))
    return asdict(made)


def remote_lacks(context: RunContext) -> str:
    """Returns what the DVC remote no longer has; empty if the dataset is whole there.

    The remote may have been emptied, or another may have been named, since the dataset was pushed.
    """
    from data.versioning import remote_lacks

    return remote_lacks(
        read_json(context.path(artefacts.VERSION))["dvc_hash"],
        context.path(artefacts.VERSIONED),
        remote=context.settings.dvc_remote,
    )


def split(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Divides customers and contacts by customer and by voice."""
    from data.speech.voices import voice_groups
    from data.splits import assert_disjoint, split

    clean = read_tables(context.path(artefacts.CLEAN))
    unnamed = clean["recordings"].filter(pl.col("voice").is_null())
    groups = voice_groups(
        context.customer_channel(), unnamed, context.params.voices, progress=progress
    )
    divided, summary = split(
        clean["contacts"],
        clean["recordings"],
        clean["customers"],
        params=context.params.splits,
        voice_groups=groups,
    )
    assert_disjoint(divided)
    write_table(context.path(artefacts.SPLITS), divided)
    write_json(context.path(artefacts.SPLIT), asdict(summary))
    return asdict(summary)


def cut(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Cuts person-transcribed turns into NeMo manifests, one a split; returns the summary.

    Accounts for every recorded hour as well, and raises where too many are lost.
    """
    from data.hours import hours_account
    from data.speech.utterances import cut_utterances

    clean, params = read_tables(context.path(artefacts.CLEAN)), context.params.hours
    splits = pl.read_parquet(context.path(artefacts.SPLITS))
    summary = cut_utterances(
        utterances.recordings_with_slices(clean),
        clean["turns"],
        splits,
        read_audio=context.decoded(),
        out=context.path(artefacts.SPEECH),
        progress=progress,
    )
    lines = [{**line, "at": context.now().isoformat()} for line in summary["refused"]]
    write_lines(context.path(artefacts.QUARANTINE.within("cut.jsonl")), lines)
    delivered = pl.read_parquet(context.path(artefacts.TABLES.within("recordings.parquet")))
    hours = hours_account(
        delivered,
        clean["recordings"],
        cut_ms=summary["ms"],
        quarantine=context.path(artefacts.QUARANTINE),
    )
    budget = hours.summary(params)
    write_json(context.path(artefacts.HOURS), budget)
    hours.enforce_budget(params)
    write_json(context.path(artefacts.CUT), summary)
    return {**summary, "lost_share": budget["lost_share"]}
