"""Synthetic evidence with which checks show what they accept and refuse.

By default it is worth accepting; arguments change single things.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from data.records import LABELS
from evaluation.asr.labels_on_text import reading_scorecard
from evaluation.asr.scorecard import asr_scorecard
from evaluation.behaviour import Probe
from evaluation.churn.scorecard import churn_scorecard
from evaluation.gates.evidence import Evidence, Facts, SecondaryTest
from evaluation.gates.params import AsrGate, ChurnGate
from evaluation.metrics.critical import CLASSES
from evaluation.scorecard import Scorecard
from models.kinds import ASR, CHURN, READER

WHEN = "2026-03-01T12:00:00+00:00"
_TEXT = "my bill is not wrong please cancel the contract today call me back"
_WORDS = tuple(_TEXT.split())
_READ = ("reason", "friction_unresolved", "friction_transfer", "friction_pressed_zero")
GOOD_PROBES = {
    ASR.name: {"louder": 0.01, "quieter": 0.02, "silence_before": 0.05},
    CHURN.name: {"customer_renamed": 0.0, "scored_alone": 1e-9, "complaint_unresolved": 0.01},
}


@cache
def asr(
    error_rate: float,
    *,
    voices: int = 12,
    utterances: int = 240,
    seed: int = 1,
    data_hash: str = "d1",
    sha: str = "",
    hidden: tuple[str, float] | None = None,
    missed_word: str = "",
) -> Scorecard:
    """Returns the scorecard of a recogniser that gets about `error_rate` of the words wrong.

    The test set is always the same; another `seed` draws other errors on it. `hidden` is a role and
    the error rate on it. `missed_word` is a word that is always wrong, while its other errors are
    fewer, so that the total stays the same.
    """
    test_rng = np.random.default_rng(7)
    error_rng = np.random.default_rng([seed, int(error_rate * 1000)])
    difficulty = test_rng.normal(0, 0.05, voices)
    rows, hypotheses = [], []
    for n in range(utterances):
        voice, role = n % voices, "customer" if n // voices % 2 else "agent"
        words = test_rng.choice(_WORDS, 10)
        rate = hidden[1] if hidden and hidden[0] == role else error_rate
        if missed_word:
            share = 1 / len(_WORDS)
            rate = max(0.0, (error_rate - share) / (1 - share))
        wrong = error_rng.random(10) < np.clip(rate + difficulty[voice], 0, 1)
        wrong |= words == missed_word
        rows.append(
            {
                "text": " ".join(words),
                "contact_id": f"call-{n}",
                "voice": f"v{voice}",
                "start_s": 0.0,
                "role": role,
                "codec": "ULAW",
            }
        )
        hypotheses.append(" ".join(np.where(wrong, "mumble", words)))
    name = f"asr-{error_rate:g}-{seed}{'-hidden' if hidden else ''}"
    name += "-missed" if missed_word else ""
    return asr_scorecard(
        rows,
        hypotheses,
        model=name,
        data_hash=data_hash,
        seed=0,
        created_at=WHEN,
        bundle_sha256=sha or name,
        classes={word_class: CLASSES[word_class] for word_class in ("negation", "leaving")},
    )


@cache
def churn(
    blur: float,
    *,
    customers: int = 400,
    seed: int = 1,
    data_hash: str = "d1",
    sha: str = "",
    dates: int = 2,
    horizons: tuple[int, ...] = (30, 180),
    long_blur: float | None = None,
    overconfidence: float = 1.0,
    shift: float = 0.0,
    hidden: tuple[str, float] | None = None,
) -> Scorecard:
    """Returns the scorecard of a churn model that knows the true log-odds up to noise of `blur`.

    Customers are always the same; another `seed` draws other noise. `long_blur` is the noise at the
    last horizon; `overconfidence` multiplies log-odds and `shift` adds to them after that; `hidden`
    is a region and the noise there. Without horizons there is one target without dates.
    """
    test_rng = np.random.default_rng(7)
    noise_rng = np.random.default_rng([seed, int(blur * 1000)])
    truth, draw = test_rng.normal(-1.2, 1.3, customers), test_rng.random(customers)
    region = np.where(test_rng.random(customers) < 0.3, "north", "south")
    noise = np.where(region == hidden[0], hidden[1], blur) if hidden else np.full(customers, blur)
    error = noise_rng.normal(0, 1, customers)
    blunt = test_rng.normal(0, 1.5, customers)  # the noise of the logistic regression
    risks = {30: _expit(truth - 1.0), 90: _expit(truth - 0.5), 180: _expit(truth)}
    time_days = np.select(
        [draw < risks[30], draw < risks[90], draw < risks[180]], [20.0, 60.0, 120.0], 240.0
    )
    columns: dict[str, np.ndarray] = {}
    simple: dict[str, dict[str, np.ndarray]] = {"life_table": {}, "logistic": {}}
    for days in horizons or (180,):
        spread = long_blur if long_blur is not None and days == max(horizons) else noise
        log_odds = truth + {30: -1.0, 90: -0.5, 180: 0.0}[days] + error * spread
        risk = f"risk_{days}" if horizons else "risk"
        columns[risk] = _expit(overconfidence * log_odds + shift)
        simple["life_table"][risk] = np.full(customers, risks[days].mean())
        simple["logistic"][risk] = _expit(log_odds - error * spread + blunt)
    frame = pl.DataFrame(
        {
            "customer_id": [f"C{n}" for n in range(customers) for _ in range(dates)],
            "as_of": [date(2026, 1 + month, 1) for _ in range(customers) for month in range(dates)],
            "event": np.repeat(time_days < 200, dates),
            "time_days": np.repeat(time_days, dates) if horizons else [None] * (customers * dates),
            "region": np.repeat(region, dates),
            **{name: np.repeat(values, dates) for name, values in columns.items()},
        },
        schema_overrides={"time_days": pl.Float64},
    )
    name = f"churn-{blur:g}-{seed}"
    name += f"{f'-{long_blur:g}' if long_blur else ''}{'-hidden' if hidden else ''}"
    name += f"-x{overconfidence:g}" if overconfidence != 1 else ""
    name += f"+{shift:g}" if shift else ""
    return churn_scorecard(
        frame,
        model=name,
        data_hash=data_hash,
        seed=0,
        created_at=WHEN,
        bundle_sha256=sha or name,
        slice_by=("region",),
        baselines={
            baseline: frame.with_columns(
                pl.Series(risk, np.repeat(values, dates)) for risk, values in by_risk.items()
            )
            for baseline, by_risk in simple.items()
        },
    )


@cache
def labels_on_text(wrong: float, *, calls: int = 120, seed: int = 1) -> Scorecard:
    """Returns the scorecard of labels on a recogniser's text, of which a share `wrong` is wrong."""
    test_rng = np.random.default_rng(7)
    error_rng = np.random.default_rng([seed, int(wrong * 1000)])
    contact_ids = [f"call-{n}" for n in range(calls)]
    expected, given = [], []
    for contact_id in contact_ids:
        for label in _READ:
            value = "billing" if label == "reason" else "yes" if test_rng.random() < 0.4 else "no"
            other = {"billing": "outage", "yes": "no", "no": "yes"}[value]
            answer = other if error_rng.random() < wrong else value
            expected.append((contact_id, label, value, 0.9, "label_model"))
            given.append((contact_id, label, answer, 0.9, "label_model"))
    on_reference, on_hypothesis = (
        pl.DataFrame(rows, schema=LABELS, orient="row") for rows in (expected, given)
    )
    clusters = {contact_id: f"v{n % 24}" for n, contact_id in enumerate(contact_ids)}
    return reading_scorecard(
        on_reference,
        on_hypothesis,
        clusters,
        model=f"text-{wrong:g}",
        bundle_sha256="",
        data_hash="d1",
        seed=0,
        created_at=WHEN,
        labels=_READ,
    )


