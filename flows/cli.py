"""The command line: every command a person types.

Vendors are imported inside the commands, so that help is instant.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from flows.commands.placing import of_a_store
from models.kinds import UnknownKindError, kind_names, kind_of

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help=(
        "Keepline listens to every call, chat and e-mail, retrains on what it hears, and ships a "
        "model only when it is "
        "better beyond sampling error."
    ),
)
base = typer.Typer(no_args_is_help=True, help="The small recogniser that ships.")
app.add_typer(base, name="base")
data = typer.Typer(no_args_is_help=True, help="Versions of the dataset.")
app.add_typer(data, name="data")
site = typer.Typer(no_args_is_help=True, help="Contact centres, each with its source and store.")
app.add_typer(site, name="site")
console = Console()


def known_kind(name: str) -> str:
    """`name`, if it is a kind of model; else a usage error that lists those there are."""
    try:
        return kind_of(name).name
    except UnknownKindError as error:
        raise typer.BadParameter(str(error)) from None


def _kind_or_all(name: str | None) -> str | None:
    return name and known_kind(name)


Kind = Annotated[
    str, typer.Argument(help=f"{', '.join(kind_names())}: a kind of model.", callback=known_kind)
]
Source = Annotated[
    str,
    typer.Option(
        "--source", "--kind", help="The source system: asterisk, folder, recordings or auto."
    ),
]
Store = Annotated[
    Path | None,
    typer.Option(help="Folder for all artefacts (default: KEEPLINE_STORE or data/store)."),
]


@app.command()
@of_a_store(writes=True)
def demo(store: Store = None) -> None:
    """Simulate a contact centre, run the pipeline, ask the service, print where the report is."""
    from flows.commands.pipeline import demo

    demo(console, store)


@app.command()
@of_a_store(writes=True)
def run(
    export: Annotated[
        Path | None, typer.Argument(help="Folder with an export; without it, the simulator.")
    ] = None,
    source: Source = "auto",
    store: Store = None,
) -> None:
    """Run the whole pipeline on an export: ingest, train, judge, release, report."""
    from flows.commands.pipeline import run_pipeline

    run_pipeline(console, export, source=source, store=store)


@app.command()
@of_a_store(writes=True)
def hear(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Recordings of one voice each; some with their words (.txt or manifest.jsonl)."
        ),
    ],
    words: Annotated[
        Path | None,
        typer.Option(
            help="Terms and sentences of the domain, one a line: a language model learns them too."
        ),
    ] = None,
    store: Store = None,
) -> None:
    """Adapt the recogniser to a folder of recordings, judge it, transcribe the others."""
    from flows.commands.pipeline import run_pipeline

    if words and not words.is_file():
        raise FileNotFoundError(
            f"{words}: no such file. Give a text file with one term or sentence a line."
        )
    run_pipeline(console, folder, source="recordings", store=store, until="transcribe", words=words)


@app.command()
@of_a_store()
def transcribe(
    source: Annotated[
        Path, typer.Argument(help="A recording, or a folder of them.", metavar="FILE_OR_FOLDER")
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the transcripts.")],
    formats: Annotated[
        str, typer.Option("--format", help="Any of json, vtt, ctm, lhotse, nemo.")
    ] = "json",
    model: Annotated[
        str | None,
        typer.Option(
            help="A .nemo, a bundle, or an alias such as champion (default: it, else the base)."
        ),
    ] = None,
    channels: Annotated[
        str, typer.Option(help="Who is on each channel, from the first.")
    ] = "customer,agent",
    jobs: Annotated[
        int | None, typer.Option(help="Processes (default: one a core).", min=1)
    ] = None,
    store: Store = None,
) -> None:
    """Transcribe recordings: words with times and confidence, and how the talk went."""
    from flows.commands.transcribe import transcribe

    transcribe(
        console,
        source,
        out,
        formats=formats,
        model=model,
        channels=channels,
        jobs=jobs,
        store=store,
    )


@app.command("fit-table")
def fit_table(
    file: Annotated[Path, typer.Argument(help="A CSV or Parquet file with one row a customer.")],
    *,
    target: Annotated[str, typer.Option(help="The column to foresee, of two values.")],
    id: Annotated[
        str | None, typer.Option(help="The column that names a row (default: its number).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the model (default: FILE's name with .model).")
    ] = None,
    positive: Annotated[str | None, typer.Option(help="The target's value that means yes.")] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="A column not to learn from (repeatable).")
    ] = None,
    folds: Annotated[
        int, typer.Option(help="Report on all rows by so many models, list suspects.", min=0)
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of the division and of training.")] = 0,
    allow_leaks: Annotated[
        bool, typer.Option(help="Learn from columns that alone nearly decide the target.")
    ] = False,
) -> None:
    """Learn a yes/no target from any table: held-out figures, a calibrated model, target issues."""
    from flows.commands.tables import fit_table

    fit_table(
        console,
        file,
        target,
        id=id,
        out=out,
        positive=positive,
        exclude=exclude or [],
        folds=folds,
        seed=seed,
        allow_leaks=allow_leaks,
    )


@app.command("score-table")
def score_table(
    model: Annotated[Path, typer.Argument(help="The folder that fit-table left.")],
    file: Annotated[
        Path, typer.Argument(help="A CSV or Parquet file with the columns it learned from.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="CSV or Parquet (default: FILE's name with .scores.csv).")
    ] = None,
) -> None:
    """Score a table with reasons by feature, and tell which values the model had never seen."""
    from flows.commands.tables import score_table

    score_table(console, model, file, out)


@app.command()
@of_a_store()
def read(
    source: Annotated[
        str, typer.Argument(help="Text or JSON lines; - reads standard input.", metavar="FILE|-")
    ],
    model: Annotated[
        str | None, typer.Option(help="A bundle's folder, or an alias (default: champion).")
    ] = None,
    channel: Annotated[
        str, typer.Option(help="phone, ivr, chat, email or social, where the text does not say.")
    ] = "",
    words: Annotated[bool, typer.Option(help="Also tell the words that made it so.")] = True,
    store: Store = None,
) -> None:
    """Read a message or transcript: reason, frictions, mood and barrier, with probabilities."""
    from flows.commands.read import read

    read(source, model, channel=channel, words=words, store=store)


@of_a_store(writes=True)
def stage(
    name: Annotated[str, typer.Argument(help="A stage's name; `keepline graph` lists them.")],
    export: Annotated[
        Path | None, typer.Option(help="Folder with an export, for `ingest`.")
    ] = None,
    source: Source = "auto",
    store: Store = None,
    force: Annotated[
        bool, typer.Option(help="Run it even if nothing it needs has changed.")
    ] = False,
    params: Annotated[
        Path | None, typer.Option(help="Parameters (default: KEEPLINE_PARAMS or params.yaml).")
    ] = None,
) -> None:
    """Run one stage of the pipeline (what dvc.yaml calls)."""
    from flows.runtime.context import load_context
    from flows.runtime.graph import BY_NAME
    from flows.stages import runner

    if name not in BY_NAME:
        raise typer.BadParameter(f"{name!r} is no stage. Stages: {', '.join(BY_NAME)}.")
    context = load_context(store, export, source=source, params=params)
    _, reused = runner.run_stage(context, name, console, force=force)
    console.print(f"{name}: {'unchanged, reused' if reused else 'done'}")


app.command()(stage)
app.command("step", hidden=True)(stage)  # its name until 0.2


@app.command()
def graph(
    dvc: Annotated[bool, typer.Option("--dvc", help="As dvc.yaml.")] = False,
    store: Annotated[
        bool, typer.Option("--store", help="As docs/store.md: the files of a store.")
    ] = False,
) -> None:
    """Print the stages: what each needs and makes."""
    from flows.commands.graph import store_page, text
    from flows.runtime.dvc import dvc_yaml

    print(dvc_yaml() if dvc else store_page() if store else text(), end="")


@app.command()
@of_a_store(writes=True)
def backtest(store: Store = None) -> None:
    """Train on the past and score on the future, on several days; print the figures a day."""
    from flows.commands.backtest import show

    show(console, store)


@app.command()
@of_a_store()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(help="MLflow run ids, the first letters of them, or DVC's experiments."),
    ],
    html: Annotated[
        Path | None, typer.Option(help="Where the page goes (default: compare.html in the store).")
    ] = None,
    across_data: Annotated[bool, typer.Option(help="Compare across data, and mark it.")] = False,
    test: Annotated[
        bool, typer.Option("--test", help="On the test set: only runs the gate has decided on.")
    ] = False,
    seeds: Annotated[
        bool,
        typer.Option("--seeds", help="The settings of two runs, over all seeds they have."),
    ] = False,
    store: Store = None,
) -> None:
    """Compare training runs on validation data: parameters, metrics, curves, what to hear."""
    from flows.commands.compare import compare

    compare(
        console,
        runs,
        html=html,
        across_data=across_data,
        store=store,
        test=test,
        over_seeds=seeds,
    )


@app.command()
@of_a_store()
def runs(
    store: Store = None,
    limit: int = 20,
    where: Annotated[
        list[str] | None, typer.Option(help="A condition: test_wer<0.4, kind=asr (repeatable).")
    ] = None,
    sort: Annotated[
        str | None, typer.Option(help="A metric, least first (default: newest first).")
    ] = None,
    show: Annotated[
        list[str] | None, typer.Option(help="A metric, parameter or tag to show beside.")
    ] = None,
) -> None:
    """List and filter training runs."""
    from flows.commands.runs import runs

    runs(console, store, limit=limit, where=where, sort=sort, show=show)


@app.command()
@of_a_store()
def trends(
    kind: Annotated[
        str | None,
        typer.Argument(
            help=f"{', '.join(kind_names())} (default: all kinds).", callback=_kind_or_all
        ),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="A metric to show (repeatable; default: the usual).")
    ] = None,
    days: Annotated[int, typer.Option(help="The last so many nights.", min=1)] = 30,
    slices: Annotated[bool, typer.Option("--slices", help="Show slices as well.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a line a point.")] = False,
    store: Store = None,
) -> None:
    """Show what the nights measured: figures with intervals, alarms, promotions."""
    from flows.commands.trends import show_trends

    show_trends(
        console,
        store,
        kind=kind or "",
        metrics=metric or [],
        days=days,
        slices=slices,
        as_json=as_json,
    )


@app.command()
@of_a_store(writes=True)
def acknowledge(kind: Kind, store: Store = None) -> None:
    """Close what asks for a retraining of a kind: it is known, and being dealt with."""
    from flows.commands.trends import acknowledge

    acknowledge(console, kind, store)


@app.command()
@of_a_store(writes=True)
def search(
    kind: Kind,
    trials: Annotated[
        int, typer.Option(help="Trials in all; those of a search that was killed count.", min=1)
    ] = 30,
    store: Store = None,
) -> None:
    """Search training settings on validation data; a killed search goes on where it was."""
    from flows.commands.search import search

    search(console, kind, trials, store)


@of_a_store(writes=True)
def label_issues(
    horizon_days: Annotated[
        int, typer.Option(help="Outcomes are doubted at this horizon.", min=1)
    ] = 180,
    limit: Annotated[int, typer.Option(help="How many to print.", min=1)] = 20,
    store: Store = None,
) -> None:
    """List labels and outcomes that are probably wrong, most suspect first."""
    from flows.commands.label_issues import label_issues

    label_issues(console, horizon_days, limit, store)


app.command("label-issues")(label_issues)
app.command("suspects", hidden=True)(label_issues)  # its name until 0.2


@app.command()
@of_a_store()
def customer(
    customer_id: Annotated[str, typer.Argument(help="As the export calls them.")],
    store: Store = None,
) -> None:
    """Show one customer: timeline, risk, reasons with their moments, and whether to treat."""
    from flows.commands.customer import customer

    customer(console, customer_id, store)


@app.command()
def experiments(
    set_up: Annotated[
        Path | None,
        typer.Option(help="An export: make it ready for experiments instead, in sites/NAME."),
    ] = None,
    name: Annotated[str, typer.Option(help="NAME (default: the name of the export).")] = "",
    source: Source = "auto",
    store: Annotated[
        Path | None, typer.Option(help="Its store (default: the one of `keepline run EXPORT`).")
    ] = None,
) -> None:
    """List DVC's experiments: validation figures and the parameters that differ."""
    from flows.commands.experiments import make_ready
    from flows.runtime.dvc import show_experiments

    if set_up is None:
        raise typer.Exit(show_experiments())
    make_ready(console, set_up, name=name, source=source, store=store)


