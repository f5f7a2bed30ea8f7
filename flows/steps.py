"""Each stage of the street as a plain function: paths and frozen settings in, files and a small summary out.

No Prefect and no DVC here: both call these functions, through `flows.wiring.run_step`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from data.audio import read as read_audio
from data.packs import read_member
from data.store import read_json, read_tables, write_json, write_table
from flows.params import Params
from flows.settings import Settings

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Street:
    """Everything a step may ask for. `export` is what is taken in; None means the simulator's."""

    settings: Settings
    params: Params
    git_commit: str
    export: Path | None = None
    kind: str = "auto"

    @property
    def store(self) -> Path:
        """The folder all artefacts lie in."""
        return self.settings.store

    def path(self, name: str) -> Path:
        """A path in the store."""
        return self.store / name

    @property
    def raw(self) -> Path:
        """The export that ingest reads."""
        return self.export or self.path("raw")

    def now(self) -> datetime:
        """The present, in UTC. One place, so that tests can hold it still."""
        return datetime.now(UTC)


# --- what we know ---


def simulate(street: Street, progress: Report) -> dict[str, Any]:
    """Writes the simulated export to raw/ and its truth to truth/."""
    from data.simulator import simulate

    return simulate(street.params.simulator, street.path("raw"), street.path("truth"), progress)


def ingest(street: Street, progress: Report) -> dict[str, Any]:
    """Merges the export into tables/ and shards/."""
    from data.ingest import ingest
    from data.sources import read

    delivery = read(street.kind, street.raw, street.params.sources)
    return ingest(delivery, street.store, street.now(), progress, street.params.ingest)


def validate(street: Street, progress: Report) -> dict[str, Any]:
    """Lets through to clean/ what keeps the contract; raises ContractBroken when the whole does not."""
    from data.validation import validate

    content = _delivered(street, "tables")
    return validate(street.store, street.params.validation, content, street.now(), progress)


def version(street: Street, progress: Report) -> dict[str, Any]:
    """Adds clean tables and shards to DVC, pushes them and checks the remote."""
    from data.versioning import version

    made = version(street.path("clean"), street.path("shards"), street.path("versioned"), street.settings.dvc_remote,
                   street.git_commit, street.now(), progress=progress)  # fmt: skip
    write_json(street.path("version.json"), asdict(made))
    return asdict(made)


def split(street: Street, progress: Report) -> dict[str, Any]:
    """Divides customers and contacts by customer and by voice."""
    from data.splits import assert_disjoint, split
    from data.voices import voice_groups

    clean = read_tables(street.path("clean"))
    unnamed = clean["recordings"].filter(pl.col("voice").is_null())
    heard = voice_groups(_customer_channel(street), unnamed, street.params.voices, progress)
    divided, summary = split(clean["contacts"], clean["recordings"], clean["customers"], street.params.splits, heard)
    assert_disjoint(divided)
    write_table(street.path("splits.parquet"), divided)
    write_json(street.path("split.json"), asdict(summary))
    return asdict(summary)


def cut(street: Street, progress: Report) -> dict[str, Any]:
    """Cuts person-transcribed turns into NeMo manifests, one a split."""
    from data.utterances import cut

    clean = read_tables(street.path("clean"))
    splits = pl.read_parquet(street.path("splits.parquet"))
    summary = cut(clean["recordings"], clean["turns"], splits, _decoded(street), street.path("speech"), progress)
    write_json(street.path("cut.json"), summary)
    return summary


# --- shared by steps ---


def _delivered(street: Street, tables: str = "clean") -> Callable[[str], bytes]:
    """contact_id → the recording's bytes as delivered."""
    recordings = pl.read_parquet(street.path(tables) / "recordings.parquet")
    place = {row["contact_id"]: (row["shard"], row["member"]) for row in recordings.iter_rows(named=True)}
    return lambda contact_id: read_member(street.path("shards"), *place[contact_id])


def _decoded(street: Street) -> Callable[[str], tuple[Any, int]]:
    """contact_id → float32 samples [frames, channels] and their rate in Hz."""
    content = _delivered(street)
    return lambda contact_id: read_audio(content(contact_id), contact_id)


def _customer_channel(street: Street) -> Callable[[str], tuple[Any, int]]:
    """contact_id → the customer's samples [frames] and their rate in Hz."""
    decoded = _decoded(street)
    recordings = pl.read_parquet(street.path("clean") / "recordings.parquet")
    channel = dict(zip(recordings["contact_id"], recordings["customer_channel"], strict=True))

    def customer(contact_id: str) -> tuple[Any, int]:
        samples, rate_hz = decoded(contact_id)
        return samples[:, channel[contact_id]], rate_hz

    return customer