def without_metrics(card: Scorecard, prefix: str) -> Scorecard:
    """Returns `card` without the metrics, ratios and facts whose names begin with `prefix`."""

    def kept(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if not name.startswith(prefix)}

    return replace(
        card, metrics=kept(card.metrics), ratios=kept(card.ratios), facts=kept(card.facts)
    )


def without_frictions(evidence: Evidence) -> Evidence:
    """Returns `evidence` from a test set in which no call has a friction."""
    test = evidence.secondary["reading"]
    cards = []
    # As reading_scorecard makes it: a metric without weight is left out.
    for card in (test.candidate, test.reference):
        units = card.units.with_columns(
            pl.lit(0).alias("wrong_flags"), pl.lit(0).alias("frictions")
        )
        metrics = {
            name: estimate for name, estimate in card.metrics.items() if name != "friction_errors"
        }
        cards.append(replace(card, units=units, metrics=metrics))
    return replace(evidence, secondary={**evidence.secondary, "reading": SecondaryTest(*cards)})


def good_probes(kind: str, **values: float) -> tuple[Probe, ...]:
    """Returns behaviour tests that went well, except those given other `values`."""
    return tuple(
        Probe(
            name,
            "direction" if name == "complaint_unresolved" else "invariance",
            f"{name} is promised.",
            value,
        )
        for name, value in {**GOOD_PROBES[kind], **values}.items()
    )