@app.command()
@of_a_store()
def decisions(store: Store = None) -> None:
    """List the decision records: what was judged, the verdict, and why."""
    from flows.commands.decisions import decisions

    decisions(console, store)


@app.command()
@of_a_store()
def approve(
    decision: Annotated[str, typer.Argument(help="A decision's id, or the first letters of it.")],
    by: Annotated[
        str | None,
        typer.Option(help="Who approves (default: KEEPLINE_ACTOR, or who is logged in)."),
    ] = None,
    note: Annotated[str, typer.Option(help="Goes on the record.")] = "",
    store: Store = None,
) -> None:
    """Approve a candidate; the next `keepline run` promotes it. Not for who trained it."""
    from flows.commands.decisions import answer

    answer(console, decision, "approved", by=by, note=note, store=store)


@app.command()
@of_a_store()
def refuse(
    decision: Annotated[str, typer.Argument(help="A decision's id, or the first letters of it.")],
    by: Annotated[
        str | None, typer.Option(help="Who refuses (default: KEEPLINE_ACTOR, or who is logged in).")
    ] = None,
    note: Annotated[str, typer.Option(help="Goes on the record.")] = "",
    store: Store = None,
) -> None:
    """Refuse a candidate that waits for approval: the champion stays."""
    from flows.commands.decisions import answer

    answer(console, decision, "refused", by=by, note=note, store=store)


