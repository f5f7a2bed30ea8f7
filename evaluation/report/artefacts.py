"""Reads artefacts out of a store for the report; what is not there becomes a sentence, never a guess."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from data.files import read_json, read_lines

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
    """A store (docs/street.md). `notes` collects what fell short, for the section that tells it."""

    store: Path
    truth: Path | None = None
    notes: list[str] = field(default_factory=list)

    def has(self, name: str) -> bool:
        """Whether the artefact lies in the store."""
        return (self.store / name).exists()

    def json(self, name: str, step: str) -> Any:
        """A JSON artefact of `step`. Raises NotThere."""
        return read_json(self._path(name, step))

    def table(self, name: str, step: str) -> pl.DataFrame:
        """A Parquet artefact of `step`. Raises NotThere."""
        return pl.read_parquet(self._path(name, step))

    def table_or_none(self, name: str) -> pl.DataFrame | None:
        """A Parquet artefact, None where it is missing."""
        return pl.read_parquet(self.store / name) if self.has(name) else None

    def json_or_none(self, name: str) -> Any:
        """A JSON artefact, None where it is missing."""
        return read_json(self.store / name) if self.has(name) else None

    def lines(self, name: str) -> list[dict[str, Any]]:
        """A JSON-lines file; one that is not there has no lines."""
        path = self.store / name
        if not path.exists():
            return []
        return read_lines(path)

    def records(self, name: str) -> pl.DataFrame:
        """A record table after validation, or as it was taken in while validation has not run."""
        for folder, step in (("clean", "validate"), ("tables", "ingest")):
            if self.has(f"{folder}/{name}.parquet"):
                return self.table(f"{folder}/{name}.parquet", step)
        raise MissingArtefactError(_sentence(f"tables/{name}.parquet", "ingest"))

    def true(self, name: str) -> pl.DataFrame | None:
        """A table of the simulator's truth; None where there is none (every real contact centre)."""
        if self.truth is None or not (self.truth / name).exists():
            return None
        return pl.read_parquet(self.truth / name)

    def _path(self, name: str, step: str) -> Path:
        if not self.has(name):
            raise MissingArtefactError(_sentence(name, step))
        return self.store / name


def _sentence(name: str, step: str) -> str:
    return f"The step “{step}” has not run: there is no {name} in the store."
