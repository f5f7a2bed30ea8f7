"""Source systems: one module each, found by its name, all giving the same records.

A source module has `LOOKS_FOR` (paths inside an export by which it is detected; with none it must
be asked for by name) and `read(path, options) -> Delivery`. Adding a source is adding such a file;
nothing else changes.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import polars as pl

from data.records import INTERVENTIONS

CHANGED_ON = {"customer_id": pl.String, "changed_on": pl.Date}


class SourceError(ValueError):
    """An export cannot be read as a whole. The message names file, problem and remedy."""


@dataclass(frozen=True)
class SourceParams:
    """What the exports do not say; section `sources` of params.yaml."""

    timezone: str = "UTC"  # IANA zone of times that carry no offset of their own
    mono_ok: bool = False  # accept one-channel recordings; both sides are then on channel 0
    # refuse an answered call without its audio; false keeps it as a contact alone
    expect_recordings: bool = True
    # what the export calls a role → customer, agent or system
    roles: dict[str, str] = field(default_factory=dict)
    # where the export itself does not say: the channel the customer is on, from 0
    customer_channel: int = 0
    agent_channel: int = 1  # and the agent


@dataclass(frozen=True)
class DeliveredRecording:
    """Audio in an export. Channels count from 0; `voice` names the customer's voice if known."""

    contact_id: str
    path: Path
    customer_channel: int
    agent_channel: int
    voice: str | None = None


@dataclass(frozen=True)
class Refusal:
    """One record that was not taken in: which, of what type, why, and what to do.

    `path` is audio worth keeping. What varies from record to record stands in parentheses in
    `reason`, so that reasons can be counted.
    """

    thing: str
    record: str
    reason: str
    next_step: str
    path: Path | None = None

    def __str__(self) -> str:
        return f"{self.thing}: {self.reason}. {self.next_step}"


@dataclass(frozen=True)
class Delivery:
    """Everything one export holds, as records (schemas of `data.records`), and its refusals.

    `changed_on` (customer_id, changed_on) says since when customer records have been as delivered,
    where the source knows.
    """

    customers: pl.DataFrame
    contacts: pl.DataFrame
    turns: pl.DataFrame
    outcomes: pl.DataFrame
    recordings: list[DeliveredRecording]
    refusals: list[Refusal]
    mono_ok: bool = False
    interventions: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=INTERVENTIONS))
    changed_on: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=CHANGED_ON))


def source_names() -> list[str]:
    """Returns the names of all sources."""
    return sorted(
        module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")
    )


def detect(path: Path) -> str:
    """Returns the name of the source whose export lies at `path`.

    Raises SourceError saying what was looked for when it is none.
    """
    if not path.is_dir():
        raise SourceError(f"{path}: no such folder. Give the folder that holds the export.")
    looked_for = {
        source: paths for source in source_names() if (paths := _module(source).LOOKS_FOR)
    }
    for source, paths in looked_for.items():
        if all((path / name).exists() for name in paths):
            return source
    children = sorted(child.name for child in path.iterdir())
    state = (
        f"not an export I know (found {', '.join(children[:8])})"
        if children
        else "the folder is empty"
    )
    looked_for_text = "; ".join(
        f"{source}: {' and '.join(paths)}" for source, paths in looked_for.items()
    )
    raise SourceError(f"{path}: {state}. Looked for {looked_for_text}.")


def read(source: str, path: Path, options: SourceParams | None = None) -> Delivery:
    """Reads the export at `path`; `source` is one of `source_names()`, or `auto`.

    Raises SourceError when the export as a whole cannot be read; single bad records become
    `refusals`.
    """
    if source == "auto":
        source = detect(path)
    if source not in source_names():
        raise SourceError(f"{source!r} is not a source. Known: {', '.join(source_names())}.")
    module = _module(source)
    if not path.is_dir() or not all((path / name).exists() for name in module.LOOKS_FOR):
        detected = detect(path)  # explains an empty or unknown folder
        raise SourceError(
            f"{path}: this is a {detected} export, not {source}. Set the source to {detected} or "
            "auto."
        )
    delivery: Delivery = module.read(path, options or SourceParams())
    return delivery


def _module(source: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{source}")