@app.command()
@of_a_store()
def ledger(
    at: Annotated[
        str | None, typer.Option(help="A day (YYYY-MM-DD): who was champion then?")
    ] = None,
    sign: Annotated[
        bool, typer.Option("--sign", help="Sign it with KEEPLINE_SIGNING_KEY, once there is a key.")
    ] = False,
    store: Store = None,
) -> None:
    """Show every promotion and rollback, after checking chain, decisions and signature."""
    from flows.commands import decisions

    if sign:
        decisions.sign_ledger(console, store)
    decisions.ledger(console, at, store)


@app.command()
@of_a_store()
def challenge(kind: Kind, version: int, store: Store = None) -> None:
    """Make an accepted version the challenger, for the service to try in shadow or canary."""
    from flows.commands.aliases import challenge

    challenge(console, kind, version, store)


@app.command()
@of_a_store()
def withdraw(kind: Kind, store: Store = None) -> None:
    """Take the alias challenger away."""
    from flows.commands.aliases import withdraw

    withdraw(console, kind, store)


@app.command()
@of_a_store()
def readmit(
    kind: Kind,
    version: int,
    why: Annotated[str, typer.Option(help="Goes on the version.")],
    store: Store = None,
) -> None:
    """Let a version that the service stopped as unhealthy be tried, approved and promoted again."""
    from flows.commands.aliases import readmit

    readmit(console, kind, version, why=why, store=store)


