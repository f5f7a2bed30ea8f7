"""Shows a rule one contact: the words of each side, and the customer's contacts before it.

Nothing of what happened after the contact is in the view, so labels can be used at any later point
in time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import polars as pl

from data.labelling.scheme import LabellingParams
from data.records import CONTACTS, ORIGIN_PERSON, TABLES
from data.timeline import best_text

# Up to three words may stand between a negation and what it denies; a comma or the other's turn
# ends its reach.
_NEGATED = r"(?:\b(?:not|never|cannot|without|nor|nobody|[a-z]+n't) (?:[a-z0-9']+ ){0,3}|\bno )"
_FILLERS = r"\b(?:um+|uh+|erm?|hmm+|you know|i mean)\b"
_STUTTER = re.compile(r"\b([a-z']+)(?: \1\b)+")
_TEXTS = ("customer", "agent", "system", "about", "note", "ending", "last")


class SideText:
    """Words of one side, lower case, without fillers and stutters. Patterns are Rust regexes."""

    __slots__ = ("_batch", "_column", "_row")

    def __init__(self, batch: _Batch, column: str, row: int) -> None:
        self._batch, self._column, self._row = batch, column, row

    def affirms(self, *patterns: str) -> bool:
        """Whether a whole-word pattern occurs without a negation right before it.

        "don't cancel" does not affirm "cancel".
        """
        return self._batch.matches(self._column, patterns, True)[self._row]

    def mentions(self, *patterns: str) -> bool:
        """Whether a whole-word pattern occurs, negated or not."""
        return self._batch.matches(self._column, patterns, False)[self._row]

    @property
    def text(self) -> str:
        """The words; " / " stands between turns and " , " for punctuation."""
        text: str = self._batch.texts[self._column][self._row]
        return text

    def __len__(self) -> int:
        """Number of words."""
        return len(re.findall(r"[a-z0-9']+", self.text))


@dataclass
class _Batch:
    """Texts of many contacts. A pattern is searched in all of them when a rule first uses it."""

    texts: dict[str, pl.Series]
    _cache: dict[tuple[str, tuple[str, ...], bool], list[bool]] = field(default_factory=dict)

    def matches(self, column: str, patterns: tuple[str, ...], affirmed: bool) -> list[bool]:
        key = (column, patterns, affirmed)
        if key not in self._cache:
            texts, pattern = self.texts[column].str, rf"\b(?:{'|'.join(patterns)})\b"
            hits = texts.contains(pattern)
            if affirmed:
                hits &= texts.count_matches(pattern) > texts.count_matches(_NEGATED + pattern)
            self._cache[key] = hits.to_list()
        return self._cache[key]


@dataclass(frozen=True)
class ContactView:
    """One contact as a rule sees it."""

    channel: str
    customer: SideText  # all words of the customer
    agent: SideText
    system: SideText  # menus, bots, notices
    about: SideText  # the customer's first two turns, or else the agent's note
    note: SideText  # what the agent noted where nothing else is known of the contact
    ending: SideText  # the customer's last turn
    last: SideText  # the last turn, whoever's
    roles: tuple[str, ...]  # who spoke, in order
    wait_s: float | None
    wait_limit_s: float  # what counts as long in this channel
    duration_s: float
    queue: str
    disposition: str
    contacts_before: int  # the customer's contacts within `repeat_days` before this one
    hours_since_last: float | None  # to the start of the contact before, however long ago
    queue_before: str  # the queue of the contact before

    @property
    def written(self) -> bool:
        """Whether it is in writing, where waiting means waiting for a reply."""
        return self.channel in ("chat", "email", "social")


def views(
    contacts: pl.DataFrame, turns: pl.DataFrame, params: LabellingParams
) -> Iterator[ContactView]:
    """Yields a view of each contact, in the order of `contacts`.

    Where a person and a recogniser transcribed the same contact, the person's turns are used.
    """
    table = _history(contacts, params).join(
        _texts(turns), on="contact_id", how="left", maintain_order="left"
    )
    table = table.with_columns(
        *(pl.col(name).fill_null("") for name in (*_TEXTS, "queue", "disposition", "queue_before")),
        roles=pl.col("roles").fill_null(pl.lit([], dtype=pl.List(pl.String))),
    )
    batch = _Batch({name: table[name] for name in _TEXTS})
    plain = (
        "channel",
        "roles",
        "wait_s",
        "duration_s",
        "queue",
        "disposition",
        "contacts_before",
        "hours_since_last",
        "queue_before",
    )
    for row, values in enumerate(table.select(plain).iter_rows(named=True)):
        sides: dict[str, Any] = {name: SideText(batch, name, row) for name in _TEXTS}
        phone = values["channel"] in ("phone", "ivr")
        limit = params.long_wait_phone_s if phone else params.long_wait_written_s
        values["roles"] = tuple(values["roles"])
        yield ContactView(**sides, **values, wait_limit_s=limit)


def a_contact(
    customer: str = "",
    agent: str = "",
    system: str = "",
    *,
    turns: list[tuple[str, str]] | None = None,
    params: LabellingParams | None = None,
    **fields: Any,
) -> ContactView:
    """Returns one view made from plain words, for a rule's EXAMPLES.

    Give texts by side, or `turns` (role, text) in order; further keywords are fields of the
    view.
    """
    sides = (("system", system), ("customer", customer), ("agent", agent))
    spoken = turns or [(role, text) for role, text in sides if text]
    rows = [
        ("k", number, role, text, None, None, ORIGIN_PERSON)
        for number, (role, text) in enumerate(spoken)
    ]
    contact: dict[str, Any] = {
        "contact_id": "k",
        "customer_id": "c",
        "channel": "phone",
        "duration_s": 60.0,
    }
    contact |= {"started_at": datetime(2026, 1, 1, tzinfo=UTC)} | {
        name: fields.pop(name) for name in CONTACTS if name in fields
    }
    contact_table = pl.DataFrame([contact], schema=TABLES["contacts"])
    (view,) = views(
        contact_table,
        pl.DataFrame(rows, schema=TABLES["turns"], orient="row"),
        params or LabellingParams(),
    )
    return replace(view, **fields)


def _history(contacts: pl.DataFrame, params: LabellingParams) -> pl.DataFrame:
    """Adds contacts_before, hours_since_last and queue_before, from contacts of any channel."""
    numbered = contacts.with_row_index("_row")
    ordered = numbered.sort("customer_id", "started_at", "contact_id")
    # Joined by customer and time: `rolling` gives the groups in an order of its own.
    before = (
        ordered.rolling(
            "started_at", period=f"{params.repeat_days}d", closed="left", group_by="customer_id"
        )
        .agg(contacts_before=pl.len())
        .unique(["customer_id", "started_at"])
    )
    gap = pl.col("started_at") - pl.col("started_at").shift(1).over("customer_id")
    return (
        ordered.join(before, on=["customer_id", "started_at"], how="left", maintain_order="left")
        .with_columns(
            hours_since_last=gap.dt.total_seconds() / 3600,
            queue_before=pl.col("queue").shift(1).over("customer_id"),
        )
        .sort("_row")
        .drop("_row")
    )


def _texts(turns: pl.DataFrame) -> pl.DataFrame:
    """One row a contact that has turns: its texts as `_TEXTS` and the roles in order."""
    best = best_text(turns)
    words = (
        pl.col("text")
        .str.to_lowercase()
        .str.replace_all("[’‘`]", "'")
        .str.replace_all(r"[.,!?;:]+(\s|$)", " , ")
        .str.replace_all(r"[^a-z0-9'£$€,]+", " ")
        .str.replace_all(_FILLERS, " ")
        .str.replace_all(" +", " ")
        .str.strip_chars(" ,")
    )
    best = best.with_columns(text=words)
    spoken = [_STUTTER.sub(r"\1", text) for text in best["text"].to_list()]
    best = best.with_columns(text=pl.Series(spoken, dtype=pl.String))

    def of(role: str) -> pl.Expr:
        return pl.col("text").filter(pl.col("role") == role)

    joined = best.group_by("contact_id", maintain_order=True).agg(
        customer=of("customer").str.join(" / "),
        agent=of("agent").str.join(" / "),
        system=of("system").str.join(" / "),
        about=of("customer").head(2).str.join(" / "),
        ending=of("customer").last(),
        last=pl.col("text").last(),
        roles=pl.col("role"),
    )
    only_agent = pl.col("roles").list.len() == pl.col("roles").list.count_matches("agent")
    note = pl.when(only_agent).then(pl.col("agent")).otherwise(pl.lit(""))
    return joined.with_columns(
        note=note, about=pl.when(only_agent).then(pl.col("agent")).otherwise(pl.col("about"))
    )
