"""Made-up evidence for the checks to show what they accept and refuse, by default worth accepting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from evaluation.gates.evidence import Evidence, Facts
from evaluation.gates.params import AsrGate, ChurnGate
from evaluation.scorecard import Scorecard, asr_scorecard, churn_scorecard

_WORDS = ("my", "bill", "is", "wrong", "please", "cancel", "the", "contract", "today", "call", "me", "back")


@cache
def asr(
    error_rate: float, voices: int = 12, utterances: int = 240, seed: int = 1, data_hash: str = "d1", sha: str = ""
) -> Scorecard:
    """A recogniser that gets about `error_rate` of the words wrong. Another seed is other luck on the same test set."""
    test, luck = np.random.default_rng(7), np.random.default_rng([seed, int(error_rate * 1000)])
    hard = test.normal(0, 0.05, voices)
    rows, hypotheses = [], []
    for n in range(utterances):
        voice = n % voices
        said = test.choice(_WORDS, 10)
        wrong = luck.random(10) < np.clip(error_rate + hard[voice], 0, 1)
        rows.append(
            {
                "text": " ".join(said),
                "contact_id": f"call-{n}",
                "voice": f"v{voice}",
                "start_s": 0.0,
                "role": "customer" if n % 2 else "agent",
                "codec": "ULAW",
            }
        )
        hypotheses.append(" ".join(np.where(wrong, "um", said)))
    name = f"asr-{error_rate:g}-{seed}"
    return asr_scorecard(name, data_hash, rows, hypotheses, 0, "2026-03-01T12:00:00+00:00", sha or name)


@cache
def churn(
    blur: float, customers: int = 400, seed: int = 1, data_hash: str = "d1", sha: str = "", dates: int = 2
) -> Scorecard:
    """A churn model that sees each customer's true log-odds through noise of `blur`. Another seed is other luck."""
    test, luck = np.random.default_rng(7), np.random.default_rng([seed, int(blur * 1000)])
    truth = test.normal(-1.2, 1.3, customers)
    left = test.random(customers) < 1 / (1 + np.exp(-truth))
    seen = truth + luck.normal(0, blur, customers)
    frame = pl.DataFrame(
        {
            "customer_id": [f"C{n}" for n in range(customers) for _ in range(dates)],
            "as_of": [date(2026, 1 + month, 1) for _ in range(customers) for month in range(dates)],
            "event": np.repeat(left, dates),
            "time_days": np.where(np.repeat(left, dates), 40.0, 120.0),
            "risk_90": np.repeat(1 / (1 + np.exp(-seen)), dates),
        }
    )
    name = f"churn-{blur:g}-{seed}"
    return churn_scorecard(name, data_hash, frame, 0, "2026-03-01T12:00:00+00:00", sha or name)


def evidence(
    candidate: Scorecard | None = None,
    reference: Scorecard | str | None = "base",
    facts: Mapping[str, Any] | None = None,
    **params: Any,
) -> Evidence:
    """A candidate clearly better than its reference; `facts` and gate `params` change single things."""
    is_churn = candidate is not None and candidate.kind == "churn"
    if isinstance(reference, str):
        reference = churn(2.0) if is_churn else asr(0.3)
    good = Facts(
        card="# Hears calls",
        licence="Apache-2.0",
        size_bytes=9_000_000,
        smoke_ok=True,
        latency_s=0.4,
        contract_ok=True,
        contract_says="22 expectations",
    )
    return Evidence(
        candidate=candidate or asr(0.1),
        reference=reference,
        facts=replace(good, **(facts or {})),
        params=ChurnGate(**params) if is_churn else AsrGate(**params),
    )
