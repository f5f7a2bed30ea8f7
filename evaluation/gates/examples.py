"""Made-up evidence for the checks to show what they accept and refuse, by default worth accepting."""

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
from evaluation.scorecard import Scorecard

WHEN = "2026-03-01T12:00:00+00:00"
_WORDS = (
    "my",
    "bill",
    "is",
    "not",
    "wrong",
    "please",
    "cancel",
    "the",
    "contract",
    "today",
    "call",
    "me",
    "back",
)
_READ = ("reason", "friction_unresolved", "friction_transfer", "friction_pressed_zero")
GOOD_PROBES = {
    "asr": {"louder": 0.01, "quieter": 0.02, "silence_before": 0.05},
    "churn": {"customer_renamed": 0.0, "scored_alone": 1e-9, "complaint_unresolved": 0.01},
}


@cache
def asr(
    error_rate: float,
    voices: int = 12,
    utterances: int = 240,
    seed: int = 1,
    data_hash: str = "d1",
    sha: str = "",
    hidden: tuple[str, float] | None = None,
    deaf_to: str = "",
) -> Scorecard:
    """A recogniser that gets about `error_rate` of the words wrong. Another seed is other luck on the same test set.

    `hidden` is a role and the error rate on it; `deaf_to` a word it never hears, while its other errors are fewer, so
    that all in all there are as many.
    """
    test, luck = np.random.default_rng(7), np.random.default_rng([seed, int(error_rate * 1000)])
    hard = test.normal(0, 0.05, voices)
    rows, hypotheses = [], []
    for n in range(utterances):
        voice, role = n % voices, "customer" if n // voices % 2 else "agent"
        said = test.choice(_WORDS, 10)
        rate = hidden[1] if hidden and hidden[0] == role else error_rate
        if deaf_to:
            share = 1 / len(_WORDS)
            rate = max(0.0, (error_rate - share) / (1 - share))
        wrong = luck.random(10) < np.clip(rate + hard[voice], 0, 1)
        wrong |= said == deaf_to
        rows.append(
            {
                "text": " ".join(said),
                "contact_id": f"call-{n}",
                "voice": f"v{voice}",
                "start_s": 0.0,
                "role": role,
                "codec": "ULAW",
            }
        )
        hypotheses.append(" ".join(np.where(wrong, "mumble", said)))
    name = f"asr-{error_rate:g}-{seed}{'-hidden' if hidden else ''}{deaf_to and '-deaf'}"
    return asr_scorecard(name, data_hash, rows, hypotheses, 0, WHEN, sha or name)