@app.command()
@of_a_store()
def rollback(
    kind: Kind,
    expected: Annotated[
        int | None,
        typer.Option("--from", help="Only if this version is champion (default: whoever is)."),
    ] = None,
    store: Store = None,
) -> None:
    """Make the champion before this one champion again, after verifying its bundle."""
    from flows.commands.aliases import rollback

    rollback(console, kind, expected, store)


@app.command()
@of_a_store()
def checkout(
    what: Annotated[
        str, typer.Argument(help="A DVC hash, or a model and alias such as asr@champion.")
    ],
    out: Annotated[Path, typer.Argument(help="Where the dataset goes; must not exist.")],
    test: Annotated[
        bool, typer.Option(help="Also the test set it was scored on, checked by its hash.")
    ] = False,
    store: Store = None,
) -> None:
    """Bring back the exact dataset of a version or of a model."""
    from flows.commands.datasets import checkout

    checkout(console, what, out, test=test, store=store)


@app.command()
@of_a_store()
def serve(host: str | None = None, port: int | None = None, store: Store = None) -> None:
    """Answer over HTTP with the models the alias champion names."""
    from flows.commands.serve import serve

    serve(host, port, store)


@app.command()
def key(
    name: str, roles: Annotated[list[str], typer.Argument(help="score, transcribe, metrics, admin")]
) -> None:
    """Make an API key for the service; its hash goes to the file KEEPLINE_API_KEYS names."""
    from flows.commands.serve import key

    key(console, name, roles)


@app.command()
@of_a_store()
def guard(
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=1)] = 20.0,
    once: Annotated[bool, typer.Option(help="Look once and end.")] = False,
    store: Store = None,
) -> None:
    """Watch over runs: what was killed ends as failed, what hangs is stopped, people are told."""
    from flows.commands.guard import guard

    guard(console, every, once, store)


@app.command()
def deploy(
    site: Annotated[str, typer.Option(help="The contact centre whose flows to register.")],
    notify_block: Annotated[
        str | None,
        typer.Option(help="A Prefect notification block, like slack-webhook/ops, to tell people."),
    ] = None,
) -> None:
    """Register all flows of a site with the Prefect server that PREFECT_API_URL names."""
    from flows.commands.deploy import deploy

    deploy(console, site, notify_block)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def prefect(words: typer.Context) -> None:
    """Run Prefect's command line on this store's history: `keepline prefect server start`."""
    from flows.commands.deploy import prefect

    raise typer.Exit(prefect(words.args, None))


