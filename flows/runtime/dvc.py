"""Makes `dvc.yaml` from the stage graph and records in DVC what a run has made."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from data import artefacts
from data.versioning import commit_pipeline
from flows.runtime import code
from flows.runtime.graph import STAGES, Stage
from flows.runtime.settings import ROOT
from models.kinds import kind_names

if TYPE_CHECKING:
    from flows.runtime.context import RunContext

STORE = "data/store"  # the store that dvc.yaml is about
_HEADER = """\
# Made by `keepline graph --dvc` from flows/runtime/graph.py; a test compares. For `dvc repro` and
# `dvc exp run -S section.key=value`. Stages that act outside the store (releasing) are not here: an
# experiment promotes nothing. Outputs persist, since a stage itself knows what it can reuse.
stages:
"""


def dvc_yaml() -> str:
    """Returns the text of dvc.yaml."""
    return _HEADER + "".join(_stage(stage) for stage in STAGES if stage.experiment)


def _stage(stage: Stage) -> str:
    folders = {place for name in (stage.function, *stage.hooks) for place in code.folders_of(name)}
    needs = [*sorted(folders), *(f"{STORE}/{need}" for need in stage.needs)]
    lines = [f"  {stage.name}:", f"    cmd: python -m flows.cli stage {stage.name}", "    deps:"]
    lines += [f"      - {need}" for need in needs]
    if stage.params:
        lines += ["    params:", *(f"      - {section}" for section in stage.params)]
    metrics = {artefacts.METRICS.of(kind) for kind in kind_names()}
    lines.append("    outs:")
    for artefact in stage.makes:
        if artefact not in metrics:
            lines += [f"      - {STORE}/{artefact}:", "          persist: true"]
    for artefact in metrics.intersection(stage.makes):
        lines += ["    metrics:", f"      - {STORE}/{artefact}:"]
        lines.append("          persist: true")
    return "\n".join(lines) + "\n"


def agree(context: RunContext) -> bool:
    """Records in dvc.lock what the run has made; returns whether it did.

    Then `dvc repro` finds nothing to do. Only for the checkout's own store and parameters, which
    are what dvc.yaml is about.
    """
    ours = context.store == ROOT / STORE and context.settings.params_file == ROOT / "params.yaml"
    # DVC works in a git clone only; an unpacked archive runs without it.
    if not ours or not all((ROOT / name).exists() for name in (".git", ".dvc", "dvc.yaml")):
        return False
    commit_pipeline(ROOT)
    return True


def show_experiments() -> int:
    """Prints DVC's table of experiments and returns DVC's exit code.

    Columns that are equal in all are dropped, and so are those of dependencies, one a file: what
    differs in an experiment follows from its parameters.
    """
    dependencies = f"^({'|'.join(code.PACKAGES)})/"
    command = [sys.executable, "-m", "dvc", "exp", "show", "--only-changed", "--drop", dependencies]
    return subprocess.run(command, cwd=ROOT, check=False).returncode
