"""Makes `dvc.yaml` from the stage graph and records in DVC what a run has made.

The checkout's own dvc.yaml is about the store data/store and the simulator. A store with an export
has one of its own in sites/NAME, beside its params.yaml.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from data import artefacts
from data.files import write_text
from data.versioning import commit_pipeline, keep_own_site_cache
from flows.runtime import code
from flows.runtime.graph import STAGES, Stage
from flows.runtime.settings import ROOT
from models.kinds import kind_names

if TYPE_CHECKING:
    from flows.runtime.context import RunContext

FILE, PARAMS = "dvc.yaml", "params.yaml"
_SITE_CACHE = "data/store/dvc-site"  # what DVC remembers of files and remotes
SITES = "sites"  # folder of the checkout: a folder for each store that has its own dvc.yaml
_HEADER = """\
# Made by `keepline graph --dvc` from flows/runtime/graph.py; a test compares. For `dvc repro` and
# `dvc exp run -S section.key=value`. Stages that act outside the store (releasing) or see the test
# set (evaluating, judging) are not here: an experiment promotes nothing and sees validation
# figures only. Outputs persist, since a stage itself knows what it can reuse.
"""
_PLAIN = re.compile(r"[\w./@${}-]+")


class PipelineError(ValueError):
    """A dvc.yaml cannot be made for this store. The message says why."""


@dataclass(frozen=True)
class Pipeline:
    """What a dvc.yaml is about. Places are relative to the checkout, except for the export."""

    store: str = "data/store"
    params: str = PARAMS
    export: str = ""  # a folder anywhere; empty: the simulator's, made by a stage
    source: str = "auto"  # the source system of the export
    folder: str = "."  # where dvc.yaml lies

    @property
    def file(self) -> str:
        """Its dvc.yaml."""
        return (Path(self.folder) / FILE).as_posix()


def site_pipeline(
    export: Path, *, name: str = "", store: Path | None = None, source: str = "auto"
) -> Pipeline:
    """Returns the pipeline of an export: its store as `keepline run EXPORT` chooses it.

    Raises PipelineError for a name that is no folder's, and for a store outside of the checkout,
    which DVC cannot copy for an experiment.
    """
    export = export.resolve()
    name = name or export.name
    if not re.fullmatch(r"[\w][\w.-]*", name):
        raise PipelineError(
            f"{name!r}: not a folder's name. Give letters, digits, dots and dashes."
        )
    home = (store or ROOT / "data" / "store" / artefacts.EXPORTS.path / export.name).resolve()
    if not home.is_relative_to(ROOT):
        raise PipelineError(
            f"{home}: lies outside of the checkout {ROOT}, so DVC cannot copy it for experiments. "
            "Name a store inside of it with --store."
        )
    folder = f"{SITES}/{name}"
    return Pipeline(
        home.relative_to(ROOT).as_posix(), f"{folder}/{PARAMS}", str(export), source, folder
    )


def dvc_yaml(pipeline: Pipeline = Pipeline()) -> str:
    """Returns the text of a dvc.yaml."""
    stages = [
        stage
        for stage in STAGES
        if stage.experiment and not (pipeline.export and artefacts.RAW in stage.makes)
    ]
    made = {artefact for stage in stages for artefact in stage.makes}
    lines = ["vars:", f"  - store: {_quoted(pipeline.store)}"]
    if pipeline.export:
        lines.append(f"  - export: {_quoted(pipeline.export)}")
    lines.append("stages:")
    for stage in stages:
        lines += _stage(stage, pipeline, [path.path for path in made])
    return _HEADER + "\n".join(lines) + "\n"


def _stage(stage: Stage, pipeline: Pipeline, made: list[str]) -> list[str]:
    """Returns the lines of a stage. It depends only on what a stage of dvc.yaml has made."""
    folders = {place for name in (stage.function, *stage.hooks) for place in code.folders_of(name)}
    needs = sorted(folders)
    command = f"python -m flows.cli stage {stage.name} --store ${{store}}"
    command += f" --params {shlex.quote(pipeline.params)}"
    for need in stage.needs:
        if pipeline.export and need == artefacts.RAW:
            needs.append("${export}")
            command += f' --export "${{export}}" --source {pipeline.source}'
        elif any(need.path == path or need.path.startswith(f"{path}/") for path in made):
            needs.append(f"${{store}}/{need}")
    lines = [f"  {stage.name}:", f"    cmd: {_quoted(command)}"]
    if pipeline.folder != ".":
        lines.append(f"    wdir: {os.path.relpath('.', pipeline.folder)}")
    lines += ["    deps:", *(f"      - {_quoted(need)}" for need in needs)]
    if stage.params and pipeline.params == PARAMS:
        lines += ["    params:", *(f"      - {section}" for section in stage.params)]
    elif stage.params:
        lines += ["    params:", f"      - {_quoted(pipeline.params)}:"]
        lines += [f"          - {section}" for section in stage.params]
    metrics = {artefacts.METRICS.of(kind) for kind in kind_names()}
    lines.append("    outs:")
    for artefact in stage.makes:
        if artefact not in metrics:
            lines += [f"      - ${{store}}/{artefact}:", "          persist: true"]
    for artefact in metrics.intersection(stage.makes):
        lines += ["    metrics:", f"      - ${{store}}/{artefact}:", "          persist: true"]
    return lines


def _quoted(text: str) -> str:
    """Returns text as YAML takes it for one string."""
    return text if _PLAIN.fullmatch(text) or text.startswith("python -m ") else json.dumps(text)


def set_up(pipeline: Pipeline, params: Path) -> Path:
    """Writes the dvc.yaml of a site and, where there is none yet, its params.yaml.

    Every section stands in params.yaml, since DVC wants to see each one that a stage names. Returns
    the folder.
    """
    from flows.runtime.params import section_names

    if (ROOT / ".dvc").exists():
        prepare_dvc()
    folder = ROOT / pipeline.folder
    own = ROOT / pipeline.params
    folder.mkdir(parents=True, exist_ok=True)
    if not own.exists():
        shutil.copyfile(params, own)
    present = yaml.safe_load(own.read_text(encoding="utf-8")) or {}
    missing = [name for name in section_names() if name not in present]
    if missing:
        more = "".join(f"{name}: {{}}\n" for name in missing)
        write_text(own, own.read_text(encoding="utf-8").rstrip("\n") + "\n\n" + more)
    write_text(folder / FILE, dvc_yaml(pipeline))
    return folder


def prepare_dvc() -> None:
    """Gives the checkout's DVC a site cache of its own."""
    keep_own_site_cache(ROOT, ROOT / _SITE_CACHE)


