"""Which words made a reader say what it says: what a label's probability loses when they are taken out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from models.reader.model import Reader

_PHRASE = 3  # words taken out at once
_LOOKS = 600  # variants of a contact that are read at most; fewer of a very long one, whose phrases grow longer
_READ = 600_000  # words read in all of them, about
_LEAST = 0.005  # less probability than this is nothing worth showing
Span = tuple[int, int, int]  # turn, first word, word after the last


def why(
    reader: Reader, contact: pl.DataFrame, turns: pl.DataFrame, phrases: int = 2
) -> dict[str, list[dict[str, Any]]]:
    """For each label the words of one contact that speak most for its likeliest value, by exact occlusion.

    Each entry has turn, role, words and `adds`, the probability lost without them. There are fewer than `phrases` where
    nothing speaks for the value. Raises ValueError unless `contact` is one.
    """
    if contact.height != 1:
        raise ValueError(f"{contact.height} contacts: ask for the words of one at a time.")
    rows = turns.sort("turn").select("role", pl.col("text").fill_null("").str.split(" ")).rows()
    said = [(role, [word for word in words if word]) for role, words in rows]
    spans = _spans([len(words) for _, words in said])
    before = {name: chances[0] for name, chances in reader.probabilities(contact, turns)[0].items()}
    without = _without(reader, str(contact["channel"][0]), said, spans)
    return {
        name: _strongest(said, spans, chances.max() - without[name][:, chances.argmax()], phrases)
        for name, chances in before.items()
    }


def _spans(lengths: list[int]) -> list[Span]:
    words = sum(lengths)
    looks = min(_LOOKS, max(40, _READ // max(words, 1)))
    step = -(-words // looks) or 1
    size = max(_PHRASE, step)
    return [
        (turn, at, min(at + size, length))
        for turn, length in enumerate(lengths)
        for at in range(0, max(1, length - size + 1) if length else 0, step)
    ]


def _without(
    reader: Reader, channel: str, said: list[tuple[str, list[str]]], spans: list[Span]
) -> Mapping[str, np.ndarray]:
    """The probabilities of the contact without each span, label -> [spans, values]."""
    whole = [(turn, role, " ".join(words)) for turn, (role, words) in enumerate(said)]
    rows = []
    for number, (turn, begin, end) in enumerate(spans):
        words = said[turn][1]
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
    said: list[tuple[str, list[str]]], spans: list[Span], adds: np.ndarray, phrases: int
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
            "role": said[turn][0],
            "words": " ".join(said[turn][1][begin:end]),
            "adds": round(more, 4),
        }
        for (turn, begin, end), more in chosen
    ]
