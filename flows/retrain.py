"""The retraining flow: from an export to released models and a report, by the other flows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from data import artefacts
from data.versioning import VersionError
from flows.finetune import finetune
from flows.ingest import ingest
from flows.judge import judge
from flows.label import label
from flows.release import release
from flows.runtime import dvc, parts, prefect_hooks, published, retrainings
from flows.runtime.context import RunContext
from flows.runtime.graph import BY_NAME
from flows.tasks import Opened, Summaries, console, opened
from models.kinds import ASR, READER, kind_names, kind_of


class RetrainError(ValueError):
    """A retraining cannot be of only the kinds that were asked for."""


@flow(
    name="retrain",
    flow_run_name="retrain {site}",
    persist_result=False,
    on_failure=[prefect_hooks.failed],
    on_crashed=[prefect_hooks.killed],
)
def retrain(
    site: str,
    kinds: list[str] | None = None,
    store: str | None = None,
    export: str | None = None,
    source: str = "auto",
    until: str | None = None,
    words: str | None = None,
    cause: str = "",
) -> Summaries | State[Any]:
    """Runs the pipeline once and returns the stages' summaries by name.

    `kinds` are the models to retrain (default: all). Without the recogniser among them no stage
    hears a call: labels come from the transcripts there are. `export` is a folder to take in
    instead of the site's own, `until` the last stage to run (default: all), `words` a file of terms
    to decode with. `cause` is what asked for it: one cause starts one retraining a day, a second
    ends as skipped.

    A refused candidate is not a failure: the flow completes, the champion stays, and the decision
    says why.
    """
    chosen = {kind_of(kind).name for kind in (kinds if kinds is not None else kind_names())}
    wanted = [kind for kind in kind_names() if kind in chosen]
    with opened(site, store, export=export, source=source, words=words, until=until) as run:
        if cause and not retrainings.claim_day(run.context, cause):
            return Completed(name="Skipped", message=f"{cause} has had its retraining today")
        _check_ready(run.context, wanted)
        summaries = _run_all(run, wanted, store)
        if until is None and chosen == set(kind_names()):
            _agree_with_dvc(run)
        return summaries


def _run_all(run: Opened, wanted: Sequence[str], store: str | None) -> Summaries:
    """Runs the other flows in the order that the stage graph demands.

    Each kind learns from what the one before it has found: the reader from what was heard, the
    churn model from what was read.
    """
    context, summaries, hears = run.context, Summaries(), ASR.name in wanted

    def call(child: Any, names: Sequence[str], **parameters: Any) -> None:
        if run.wanted(names):
            summaries.update(child(site=context.site, store=store, **parameters))

    simulated = context.export is None
    call(ingest, parts.ingest_stages(simulated=simulated, speech=hears), speech=hears)
    labelled = False
    for kind in wanted:
        if kind != ASR.name and not labelled:
            only = ["label"] if READER.name in wanted else ["label", "read"]
            call(label, parts.label_stages(only), only=only)
            labelled = True
        call(finetune, parts.finetune_stages(kind), kind=kind)
        call(judge, parts.judge_stages(kind), kind=kind)
        call(release, parts.release_stages(kind), kind=kind)
    report = BY_NAME["report"]
    if all(context.path(need).exists() for need in report.needs):
        summaries |= run.stages([report.name])
        run_ids = {kind: summaries[f"train_{kind}"]["run_id"] for kind in wanted}
        published.publish_links(context, run_ids)
    return summaries


def _check_ready(context: RunContext, wanted: Sequence[str]) -> None:
    """Raises RetrainError where kinds that are not retrained have left nothing to learn from."""
    from_others = {
        ASR.name: (artefacts.TRANSCRIPTS, "heard"),
        READER.name: (artefacts.ACTIVE.of(READER.name), "read"),
    }
    for kind, (artefact, done) in from_others.items():
        later = [name for name in wanted if kind_names().index(name) > kind_names().index(kind)]
        if later and kind not in wanted and not context.path(artefact).exists():
            raise RetrainError(
                f"site {context.site}: nothing has been {done} yet, and {later[0]} learns from "
                f"that. Retrain {kind} as well, or all."
            )


def _agree_with_dvc(run: Opened) -> None:
    """Tells DVC what the run wrote."""
    try:
        dvc.agree(run.context)
    except VersionError as error:  # the run itself is complete
        console.print(f"dvc.lock is not up to date: {error}", highlight=False)
