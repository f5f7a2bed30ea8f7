"""What all flows share: the task that runs one stage, and the store that they work in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed
from prefect.tasks import exponential_backoff
from rich.console import Console

from flows.runtime import parts, prefect_hooks
from flows.runtime.context import RunContext, load_context
from flows.runtime.lease import SCHEDULE_WAIT_S, LeaseHeldError, lease
from flows.runtime.settings import prepare
from flows.runtime.sites import SiteError
from flows.runtime.transport import is_transport_error
from flows.stages import runner

console = Console()
Summaries = dict[str, dict[str, Any]]  # of stages, by name

# A server that is away comes back within half a minute, or people have to look at it.
RETRIES = 5
FIRST_RETRY_S = 2.0  # then 4, 8, 16 and 32 s
JITTER = 0.3  # of each wait
# How long a stage may take, by the part of its name before the kind. Longer means that it hangs.
TIMEOUTS_S = {"train": 24 * 3600.0, "transcribe": 24 * 3600.0, "nightly": 8 * 3600.0}
TIMEOUT_S = 4 * 3600.0
# Flows that come again soon do not wait behind a long one.
SHORT_WAIT_S = 60.0


@dataclass(frozen=True)
class Opened:
    """A store that a flow works in, under the store's lease."""

    context: RunContext
    until: str | None = None  # the last stage of the run

    def stages(self, names: Sequence[str]) -> Summaries:
        """Runs stages in this order, those of them that come before the last of the run.

        Returns their summaries by name.
        """
        return {name: run_stage(self.context, name) for name in self.wanted(names)}

    def wanted(self, names: Sequence[str]) -> list[str]:
        """Returns those of the stages that the run is to reach."""
        return parts.up_to(names, self.until)


_opened: ContextVar[Opened | None] = ContextVar("opened", default=None)


@contextmanager
def opened(
    site: str,
    store: str | None = None,
    *,
    export: str | None = None,
    source: str = "auto",
    words: str | None = None,
    until: str | None = None,
    brief: bool = False,
) -> Iterator[Opened]:
    """Opens the store of a site for a flow: its lease, a heartbeat, and what it works with.

    A flow within a flow works in what the outer one has opened. `store` is the folder of a store
    that belongs to no site; `site` is then its name. `brief` waits a minute for the lease, not
    hours, where a schedule started the flow. Raises SiteError when site and store are not one,
    LeaseHeldError naming who works there.
    """
    outer = _opened.get()
    if outer is not None:
        if outer.context.site != site:
            raise SiteError(f"a flow of {outer.context.site} cannot work for {site}.")
        yield outer
        return
    prepare()  # a Prefect worker comes here without passing the command line
    context = _context(site, store, export=export, source=source, words=words)
    # What a person typed waits as long as `--wait` says.
    deployed_wait_s = SHORT_WAIT_S if brief else SCHEDULE_WAIT_S
    wait_s = deployed_wait_s if prefect_hooks.is_deployed() else None
    with (
        lease(context, holder=f"{_flow_name()} {site}", wait_s=wait_s, say=_say),
        prefect_hooks.guarded(context.settings),
        prefect_hooks.without_prefect_heartbeats(),
    ):
        token = _opened.set(Opened(context, until))
        try:
            yield Opened(context, until)
        finally:
            _opened.reset(token)


def _context(
    site: str, store: str | None, *, export: str | None, source: str, words: str | None
) -> RunContext:
    """Returns the context of a site, or of a store that belongs to none."""
    context = load_context(
        Path(store) if store else None,
        Path(export) if export else None,
        source=source,
        words=Path(words) if words else None,
        site=None if store else site,
    )
    if context.site != site:
        raise SiteError(
            f"{context.store} is the store of {context.site}, not of {site}. Name one of the two."
        )
    return context


def _flow_name() -> str:
    from prefect.runtime import flow_run

    return str(flow_run.flow_name or "flow")


def _say(text: str) -> None:
    console.print(text, style="dim", highlight=False, markup=False)


def run_stage(context: RunContext, name: str) -> dict[str, Any]:
    """Runs one stage as a task of the flow that runs, or reuses its result. Returns its summary."""
    timeout_s = TIMEOUTS_S.get(name.partition("_")[0], TIMEOUT_S)
    state: State[Any] = stage.with_options(timeout_seconds=timeout_s)(
        name, context, return_state=True
    )
    return dict(state.result())


def _is_worth_retrying(_task: Any, _task_run: Any, state: State) -> bool:
    """Prefect's condition for a retry: the error passes by itself."""
    return is_transport_error(state.result(raise_on_failure=False))


# Stages are cached by Keepline (flows/runtime/stage_cache.py): Prefect's own result files are not
# written atomically, and a truncated one would fail every later run. So a task gives a stage its
# name, its time, its state and its retries.
@task(
    name="stage",
    task_run_name="{name}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=RETRIES,
    retry_delay_seconds=exponential_backoff(FIRST_RETRY_S),
    retry_jitter_factor=JITTER,
    retry_condition_fn=_is_worth_retrying,
)
def stage(name: str, context: RunContext) -> State:
    """Runs one stage of the pipeline. A reused one ends as Cached."""
    summary, reused = runner.run_stage(context, name, console)
    console.print(runner.summary_row(name, summary, reused), highlight=False, soft_wrap=True)
    line = runner.summary_line(name, summary)
    get_run_logger().info("%s: %s%s", name, line, " (unchanged)" if reused else "")
    return Completed(
        name="Cached" if reused else "Completed",
        message="unchanged, reused" if reused else line,
        data=summary,
    )


def skipped(error: LeaseHeldError) -> State:
    """Returns the state of a flow that comes again soon and found somebody at work.

    Raises the error again where a person waits for the flow.
    """
    if not prefect_hooks.is_deployed():
        raise error
    return Completed(name="Skipped", message=str(error))
