"""The command `keepline compare`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from data import artefacts
from data.files import read_lines, write_text
from flows.candidate.runs import EXPERIMENT_TAG, GROUP_TAG
from flows.candidate.scorecards import VALIDATION_FOLDER, VALIDATION_HASH_TAG
from flows.runtime.context import load_context
from models.kinds import kind_of

if TYPE_CHECKING:
    from evaluation.compare import RunView
    from evaluation.scorecard import Scorecard

# Begin the names of metrics that a scorecard holds with their intervals.
_SCORED = ("test_", "reference_", "validation_")
LONGEST_S = 20.0  # of a regression to listen to


def compare(
    console: Console,
    names: list[str],
    *,
    html: Path | None,
    across_data: bool,
    store: Path | None,
    test: bool = False,
    over_seeds: bool = False,
) -> None:
    """Compares runs in the terminal and as a page, with the worst regressions to listen to.

    Figures are those on validation data, so that choosing among many settings leaves the test set
    unseen. With `test` they are those on the test set, of runs that the gate has decided on. With
    `over_seeds` each run stands for its setting: all runs that differ from it in the seed alone.
    Raises ValueError naming a run that is unknown, has no such figures, or is not decided on.
    """
    from evaluation.compare import compare
    from evaluation.report.comparison import comparison_page, print_comparison
    from training.browse import browse

    settings = load_context(store).settings
    all_runs = browse(settings.tracking_uri)
    chosen = [_find(all_runs, name) for name in names]
    if over_seeds:
        _compare_seeds(console, settings.tracking_uri, all_runs, chosen, test=test)
        return
    if test:
        for run in chosen:
            _refuse_undecided(run)
    with tempfile.TemporaryDirectory() as scratch:
        views = [
            view(settings.tracking_uri, run, Path(scratch) / run["run_id"], test=test)
            for run in chosen
        ]
        _refuse_unscored(views, across_data=across_data)
        result = compare(views, across_data=across_data)
    print_comparison(result, console)
    page = html or settings.store / artefacts.COMPARISON.path
    manifest = artefacts.SPEECH.within("test.jsonl" if test else "valid.jsonl")
    write_text(page, comparison_page(result, _listener(settings.store / manifest.path)))
    console.print(f"as a page, with sound: {page}", soft_wrap=True, highlight=False)


def _find(runs: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Returns the one run whose id begins with `name`, or that an experiment `name` has left."""
    matching = [run for run in runs if run["run_id"].startswith(name)]
    matching = matching or [run for run in runs if run["tags"].get(EXPERIMENT_TAG) == name]
    if len(matching) != 1:
        state = (
            "no run begins so"
            if not matching
            else f"{len(matching)} runs begin so; give more letters"
        )
        raise ValueError(f"run {name}: {state}. `keepline runs` lists them.")
    return matching[0]


def _refuse_undecided(run: Mapping[str, Any]) -> None:
    if "decision" not in run["tags"]:
        raise ValueError(
            f"run {run['run_id'][:8]}: the gate has not decided on it, so its test figures stay "
            "sealed. Compare on validation data, without --test."
        )


def _refuse_unscored(views: list[RunView], *, across_data: bool) -> None:
    for each in views:
        if not each.tested_on and not across_data:
            raise ValueError(
                f"run {each.run_id[:8]}: no {each.scored_on} figures. It ended before it was "
                "scored, or an older Keepline trained it; train it again."
            )


def _compare_seeds(
    console: Console,
    tracking_uri: str,
    runs: list[dict[str, Any]],
    chosen: list[dict[str, Any]],
    *,
    test: bool,
) -> None:
    """Compares the settings of two runs over all seeds they were trained with."""
    from evaluation.report.comparison import print_seeds
    from evaluation.seeds import compare_seeds

    if len(chosen) != 2 or test:
        raise ValueError("over seeds: name two runs, one of each setting, and no --test.")
    groups = [_same_setting(runs, run) for run in chosen]
    with tempfile.TemporaryDirectory() as scratch:
        cards = [
            {
                seed: card
                for seed, run in group.items()
                if (card := _scorecard(tracking_uri, run, Path(scratch) / run["run_id"]))
            }
            for group in groups
        ]
    kind = kind_of(chosen[0]["tags"]["kind"])
    labels = tuple(run["tags"].get(EXPERIMENT_TAG) or run["run_id"][:8] for run in chosen)
    result = compare_seeds(cards[0], cards[1], kind.primary_metric, names=(labels[0], labels[1]))
    print_seeds(result, console)


def _same_setting(
    runs: list[dict[str, Any]], example: Mapping[str, Any]
) -> dict[int, dict[str, Any]]:
    """Returns the newest run of each seed that equals `example` in all else, seed → run."""
    group = example["tags"].get(GROUP_TAG)
    if not group:
        raise ValueError(f"run {example['run_id'][:8]}: it does not say which setting it is of.")
    found: dict[int, dict[str, Any]] = {}
    for run in runs:  # the newest first
        if run["tags"].get(GROUP_TAG) == group and VALIDATION_HASH_TAG in run["tags"]:
            found.setdefault(int(run["params"]["seed"]), run)
    return found


def _scorecard(
    tracking_uri: str, run: Mapping[str, Any], to_dir: Path, *, test: bool = False
) -> Scorecard | None:
    """Returns a run's scorecard, where its evaluation has left one."""
    from evaluation.scorecard import load
    from training.tracking import fetch_artifact

    folder = fetch_artifact(
        tracking_uri, run["run_id"], "scorecards" if test else VALIDATION_FOLDER, to_dir=to_dir
    )
    return load(folder / "candidate.json") if folder else None


def view(tracking_uri: str, run: Mapping[str, Any], to_dir: Path, *, test: bool = False) -> RunView:
    """Returns a run as a comparison takes it, without a figure of the part it does not show."""
    from evaluation.compare import RunView
    from training.browse import learning_curves

    tags = run["tags"]
    card = _scorecard(tracking_uri, run, to_dir, test=test)
    return RunView(
        run_id=run["run_id"],
        params=run["params"],
        metrics={
            name: value for name, value in run["metrics"].items() if not name.startswith(_SCORED)
        },
        data_hash=tags.get("test_data_hash" if test else VALIDATION_HASH_TAG, ""),
        scorecard=card,
        name=tags.get(EXPERIMENT_TAG) or run["name"],
        learned_from={
            name: tags[tag]
            for name, tag in (("data", "dvc_hash"), ("code", "git_commit"))
            if tag in tags
        },
        curves=learning_curves(tracking_uri, run["run_id"]),
        scored_on="test" if test else "validation",
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