@app.command()
@of_a_store()
def ui(port: int = 5000, store: Store = None) -> None:
    """Open MLflow's pages on this store's runs."""
    import subprocess

    from flows.runtime.context import load_context

    settings = load_context(store).settings
    raise typer.Exit(
        subprocess.call(
            [
                sys.executable,
                "-m",
                "mlflow",
                "ui",
                "--port",
                str(port),
                "--backend-store-uri",
                settings.tracking_uri,
                "--default-artifact-root",
                settings.artifact_root,
            ]
        )
    )


@app.command()
def simulate(out: Path, truth: Path) -> None:
    """Write the export of a simulated contact centre to OUT and what is true about it to TRUTH."""
    from data.simulator import simulate
    from flows.runtime.params import read_params
    from flows.runtime.progress import bar
    from flows.runtime.settings import from_environment

    with bar(console, "simulating a contact centre") as progress:
        simulate(
            read_params(from_environment().params_file).simulator, out, truth, progress=progress
        )
    console.print(f"{out}: an export to take in; {truth}: what is true about it")


@site.command("add")
def site_add(
    name: Annotated[str, typer.Argument(help="Small letters, digits, - and _.")],
    source: Annotated[
        str,
        typer.Argument(help="The folder its exports come to, or `simulator`.", metavar="SOURCE"),
    ],
    kind: Annotated[
        str,
        typer.Option(
            "--source", "--kind", help="The source system: asterisk, folder, recordings or auto."
        ),
    ] = "auto",
    store: Annotated[
        Path | None, typer.Option(help="Folder for its artefacts (default: stores/NAME).")
    ] = None,
    params: Annotated[
        Path | None, typer.Option(help="Its own params.yaml (default: everybody's).")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Of times without an offset, as Europe/Zurich.")
    ] = None,
) -> None:
    """Add a contact centre: from then on commands and schedules know it by its name."""
    from flows.commands.sites import add

    add(console, name, source, kind=kind, store=store, params=params, timezone=timezone)


@site.command("list")
def site_list(
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the sites, and what hinders or occupies each."""
    from flows.commands.sites import show_all

    show_all(console, as_json=json)


@site.command("show")
def site_show(name: str) -> None:
    """Show one site."""
    from flows.commands.sites import show

    show(console, name)


@site.command("remove")
def site_remove(name: str) -> None:
    """Forget a site; its store stays where it is."""
    from flows.commands.sites import remove

    remove(console, name)


@data.command("repair")
@of_a_store(writes=True)
def data_repair(
    version: Annotated[
        str | None,
        typer.Argument(
            help=(
                "A DVC hash, or a model and alias such as asr@champion (default: the newest "
                "version)."
            )
        ),
    ] = None,
    store: Store = None,
) -> None:
    """Bring back what is missing or damaged in the DVC remote, from this store's cache."""
    from flows.commands.datasets import repair

    repair(console, version, store)


@base.command("train")
def base_train(
    work: Annotated[
        Path, typer.Option(help="Folder for speech and checkpoints; go on from here after a kill.")
    ] = Path("data/store/base"),
    out: Annotated[Path, typer.Option(help="Where the .nemo and its card go.")] = Path(
        "models/base"
    ),
) -> None:
    """Train the small recogniser that ships, on real and simulated speech (about two hours)."""
    from flows.runtime.params import read_params
    from flows.runtime.progress import bar
    from flows.runtime.settings import from_environment
    from training.asr.base import train_base

    settings = from_environment()
    with bar(console, "training the base") as progress:
        summary = train_base(
            read_params(settings.params_file).base,
            speech_dir=settings.real_data / "speech",
            dialogue_dir=settings.real_data / "dialogue",
            work_dir=work,
            out=out,
            progress=progress,
        )
    console.print(summary)


@app.callback()
def options(
    traceback: Annotated[
        bool, typer.Option(help="Show where in the code an error came from.")
    ] = False,
) -> None:
    """Options of every command."""


def main() -> None:
    """Runs the command line.

    What a person can put right is printed in one sentence, without a traceback.
    """
    from flows.runtime.settings import prepare

    try:
        prepare()
        app()
    except (ValueError, OSError, RuntimeError) as error:
        if "--traceback" in sys.argv or not str(error):
            raise
        says = Console(stderr=True)
        says.print(f"[red]keepline:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        says.print("(keepline --traceback … shows where)", style="dim", highlight=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