def readers(churn: str = "c" * 64, reader: str = "e" * 64) -> dict[str, dict[str, str]]:
    """Returns the facts on which champions read a recogniser's text, by checksum; "" for none."""
    return {
        "read_by": {CHURN.name: churn, READER.name: reader},
        "readers_now": {CHURN.name: churn, READER.name: reader},
    }


def evidence(
    candidate: Scorecard | None = None,
    reference: Scorecard | str | None = "base",
    *,
    facts: Mapping[str, Any] | None = None,
    guardrail: tuple[float, float] | None = (0.3, 0.3),
    reading: tuple[float, float] | None = (0.05, 0.2),
    churn_on_text: tuple[float, float] | None = (0.2, 0.4),
    reader_on_text: tuple[float, float] | None = (0.05, 0.2),
    critical_sentences: tuple[float, float] | None = None,
    next_quarter: tuple[float, float] | None = (0.2, 2.0),
    probes: Mapping[str, float] | None = {},
    foreign_bundle: str = "",
    foreign_data: str = "",
    **params: Any,
) -> Evidence:
    """Returns a candidate clearly better than its reference; arguments change single things.

    `guardrail`, `reading`, `churn_on_text`, `reader_on_text`, `critical_sentences` and, of a churn
    model, `next_quarter` are error rates (or blurs) of the candidate and of the reference. The
    secondary test `foreign_bundle` was taken by another bundle than the candidate, `foreign_data`
    on other data by the reference. `params` are those of the gate.
    """
    candidate = candidate or asr(0.1)
    is_churn = candidate.kind == CHURN.name
    if isinstance(reference, str):
        reference = churn(2.0) if is_churn else asr(0.3)
    rates: dict[str, tuple[float, float] | None] = (
        {"next_quarter": next_quarter}
        if is_churn
        else {
            "guardrail": guardrail,
            "reading": reading,
            "churn_on_text": churn_on_text,
            "reader_on_text": reader_on_text,
            "critical_sentences": critical_sentences,
        }
    )
    secondary = {
        name: _secondary_test(
            name,
            pair,
            bundle_sha256="another" if name == foreign_bundle else candidate.bundle_sha256,
            reference_sha256=reference.bundle_sha256 if reference else "",
            foreign_data=name == foreign_data,
        )
        for name, pair in rates.items()
        if pair
    }
    return Evidence(
        candidate=candidate,
        reference=reference,
        facts=replace(_good_facts(candidate), **{**readers(), **(facts or {})}),
        params=ChurnGate(**params) if is_churn else AsrGate(**params),
        secondary=secondary,
        probes=None if probes is None else good_probes(candidate.kind, **probes),
    )


def _good_facts(candidate: Scorecard) -> Facts:
    return Facts(
        card="# Hears calls",
        licence="Apache-2.0",
        size_bytes=9_000_000,
        bundle_sha256=candidate.bundle_sha256,
        smoke_ok=True,
        latency_s=0.4,
        contract_ok=True,
        contract_says="22 expectations",
        probed_sha256=candidate.bundle_sha256,
        trained_by="trainer",
        seen_units={"candidate": 0, "reference": 0},
    )


def _secondary_test(
    name: str,
    rates: tuple[float, float],
    *,
    bundle_sha256: str,
    reference_sha256: str,
    foreign_data: bool,
) -> SecondaryTest:
    """Returns the secondary test `name` with the error rates (or blurs) of both models."""
    makers: dict[str, Any] = {
        "guardrail": asr,
        "reading": labels_on_text,
        "churn_on_text": churn,
        "reader_on_text": labels_on_text,
        "critical_sentences": asr,
        "next_quarter": churn,
    }
    of_candidate, of_reference = map(makers[name], rates)
    other_data = {"data_hash": "elsewhere"} if foreign_data else {}
    return SecondaryTest(
        replace(of_candidate, bundle_sha256=bundle_sha256),
        replace(of_reference, bundle_sha256=reference_sha256, **other_data),
    )


def _expit(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))