def agree(context: RunContext) -> bool:
    """Records in dvc.lock what the run has made; returns whether it did.

    Then `dvc repro` finds nothing to do. Only for a store and parameters that a dvc.yaml of the
    checkout is about.
    """
    # DVC works in a git clone only; an unpacked archive runs without it.
    if not all((ROOT / name).exists() for name in (".git", ".dvc")):
        return False
    params = context.settings.params_file.resolve()
    for file, store, own in _pipelines():
        if (store, own) == (context.store, params):
            prepare_dvc()
            commit_pipeline(ROOT, file)
            return True
    return False


def _pipelines() -> Iterator[tuple[str, Path, Path]]:
    """Yields each dvc.yaml of the checkout: its path in it, its store and its params.yaml."""
    for path in (ROOT / FILE, *sorted((ROOT / SITES).glob(f"*/{FILE}"))):
        if path.exists():
            values = {
                name: value
                for entry in yaml.safe_load(path.read_text(encoding="utf-8")).get("vars", [])
                for name, value in entry.items()
            }
            yield (
                path.relative_to(ROOT).as_posix(),
                ROOT / values["store"],
                path.with_name(PARAMS).resolve(),
            )


def show_experiments() -> int:
    """Prints DVC's table of experiments and returns DVC's exit code.

    Columns that are equal in all are dropped, and so are those of dependencies, one a file: what
    differs in an experiment follows from its parameters.
    """
    return subprocess.run(show_command(), cwd=ROOT, check=False).returncode


def show_command() -> list[str]:
    """Returns the command that prints DVC's table of experiments in few columns.

    DVC has no setting for columns, only these options.
    """
    # A colon stands in the name of a parameter or metric that two files have.
    dependencies = rf"^({'|'.join(code.PACKAGES)}|\.\.)?/[^:]*$"
    return [sys.executable, "-m", "dvc", "exp", "show", "--only-changed", "--drop", dependencies]
