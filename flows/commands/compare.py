"""The command `keepline compare`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from data import artefacts
from data.files import read_lines, write_text
from flows.runtime.context import load_context

LONGEST_S = 20.0  # of a regression to listen to


def compare(
    console: Console, names: list[str], *, html: Path | None, across_data: bool, store: Path | None
) -> None:
    """Compares runs in the terminal and as a page, with the worst regressions to listen to."""
    from evaluation.compare import RunView, compare
    from evaluation.report.comparison import comparison_page, print_comparison
    from evaluation.scorecard import load
    from training.browse import browse

    settings = load_context(store).settings
    all_runs = browse(settings.tracking_uri)
    chosen = []
    for name in names:
        matching = [run for run in all_runs if run["run_id"].startswith(name)]
        if len(matching) != 1:
            state = (
                "no run begins so"
                if not matching
                else f"{len(matching)} runs begin so; give more letters"
            )
            raise ValueError(f"run {name}: {state}. `keepline runs` lists them.")
        chosen.append(matching[0])
    with tempfile.TemporaryDirectory() as scratch:
        views = [
            _view(settings.tracking_uri, run, RunView, load, Path(scratch) / run["run_id"])
            for run in chosen
        ]
        result = compare(views, across_data=across_data)
    print_comparison(result, console)
    page = html or settings.store / artefacts.COMPARISON.path
    write_text(
        page,
        comparison_page(result, _listener(settings.store / artefacts.SPEECH.path / "test.jsonl")),
    )
    console.print(f"as a page, with sound: {page}", soft_wrap=True, highlight=False)


def _view(tracking_uri: str, run: dict[str, Any], view: Any, load: Any, to_dir: Path) -> Any:
    """Returns a run with its scorecard, where its evaluation has left one."""
    from training.tracking import fetch_artifact

    folder = fetch_artifact(tracking_uri, run["run_id"], "scorecards", to_dir=to_dir)
    tags = run["tags"]
    return view(
        run_id=run["run_id"],
        params=run["params"],
        metrics=run["metrics"],
        data_hash=tags.get("test_data_hash", ""),
        scorecard=load(folder / "candidate.json") if folder else None,
        name=run["name"],
        learned_from={
            name: tags[tag]
            for name, tag in (("data", "dvc_hash"), ("code", "git_commit"))
            if tag in tags
        },
    )


def _listener(manifest: Path) -> Callable[[Mapping[str, Any]], str | None]:
    """Returns a function from a unit of a scorecard to its sound as a data URI.

    The sound is None where the store no longer holds that very utterance.
    """
    rows = {}
    if manifest.exists():
        for row in read_lines(manifest):
            rows[row.get("contact_id"), row.get("role"), round(row.get("start_s") or 0.0, 2)] = row

    def listen(unit: Mapping[str, Any]) -> str | None:
        from data.audio import read
        from evaluation.metrics.english import comparable
        from evaluation.report.clips import cut_clip

        row = rows.get((unit["contact_id"], unit["role"], round(unit["start_s"] or 0.0, 2)))
        path = manifest.parent / row["audio_filepath"] if row else None
        if (
            row is None
            or path is None
            or not path.exists()
            or comparable(row["text"]) != unit["ref"]
        ):
            return None
        samples, rate_hz = read(path)
        return cut_clip(samples, rate_hz, start_s=0.0, longest_s=LONGEST_S).uri

    return listen
