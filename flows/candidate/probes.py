"""Writes and reads behaviour tests and secondary tests for the gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import artefacts
from data.files import file_sha256, read_json, write_json
from models.kinds import kinds
from models.registry.bundle import MANIFEST

if TYPE_CHECKING:
    from evaluation.behaviour import Probe
    from evaluation.gates.evidence import SecondaryTest
    from flows.runtime.context import RunContext


ROLES = ("candidate", "reference")
# Secondary tests that evaluate_<kind> scores, in folders beside the scorecards.
SCORED_WITH_THE_TEST = ("guardrail", "critical_sentences", "next_quarter")


def text_readers_of(kind: str) -> list[str]:
    """Returns the kinds that read the output of `kind`."""
    return [other.name for other in kinds() if other.reads_text_of == kind]


def text_readers(context: RunContext, kind: str) -> dict[str, Any]:
    """Returns the champions that read what `kind` writes, by kind.

    Each has version and bundle_sha256, or is None where there is no champion. When the candidate is
    the champion itself, the readers it was judged with stay: there is nothing new to judge.
    """
    registry, path = context.registry(), context.path(artefacts.TEXT_READERS)
    champion = registry.peek(kind, "champion")
    candidate = read_json(context.path(artefacts.TRAIN.of(kind)))["bundle_sha256"]
    if champion and champion[1] == candidate and path.exists():
        return dict(read_json(path))
    readers = {other: registry.peek(other, "champion") for other in text_readers_of(kind)}
    return {
        other: {"version": version[0], "bundle_sha256": version[1]} if version else None
        for other, version in readers.items()
    }


def write_text_readers(context: RunContext, kind: str) -> None:
    """Writes `text_readers` to the store, if they are others than before."""
    readers, path = text_readers(context, kind), context.path(artefacts.TEXT_READERS)
    if not path.exists() or read_json(path) != readers:
        write_json(path, readers)


def checksums(readers: Mapping[str, Any]) -> dict[str, str]:
    """Returns the bundle checksums of `readers` by kind; empty where there is no champion."""
    return {kind: reader["bundle_sha256"] if reader else "" for kind, reader in readers.items()}


def load_probes(
    context: RunContext, kind: str
) -> tuple[dict[str, SecondaryTest], list[Probe], str]:
    """Returns the secondary tests, the probes and the checksum of the bundle they tested.

    General speech and planted sentences are among the secondary tests where the evaluation scored
    them.
    """
    from evaluation.behaviour import Probe
    from evaluation.gates.evidence import SecondaryTest
    from evaluation.scorecard import load

    folder = context.path(artefacts.PROBES.of(kind))
    names = sorted(path.stem.removesuffix("-candidate") for path in folder.glob("*-candidate.json"))
    secondary = {
        name: SecondaryTest(*(load(folder / f"{name}-{role}.json") for role in ROLES))
        for name in names
    }
    for part in SCORED_WITH_THE_TEST:
        part_folder = context.path(artefacts.SCORECARDS.of(kind).within(part))
        if all((part_folder / f"{role}.json").exists() for role in ROLES):
            cards = (load(part_folder / f"{role}.json") for role in ROLES)
            secondary[part] = SecondaryTest(*cards)
    record = read_json(folder / "probes.json")
    return secondary, [Probe(**row) for row in record["probes"]], record["bundle_sha256"]


def empty_probes_folder(context: RunContext, kind: str) -> Path:
    """Returns the folder of a kind's probes, emptied of what an earlier candidate left."""
    folder = context.path(artefacts.PROBES.of(kind))
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    return folder


def write_probes(
    context: RunContext, kind: str, probes: list[Probe], more: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes probes/<kind>/probes.json and probe_<kind>.json; returns the latter's content.

    `more` joins the summary.
    """
    # A bundle's checksum is that of its manifest.
    sha256 = file_sha256(context.path(artefacts.BUNDLE.of(kind)) / MANIFEST)
    record = {"bundle_sha256": sha256, "probes": [asdict(probe) for probe in probes]}
    write_json(context.path(artefacts.PROBES.of(kind).within("probes.json")), record)
    summary = {**more, **{probe.name: probe.value for probe in probes}}
    write_json(context.path(artefacts.PROBE.of(kind)), summary)
    return summary
