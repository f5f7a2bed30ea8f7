"""The command `keepline experiments --set-up`: makes an export ready for `dvc exp run`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from flows.runtime.dvc import set_up, site_pipeline
from flows.runtime.settings import ROOT, from_environment


def make_ready(
    console: Console, export: Path, *, name: str, source: str, store: Path | None
) -> None:
    """Writes sites/NAME/dvc.yaml and params.yaml for an export and prints what to do next.

    Raises ValueError for a folder that is no export, and PipelineError as `site_pipeline` does.
    """
    from data.sources import detect

    if source == "auto":
        source = detect(export)
    pipeline = site_pipeline(export, name=name, store=store, source=source)
    set_up(pipeline, from_environment().params_file)
    folder = (ROOT / pipeline.folder).relative_to(ROOT)
    lines = (
        f"{folder}: dvc.yaml and params.yaml of the store {pipeline.store}. Next:",
        f"  git add {folder} && git commit",
        f"  dvc repro {pipeline.file}          # or: KEEPLINE_PARAMS={pipeline.params} keepline run"
        f" {export} --store {pipeline.store}",
        f"  git add {folder}/dvc.lock",
        f"  cd {folder} && dvc exp run --queue -S churn.epochs=20,50 && dvc queue start",
    )
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
