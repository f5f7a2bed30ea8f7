"""Divides a centre that grows: who has a side keeps it, and newcomers are placed one by one.

The first division of a store is `data.splits.split`. After it a newcomer's side is a hash of its
own id, never of the calls that it shares, so that nothing moves. A new voice takes the side of
those it was heard with. A call that would join two sides is set aside; whoever is in train or in
test stays there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

import polars as pl

from data import splits
from data.split_ledger import CONTACT, CUSTOMER, VOICE, SplitLedger, assert_kept, sides_of
from data.splits import EXCLUDED, SPLITS, SplitParams, SplitSummary

_NOBODY = "no customer is known"


def divide(
    contacts: pl.DataFrame,
    recordings: pl.DataFrame,
    customers: pl.DataFrame,
    *,
    params: SplitParams,
    ledger: SplitLedger,
    now: datetime,
    voice_groups: pl.DataFrame | None = None,
) -> tuple[pl.DataFrame, SplitSummary, SplitLedger]:
    """Divides customers and contacts by a ledger; returns frame, summary and the longer ledger.

    Frame and arguments are those of `data.splits.split`. With an empty ledger it is that function.
    Else everyone in the ledger keeps the side, a new customer's side is a hash of the id alone, and
    a new voice has that of most calls it is heard in. A contact whose customer, voice and own past
    are not all on one side is EXCLUDED and counted by reason. Raises LeakError where somebody would
    change sides.
    """
    if ledger.rows.is_empty():
        frame, summary, voice_side = splits.first_division(
            contacts, recordings, customers, params=params, voice_groups=voice_groups
        )
        placed = {**sides_of(frame), VOICE: voice_side}
        aside = Counter(_reasons(frame, placed))
        summary = replace(summary, aside=dict(sorted(aside.items())))
        return frame, summary, ledger.extended(placed, now)
    calls = splits.voices_of_calls(contacts, recordings, voice_groups)
    people = sorted(
        set(customers["customer_id"].to_list())
        | set(contacts["customer_id"].drop_nulls().to_list())
    )
    known = {what: ledger.sides(what) for what in (CUSTOMER, VOICE, CONTACT)}
    customer_side = {
        person: known[CUSTOMER].get(person) or splits.side_of_newcomer(person, params)
        for person in people
    }
    edges = list(calls.select("customer_id", "voice_group").iter_rows())
    voice_side = {**_new_voices(edges, customer_side), **known[VOICE]}
    frame = _frame(contacts, people, calls, customer_side, voice_side, known[CONTACT])
    splits.assert_disjoint(frame)
    assert_kept(frame, ledger)
    sides = {CUSTOMER: customer_side, VOICE: voice_side, CONTACT: known[CONTACT]}
    aside = Counter(_reasons(frame, sides))
    summary = replace(
        splits.summarise(frame, calls, params),
        aside=dict(sorted(aside.items())),
        newcomers=sum(person not in known[CUSTOMER] for person in people),
    )
    heard = {voice: voice_side[voice] for _, voice in edges}
    return frame, summary, ledger.extended({**sides_of(frame), VOICE: heard}, now)


def adopted(frame: pl.DataFrame, now: datetime) -> SplitLedger:
    """Returns the ledger of a store that was divided before there were ledgers: its last split."""
    return SplitLedger.empty().extended(sides_of(frame), now)


def _new_voices(
    edges: Iterable[tuple[str, str]], customer_side: Mapping[str, str]
) -> dict[str, str]:
    """The side of each voice: that of most of its calls, of equal ones the scarcer."""
    votes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for customer_id, voice in edges:
        votes[voice][customer_side[customer_id]] += 1
    return {
        voice: max(counted, key=lambda side: (counted[side], SPLITS.index(side)))
        for voice, counted in votes.items()
    }


def _frame(
    contacts: pl.DataFrame,
    people: list[str],
    calls: pl.DataFrame,
    customer_side: Mapping[str, str],
    voice_side: Mapping[str, str],
    contact_side: Mapping[str, str],
) -> pl.DataFrame:
    """One row a customer, then one a contact, as `data.splits.split` returns them."""
    rows: list[tuple[str | None, str | None, str | None, str]] = [
        (None, person, None, customer_side[person]) for person in people
    ]
    voice_of = dict(calls.select("contact_id", "voice_group").iter_rows())
    for contact_id, customer_id in (
        contacts.sort("contact_id").select("contact_id", "customer_id").iter_rows()
    ):
        voice = voice_of.get(contact_id)
        sides = {
            EXCLUDED if customer_id is None else customer_side[customer_id],
            *([] if voice is None else [voice_side[voice]]),
            *([contact_side[contact_id]] if contact_id in contact_side else []),
        }
        side = sides.pop() if len(sides) == 1 else EXCLUDED
        rows.append((contact_id, customer_id, voice, side))
    return pl.DataFrame(rows, schema=splits.SCHEMA, orient="row")


def _reasons(frame: pl.DataFrame, sides: Mapping[str, Mapping[str, str]]) -> Iterable[str]:
    """Why each excluded contact is set aside."""
    excluded = frame.filter(pl.col("contact_id").is_not_null() & (pl.col("split") == EXCLUDED))
    for contact_id, customer_id, voice, _ in excluded.iter_rows():
        if customer_id is None:
            yield _NOBODY
            continue
        own, customer = sides[CONTACT].get(contact_id), sides[CUSTOMER].get(customer_id)
        if own and own != customer:
            yield f"was in {own} before, its customer is in {customer}"
        else:
            yield f"its customer is in {customer}, its voice in {sides[VOICE].get(voice, 'no split')}"
