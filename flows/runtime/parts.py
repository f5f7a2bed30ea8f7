"""Which stages each Prefect flow runs, in order. Together they are the stages of one run."""

from __future__ import annotations

from collections.abc import Sequence

from flows.runtime.graph import STAGES
from models.kinds import ASR, CHURN, READER

_ORDER = {stage.name: number for number, stage in enumerate(STAGES)}
# What a kind needs done before it trains, and what its active model is then used for.
_BEFORE = {ASR.name: ("pseudo",), CHURN.name: ("features",)}
_AFTER = {ASR.name: ("transcribe",), READER.name: ("read",), CHURN.name: ("score", "treat")}
LABELLING = ("transcribe", "label", "read")


class PartError(ValueError):
    """A flow was asked for a stage that is not one of its own."""


def ingest_stages(*, simulated: bool, speech: bool = True) -> list[str]:
    """Returns the stages from an export to divided data. `speech` also cuts utterances."""
    return [
        *(["simulate"] if simulated else []),
        *("ingest", "validate", "version", "split"),
        *(["cut"] if speech else []),
    ]


def finetune_stages(kind: str) -> list[str]:
    """Returns the stages that make a candidate of one kind and measure it."""
    roles = ("train", "assess", "reference", "evaluate", "probe")
    return [*_BEFORE.get(kind, ()), *(f"{role}_{kind}" for role in roles)]


def judge_stages(kind: str) -> list[str]:
    """Returns the stage that puts a candidate of one kind through the gate."""
    return [f"decide_{kind}"]


def release_stages(kind: str) -> list[str]:
    """Returns the stages that release a candidate and put the active model of its kind to use."""
    return [f"release_{kind}", f"active_{kind}", *_AFTER.get(kind, ())]


def label_stages(only: Sequence[str] | None = None) -> list[str]:
    """Returns the stages that hear and label contacts with the active models.

    Raises PartError for a name that is none of them.
    """
    for name in only or ():
        if name not in LABELLING:
            raise PartError(f"{name!r} is no stage of labelling. Stages: {', '.join(LABELLING)}.")
    return [name for name in LABELLING if only is None or name in only]


def up_to(names: Sequence[str], until: str | None) -> list[str]:
    """Returns those of the stages that come before `until` in a run, it included."""
    if until is None:
        return list(names)
    last = _ORDER[until]
    return [name for name in names if _ORDER.get(name, last) <= last]
