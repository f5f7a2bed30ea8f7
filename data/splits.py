"""Divides customers and voices into train, valid and test so that none is on two sides.

This is the first division of a store; `data.split_history` keeps to it as the centre grows.
Customers and voices that meet in a call form a component of a graph, and a component is never cut.
Its side is decided by a hash of its members' ids, so customers who arrive later do not move earlier
ones. When one component holds nearly everything (many voices, customers who call often), it is cut
between voices instead: customers follow most of their calls, and the calls that would then cross
are set aside, counted, and used nowhere.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import polars as pl

SPLITS = ("train", "valid", "test")
EXCLUDED = "aside"
SCHEMA = {
    "contact_id": pl.String,
    "customer_id": pl.String,
    "voice_group": pl.String,
    "split": pl.String,
}


class LeakError(ValueError):
    """A customer or a voice is on two sides of a split."""


@dataclass(frozen=True)
class SplitParams:
    """The share of each split; section `splits` of params.yaml.

    `seed` names the division: another seed is another division.
    """

    seed: int = 0  # mixed into every hash
    valid_share: float = 0.1  # share of customers and of calls to choose epochs and calibrate on
    test_share: float = 0.2  # share of customers and of calls to judge on
    # a component with more of the recorded calls than this is cut between voices
    max_component_share: float = 0.5

    def __post_init__(self) -> None:
        """Raises ValueError when the shares leave nothing to train on."""
        if min(self.valid_share, self.test_share) < 0 or self.valid_share + self.test_share >= 1:
            raise ValueError(
                f"splits: valid_share {self.valid_share} and test_share {self.test_share} must be "
                "0 or more and leave something to train on."
            )


@dataclass(frozen=True)
class SplitSummary:
    """Counts of a division. `notes` are sentences for a person."""

    customers: dict[str, int]
    contacts: dict[str, int]
    recorded: dict[str, int]
    voice_groups: int
    components: int
    largest_component_share: float
    contacts_aside: int
    notes: tuple[str, ...] = ()
    aside: dict[str, int] = field(default_factory=dict)  # contacts on no side, by reason
    newcomers: int = 0  # customers placed by this division, where one went before


def split(
    contacts: pl.DataFrame,
    recordings: pl.DataFrame,
    customers: pl.DataFrame,
    *,
    params: SplitParams,
    voice_groups: pl.DataFrame | None = None,
) -> tuple[pl.DataFrame, SplitSummary]:
    """Divides customers and contacts so that no customer and no voice is on two sides.

    `voice_groups` (contact_id, voice_group) fills in where the source does not name the customer's
    voice (`recordings.voice`). Returns a frame (contact_id, customer_id, voice_group, split) with
    one row a contact and one row a customer (contact_id null, see `customer_splits`), and its
    summary. A recorded contact whose voice nobody named counts as a voice of its own.
    """
    frame, summary, _ = first_division(
        contacts, recordings, customers, params=params, voice_groups=voice_groups
    )
    return frame, summary


def first_division(
    contacts: pl.DataFrame,
    recordings: pl.DataFrame,
    customers: pl.DataFrame,
    *,
    params: SplitParams,
    voice_groups: pl.DataFrame | None = None,
) -> tuple[pl.DataFrame, SplitSummary, dict[str, str]]:
    """Returns what `split` does, and the side of every voice, also where no call of it is used."""
    calls = voices_of_calls(contacts, recordings, voice_groups)
    people = sorted(
        set(customers["customer_id"].to_list())
        | set(contacts["customer_id"].drop_nulls().to_list())
    )
    edges = list(zip(calls["customer_id"].to_list(), calls["voice_group"].to_list(), strict=True))
    components = _components(people, edges)
    largest = max((component.calls for component in components), default=0) / max(1, len(edges))
    notes: list[str] = []
    if len(edges) > 1 and largest > params.max_component_share:
        voice_split = _assign(_components([], [(None, voice) for _, voice in edges]), params)
        customer_split = _follow_calls(people, edges, voice_split=voice_split, params=params)
        notes.append(
            f"{largest:.0%} of the recorded calls hang together through shared customers and "
            "voices; the division was made between voices and calls that would cross it were set "
            "aside."
        )
    else:
        voiced = [component for component in components if component.calls]
        silent = [component for component in components if not component.calls]
        customer_split = _assign(voiced, params) | _assign(silent, params)
        voice_split = customer_split
    frame = _frame(
        contacts, people, calls=calls, customer_split=customer_split, voice_split=voice_split
    )
    notes += empty_split_notes(frame, voices={voice for _, voice in edges}, params=params)
    assert_disjoint(frame)
    sides = {voice: voice_split[_voice(voice)] for _, voice in edges}
    summary = _summary(frame, components=len(components), largest=largest, notes=notes)
    return frame, summary, sides


def side_of_newcomer(customer_id: str, params: SplitParams) -> str:
    """Returns the side of a customer who comes after the first division: a hash of the id alone."""
    return side_of(_hash(f"{params.seed}:{_person(customer_id)}"), params)


def summarise(frame: pl.DataFrame, calls: pl.DataFrame, params: SplitParams) -> SplitSummary:
    """Returns the counts of a division, `calls` as `voices_of_calls` returns them."""
    edges = list(calls.select("customer_id", "voice_group").iter_rows())
    components = _components(customer_splits(frame)["customer_id"].to_list(), edges)
    largest = max((component.calls for component in components), default=0) / max(1, len(edges))
    notes = empty_split_notes(frame, voices={voice for _, voice in edges}, params=params)
    return _summary(frame, components=len(components), largest=largest, notes=notes)


def _frame(
    contacts: pl.DataFrame,
    people: list[str],
    *,
    calls: pl.DataFrame,
    customer_split: dict[str, str],
    voice_split: dict[str, str],
) -> pl.DataFrame:
    """One row a customer, then one a contact; a call that crosses the division is EXCLUDED."""
    rows: list[tuple[str | None, str | None, str | None, str]] = [
        (None, person, None, customer_split[_person(person)]) for person in people
    ]
    voice_of = dict(zip(calls["contact_id"].to_list(), calls["voice_group"].to_list(), strict=True))
    for contact_id, customer_id in (
        contacts.sort("contact_id").select("contact_id", "customer_id").iter_rows()
    ):
        voice = voice_of.get(contact_id)
        side = customer_split[_person(customer_id)] if customer_id is not None else EXCLUDED
        if voice is not None and voice_split[_voice(voice)] != side:
            side = EXCLUDED
        rows.append((contact_id, customer_id, voice, side))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def empty_split_notes(frame: pl.DataFrame, *, voices: set[str], params: SplitParams) -> list[str]:
    """A sentence for each split that should hold recorded calls and holds none."""
    shares = {"test": params.test_share, "valid": params.valid_share, "train": 1.0}
    recorded = frame.filter(pl.col("voice_group").is_not_null())
    return [
        f"No recorded call is in {name}: {len(voices)} voices are too few."
        for name, share in shares.items()
        if share and voices and recorded.filter(pl.col("split") == name).is_empty()
    ]


def customer_splits(splits: pl.DataFrame) -> pl.DataFrame:
    """Returns customer_id and split of every customer."""
    return splits.filter(pl.col("contact_id").is_null()).select("customer_id", "split")


def assert_disjoint(splits: pl.DataFrame) -> None:
    """Raises LeakError naming a customer or a voice on two sides; excluded contacts are on none."""
    used = splits.filter(pl.col("split") != EXCLUDED)
    for column, noun in (("customer_id", "customer"), ("voice_group", "voice")):
        sides = (
            used.filter(pl.col(column).is_not_null())
            .group_by(column)
            .agg(pl.col("split").unique().sort())
            .filter(pl.col("split").list.len() > 1)
            .sort(column)
        )
        if not sides.is_empty():
            name, split_names = sides.row(0)
            raise LeakError(
                f"{noun} {name}: on both sides of the split ({' and '.join(split_names)}), "
                f"{sides.height} such in all. Divide again with data.splits.split; do not move "
                "single contacts."
            )


@dataclass
class _Component:
    key: str
    members: list[str]
    calls: int


def _person(customer_id: str) -> str:
    return f"customer:{customer_id}"


def _voice(voice_group: str) -> str:
    return f"voice:{voice_group}"


def _hash(text: str) -> float:
    """A number in [0, 1) that depends on `text` alone, on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def voices_of_calls(
    contacts: pl.DataFrame, recordings: pl.DataFrame, voice_groups: pl.DataFrame | None
) -> pl.DataFrame:
    """Returns contact_id, customer_id and voice_group of each recorded call with a customer.

    The source's name of a voice comes first, then `voice_groups`; without both a call is a voice
    of its own.
    """
    calls = recordings.select("contact_id", "voice").join(
        contacts.select("contact_id", "customer_id"), on="contact_id", how="inner"
    )
    grouped = pl.DataFrame(schema={"contact_id": pl.String, "voice_group": pl.String})
    if voice_groups is not None:
        grouped = voice_groups.select("contact_id", "voice_group").unique(
            "contact_id", keep="first"
        )
    return (
        calls.join(grouped, on="contact_id", how="left")
        .with_columns(
            pl.coalesce("voice", "voice_group", pl.format("call {}", "contact_id")).alias(
                "voice_group"
            )
        )
        .filter(pl.col("customer_id").is_not_null())
        .select("contact_id", "customer_id", "voice_group")
        .sort("contact_id")
    )


