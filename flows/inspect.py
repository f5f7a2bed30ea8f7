"""What people ask afterwards: comparisons, decisions, who was champion, the data of a model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from data.files import read_lines, write_text
from flows.runtime.context import load_context
from flows.runtime.settings import from_environment
from models.registry.bundle import KINDS

LONGEST_S = 20.0  # of a regression to listen to


def compare(
    console: Console, names: list[str], html: Path | None, across_data: bool, store: Path | None
) -> None:
    """Compares runs in the terminal and as a page, with the worst regressions to listen to."""
    from evaluation.compare import RunView, compare
    from evaluation.report.comparison import comparison_page, print_comparison
    from evaluation.scorecard import load
    from training.browse import browse

    settings = from_environment(store=store)
    known = browse(settings.tracking_uri)
    chosen = []
    for name in names:
        found = [run for run in known if run["run_id"].startswith(name)]
        if len(found) != 1:
            state = (
                "no run begins so"
                if not found
                else f"{len(found)} runs begin so; give more letters"
            )
            raise ValueError(f"run {name}: {state}. `keepline runs` lists them.")
        chosen.append(found[0])
    with tempfile.TemporaryDirectory() as scratch:
        views = [
            _view(settings.tracking_uri, run, RunView, load, Path(scratch) / run["run_id"])
            for run in chosen
        ]
        result = compare(views, across_data=across_data)
    print_comparison(result, console)
    page = html or settings.store / "compare.html"
    write_text(page, comparison_page(result, _listener(settings.store / "speech" / "test.jsonl")))
    console.print(f"as a page, with sound: {page}", soft_wrap=True, highlight=False)


def _view(tracking_uri: str, run: dict[str, Any], view: Any, load: Any, to_dir: Path) -> Any:
    """A run with its scorecard, where its evaluation has left one."""
    from training.tracking import fetch_artifact

    folder = fetch_artifact(tracking_uri, run["run_id"], "scorecards", to_dir)
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
    """Finds the sound of a test utterance in the store; None where the store no longer holds that very utterance."""
    rows = {}
    if manifest.exists():
        for row in read_lines(manifest):
            rows[row.get("contact_id"), row.get("role"), round(row.get("start_s") or 0.0, 2)] = row

    def listen(wanted: Mapping[str, Any]) -> str | None:
        from data.audio import read
        from evaluation.metrics.english import comparable
        from evaluation.report.clips import clip

        row = rows.get((wanted["contact_id"], wanted["role"], round(wanted["start_s"] or 0.0, 2)))
        path = manifest.parent / row["audio_filepath"] if row else None
        if (
            row is None
            or path is None
            or not path.exists()
            or comparable(row["text"]) != wanted["ref"]
        ):
            return None
        samples, rate_hz = read(path)
        return clip(samples, rate_hz, 0.0, LONGEST_S).uri

    return listen


def decisions(console: Console, store: Path | None) -> None:
    """Prints every decision record, newest first, with the check that decided it; first those that are not genuine."""
    from evaluation.gates.record import DecisionError, read_decision

    folder = from_environment(store=store).store / "decisions"
    rows = []
    for path in folder.glob("*/*.json"):
        try:
            one = read_decision(path).record
        except (DecisionError, OSError) as error:
            rows.append(("?", path.stem, path.parent.name, "not genuine", str(error)))
        else:
            rows.append(
                (one["decided_at"], one["decision_id"], one["kind"], one["verdict"], one["summary"])
            )
    if not rows:
        raise ValueError(f"{folder}: no decision yet. `keepline run` makes one a model.")
    table = Table(box=None)
    for column in ("decided", "decision", "model", "verdict", "why"):
        table.add_column(column, overflow="fold")
    for decided_at, *said in sorted(rows, reverse=True):
        table.add_row(decided_at[:16], *said)
    console.print(table)
    console.print(f"the records and their pages: {folder}", soft_wrap=True, highlight=False)


def answer(
    console: Console, which: str, word: str, by: str | None, note: str, store: Path | None
) -> None:
    """Writes down a person's answer to a decision that waits for one."""
    from flows import approving

    context = load_context(store)
    record = approving.answer(context, which, word, by or context.settings.actor, note)
    then = "; the next `keepline run` promotes it" if word == "approved" else ""
    console.print(
        f"{record['decision_id']} {record['answer']} by {record['by']}{then}", highlight=False
    )


def ledger(console: Console, at: str | None, store: Path | None) -> None:
    """Prints the ledger, or who was champion on a day."""
    office = load_context(store).registry()
    if at is not None:
        day = date.fromisoformat(at)
        for kind in KINDS:
            version = office.champion_at(kind, day)
            console.print(
                f"{at} {kind}: {'nobody' if version is None else f'v{version}'}", highlight=False
            )
        return
    table = Table(box=None)
    for column in (
        "at",
        "action",
        "model",
        "champion was",
        "version",
        "decision",
        "by",
        "approved by",
        "hash",
    ):
        table.add_column(column)
    for entry in office.ledger():
        table.add_row(
            entry.at[:19],
            entry.action,
            entry.name,
            str(entry.previous or "–"),
            f"v{entry.version}",
            entry.decision_id,
            entry.actor,
            entry.approved_by or "–",
            entry.hash[:12],
        )
    console.print(table)


def checkout(console: Console, what: str, out: Path, test: bool, store: Path | None) -> None:
    """Brings back a dataset by its hash, or the one a registered model learned from, on request with its test set."""
    from data.versioning import checkout
    from flows import exams

    context = load_context(store)
    kind, _, alias = what.partition("@")
    if test and not alias:
        raise ValueError(f"{what}: a test set belongs to a model. Name one, as in asr@champion.")
    version, dvc_hash, run_id = exams.of_alias(context, kind, alias) if alias else (None, what, "")
    checkout(dvc_hash, context.path("versioned"), context.settings.dvc_remote, out)
    console.print(f"{out}: dataset {dvc_hash}", soft_wrap=True, highlight=False)
    if test:
        where, found = exams.bring_back(context, kind, run_id, out)
        console.print(
            f"{where}: what {kind} v{version} was scored on, {found}",
            soft_wrap=True,
            highlight=False,
        )
