"""`keepline graph`: the stages and the files of a store, as text and as docs/store.md."""

from __future__ import annotations

from collections.abc import Iterable

from data import artefacts
from data.artefacts import Artefact
from flows.runtime.graph import BACKTEST, NIGHTLY, STAGES
from models.kinds import kind_names

_PAGE = """\
# The store

Everything a run leaves lies in one folder, the store: `data/store`, or what `KEEPLINE_STORE` or
`--store` names. A file is written under another name first and then renamed, so a reader never sees
half of it. A stage that has finished leaves a marker in `.markers` with a fingerprint of what it
needed, its code and its parameters. It is not run again while that fingerprint stays the same.

This page is made by `keepline graph --store` from `data/artefacts.py` and `flows/runtime/graph.py`.
In file names `KIND` stands for {kinds}.

| file | what it holds | written by | read by |
|---|---|---|---|
"""


def text() -> str:
    """One line a stage: name, title, what it needs → what it makes."""
    return "".join(
        f"{stage.name:<18} {stage.title}\n"
        f"{'':<18} {_list(stage.needs) or 'nothing'} → {_list((*stage.makes, *stage.keeps))}\n"
        for stage in STAGES
    )


def store_page() -> str:
    """The text of docs/store.md."""
    rows = "".join(_row(artefact) for artefact in _declared())
    return _PAGE.format(kinds=", ".join(f"`{name}`" for name in kind_names())) + rows


def _declared() -> list[Artefact]:
    """Every artefact, in the order of its declaration."""
    return [value for value in vars(artefacts).values() if isinstance(value, Artefact)]


def _row(artefact: Artefact) -> str:
    paths = {artefact.of(name).path for name in kind_names()}
    stages = [*STAGES, NIGHTLY, BACKTEST]
    writers = [
        stage.name
        for stage in stages
        if any(made.path in paths for made in (*stage.makes, *stage.keeps))
    ]
    readers = [stage.name for stage in stages if any(need.path in paths for need in stage.needs)]
    shown = artefact.path.replace("{kind}", "KIND")
    return f"| `{shown}` | {artefact.holds} | {_stages(writers)} | {_stages(readers)} |\n"


def _stages(names: Iterable[str]) -> str:
    """Names of stages, those of every kind folded into one."""
    folded = dict.fromkeys(
        f"{role}_KIND" if kind in kind_names() and role else name
        for name in names
        for role, _, kind in (name.rpartition("_"),)
    )
    return ", ".join(f"`{name}`" for name in folded)


def _list(made: Iterable[Artefact]) -> str:
    return ", ".join(artefact.path for artefact in made)