def _components(people: Iterable[str], edges: Iterable[tuple[str | None, str]]) -> list[_Component]:
    """Connected components by union-find. An edge without a customer adds the voice alone."""
    parent = {_person(person): _person(person) for person in people}

    def root(node: str) -> str:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    calls: Counter[str] = Counter()
    for customer_id, voice_group in edges:
        voice = _voice(voice_group)
        parent.setdefault(voice, voice)
        calls[voice] += 1
        if customer_id is not None:
            parent.setdefault(_person(customer_id), _person(customer_id))
            parent[root(_person(customer_id))] = root(voice)
    members = defaultdict(list)
    for node in parent:
        members[root(node)].append(node)
    # The member with the smallest hash speaks for the component: a newcomer takes over only by
    # being smaller still.
    return [
        _Component(
            min(nodes, key=lambda node: (_hash(node), node)),
            nodes,
            sum(calls[node] for node in nodes),
        )
        for nodes in members.values()
    ]


def side_of(place: float, params: SplitParams) -> str:
    """The split of a hash `place` in [0, 1)."""
    if place < params.test_share:
        return "test"
    return "valid" if place < params.test_share + params.valid_share else "train"


def _assign(components: list[_Component], params: SplitParams) -> dict[str, str]:
    """The split of each member: a hash decides, then splits below half their share are filled."""
    weight = {component.key: max(1, component.calls) for component in components}
    total = sum(weight.values())
    order = sorted(components, key=lambda component: _hash(f"{params.seed}:{component.key}"))
    side = {}
    for component in order:
        place = _hash(f"{params.seed}:{component.key}")
        side[component.key] = side_of(place, params)
        if (
            weight[component.key] > max(params.test_share, params.valid_share) * total
            and len(components) > 2
        ):
            side[component.key] = "train"
    for name, share in (("test", params.test_share), ("valid", params.valid_share)):
        for component in order:
            if (
                share == 0
                or sum(weight[key] for key in side if side[key] == name) >= share * total / 2
            ):
                break
            if (
                side[component.key] == "train"
                and sum(1 for value in side.values() if value == "train") > 1
            ):
                side[component.key] = name
    return {member: side[component.key] for component in components for member in component.members}


