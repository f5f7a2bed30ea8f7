"""Explains a reader's labels by the words whose removal lowers their probability most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from models.reader.model import Reader

_PHRASE = 3  # words removed at once
# Variants of a contact that are read at most; fewer of a very long one, whose phrases grow longer.
_MAX_VARIANTS = 600
_MAX_WORDS = 600_000  # read in all variants, about
_LEAST = 0.005  # a smaller loss of probability is not shown
Span = tuple[int, int, int]  # turn, first word, word after the last


def explain(
    reader: Reader, contact: pl.DataFrame, turns: pl.DataFrame, *, phrases: int = 2
) -> dict[str, list[dict[str, Any]]]:
    """Returns for each label the words of one contact that speak most for its likeliest value.

    It is exact occlusion: each entry has turn, role, words and `adds`, the probability lost without
    them. There are fewer than `phrases` where nothing speaks for the value. Raises ValueError
    unless `contact` is one.
    """
    if contact.height != 1:
        raise ValueError(f"{contact.height} contacts: ask for the words of one at a time.")
    rows = turns.sort("turn").select("role", pl.col("text").fill_null("").str.split(" ")).rows()
    spoken = [(role, [word for word in words if word]) for role, words in rows]
    spans = _spans([len(words) for _, words in spoken])
    whole = {name: values[0] for name, values in reader.probabilities(contact, turns)[0].items()}
    without = _without(reader, str(contact["channel"][0]), spoken, spans=spans)
    return {
        name: _strongest(
            spoken, spans, values.max() - without[name][:, values.argmax()], phrases=phrases
        )
        for name, values in whole.items()
    }


def _spans(lengths: list[int]) -> list[Span]:
    """The spans to remove, of turns with `lengths` words."""
    words = sum(lengths)
    variants = min(_MAX_VARIANTS, max(40, _MAX_WORDS // max(words, 1)))
    step = -(-words // variants) or 1
    size = max(_PHRASE, step)
    return [
        (turn, at, min(at + size, length))
        for turn, length in enumerate(lengths)
        for at in range(0, max(1, length - size + 1) if length else 0, step)
    ]


def _without(
    reader: Reader, channel: str, spoken: list[tuple[str, list[str]]], *, spans: list[Span]
) -> Mapping[str, np.ndarray]:
    """The probabilities of the contact without each span, label -> [spans, values]."""
    whole = [(turn, role, " ".join(words)) for turn, (role, words) in enumerate(spoken)]
    rows = []
    for number, (turn, begin, end) in enumerate(spans):
        words = spoken[turn][1]
        changed = " ".join(words[:begin] + words[end:])
        rows += [
            (str(number), at, role, changed if at == turn else text) for at, role, text in whole
        ]
    contacts = {
        "contact_id": [str(number) for number in range(len(spans))],
        "channel": [channel] * len(spans),
    }
    return reader.probabilities(
        pl.DataFrame(contacts, schema={"contact_id": pl.String, "channel": pl.String}),
        pl.DataFrame(
            rows,
            schema={
                "contact_id": pl.String,
                "turn": pl.Int64,
                "role": pl.String,
                "text": pl.String,
            },
            orient="row",
        ),
    )[0]


def _strongest(
    spoken: list[tuple[str, list[str]]], spans: list[Span], adds: np.ndarray, *, phrases: int
) -> list[dict[str, Any]]:
    """The spans that add most, none of them overlapping a stronger one."""
    chosen: list[tuple[Span, float]] = []
    for at in np.argsort(-adds, kind="stable").tolist():
        turn, begin, end = spans[at]
        if len(chosen) == phrases or adds[at] < _LEAST:
            break
        if all(
            other != turn or end <= first or last <= begin for (other, first, last), _ in chosen
        ):
            chosen.append((spans[at], float(adds[at])))
    return [
        {
            "turn": turn,
            "role": spoken[turn][0],
            "words": " ".join(spoken[turn][1][begin:end]),
            "adds": round(added, 4),
        }
        for (turn, begin, end), added in chosen
    ]
