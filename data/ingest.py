"""Takes a delivery into the store: rows into tables, audio into shards, refusals into quarantine.

Killed anywhere and run again, nothing is lost or doubled: shards are written before the tables that
point into them, tables before the summary, and each of them whole or not at all. A second run over
the same export adds nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import filelock
import polars as pl

from data import audio
from data.files import atomic, file_name, read_tables, write_json, write_table, write_text
from data.progress import Progress
from data.records import CUSTOMER_VERSIONS, DELIVERED, KEYS, TABLES, Recording, frame
from data.sources import DeliveredRecording, Delivery, Refusal
from data.speech import shards as speech_shards

_MERGED = (
    "customer_versions",
    "customers",
    "contacts",
    "turns",
    "outcomes",
    "interventions",
    "recordings",
)
# What an ingest that was killed leaves behind.
_LEFTOVERS = (".ingest.json.*.tmp", "tables/.*.tmp", "quarantine/.*.tmp")
_ADD_CUSTOMER = "Add the customer to the export's customers and ingest again."
_ADD_CONTACT = "Add the contact to the export (or mend why it was refused) and ingest again."


class IngestError(RuntimeError):
    """Ingest cannot go on. What has been taken in stays valid; run it again."""


@dataclass(frozen=True)
class IngestParams:
    """The section `ingest` of params.yaml."""

    # audio shards are filled up to this many MB; changing one call rewrites one shard
    shard_mb: int = 64


def ingest(
    delivery: Delivery,
    store: Path,
    now: datetime,
    *,
    progress: Progress = lambda done, total: None,
    params: IngestParams | None = None,
) -> dict[str, Any]:
    """Merges `delivery` into the store, writes ingest.json and returns its content.

    Writes `store`/tables, /shards and /quarantine. A row whose key is new is added, one that
    differs replaces the old, all others stay as they are. Audio is compared by SHA-256: what is
    unchanged is neither decoded nor rewritten. The turns of a contact are replaced together.
    Raises IngestError when another ingest is running on the store, or a recording changes while
    it is being read.
    """
    store.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(store / ".ingest.lock", timeout=0):
            return _ingest(delivery, store, now, progress=progress, params=params or IngestParams())
    except filelock.Timeout as error:
        raise IngestError(
            f"{store}: another ingest is running here. Wait until it has ended."
        ) from error


def _ingest(
    delivery: Delivery, store: Path, now: datetime, *, progress: Progress, params: IngestParams
) -> dict[str, Any]:
    for pattern in _LEFTOVERS:
        for path in store.glob(pattern):
            path.unlink()
    tables = read_tables(store / "tables")
    rows, recordings, refusals = admit(delivery, tables)
    # From here until ingest.json is written again the store is in the making.
    (store / "ingest.json").unlink(missing_ok=True)

    rows["recordings"], shards_written = _take_audio(
        recordings,
        tables["recordings"],
        shards=store / "shards",
        delivery=delivery,
        params=params,
        progress=progress,
        refusals=refusals,
    )
    rows["customer_versions"] = new_versions(
        rows["customers"],
        delivery.changed_on,
        tables=tables,
        today=now.astimezone(UTC).date(),
    )
    counts = {}
    # Versions before customers, or a kill between them would lose what changed. Recordings last:
    # whatever the moment, each of them has its contact.
    for name in _MERGED:
        merged, counts[name] = merge(name, tables[name], rows[name])
        path = store / "tables" / f"{name}.parquet"
        is_same = not any(counts[name][verb] for verb in ("added", "changed", "removed"))
        if not path.exists() or not is_same:
            write_table(path, merged)
        tables[name] = merged
    _quarantine(store / "quarantine", refusals, now)
    summary = {
        **{
            verb: {name: counts[name][verb] for name in DELIVERED}
            for verb in ("added", "unchanged", "changed")
        },
        "versions": sum(counts["customer_versions"][verb] for verb in ("added", "changed")),
        "refused": len(refusals),
        "reasons": dict(Counter(map(_reason, refusals))),
        # Reversed, so that of each reason the first refusal counts.
        "next_steps": {_reason(refusal): refusal.next_step for refusal in reversed(refusals)},
        "audio_s": round(float(tables["recordings"]["duration_s"].sum()), 3),
        "rows": {name: table.height for name, table in tables.items()},
        "shards_written": shards_written,
    }
    write_json(store / "ingest.json", summary)
    return summary


def _reason(refusal: Refusal) -> str:
    """The reason without its parentheses, which hold what differs from record to record."""
    return re.sub(r"\s*\(.*\)", "", refusal.reason)


def admit(
    delivery: Delivery, tables: dict[str, pl.DataFrame]
) -> tuple[dict[str, pl.DataFrame], list[DeliveredRecording], list[Refusal]]:
    """Sorts a delivery into rows by table, recordings and refusals, given the store's `tables`.

    Refused: a key listed twice (the first stays), a contact, outcome or intervention of an unknown
    customer, turns and recordings of an unknown contact, a contact with two transcripts.
    """
    refusals = list(delivery.refusals)
    customers = _unique(delivery.customers, ["customer_id"], record="customer", refusals=refusals)
    customer_ids = pl.concat([customers["customer_id"], tables["customers"]["customer_id"]])
    contacts = _unique(delivery.contacts, ["contact_id"], record="contact", refusals=refusals)
    contacts = _with_parent(
        contacts, "customer_id", customer_ids, refusals=refusals, refuse=_orphan_contact
    )
    outcomes = _unique(
        delivery.outcomes, ["customer_id", "event"], record="outcome", refusals=refusals
    )
    outcomes = _with_parent(
        outcomes, "customer_id", customer_ids, refusals=refusals, refuse=_orphan_outcome
    )
    interventions = _unique(
        delivery.interventions, KEYS["interventions"], record="intervention", refusals=refusals
    )
    interventions = _with_parent(
        interventions, "customer_id", customer_ids, refusals=refusals, refuse=_orphan_intervention
    )
    contact_ids = pl.concat([contacts["contact_id"], tables["contacts"]["contact_id"]])
    turns = _admit_turns(delivery.turns, contact_ids, refusals)
    recordings = _admit_recordings(delivery.recordings, set(contact_ids), refusals)
    rows = {
        "customers": customers,
        "contacts": contacts,
        "turns": turns,
        "outcomes": outcomes,
        "interventions": interventions,
    }
    return rows, recordings, refusals


def _orphan_contact(row: dict[str, Any]) -> Refusal:
    reason = f"unknown customer ({row['customer_id']})"
    return Refusal(f"contact {row['contact_id']}", "contact", reason, _ADD_CUSTOMER)


def _orphan_outcome(row: dict[str, Any]) -> Refusal:
    thing = f"outcome {row['event']} of {row['customer_id']}"
    return Refusal(thing, "outcome", "unknown customer", _ADD_CUSTOMER)


def _orphan_intervention(row: dict[str, Any]) -> Refusal:
    thing = f"intervention {row['kind']} for {row['customer_id']}"
    return Refusal(thing, "intervention", "unknown customer", _ADD_CUSTOMER)


def _orphan_turns(row: dict[str, Any]) -> Refusal:
    reason = "no contact line for these turns"
    return Refusal(f"contact {row['contact_id']}", "turns", reason, _ADD_CONTACT)


def _admit_turns(
    turns: pl.DataFrame, contact_ids: pl.Series, refusals: list[Refusal]
) -> pl.DataFrame:
    """The turns of known contacts that have one transcript."""
    turns = _with_parent(turns, "contact_id", contact_ids, refusals=refusals, refuse=_orphan_turns)
    duplicated = turns.filter(pl.struct(KEYS["turns"]).is_duplicated())["contact_id"]
    transcribed_twice = duplicated.unique(maintain_order=True)
    refusals += [
        Refusal(
            f"contact {contact_id}",
            "turns",
            "more than one transcript",
            "Leave one in the export and ingest again.",
        )
        for contact_id in transcribed_twice
    ]
    return turns.filter(~pl.col("contact_id").is_in(transcribed_twice.to_list()))


def _admit_recordings(
    recordings: list[DeliveredRecording], contact_ids: set[str], refusals: list[Refusal]
) -> list[DeliveredRecording]:
    """The recordings of known contacts, the first of each."""
    admitted: dict[str, DeliveredRecording] = {}
    for recording in recordings:
        if recording.contact_id not in contact_ids:
            reason = "a recording without its contact line"
            next_step = _ADD_CONTACT
        elif recording.contact_id in admitted:
            reason = "more than one recording; kept the first"
            next_step = "Leave one in the export and ingest again."
        else:
            admitted[recording.contact_id] = recording
            continue
        thing = f"call {recording.contact_id}"
        refusals.append(Refusal(thing, "recording", reason, next_step, recording.path))
    return list(admitted.values())


def _unique(
    rows: pl.DataFrame, key: list[str], *, record: str, refusals: list[Refusal]
) -> pl.DataFrame:
    """The first row of each key; the others are refused."""
    repeated = pl.struct(key).is_duplicated() & ~pl.struct(key).is_first_distinct()
    for row in rows.filter(repeated).iter_rows(named=True):
        name = " ".join(str(row[column]) for column in key)
        refusals.append(
            Refusal(
                f"{record} {name}",
                record,
                "listed more than once; kept the first",
                "Leave one line in the export.",
            )
        )
    return rows.filter(~repeated)


def _with_parent(
    rows: pl.DataFrame,
    column: str,
    parent_ids: pl.Series,
    *,
    refusals: list[Refusal],
    refuse: Callable[[dict[str, Any]], Refusal],
) -> pl.DataFrame:
    """The rows whose `column` is in `parent_ids`; the others are refused, once for each contact."""
    orphans = rows.join(
        pl.DataFrame({column: parent_ids}), on=column, how="anti", maintain_order="left"
    )
    key = "contact_id" if "contact_id" in rows.columns else column
    refusals += [
        refuse(row)
        for row in orphans.unique(key, keep="first", maintain_order=True).iter_rows(named=True)
    ]
    return rows.join(
        pl.DataFrame({column: parent_ids.unique()}), on=column, how="semi", maintain_order="left"
    )


def new_versions(
    customers: pl.DataFrame,
    changed_on: pl.DataFrame,
    *,
    tables: dict[str, pl.DataFrame],
    today: date,
) -> pl.DataFrame:
    """Returns a row of CUSTOMER_VERSIONS for each delivered customer whose record is new or changed.

    It is valid from the day the source names in `changed_on` (CHANGED_ON), if that is later than
    the version before, else from `today`, the day of the ingest. A record that a store took in
    before it kept versions becomes the version of the day before. `tables` are the store's, before
    `customers` are merged into them. What was valid before stays.
    """
    said = [name for name in CUSTOMER_VERSIONS if name not in ("customer_id", "valid_from")]
    versions = tables["customer_versions"]
    unversioned = (
        tables["customers"]
        .join(versions, on="customer_id", how="anti")
        .join(customers, on="customer_id", how="semi")
        .with_columns(valid_from=pl.lit(today - timedelta(days=1)))
        .select(list(CUSTOMER_VERSIONS))
    )
    last = (
        pl.concat([versions, unversioned])
        .sort("customer_id", "valid_from")
        .unique("customer_id", keep="last", maintain_order=True)
    )
    compared = customers.join(
        last, on="customer_id", how="left", suffix="_before", maintain_order="left"
    ).join(
        changed_on.unique("customer_id", keep="first"),
        on="customer_id",
        how="left",
        maintain_order="left",
    )
    is_changed = pl.col("valid_from").is_null() | pl.any_horizontal(
        pl.col(name).ne_missing(pl.col(f"{name}_before")) for name in said
    )
    named = pl.min_horizontal("changed_on", pl.lit(today))
    is_later = (named > pl.col("valid_from")).fill_null(named.is_not_null())
    changed = compared.filter(is_changed).with_columns(
        valid_from=pl.when(is_later & pl.col("changed_on").is_not_null())
        .then(named)
        .otherwise(pl.max_horizontal(pl.lit(today), "valid_from"))
    )
    # Only of those that change: of all others the record itself says what was known.
    kept = unversioned.join(changed, on="customer_id", how="semi")
    return pl.concat([kept, changed.select(list(CUSTOMER_VERSIONS))]).unique(
        KEYS["customer_versions"], keep="last", maintain_order=True
    )


def merge(table: str, old: pl.DataFrame, new: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """Returns `old` with the rows of `new` in it, sorted by key, and counts of what changed.

    The same rows give the same file.
    """
    key = KEYS[table]
    rest = [column for column in TABLES[table] if column not in key]
    unchanged = old.join(new, on=key, how="anti", nulls_equal=True)
    common = new.join(old, on=key, how="inner", suffix="_old", nulls_equal=True)
    changed = common.filter(
        pl.any_horizontal(pl.col(c).ne_missing(pl.col(f"{c}_old")) for c in rest)
    ).height
    removed = 0
    if table == "turns":  # a transcript that got shorter must not keep its old end
        unshortened = unchanged.join(new, on=["contact_id", "origin"], how="anti")
        removed, unchanged = unchanged.height - unshortened.height, unshortened
    added = new.height - common.height
    counts = {
        "added": added,
        "changed": changed,
        "unchanged": common.height - changed,
        "removed": removed,
    }
    return pl.concat([unchanged, new.select(unchanged.columns)]).sort(key), counts


def _take_audio(
    recordings: list[DeliveredRecording],
    old: pl.DataFrame,
    *,
    shards: Path,
    delivery: Delivery,
    params: IngestParams,
    progress: Progress,
    refusals: list[Refusal],
) -> tuple[pl.DataFrame, list[str]]:
    """Packs what is new or changed; returns the RECORDINGS rows accepted and the shards written."""
    used = set(old["shard"])
    # What lay in a lost shard is packed again.
    whole = [shard for shard in used if speech_shards.is_readable(shards / shard)]
    before = {
        row["contact_id"]: Recording(**row)
        for row in old.filter(pl.col("shard").is_in(whole)).iter_rows(named=True)
    }
    steps = 2 * len(recordings)
    rows: dict[str, Recording] = {}
    paths: dict[str, Path] = {}  # member → file, of all that must be packed
    ordered = sorted(recordings, key=lambda recording: recording.contact_id)
    for done, delivered in enumerate(ordered, start=1):
        row = _inspect(delivered, before.get(delivered.contact_id), delivery.mono_ok)
        if isinstance(row, Refusal):
            refusals.append(row)
        else:
            rows[row.contact_id] = row
            if not row.shard or row.sha256 != before[row.contact_id].sha256:
                paths[row.member] = delivered.path
        progress(done, steps)

    speech_shards.clear_leftovers(shards, used, set(old["member"]) | set(paths))
    new = {row.member: paths[row.member] for row in rows.values() if not row.shard}
    packed = speech_shards.add_shards(
        shards,
        new,
        first=speech_shards.next_number(shards),
        shard_mb=params.shard_mb,
        progress=lambda n, _: progress(len(recordings) + n, steps),
    )
    packed |= _rewrite_changed(shards, rows, before=before, paths=paths)
    _place(rows, packed, paths)
    progress(steps, steps)
    return frame("recordings", list(rows.values())), sorted({shard for shard, _ in packed.values()})


def _rewrite_changed(
    shards: Path,
    rows: dict[str, Recording],
    *,
    before: dict[str, Recording],
    paths: dict[str, Path],
) -> dict[str, tuple[str, str]]:
    """Rewrites the shards of changed recordings; returns member → (shard, SHA-256)."""
    changed: dict[str, dict[str, Path]] = {}  # shard → member → file
    for row in rows.values():
        if row.shard and row.member in paths:
            changed.setdefault(row.shard, {})[row.member] = paths[row.member]
    packed: dict[str, tuple[str, str]] = {}
    for shard, members in changed.items():
        contacts = {row.contact_id for row in rows.values() if row.member in members}
        renamed = {before[contact_id].member for contact_id in contacts} - set(members)
        hashes = speech_shards.rewrite_shard(shards, shard, members, drop=renamed)
        packed |= {name: (shard, sha256) for name, sha256 in hashes.items()}
    return packed


def _place(
    rows: dict[str, Recording], packed: dict[str, tuple[str, str]], paths: dict[str, Path]
) -> None:
    """Sets the shard of each packed recording in `rows`.

    Raises IngestError when the bytes packed are not those that were inspected.
    """
    for contact_id, row in rows.items():
        if row.member in packed:
            shard, sha256 = packed[row.member]
            if sha256 != row.sha256:
                raise IngestError(
                    f"call {contact_id}: {paths[row.member]} changed while it was being read. "
                    f"Wait until it has been written and ingest again."
                )
            rows[contact_id] = replace(row, shard=shard)


def _inspect(
    delivered: DeliveredRecording, old: Recording | None, mono_ok: bool
) -> Recording | Refusal:
    """The row a delivered recording will have, or why it is refused.

    `shard` is empty while the recording is in none.
    """
    thing = f"call {delivered.contact_id}"
    with delivered.path.open("rb") as handle:
        sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
    if old is not None and old.sha256 == sha256:
        row = replace(old, voice=delivered.voice or old.voice)
    else:
        try:
            info = audio.probe(delivered.path, name=thing)
        except audio.AudioError as error:
            reason, _, next_step = str(error).removeprefix(f"{thing}: ").partition(". ")
            return Refusal(
                thing, "recording", reason, next_step or "Export it again.", delivered.path
            )
        row = Recording(
            contact_id=delivered.contact_id,
            shard=old.shard if old else "",
            member=speech_shards.member_name(delivered.contact_id, delivered.path),
            codec=info.codec,
            sample_rate_hz=info.sample_rate_hz,
            channels=info.channels,
            duration_s=info.duration_s,
            customer_channel=0,
            agent_channel=0,
            sha256=sha256,
            size_bytes=delivered.path.stat().st_size,
            voice=delivered.voice,
        )
    sides = {"customer": delivered.customer_channel, "agent": delivered.agent_channel}
    if row.channels == 1 and mono_ok:
        sides = {"customer": 0, "agent": 0}
    elif sides["customer"] == sides["agent"]:
        reason = f"customer and agent on the same channel (channel {sides['agent']})"
        return Refusal(thing, "recording", reason, "Correct the channel numbers.", delivered.path)
    for role, channel in sides.items():
        if channel >= row.channels:
            reason = f"no {role} channel ({row.channels} of {max(2, channel + 1)} found)"
            next_step = "Re-export as stereo or set sources.mono_ok."
            return Refusal(thing, "recording", reason, next_step, delivered.path)
    return replace(row, customer_channel=sides["customer"], agent_channel=sides["agent"])


def _quarantine(folder: Path, refusals: Iterable[Refusal], now: datetime) -> None:
    """Appends new refusals to ingest.jsonl and copies the audio they are about beside it."""
    log = folder / "ingest.jsonl"
    listed = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    seen = {(line["thing"], line["kind"], line["reason"]) for line in map(json.loads, listed)}
    lines = []
    for refusal in refusals:
        if (refusal.thing, refusal.record, refusal.reason) in seen:
            continue
        seen.add((refusal.thing, refusal.record, refusal.reason))
        line = {
            "thing": refusal.thing,
            "kind": refusal.record,
            "reason": refusal.reason,
            "next_step": refusal.next_step,
            "at": now.isoformat(),
        }
        if refusal.path is not None:
            with refusal.path.open("rb") as handle:
                sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
            line["audio"] = f"{sha256[:8]}-{file_name(refusal.path.name)}"
            if not (folder / line["audio"]).exists():
                with atomic(folder / line["audio"]) as temporary:
                    shutil.copyfile(refusal.path, temporary)
        lines.append(json.dumps(line, ensure_ascii=False))
    if lines or not log.exists():
        write_text(log, "".join(f"{line}\n" for line in [*listed, *lines]))
