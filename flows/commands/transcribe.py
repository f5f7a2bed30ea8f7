"""The command `keepline transcribe`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from data import artefacts
from flows.stages.transcription.files import (
    FilesFailedError,
    JobResult,
    transcribe_files,
    transcription_jobs,
)
from flows.stages.transcription.workers import TranscriberConfig, _calibrated, cores
from models.kinds import ASR

if TYPE_CHECKING:
    from flows.runtime.context import RunContext


def transcribe(
    console: Console,
    source: Path,
    out: Path,
    *,
    formats: str,
    model: str | None,
    channels: str,
    jobs: int | None,
    store: Path | None,
) -> None:
    """Transcribes a file or a folder to `out` and prints what came of each file.

    Raises FilesFailedError at the end when a file could not be transcribed; the rest is done.
    """
    from flows.runtime.context import load_context
    from flows.runtime.progress import bar

    context = load_context(store)
    config = TranscriberConfig(
        _model(context, model), context.path(artefacts.EXPORTS), context.params.hearing
    )
    planned = transcription_jobs(
        source, out, formats=_listed(formats), channels=_listed(channels), config=config
    )
    outcomes: list[JobResult] = []
    with bar(console, f"hearing {len(planned)} recordings") as progress:
        for outcome in transcribe_files(config, planned, jobs or cores()):
            outcomes.append(outcome)
            progress(len(outcomes), len(planned))
            if outcome.says:
                mark = "[red]✗[/]" if outcome.state == "failed" else "[yellow]![/]"
                console.print(f"{mark} {escape(outcome.says)}", highlight=False, soft_wrap=True)
    count = Counter(outcome.state for outcome in outcomes)
    hours = sum(outcome.audio_s for outcome in outcomes) / 3600
    words = sum(outcome.words for outcome in outcomes)
    console.print(
        f"{out}: {count['done']} heard ({words} words), {count['kept']} kept from before, "
        f"{hours:.2f} h of "
        f"audio, {count['failed']} failed"
    )
    if not _calibrated(config):
        console.print(
            "confidence is uncalibrated: it is the network's own score. Train on transcribed "
            "calls first."
        )
    if count["failed"]:
        raise FilesFailedError(
            f"{count['failed']} of {len(planned)} recordings could not be heard; the rest is done."
        )


def _listed(words: str) -> list[str]:
    return [word.strip() for word in words.split(",")]


def _model(context: RunContext, name: str | None) -> Path:
    """Returns the `.nemo` a person means.

    `name` is a path, a bundle's folder, `base`, or an alias of the registry (asr@champion too).
    None means the champion, else the base. Raises ValueError for a name that is none of these.
    """
    from flows.stages import asr
    from models.registry.bundle import verify_bundle

    path = Path(name) if name else None
    if path and path.is_dir():
        return verify_bundle(path).path / "model.nemo"
    if path and (path.is_file() or path.suffix == ".nemo"):
        return path
    base = asr.base_of(context.params.asr.base, context.path(artefacts.WORK.of(ASR.name)))
    # Asking a store that never was would make one.
    has_registry = context.path(artefacts.REGISTRY).exists()
    if name == "base" or (name is None and not has_registry):
        return base
    alias = (name or "champion").removeprefix("asr@")
    version = context.registry().alias(ASR.name, alias) if has_registry else None
    if version is not None:
        return (
            context.registry().fetch(ASR.name, version, context.path(artefacts.FETCHED)).path
            / "model.nemo"
        )
    if name is None:
        return base
    raise ValueError(
        f"--model {name}: no such file, and no model has that alias. Name a .nemo, a bundle or "
        "`base`."
    )
