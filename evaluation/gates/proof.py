"""Tells what a refusal for lack of evidence still needs: clusters, hours, weeks, and which calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import numpy as np

from evaluation.gates.evidence import Check, Evidence
from evaluation.gates.looks import percent
from evaluation.metrics.power import POWER, clusters_needed
from evaluation.scorecard import ScorecardError, gain_by_cluster
from models.kinds import kind_of

# Calls that a decision record names; the artefact names all.
NAMED_CALLS = 25
WINDOW_WEEKS = 13.0
_LONG_WEEKS = 520  # beyond it weeks are no measure
_UNPROVEN = ("better", "enough_evidence")


@dataclass(frozen=True)
class Call:
    """A test-side call that nobody has transcribed, with the test clusters it would bring."""

    contact_id: str
    new_clusters: tuple[str, ...]
    hours: float


@dataclass(frozen=True)
class Supply:
    """What the store knows of where further test data may come from. None: not known.

    `until` is the day of the last contact. `clusters_a_week` is how many new clusters came to the
    test set in each of the `window_weeks` before it. `hours` is test speech, `calls` are those to
    transcribe, in order. `events` are outcomes of test customers, `horizon_days` is how long an
    outcome takes to be known.
    """

    until: date | None = None
    clusters_a_week: float | None = None
    window_weeks: float = WINDOW_WEEKS
    hours: float | None = None
    calls: tuple[Call, ...] = ()
    events: int | None = None
    horizon_days: int | None = None


@dataclass(frozen=True)
class Proof:
    """What it takes to prove a gain at the level of a look with probability `power`.

    `gain_is` says whether `gain` was measured or is the gate's worthwhile one. What ends on
    `_missing` comes on top of what there is; `calls_known` are untranscribed test-side calls,
    `calls` the first of them. `weeks` and `matured_on` rest on the rate of the last weeks.
    """

    metric: str
    gain: float
    gain_is: str
    level: float
    power: float
    clusters: int
    clusters_needed: int
    clusters_missing: int
    hours_missing: float | None = None
    events_missing: int | None = None
    weeks: float | None = None
    matured_on: str | None = None
    calls_known: int = 0
    clusters_in_calls: int = 0
    calls: tuple[Call, ...] = ()
    sentence: str = ""


def proof_needed(
    evidence: Evidence, checks: Sequence[Check], supply: Supply = Supply()
) -> Proof | None:
    """Returns what would prove the gain; None where that is not what a refusal is about.

    It is where `better` or `enough_evidence` did not pass and the gain, the worthwhile one of the
    gate's settings or else the measured one, is above `min_gain`. Where another check has failed
    as well, more evidence for the gain is not enough, and the sentence does not claim it is.
    """
    unproven = [check for check in checks if check.name in _UNPROVEN]
    if all(check.verdict in ("pass", "skipped") for check in unproven):
        return None
    gate, reference = evidence.params, evidence.reference
    if reference is None:
        return None
    try:
        changes, weights = gain_by_cluster(evidence.candidate, reference, gate.metric)
    except ScorecardError:
        return None  # the checks say what is wrong with the scorecards
    measured = float(changes.sum() / weights.sum())
    gain = gate.worthwhile_gain or measured
    if len(changes) < 2 or gain <= gate.min_gain:
        return None
    needed = clusters_needed(
        changes + (gain - measured - gate.min_gain) * weights, level=evidence.look_level
    )
    if needed is None:
        return None
    needed = max(needed, gate.min_clusters)
    proof = Proof(
        metric=gate.metric,
        gain=gain,
        gain_is="worthwhile" if gate.worthwhile_gain else "measured",
        level=evidence.look_level,
        power=POWER,
        clusters=len(changes),
        clusters_needed=needed,
        clusters_missing=max(0, needed - len(changes)),
    )
    proof = _supplied(proof, supply)
    noun = kind_of(evidence.candidate.kind).cluster_title
    return replace(proof, sentence=_sentence(proof, supply, noun))


def arrivals_a_week(
    first_seen: Sequence[datetime], until: datetime, window_weeks: float = WINDOW_WEEKS
) -> float | None:
    """Returns how many clusters came new in each of the weeks before `until`.

    `first_seen` is each cluster's first contact. The window is shorter where the first cluster of
    all came later. None where there is no cluster or no time to count over.
    """
    if not first_seen:
        return None
    begin = max(min(first_seen), until - timedelta(weeks=window_weeks))
    weeks = (until - begin) / timedelta(weeks=1)
    if weeks <= 0:
        return None
    return sum(seen >= begin for seen in first_seen) / weeks


def _supplied(proof: Proof, supply: Supply) -> Proof:
    """Returns `proof` in hours, events and weeks, with the calls that bring it nearer."""
    share = proof.clusters_missing / proof.clusters
    weeks = None
    if proof.clusters_missing and supply.clusters_a_week:
        weeks = proof.clusters_missing / supply.clusters_a_week
    matured = None
    if weeks is not None and supply.until and supply.horizon_days is not None:
        matured = _day(supply.until, 7 * weeks + supply.horizon_days)
    return replace(
        proof,
        hours_missing=None if supply.hours is None else round(share * supply.hours, 2),
        events_missing=None if supply.events is None else int(np.ceil(share * supply.events)),
        weeks=None if weeks is None else round(weeks, 1),
        matured_on=matured,
        calls_known=len(supply.calls),
        clusters_in_calls=len({name for call in supply.calls for name in call.new_clusters}),
        calls=supply.calls[:NAMED_CALLS],
    )


def _day(begin: date, days: float) -> str | None:
    """The day so many days after `begin`; None where no calendar has it."""
    try:
        return (begin + timedelta(days=days)).isoformat()
    except OverflowError:
        return None


def _sentence(proof: Proof, supply: Supply, noun: str) -> str:
    """Returns what people are told; `noun` is the plural of a cluster."""
    says = (
        f"To prove the {proof.gain_is} gain of {proof.gain:.4g} in {proof.metric} at a level of "
        f"{percent(proof.level)} with a chance of {proof.power:.0%}, the test set needs about "
        f"{proof.clusters_needed} {noun}, {proof.clusters_missing} more than it has"
    )
    if proof.hours_missing is not None:
        says += f" ({proof.hours_missing:g} more hours of transcribed speech)"
    if proof.events_missing is not None:
        says += f" ({proof.events_missing} more who left)"
    says += "."
    if proof.clusters_missing and proof.weeks is not None:
        says += " At the present rate they come in "
        says += (
            f"about {max(1, round(proof.weeks))} weeks"
            if proof.weeks <= _LONG_WEEKS
            else "more than ten years"
        )
        says += (
            f", and their outcomes are known on {proof.matured_on}." if proof.matured_on else "."
        )
    elif proof.clusters_missing and supply.clusters_a_week == 0:
        says += f" No new {noun} have come lately, so no date can be given."
    if proof.calls_known:
        says += (
            f" {proof.calls_known} calls of the test side are not transcribed; they bring "
            f"{proof.clusters_in_calls} new {noun}."
        )
    return says
