"""O1, M4: prefect.yaml has every flow, for any site, and together the flows are one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.runtime import parts
from flows.runtime.deployments import deployments_of
from flows.runtime.graph import STAGES
from flows.runtime.sites import Site
from models.kinds import ASR, kind_names

FLOWS = {
    "ingest",
    "label",
    "finetune",
    "judge",
    "release",
    "retrain",
    "evaluate",
    "watch",
    "guard",
}
ACME = Site(name="acme", export=None, store=Path("/acme"), timezone="Europe/Zurich")


def _flow_of(deployment: dict[str, Any]) -> str:
    return str(deployment["entrypoint"].rsplit(":", 1)[1])


def test_O1_every_flow_is_a_deployment_that_names_its_site() -> None:
    deployments = deployments_of(ACME)["deployments"]
    assert {_flow_of(entry) for entry in deployments} == FLOWS
    for entry in deployments:
        assert entry["name"] == entry["parameters"]["site"] == "acme", entry
        assert entry["tags"] == ["keepline", "site:acme"]
        assert entry["description"]
        assert entry["concurrency_limit"]


def test_O1_another_sites_deployments_say_nothing_of_the_demo() -> None:
    def texts(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [text for item in value.values() for text in texts(item)]
        if isinstance(value, list):
            return [text for item in value for text in texts(item)]
        return [str(value)]

    content = deployments_of(ACME)["deployments"]
    assert [text for text in texts(content) if "demo" in text] == []


def test_M4_schedules_go_by_the_clock_of_the_site() -> None:
    schedules = {
        _flow_of(entry): entry["schedules"]
        for entry in deployments_of(ACME)["deployments"]
        if "schedules" in entry
    }
    assert set(schedules) == {"ingest", "retrain", "evaluate", "watch", "guard"}
    assert schedules["evaluate"] == [{"cron": "0 4 * * *", "timezone": "Europe/Zurich"}]


def test_O1_the_flows_together_run_every_stage_once_and_in_order() -> None:
    names = parts.ingest_stages(simulated=True)
    for kind in kind_names():
        if kind == kind_names()[1]:
            names += parts.label_stages(["label"])
        for of_kind in (parts.finetune_stages, parts.judge_stages, parts.release_stages):
            names += of_kind(kind)
    assert [*names, "report"] == [stage.name for stage in STAGES]
    assert parts.up_to(names, "transcribe")[-1] == "transcribe"
    assert ASR.name == kind_names()[0]


def test_O1_labelling_has_no_other_stages() -> None:
    with pytest.raises(parts.PartError, match="'train_churn' is no stage of labelling"):
        parts.label_stages(["train_churn"])
