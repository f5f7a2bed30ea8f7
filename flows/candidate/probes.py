"""Writes and reads behaviour tests and second tests for the gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.files import file_sha256, read_json, write_json
from models.registry.bundle import MANIFEST

if TYPE_CHECKING:
    from evaluation.behaviour import Probe
    from evaluation.gates.evidence import SecondaryTest
    from flows.runtime.context import RunContext


ROLES = ("candidate", "reference")


READERS = "reference/readers.json"  # which champions read both recognisers' text


def text_readers(context: RunContext) -> dict[str, Any]:
    """The champions that read a recogniser's text, kind → version and bundle_sha256; None where there is no champion.

    When the candidate is the champion itself, those that read its text then stay: there is nothing new to judge.
    """
    office, path = context.registry(), context.path(READERS)
    held = {kind: office.peek(kind, "champion") for kind in ("asr", "churn", "reader")}
    recogniser = held.pop("asr")
    candidate = read_json(context.path("train_asr.json"))["bundle_sha256"]
    if recogniser and recogniser[1] == candidate and path.exists():
        return dict(read_json(path))
    return {
        kind: {"version": one[0], "bundle_sha256": one[1]} if one else None
        for kind, one in held.items()
    }


def write_text_readers(context: RunContext) -> None:
    """Writes `readers` down, if they are others than before."""
    found, path = text_readers(context), context.path(READERS)
    if not path.exists() or read_json(path) != found:
        write_json(path, found)


def checksums(found: Mapping[str, Any]) -> dict[str, str]:
    """The checksums of `readers`, kind by kind; empty where there is no champion."""
    return {kind: one["bundle_sha256"] if one else "" for kind, one in found.items()}


def load_probes(
    context: RunContext, kind: str
) -> tuple[dict[str, SecondaryTest], list[Probe], str]:
    """What the probe step of `kind` has left, with the guardrail where the evaluation scored one, and the checksum of
    the bundle whose behaviour was tested."""
    from evaluation.behaviour import Probe
    from evaluation.gates.evidence import SecondaryTest
    from evaluation.scorecard import load

    folder = context.path(f"probes/{kind}")
    names = sorted(path.stem.removesuffix("-candidate") for path in folder.glob("*-candidate.json"))
    beside = {
        name: SecondaryTest(*(load(folder / f"{name}-{role}.json") for role in ROLES))
        for name in names
    }
    general = context.path(f"scorecards/{kind}/guardrail")
    if all((general / f"{role}.json").exists() for role in ROLES):
        beside["guardrail"] = SecondaryTest(*(load(general / f"{role}.json") for role in ROLES))
    probed = read_json(folder / "probes.json")
    return beside, [Probe(**one) for one in probed["probes"]], probed["bundle_sha256"]


def empty_probes_folder(context: RunContext, kind: str) -> Path:
    """The folder of a kind's probes, without what an earlier candidate left."""
    folder = context.path(f"probes/{kind}")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    return folder


def write_probes(
    context: RunContext, kind: str, probes: list[Probe], more: Mapping[str, Any]
) -> dict[str, Any]:
    sha256 = file_sha256(
        context.path(f"{kind}/bundle") / MANIFEST
    )  # a bundle's checksum is its manifest's
    found = {"bundle_sha256": sha256, "probes": [asdict(probe) for probe in probes]}
    write_json(context.path(f"probes/{kind}/probes.json"), found)
    summary = {**more, **{probe.name: probe.value for probe in probes}}
    write_json(context.path(f"probe_{kind}.json"), summary)
    return summary