@cache
def churn(
    blur: float,
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
    """A churn model that sees each customer's true log-odds through noise of `blur`. Another seed is other luck.

    `long_blur` is the noise at the last horizon; `overconfidence` multiplies log-odds and `shift` adds to them after
    that; `hidden` is a region and the noise there. Without horizons there is one target without dates.
    """
    test, luck = np.random.default_rng(7), np.random.default_rng([seed, int(blur * 1000)])
    truth, draw = test.normal(-1.2, 1.3, customers), test.random(customers)
    region = np.where(test.random(customers) < 0.3, "north", "south")
    noise = np.where(region == hidden[0], hidden[1], blur) if hidden else np.full(customers, blur)
    error = luck.normal(0, 1, customers)
    chance = {30: _expit(truth - 1.0), 90: _expit(truth - 0.5), 180: _expit(truth)}
    time_days = np.select(
        [draw < chance[30], draw < chance[90], draw < chance[180]], [20.0, 60.0, 120.0], 240.0
    )
    columns: dict[str, np.ndarray] = {}
    for days in horizons or (180,):
        wide = long_blur if long_blur is not None and days == max(horizons) else noise
        seen = truth + {30: -1.0, 90: -0.5, 180: 0.0}[days] + error * wide
        columns[f"risk_{days}" if horizons else "risk"] = _expit(overconfidence * seen + shift)
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
    name = f"churn-{blur:g}-{seed}{f'-{long_blur:g}' if long_blur else ''}{'-hidden' if hidden else ''}"
    name += (
        f"{f'-x{overconfidence:g}' if overconfidence != 1 else ''}{f'+{shift:g}' if shift else ''}"
    )
    return churn_scorecard(name, data_hash, frame, 0, WHEN, sha or name, slice_by=("region",))


@cache
def read_by_rules(wrong: float, calls: int = 120, seed: int = 1) -> Scorecard:
    """What rules read in the text of a recogniser that makes them miss `wrong` of the labels."""
    test, luck = np.random.default_rng(7), np.random.default_rng([seed, int(wrong * 1000)])
    ids = [f"call-{n}" for n in range(calls)]
    expected, found = [], []
    for call in ids:
        for label in _READ:
            value = "billing" if label == "reason" else "yes" if test.random() < 0.4 else "no"
            other = {"billing": "outage", "yes": "no", "no": "yes"}[value]
            expected.append((call, label, value, 0.9, "label_model"))
            found.append(
                (call, label, other if luck.random() < wrong else value, 0.9, "label_model")
            )
    people, heard = (pl.DataFrame(rows, schema=LABELS, orient="row") for rows in (expected, found))
    clusters = {call: f"v{n % 24}" for n, call in enumerate(ids)}
    return reading_scorecard(f"text-{wrong:g}", "", "d1", people, heard, clusters, 0, WHEN, _READ)


def without(card: Scorecard, prefix: str) -> Scorecard:
    """`card` without the metrics, ratios and facts whose names begin so."""
    return replace(
        card,
        metrics={name: one for name, one in card.metrics.items() if not name.startswith(prefix)},
        ratios={name: one for name, one in card.ratios.items() if not name.startswith(prefix)},
        facts={name: one for name, one in card.facts.items() if not name.startswith(prefix)},
    )


def without_frictions(evidence: Evidence) -> Evidence:
    """`evidence` from a test set in which no call has a friction."""
    two = evidence.beside["reading"]
    sides = []
    for card in (
        two.candidate,
        two.reference,
    ):  # as reading_scorecard makes it: the metric has no weight
        units = card.units.with_columns(
            pl.lit(0).alias("wrong_flags"), pl.lit(0).alias("frictions")
        )
        metrics = {name: one for name, one in card.metrics.items() if name != "friction_errors"}
        sides.append(replace(card, units=units, metrics=metrics))
    return replace(evidence, beside={**evidence.beside, "reading": SecondaryTest(*sides)})


def made_probes(kind: str, **found: float) -> tuple[Probe, ...]:
    """Behaviour tests that went well, but for those `found` otherwise."""
    return tuple(
        Probe(
            name,
            "direction" if name == "complaint_unresolved" else "invariance",
            f"{name} is promised.",
            value,
        )
        for name, value in {**GOOD_PROBES[kind], **found}.items()
    )


def readers(churn: str = "c" * 64, reader: str = "e" * 64) -> dict[str, dict[str, str]]:
    """The facts of which champions read a recogniser's text, then as now: their checksums, empty for none."""
    return {
        "read_by": {"churn": churn, "reader": reader},
        "readers_now": {"churn": churn, "reader": reader},
    }


def evidence(
    candidate: Scorecard | None = None,
    reference: Scorecard | str | None = "base",
    facts: Mapping[str, Any] | None = None,
    guardrail: tuple[float, float] | None = (0.3, 0.3),
    reading: tuple[float, float] | None = (0.05, 0.2),
    churn_on_text: tuple[float, float] | None = (0.2, 0.4),
    reader_on_text: tuple[float, float] | None = (0.05, 0.2),
    probes: Mapping[str, float] | None = {},
    stranger: str = "",
    elsewhere: str = "",
    **params: Any,
) -> Evidence:
    """A candidate clearly better than its reference; the arguments change single things, `params` those of the gate.

    `guardrail`, `reading`, `churn_on_text` and `reader_on_text` are error rates (or blurs) of the candidate and of the
    reference. The second test `stranger` was taken by another bundle than the candidate, `elsewhere` on other data by
    the reference.
    """
    candidate = candidate or asr(0.1)
    is_churn = candidate.kind == "churn"
    if isinstance(reference, str):
        reference = churn(2.0) if is_churn else asr(0.3)
    good = Facts(
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
    )
    beside: dict[str, SecondaryTest] = {}
    makers: dict[str, Any] = {
        "guardrail": asr,
        "reading": read_by_rules,
        "churn_on_text": churn,
        "reader_on_text": read_by_rules,
    }
    rates = {
        "guardrail": guardrail,
        "reading": reading,
        "churn_on_text": churn_on_text,
        "reader_on_text": reader_on_text,
    }
    for name, two in rates.items():
        if two and not is_churn:
            ours, theirs = map(makers[name], two)
            sha = "another" if name == stranger else candidate.bundle_sha256
            moved = {"data_hash": "elsewhere"} if name == elsewhere else {}
            beside[name] = SecondaryTest(
                replace(ours, bundle_sha256=sha),
                replace(
                    theirs, bundle_sha256=reference.bundle_sha256 if reference else "", **moved
                ),
            )
    return Evidence(
        candidate=candidate,
        reference=reference,
        facts=replace(good, **{**readers(), **(facts or {})}),
        params=ChurnGate(**params) if is_churn else AsrGate(**params),
        beside=beside,
        probes=None if probes is None else made_probes(candidate.kind, **probes),
    )


def _expit(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))
