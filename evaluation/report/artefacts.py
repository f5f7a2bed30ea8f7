"""Reads artefacts of a store for the report; a missing one becomes a sentence for the page."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from data.files import read_json, read_lines

# What reading a damaged artefact may raise.
UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    pl.exceptions.PolarsError,
)


class MissingArtefactError(Exception):
    """An artefact is missing. The message is a sentence for the page."""


@dataclass
class ArtefactReader:
    """Reads a store (docs/store.md), and the simulator's truth where there is one.

    `notes` collects what is missing or fell short, for the report's last section.
    """

    store: Path
    truth: Path | None = None
    notes: list[str] = field(default_factory=list)

    def has(self, name: str) -> bool:
        """Returns whether the artefact is in the store."""
        return (self.store / name).exists()

    def json(self, name: str, stage: str) -> Any:
        """Returns a JSON artefact of `stage`. Raises MissingArtefactError."""
        return read_json(self._path(name, stage))

    def table(self, name: str, stage: str) -> pl.DataFrame:
        """Returns a Parquet artefact of `stage`. Raises MissingArtefactError."""
        return pl.read_parquet(self._path(name, stage))

    def table_or_none(self, name: str) -> pl.DataFrame | None:
        """Returns a Parquet artefact, None where it is missing."""
        return pl.read_parquet(self.store / name) if self.has(name) else None

    def json_or_none(self, name: str) -> Any:
        """Returns a JSON artefact, None where it is missing."""
        return read_json(self.store / name) if self.has(name) else None

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Returns the entries of a JSON-lines file; none where it is missing."""
        path = self.store / name
        if not path.exists():
            return []
        return read_lines(path)

    def records(self, name: str) -> pl.DataFrame:
        """Returns a record table after validation, or as ingested while validation has not run.

        Raises MissingArtefactError where neither is in the store.
        """
        for folder, stage in (("clean", "validate"), ("tables", "ingest")):
            if self.has(f"{folder}/{name}.parquet"):
                return self.table(f"{folder}/{name}.parquet", stage)
        raise MissingArtefactError(_missing_sentence(f"tables/{name}.parquet", "ingest"))

    def ground_truth(self, name: str) -> pl.DataFrame | None:
        """Returns a table of the simulator's truth; None without one, as in real centres."""
        if self.truth is None or not (self.truth / name).exists():
            return None
        return pl.read_parquet(self.truth / name)

    def _path(self, name: str, stage: str) -> Path:
        if not self.has(name):
            raise MissingArtefactError(_missing_sentence(name, stage))
        return self.store / name


def _missing_sentence(name: str, stage: str) -> str:
    return f"The stage “{stage}” has not run: there is no {name} in the store."
