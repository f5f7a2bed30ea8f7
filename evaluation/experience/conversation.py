"""Measures a call between its two sides: talk share, silence, interruptions, pace, latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import polars as pl

SIDES = ("customer", "agent")
CONVERSATION = {
    "contact_id": pl.String,
    "origin": pl.String,
    "duration_s": pl.Float64,
    "customer_talk_s": pl.Float64,
    "agent_talk_s": pl.Float64,
    "customer_share": pl.Float64,
    "agent_share": pl.Float64,
    "silence_s": pl.Float64,
    "overlap_s": pl.Float64,
    "longest_silence_s": pl.Float64,
    "hold_s": pl.Float64,
    "holds": pl.Int64,
    "customer_interruptions": pl.Int64,
    "agent_interruptions": pl.Int64,
    "customer_words_per_minute": pl.Float64,
    "agent_words_per_minute": pl.Float64,
    "customer_latency_s": pl.Float64,
    "agent_latency_s": pl.Float64,
}


@dataclass(frozen=True)
class ConversationParams:
    """Thresholds of the measures, in seconds."""

    hold_s: float = 20.0  # nobody speaks for so long between two turns: a hold, not a pause
    floor_s: float = 0.5  # so long somebody must have spoken before another can interrupt
    interruption_s: float = 1.0  # an interruption goes on for so long; shorter is "mhm"
    join_s: float = 0.5  # pauses up to this long do not end a turn


@dataclass(frozen=True)
class Span:
    """One turn of one side, in seconds from the start of the call."""

    role: str
    start_s: float
    end_s: float
    words: int


def measure_conversation(
    spans: Sequence[Span], duration_s: float, params: ConversationParams = ConversationParams()
) -> dict[str, Any]:
    """Returns the columns of CONVERSATION from `duration_s` on, for one call.

    Sides other than customer and agent are left out. Shares are of all talk. `silence_s` is when
    neither speaks, holds included; a hold lies between two turns. A reply's latency runs from the
    end of the other side's turn to its start; replies that overlap or follow a hold have none, and
    the median is given. Pace and latency are None where there is nothing to measure.
    """
    merged = {
        side: _merged([s for s in spans if s.role == side], duration_s, params.join_s)
        for side in SIDES
    }
    exact = {side: _merged([s for s in spans if s.role == side], duration_s, 0.0) for side in SIDES}
    talk_s = {side: _length(exact[side]) for side in SIDES}
    anyone = _union([*exact["customer"], *exact["agent"]])
    pauses = [second[0] - first[1] for first, second in pairwise(anyone)]
    holds = [pause for pause in pauses if pause >= params.hold_s]
    total_s = sum(talk_s.values())
    measures: dict[str, Any] = {
        "duration_s": duration_s,
        "silence_s": max(0.0, duration_s - _length(anyone)),
        "overlap_s": total_s - _length(anyone),
        "longest_silence_s": max(pauses, default=0.0),
        "hold_s": float(sum(holds)),
        "holds": len(holds),
    }
    for side, other in (SIDES, SIDES[::-1]):
        words = sum(span.words for span in spans if span.role == side)
        replies = _latencies(merged[side], merged[other], params.hold_s)
        measures[f"{side}_talk_s"] = talk_s[side]
        measures[f"{side}_share"] = talk_s[side] / total_s if total_s else None
        measures[f"{side}_interruptions"] = sum(
            any(begin + params.floor_s <= start < end for begin, end in merged[other])
            and stop - start >= params.interruption_s
            for start, stop in merged[side]
        )
        measures[f"{side}_words_per_minute"] = 60 * words / talk_s[side] if talk_s[side] else None
        measures[f"{side}_latency_s"] = median(replies) if replies else None
    return {
        name: round(measures[name], 3) if isinstance(measures[name], float) else measures[name]
        for name in CONVERSATION
        if name in measures
    }


def conversations(
    turns: pl.DataFrame, recordings: pl.DataFrame, params: ConversationParams = ConversationParams()
) -> pl.DataFrame:
    """Returns a row of CONVERSATION for each recording whose `turns` have times.

    A person's turns are preferred to a recogniser's.
    """
    length_s = dict(recordings.select("contact_id", "duration_s").iter_rows())
    timed = turns.filter(pl.col("start_s").is_not_null() & pl.col("end_s").is_not_null())
    calls: dict[str, dict[str, list[Span]]] = {}
    columns = ("contact_id", "origin", "role", "start_s", "end_s", "text")
    for contact, origin, role, start_s, end_s, text in timed.select(columns).iter_rows():
        if contact in length_s:
            calls.setdefault(contact, {}).setdefault(origin, []).append(
                Span(role, start_s, end_s, len((text or "").split()))
            )
    rows = []
    for contact, by_origin in sorted(calls.items()):
        origin = "person" if "person" in by_origin else min(by_origin)
        rows.append(
            {
                "contact_id": contact,
                "origin": origin,
                **measure_conversation(by_origin[origin], length_s[contact], params),
            }
        )
    return pl.DataFrame(rows, schema=CONVERSATION)


def _merged(spans: Sequence[Span], duration_s: float, join_s: float) -> list[tuple[float, float]]:
    return _union([(max(0.0, span.start_s), min(duration_s, span.end_s)) for span in spans], join_s)


def _union(spans: Sequence[tuple[float, float]], join_s: float = 0.0) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for begin, end in sorted(span for span in spans if span[1] > span[0]):
        if merged and begin <= merged[-1][1] + join_s:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged


def _length(spans: Sequence[tuple[float, float]]) -> float:
    return sum(end - begin for begin, end in spans)


def _latencies(
    replies: Sequence[tuple[float, float]],
    other_turns: Sequence[tuple[float, float]],
    longest_s: float,
) -> list[float]:
    """Returns how long each reply came after the other side's last word, in seconds.

    Only replies without a turn of their own side between, that neither overlap nor follow a hold.
    """
    ends = sorted([(end, True) for _, end in other_turns] + [(end, False) for _, end in replies])
    latencies = []
    for start, _ in replies:
        before = [turn_end for turn_end in ends if turn_end[0] <= start]
        speaking = any(begin < start < end for begin, end in other_turns)
        if before and before[-1][1] and not speaking and start - before[-1][0] < longest_s:
            latencies.append(start - before[-1][0])
    return latencies
