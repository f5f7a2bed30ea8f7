"""A small store as a run leaves it, made by the real stages; only training is left out."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data import audio
from data.features import features
from data.features.evidence import SCHEMA, find_evidence
from data.files import read_tables, write_json, write_table, write_text
from data.ingest import ingest
from data.labelling import label
from data.records import TURNS, DatasetVersion
from data.simulator import SimulatorParams, simulate
from data.sources import read
from data.speech.shards import recording_reader
from data.splits import SplitParams, customer_splits, split
from data.text import normalise
from data.validation.rejects import write_quarantine
from evaluation.asr.scorecard import asr_scorecard
from evaluation.churn.scorecard import churn_scorecard
from evaluation.gates.decide import decide
from evaluation.gates.evidence import Facts
from evaluation.gates.params import GateParams
from evaluation.metrics.churn import attainable_skill, point_metrics
from evaluation.metrics.churn_references import kaplan_meier
from evaluation.report.decision import write_decision
from evaluation.scorecard import Scorecard

NOW = datetime(2026, 7, 1, 6, 30, tzinfo=UTC)
HORIZONS = (30, 90, 180, 365)
OUTCOME = ["customer_id", "as_of", "event", "time_days"]


def build_store(store: Path, customers: int = 150, calls: int = 8) -> Path:
    """Simulates, ingests, validates, labels, scores and decides into `store`. The churn network is untrained."""
    simulate(
        SimulatorParams(customers=customers, calls=calls, days=420), store / "raw", store / "truth"
    )
    ingest(read("folder", store / "raw"), store, NOW)
    clean = _validate(store)
    version = DatasetVersion(
        "8c5c617e1708dca4.dir", "0a6438a", NOW.isoformat(), 25_157_816, {"contacts": 4}
    )
    write_json(store / "version.json", asdict(version))
    splits, summary = split(
        clean["contacts"], clean["recordings"], clean["customers"], params=SplitParams()
    )
    write_table(store / "splits.parquet", splits)
    write_json(store / "split.json", asdict(summary))
    transcripts = _heard(store, clean)
    write_table(store / "transcripts.parquet", transcripts)
    write_json(
        store / "transcribe.json", {"calls": calls, "turns": 1, "words": 1, "mean_confidence": 0.91}
    )
    unread = transcripts.select(list(TURNS)).join(clean["turns"], on="contact_id", how="anti")
    labelled = label(clean["contacts"], pl.concat([clean["turns"], unread]))
    write_table(store / "labels.parquet", labelled.labels)
    write_json(store / "label.json", labelled.analysis)
    judged = {"asr": _asr(clean), "churn": _churn(store, clean, labelled.labels, splits)}
    facts = Facts(
        card="# It hears",
        licence="Apache-2.0",
        size_bytes=9_000_000,
        smoke_ok=True,
        latency_s=0.3,
        contract_ok=True,
        seen_units={"candidate": 0, "reference": 0},
    )
    for kind, (candidate, reference) in judged.items():
        candidate.save(store / f"scorecards/{kind}/candidate.json")
        reference.save(store / f"scorecards/{kind}/reference.json")
        decision = decide(
            candidate,
            reference,
            params=GateParams(),
            facts=facts,
            now=NOW,
            decided_by="gate, for the tests",
        )
        write_decision(decision, store / f"decisions/{kind}")
        write_json(store / f"train_{kind}.json", {"run_id": f"run-of-{kind}"})
    return store


def delivered(store: Path, tables: str = "clean") -> Callable[[str], bytes]:
    """contact_id → the recording as it lies in its shard."""
    return recording_reader(
        pl.read_parquet(store / tables / "recordings.parquet"), store / "shards"
    )


def decoded(store: Path) -> Callable[[str], tuple[np.ndarray, int]]:
    """contact_id → samples and rate, as the report wants them."""
    content = delivered(store)
    return lambda contact_id: audio.read(content(contact_id), contact_id)


def misheard(text: str, rate: float, rng: random.Random) -> str:
    """`text` with about `rate` of its words wrong, missing or doubled."""
    words: list[str] = []
    for word in normalise(text).split():
        draw = rng.random()
        if draw > rate:
            words.append(word)
        elif draw > 0.6 * rate:
            words.append("um")
        elif draw > 0.3 * rate:
            words += [word, "uh"]
    return " ".join(words)


def _validate(store: Path) -> dict[str, pl.DataFrame]:
    """What validation leaves when it refuses the last contact and the longest recording (it takes 20 s to ask it)."""
    tables = read_tables(store / "tables")
    late = tables["contacts"].sort("started_at")["contact_id"][-1]
    long = tables["recordings"].sort("duration_s").row(-1, named=True)
    entries: list[dict[str, Any]] = [
        {
            "table": "contacts",
            "thing": late,
            "reason": "in-the-future",
            "detail": "started_at is 2026-08-10",
            "next_step": "Check the source's clock and time zone: records are UTC.",
        },
        {
            "table": "recordings",
            "thing": long["contact_id"],
            "reason": "clipped",
            "detail": "clipped_share is 0.19",
            "audio_s": long["duration_s"],
            "next_step": "Lower the recording level of this line.",
        },
    ]
    write_quarantine(store / "quarantine/validate.jsonl", entries, NOW)
    clean = {
        name: table.filter(pl.col("contact_id") != late) if "contact_id" in table.columns else table
        for name, table in tables.items()
    }
    clean["recordings"] = clean["recordings"].filter(pl.col("contact_id") != long["contact_id"])
    for name, table in clean.items():
        write_table(store / f"clean/{name}.parquet", table)
    whole, accepted_s = (
        float(table_set["recordings"]["duration_s"].sum()) for table_set in (tables, clean)
    )
    suite = {
        "success": False,
        "expectations": 10,
        "failed": [{"reason": "in-the-future", "rows": 1}],
    }
    summary = {
        "suites": {"contacts": suite},
        "rejected": 2,
        "input_audio_s": whole,
        "accepted_audio_s": accepted_s,
        "rejected_audio_s": {"clipped": whole - accepted_s},
        "stopped": None,
    }
    write_json(store / "validate.json", summary)
    write_text(store / "validation/index.html", "<!doctype html><title>The contract</title>")
    return clean


def _heard(store: Path, clean: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """What a recogniser that gets one word in ten wrong would write."""
    rng = random.Random(1)
    spoken = pl.read_parquet(store / "truth/turns.parquet").join(
        clean["recordings"], on="contact_id", how="semi"
    )
    return spoken.with_columns(
        pl.Series("text", [misheard(text, 0.1, rng) for text in spoken["text"]], dtype=pl.String),
        pl.lit("asr").alias("origin"),
        pl.lit(0.9).alias("confidence"),
    )


def _asr(clean: dict[str, pl.DataFrame]) -> tuple[Scorecard, Scorecard]:
    rng = random.Random(2)
    typed = (
        clean["turns"]
        .filter(pl.col("origin") == "person")
        .join(clean["recordings"], on="contact_id")
    )
    rows: list[dict[str, Any]] = [
        {**row, "voice": f"{row['role']} {row['contact_id']}"}
        for row in typed.iter_rows(named=True)
    ]
    candidate, reference = (
        asr_scorecard(
            rows,
            [misheard(row["text"], rate, rng) for row in rows],
            model=name,
            data_hash="speech",
            seed=0,
            created_at=NOW.isoformat(),
            bundle_sha256=name,
            facts=facts,
        )
        for name, rate, facts in (
            (
                "asr candidate",
                0.1,
                {"parameters": 3_100_000, "size_bytes": 12_000_000, "times_real_time": 140.0},
            ),
            ("base", 0.4, {}),
        )
    )
    return candidate, reference


def _churn(
    store: Path, clean: dict[str, pl.DataFrame], labels: pl.DataFrame, splits: pl.DataFrame
) -> tuple[Scorecard, Scorecard]:
    import torch

    from models.churn.model import ChurnConfig, ChurnModel, describe_columns, feature_columns

    params = features.FeatureParams(as_of_count=3)
    months = features.as_of_dates(clean["outcomes"], clean["contacts"], params)
    today = features.snapshot(clean["outcomes"], clean["contacts"], params)
    rows = features.features(clean, labels, months, params=params).join(
        customer_splits(splits), on="customer_id"
    )
    current = features.features(clean, labels, [today], params=params)
    with_outcome = rows.filter(pl.col("event").is_not_null())
    train, test = (
        with_outcome.filter(pl.col("split") != "test"),
        with_outcome.filter(pl.col("split") == "test"),
    )
    declared = [
        features.describe(name, "categorical" if rows.schema[name] == pl.String else "numeric")
        for name in feature_columns(rows)
    ]
    torch.manual_seed(0)
    model = ChurnModel(
        ChurnConfig(describe_columns(train, declared, 8), HORIZONS, bias=(-3.0,) * len(HORIZONS))
    )
    # Nobody trained it, but its reasons shall be about contacts.
    mark = model.network.mark
    assert isinstance(mark, torch.Tensor)
    mark.uniform_(0.2, 0.6)
    write_table(store / "scores.parquet", model.predict(current))
    reasons = model.reasons(current)
    evidence_rows = find_evidence(
        reasons, contacts=clean["contacts"], labels=labels, turns=clean["turns"]
    )
    keys = ["customer_id", "as_of", "rank"]
    write_table(
        store / "reasons.parquet",
        reasons.join(evidence_rows.select(*keys, *SCHEMA), on=keys, how="left"),
    )
    candidate = test.select(*OUTCOME, "plan").join(model.predict(test), on=["customer_id", "as_of"])
    life_table = test.select(OUTCOME).join(
        kaplan_meier(train, test, HORIZONS), on=["customer_id", "as_of"]
    )
    write_table(store / "scorecards/churn/predictions.parquet", candidate)
    truth = pl.read_parquet(store / "truth/customers.parquet")
    facts = {
        "baselines": {"life table": point_metrics(life_table), "coin": point_metrics(life_table)},
        "attainable_skill": {
            "churn candidate": attainable_skill(candidate, truth),
            "life table": attainable_skill(life_table, truth),
        },
    }
    at = NOW.isoformat()
    return (
        churn_scorecard(
            candidate,
            model="churn candidate",
            data_hash="people",
            seed=0,
            created_at=at,
            bundle_sha256="c" * 64,
            facts=facts,
            slice_by=["plan"],
        ),
        churn_scorecard(life_table, model="life table", data_hash="people", seed=0, created_at=at),
    )
