"""Registers the flows of prefect.yaml with a Prefect server, for any site."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from data.files import write_text
from flows.runtime.settings import ROOT
from flows.runtime.sites import DEMO

if TYPE_CHECKING:
    from flows.runtime.sites import Site

FILE = ROOT / "prefect.yaml"
POOL = "keepline"


class DeployError(RuntimeError):
    """The deployments could not be registered."""


def deployments_of(site: Site, file: Path = FILE) -> dict[str, Any]:
    """Returns the content of prefect.yaml, which is about the demo, for another site.

    Its deployments have the site's name, tag and parameter, their triggers hear the site's events,
    and their schedules go by its clock.
    """
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    content.pop("definitions", None)  # anchors, which are resolved by now
    for deployment in content["deployments"]:
        for schedule in deployment.get("schedules", []):
            schedule["timezone"] = site.timezone
    return {
        **content,
        "deployments": [_renamed(entry, site.name) for entry in content["deployments"]],
    }


def deploy(site: Site) -> list[str]:
    """Registers all flows for a site; returns the names of the deployments.

    Raises DeployError with what Prefect says.
    """
    content = deployments_of(site)
    with tempfile.TemporaryDirectory() as folder:
        rendered = Path(folder) / FILE.name
        write_text(rendered, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
        words = ("--no-prompt", "deploy", "--all", "--prefect-file", str(rendered))
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise DeployError(
            f"site {site.name}: Prefect refused the deployments. "
            f"{' '.join((done.stdout + done.stderr).split())[-600:]}"
        )
    return [
        f"{entry['entrypoint'].rsplit(':', 1)[1]}/{entry['name']}"
        for entry in content["deployments"]
    ]


def make_pool() -> None:
    """Makes the work pool for processes where the server has none."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(
                WorkPoolCreate(name=POOL, type=ProcessWorker.type, base_job_template=template)
            )
        except ObjectAlreadyExists:
            return


def _renamed(value: Any, site: str) -> Any:
    """Returns a part of prefect.yaml with another site's name in place of the demo's."""
    if isinstance(value, dict):
        return {
            key: item if key in ("description", "entrypoint", "work_pool") else _renamed(item, site)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_renamed(item, site) for item in value]
    if isinstance(value, str):
        if value == DEMO:
            return site
        for before, after in (
            (f"site:{DEMO}", f"site:{site}"),
            (f"keepline.site.{DEMO}", f"keepline.site.{site}"),
            (f"keepline {DEMO} ", f"keepline {site} "),
        ):
            value = value.replace(before, after)
    return value