def _follow_calls(
    people: list[str],
    edges: list[tuple[str, str]],
    *,
    voice_split: dict[str, str],
    params: SplitParams,
) -> dict[str, str]:
    """The split of each customer: that of most of their calls, a hash where there is none."""
    votes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for customer_id, voice_group in edges:
        votes[customer_id][voice_split[_voice(voice_group)]] += 1
    side = _assign(_components([person for person in people if person not in votes], []), params)
    for customer_id, counted in votes.items():
        # The scarcer side wins a tie, so that cutting costs test and valid as few calls as
        # possible.
        side[_person(customer_id)] = max(
            counted, key=lambda name: (counted[name], SPLITS.index(name))
        )
    return side


def _summary(
    frame: pl.DataFrame, *, components: int, largest: float, notes: list[str]
) -> SplitSummary:
    contacts = frame.filter(pl.col("contact_id").is_not_null())
    recorded = contacts.filter(pl.col("voice_group").is_not_null())

    def count(rows: pl.DataFrame) -> dict[str, int]:
        return {name: rows.filter(pl.col("split") == name).height for name in SPLITS}

    return SplitSummary(
        customers=count(customer_splits(frame)),
        contacts=count(contacts),
        recorded=count(recorded),
        voice_groups=recorded["voice_group"].n_unique(),
        components=components,
        largest_component_share=round(largest, 4),
        contacts_aside=contacts.filter(pl.col("split") == EXCLUDED).height,
        notes=tuple(notes),
    )
