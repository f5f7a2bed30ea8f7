"""Sides stay as a centre grows: the ledger, newcomers, and calls that would join two sides."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from data import split_ledger
from data.split_history import adopted, divide
from data.split_ledger import (
    LedgerError,
    SplitLedger,
    assert_kept,
    read_ledger,
    sides_of,
    write_ledger,
)
from data.splits import EXCLUDED, LeakError, SplitParams, SplitSummary, customer_splits, split
from tests.data.test_splits import a_centre, scattered

NOW = datetime(2026, 12, 1, tzinfo=UTC)
NEXT = datetime(2026, 12, 2, tzinfo=UTC)
PARAMS = SplitParams()


def divided(
    calls: Sequence[tuple[str, str, str | None]],
    ledger: SplitLedger | None = None,
    silent: int = 0,
    now: datetime = NOW,
) -> tuple[pl.DataFrame, SplitSummary, SplitLedger]:
    return divide(
        *a_centre(calls, silent), params=PARAMS, ledger=ledger or SplitLedger.empty(), now=now
    )


def test_V3_the_first_division_is_the_one_without_a_ledger() -> None:
    centre = a_centre(scattered(calls=200, people=60, voices=40), silent=50)
    frame, _, ledger = divide(*centre, params=PARAMS, ledger=SplitLedger.empty(), now=NOW)
    assert frame.equals(split(*centre, params=PARAMS)[0])
    for what, sides in sides_of(frame).items():
        assert sides.items() <= ledger.sides(what).items()
        # Placed are voices, too, all of whose calls were set aside; else dividing again moves them.
        assert what == "voice" or len(sides) == len(ledger.sides(what))
    assert set(ledger.sides("voice")) == set(frame["voice_group"].drop_nulls())


def test_V3_a_customer_who_calls_for_the_first_time_keeps_the_side() -> None:
    before, _, ledger = divided([("k0", "C0", "v0")], silent=300)
    # Each of the silent customers calls, and ten of them share a voice.
    calls = [("k0", "C0", "v0")] + [
        (f"n{n}", f"S{n:04d}", "shared" if n < 10 else f"w{n}") for n in range(300)
    ]
    after, _, _ = divided(calls, ledger, now=NEXT)
    moved = customer_splits(before).join(customer_splits(after), on="customer_id", suffix="_after")
    assert moved.height == 301
    assert moved.filter(pl.col("split") != pl.col("split_after")).is_empty()


def test_V3_a_newcomers_side_depends_on_the_id_alone() -> None:
    _, _, ledger = divided([("k0", "C0", "v0")], silent=30)
    alone = [("k0", "C0", "v0")] + [(f"n{n}", f"N{n}", f"w{n}") for n in range(40)]
    shared = [("k0", "C0", "v0")] + [(f"n{n}", f"N{n}", f"w{n % 3}") for n in range(40)]
    sides = [customer_splits(divided(calls, ledger, silent=30)[0]) for calls in (alone, shared)]
    assert sides[0].equals(sides[1])
    assert set(sides[0]["split"]) == {"train", "valid", "test"}


def sides_in(ledger: SplitLedger, what: str, side: str) -> list[str]:
    return sorted(name for name, own in ledger.sides(what).items() if own == side)


@pytest.mark.parametrize(("customer", "voice"), [("train", "test"), ("test", "train")])
def test_V3_a_call_that_joins_train_and_test_is_set_aside_and_nobody_moves(
    customer: str, voice: str
) -> None:
    calls: list[tuple[str, str, str | None]] = [(f"k{n}", f"C{n}", f"v{n}") for n in range(80)]
    before, _, ledger = divided(calls)
    who, heard = (
        sides_in(ledger, "customer", customer)[0],
        sides_in(ledger, "voice", voice)[0],
    )
    after, summary, longer = divided([*calls, ("joins", who, heard)], ledger)
    side_of = dict(after.drop_nulls("contact_id").select("contact_id", "split").iter_rows())
    assert side_of.pop("joins") == EXCLUDED
    assert side_of == dict(
        before.drop_nulls("contact_id").select("contact_id", "split").iter_rows()
    )
    assert summary.aside == {f"its customer is in {customer}, its voice in {voice}": 1}
    assert longer.rows.equals(ledger.rows)


def test_V3_a_contact_once_examined_is_not_trained_on_as_another_customers() -> None:
    written = [(f"k{n}", f"C{n}", None) for n in range(80)]
    contacts, recordings, customers = a_centre(written)

    def now_divided(
        contacts: pl.DataFrame, ledger: SplitLedger
    ) -> tuple[pl.DataFrame, SplitSummary, SplitLedger]:
        return divide(
            contacts, recordings.clear(), customers, params=PARAMS, ledger=ledger, now=NOW
        )

    _, _, ledger = now_divided(contacts, SplitLedger.empty())
    examined = sides_in(ledger, "contact", "test")[0]
    trained_on = sides_in(ledger, "customer", "train")[0]
    corrected = contacts.with_columns(
        customer_id=pl.when(pl.col("contact_id") == examined)
        .then(pl.lit(trained_on))
        .otherwise("customer_id")
    )
    after, summary, _ = now_divided(corrected, ledger)
    assert after.filter(contact_id=examined)["split"].to_list() == [EXCLUDED]
    assert summary.aside == {"was in test before, its customer is in train": 1}


def test_V3_a_new_voice_takes_the_side_of_most_of_its_calls() -> None:
    _, _, ledger = divided([(f"k{n}", f"C{n}", f"v{n}") for n in range(80)])
    tested, trained = (sides_in(ledger, "customer", side) for side in ("test", "train"))
    calls = [(f"k{n}", f"C{n}", f"v{n}") for n in range(80)]
    calls += [("a", tested[0], "new"), ("b", tested[1], "new"), ("c", trained[0], "new")]
    calls += [("d", tested[0], "even"), ("e", trained[0], "even")]
    after, _, longer = divided(calls, ledger)
    assert (longer.sides("voice")["new"], longer.sides("voice")["even"]) == ("test", "test")
    aside = after.filter(split=EXCLUDED)["contact_id"].to_list()
    assert sorted(aside) == ["c", "e"]


def growing(seed: int) -> list[list[tuple[str, str, str | None]]]:
    """Ten deliveries of a centre: newcomers, shared voices, customers who only wrote before."""
    rng = random.Random(seed)
    deliveries: list[list[tuple[str, str, str | None]]] = []
    calls: list[tuple[str, str, str | None]] = []
    for delivery in range(10):
        for n in range(40):
            person = rng.randrange(30 * (delivery + 1))
            voice = person if rng.random() > 0.1 else rng.randrange(30 * (delivery + 1))
            calls.append((f"k{delivery}-{n}", f"C{person:04d}", f"v{voice:04d}"))
        deliveries.append(list(calls))
    return deliveries


def test_V3_over_ten_deliveries_nobody_is_ever_on_two_sides() -> None:
    for seed in range(2):
        ledger = SplitLedger.empty()
        ever: dict[str, dict[str, str]] = {what: {} for what in split_ledger.WHAT}
        for calls in growing(seed):
            frame, summary, ledger = divided(calls, ledger, silent=20)
            assert_kept(frame, ledger)
            for what, sides in sides_of(frame).items():
                for name, side in sides.items():
                    assert ever[what].setdefault(name, side) == side
            assert summary.contacts_aside < 0.15 * len(calls)
            assert summary.contacts["test"] > 0.1 * len(calls) * 0.5


@pytest.mark.parametrize("voices", [50, 3])
def test_V3_dividing_again_changes_neither_frame_nor_ledger(voices: int) -> None:
    calls = scattered(calls=120, people=60, voices=voices)
    first, _, ledger = divided(calls)
    assert divided(calls, ledger)[0].equals(first)
    frame, _, longer = divided([*calls, ("x", "Z", "vz")], ledger)
    again, _, same = divided([*calls, ("x", "Z", "vz")], longer, now=NEXT)
    assert again.equals(frame)
    assert same.rows.equals(longer.rows)


def test_V3_a_store_from_before_ledgers_keeps_its_last_division() -> None:
    calls = scattered(calls=120, people=60, voices=50)
    frame, _ = split(*a_centre(calls), params=replace(PARAMS, seed=7))
    after, _, _ = divided(calls, adopted(frame, NOW))
    assert customer_splits(after).equals(customer_splits(frame))


# --- the file ---


def test_V3_rows_are_only_added(tmp_path: Path) -> None:
    path = tmp_path / "split_ledger.parquet"
    assert read_ledger(path).rows.is_empty()
    _, _, first = divided([("k0", "C0", "v0"), ("k1", "C1", "v1"), ("k2", "C2", None)])
    write_ledger(path, first)
    assert read_ledger(path).rows.equals(first.rows)
    with pytest.raises(LedgerError, match="rows that would be lost"):
        write_ledger(path, SplitLedger(first.rows.tail(-1)))
    other = "test" if first.sides("customer")["C0"] != "test" else "train"
    with pytest.raises(LeakError, match="customer C0: was in"):
        first.extended({"customer": {"C0": other}}, NOW)
    assert read_ledger(path).rows.equals(first.rows)


def test_V3_a_kill_while_writing_leaves_the_old_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "split_ledger.parquet"
    calls = [(f"k{n}", f"C{n}", None) for n in range(9)]
    _, _, first = divided(calls)
    write_ledger(path, first)
    _, _, longer = divided([*calls, ("new", "N", None)], first)

    class Killed(BaseException):
        """As good as kill -9 for this process: nothing catches it."""

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(Killed):
            write_ledger(path, longer)
    assert read_ledger(path).rows.equals(first.rows)
    write_ledger(path, longer)
    assert read_ledger(path).rows.equals(longer.rows)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("damage", ["cut", "edited", "another table"])
def test_V3_a_damaged_ledger_is_named_with_the_next_step(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "split_ledger.parquet"
    _, _, ledger = divided([(f"k{n}", f"C{n}", None) for n in range(9)])
    write_ledger(path, ledger)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "edited":
        moved = ledger.rows.with_columns(split=pl.lit("test"))
        moved.write_parquet(path, metadata={"keepline.sha256": "0"})
    else:
        pl.DataFrame({"a": [1]}).write_parquet(path)
    with pytest.raises(LedgerError, match=r"split_ledger\.parquet: .*backup of the store"):
        read_ledger(path)


def test_V3_a_split_moved_by_hand_is_named() -> None:
    frame, _, ledger = divided([(f"k{n}", f"C{n}", None) for n in range(40)])
    who = sides_in(ledger, "customer", "test")[0]
    by_hand = frame.with_columns(
        pl.when(pl.col("customer_id") == who)
        .then(pl.lit("train"))
        .otherwise("split")
        .alias("split")
    )
    with pytest.raises(LeakError, match=r"was in test and is in train now"):
        assert_kept(by_hand, ledger)
