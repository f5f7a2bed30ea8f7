"""The commands `keepline deploy` and `keepline prefect`: flows on a Prefect server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flows.runtime.settings import from_environment, use_prefect_home
from flows.runtime.sites import site_named

if TYPE_CHECKING:
    from rich.console import Console


class NoServerError(RuntimeError):
    """No Prefect server is named."""


def deploy(console: Console, name: str, notify_block: str | None) -> None:
    """Registers all flows for a site and the automations for all sites; prints their names.

    Makes the work pool where there is none. Raises NoServerError, UnknownSiteError or DeployError.
    """
    site = site_named(name)
    if not os.environ.get("PREFECT_API_URL"):
        raise NoServerError(
            "no Prefect server is named. Start one with `keepline prefect server start` and set "
            "PREFECT_API_URL=http://127.0.0.1:4200/api."
        )
    from flows.runtime import automations, deployments

    deployments.make_pool()
    for full_name in deployments.deploy(site):
        console.print(full_name, highlight=False)
    wanted = [automations.zombies()]
    if notify_block:
        wanted.append(automations.notices(automations.block_id(notify_block)))
    for automation in wanted:
        automations.register(automation)
        console.print(f"automation {automation.name}", highlight=False)
    console.print(
        f"`prefect worker start --pool {deployments.POOL}` runs them.", style="dim", highlight=False
    )


def prefect(words: Sequence[str], store: Path | None) -> int:
    """Runs Prefect's own command line with the settings of Keepline; returns its exit status.

    Its database is the one in the store, so a server shows what ran there by hand.
    """
    use_prefect_home(from_environment(store=store).store)
    return subprocess.call([sys.executable, "-m", "prefect", *words])
