"""D1: a training says which models heard and read what it learned from, and a night which data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl

from data import artefacts
from data.files import file_sha256, write_json, write_table
from flows.candidate.runs import training_inputs
from flows.runtime.context import RunContext, load_context
from flows.stages.nightly import nightly
from training.tracking import get_run


def a_context(store: Path) -> RunContext:
    return replace(load_context(store), git_commit="c" * 40)


def test_D1_a_training_names_the_models_and_tables_it_rests_on(tmp_path: Path) -> None:
    context = a_context(tmp_path)
    candidate = {"model": "the candidate", "version": None, "bundle_sha256": "a" * 64, "path": "x"}
    write_json(context.path(artefacts.ACTIVE.of("asr")), candidate)
    baseline = {"model": "class balance", "version": None, "path": None}
    write_json(context.path(artefacts.ACTIVE.of("reader")), baseline)
    write_json(context.path(artefacts.READ), {"read_by": {"reader v1": 7, "reader v2": 3}})
    features, beliefs = context.path(artefacts.FEATURES), context.path(artefacts.BELIEFS)
    write_table(features, pl.DataFrame({"customer_id": ["a"]}))
    write_table(beliefs, pl.DataFrame({"contact_id": ["k"]}))
    heard = {"asr_model": "the candidate", "asr_sha256": "a" * 64}
    assert training_inputs(context, "asr") == {}
    assert training_inputs(context, "reader") == {**heard, "beliefs_sha256": file_sha256(beliefs)}
    assert training_inputs(context, "churn") == {
        **heard,
        "reader_model": "class balance",
        "reader_sha256": "",
        "readings": json.dumps({"reader v1": 7, "reader v2": 3}),
        "features_sha256": file_sha256(features),
    }


def test_D1_a_night_names_dataset_and_commit(tmp_path: Path) -> None:
    context = a_context(tmp_path)
    write_json(context.path(artefacts.VERSION), {"dvc_hash": "d" * 32})
    night = nightly(context, lambda done, total: None)
    tags = get_run(context.settings.tracking_uri, night["run_id"])["tags"]
    assert (tags["dvc_hash"], tags["git_commit"]) == ("d" * 32, "c" * 40)
