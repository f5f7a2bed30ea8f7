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


_EMBEDDED_AT_ONCE = 200  # calls between two writes of voices.parquet


def split(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Divides customers and contacts by customer and by voice; whoever has a side keeps it."""
    from data.speech.voices import voice_groups
    from data.split_history import adopted, divide
    from data.split_ledger import read_ledger, write_ledger

    clean, path = read_tables(context.path(artefacts.CLEAN)), context.path(artefacts.SPLIT_LEDGER)
    voices = _voices(context, clean, progress)
    ledger = read_ledger(path)
    if ledger.rows.is_empty() and context.path(artefacts.SPLITS).exists():
        # Divided before there was a ledger: models have learned from that division.
        ledger = adopted(pl.read_parquet(context.path(artefacts.SPLITS)), context.now())
    divided, summary, ledger = divide(
        clean["contacts"],
        clean["recordings"],
        clean["customers"],
        params=context.params.splits,
        ledger=ledger,
        now=context.now(),
        voice_groups=voice_groups(voices),
    )
    # The ledger first: after a kill in between, the same division is made again.
    write_ledger(path, ledger)
    write_table(context.path(artefacts.SPLITS), divided)
    write_json(context.path(artefacts.SPLIT), asdict(summary))
    return asdict(summary)


def _voices(
    context: RunContext, clean: dict[str, pl.DataFrame], progress: Progress
) -> pl.DataFrame:
    """Returns voices.parquet with a row for each call whose voice the source does not name.

    It is written every few hundred calls, so that a kill does not cost all of them.
    """
    from data.speech.voices import read_voices, recognise_voices
    from models.speaker.encoder import embed

    path = context.path(artefacts.VOICES)
    voices = read_voices(path)
    unnamed = clean["recordings"].filter(pl.col("voice").is_null()).select("contact_id")
    calls = (
        clean["contacts"]
        .join(unnamed, on="contact_id", how="semi")
        .join(voices, on="contact_id", how="anti")
        .sort("started_at", "contact_id")
        .select("contact_id", "customer_id")
    )
    read_customer = context.customer_channel()

    def shown(begin: int) -> Progress:
        return lambda done, _: progress(begin + done, calls.height)

    for begin in range(0, calls.height, _EMBEDDED_AT_ONCE):
        voices = recognise_voices(
            read_customer,
            calls.slice(begin, _EMBEDDED_AT_ONCE),
            voices,
            embed=embed,
            params=context.params.voices,
            progress=shown(begin),
        )
        write_table(path, voices)
    if not path.exists():
        write_table(path, voices)
    return voices


def cut(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Cuts person-transcribed turns into NeMo manifests, one a split; returns the summary.

    Accounts for every recorded hour as well, and raises where too many are lost.
    """
    from data.hours import hours_account
    from data.speech.utterances import cut_utterances
    from data.split_ledger import assert_kept, read_ledger

    clean, params = read_tables(context.path(artefacts.CLEAN)), context.params.hours
    splits = pl.read_parquet(context.path(artefacts.SPLITS))
    assert_kept(splits, read_ledger(context.path(artefacts.SPLIT_LEDGER)))
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
