"""V4: point in time from end to end: label model, reader, recogniser and customer record as known
on the day. A store cut at a day gives the same features, bit for bit, as the whole store's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import polars as pl
import pytest
import torch

from data.features.features import FeatureParams, features
from data.files import read_tables, write_table
from data.ingest import ingest
from data.labelling import SCHEME, LabellingParams, label
from data.labelling.complete import ReadingParams, merge_with_reader
from data.records import LABELS, TURNS
from data.simulator import SimulatorParams, simulate
from data.sources import CHANGED_ON, Delivery, read
from data.speech.heard import keep_first_heard
from models.reader import readings
from models.reader.model import Reader, ReaderConfig

# The first of a month and a day in one, when the month's label model has begun its work.
CUTS = [date(2025, 12, 1), date(2026, 2, 17)]
PARAMS = FeatureParams()


@dataclass(frozen=True)
class Way:
    """How the platform keeps what was known; each switched off is a way that fails."""

    walk_forward: bool = True
    keeps_readings: bool = True
    keeps_heard: bool = True
    keeps_records: bool = True


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Delivery:
    """A simulated centre of two years, without recordings."""
    folder = tmp_path_factory.mktemp("centre")
    params = SimulatorParams(seed=5, customers=60, calls=0, faults=0, futures=5)
    simulate(params, folder / "raw", folder / "truth")
    return read("folder", folder / "raw")


def cut(delivery: Delivery, day: date) -> Delivery:
    """What the centre could deliver at the start of `day`."""
    contacts = delivery.contacts.filter(pl.col("started_at") < midnight(day))
    turns = delivery.turns.join(contacts, on="contact_id", how="semi")
    return replace(delivery, contacts=contacts, turns=turns)


def with_new_plans(delivery: Delivery) -> Delivery:
    """The same, after every third customer changed plan, price and contract."""
    changes = pl.int_range(pl.len()) % 3 == 0
    customers = delivery.customers.with_columns(
        plan=pl.when(changes).then(pl.lit("max")).otherwise("plan"),
        monthly_price=pl.col("monthly_price") + pl.when(changes).then(10.0).otherwise(0.0),
        attributes=pl.when(changes).then(pl.lit('{"contract": "none"}')).otherwise("attributes"),
    )
    return replace(delivery, customers=customers)


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def a_reader(seed: int) -> Reader:
    """A reader that has read every n-gram and answers by chance."""
    torch.manual_seed(seed)
    reader = Reader(ReaderConfig(dict(SCHEME), bits=10, width=8, words=(1,), letters=(3,)))
    reader.network.known[:] = 1.0
    return reader


class Centre:
    """A store that lives: each `night` takes in a delivery, labels it and reads it."""

    def __init__(self, store: Path, way: Way) -> None:
        self.store, self.way = store, way
        self.heard: pl.DataFrame | None = None
        self.readings: pl.DataFrame | None = None
        self.labels = pl.DataFrame()

    def night(self, delivery: Delivery, day: date, reader: Reader, recogniser: str) -> None:
        now = midnight(day) - timedelta(hours=2)
        ingest(delivery, self.store, now)
        tables = read_tables(self.store / "tables")
        contacts, turns = tables["contacts"], tables["turns"]
        calls = contacts.filter(pl.col("channel") == "chat").sort("contact_id").head(30)
        recordings = calls.select("contact_id", sha256=pl.lit("content"))
        said = turns.join(calls, on="contact_id", how="semi").with_columns(
            origin=pl.lit("asr"), text=pl.col("text") + f" {recogniser} billing complaint cancel"
        )
        heard = keep_first_heard(
            self.heard if self.way.keeps_heard else None,
            said,
            recordings,
            model=recogniser,
            now=now,
        )
        text = pl.concat(
            [turns.join(calls, on="contact_id", how="anti"), heard.select(list(TURNS))]
        )
        params = ReadingParams()
        ruled = label(contacts, text, LabellingParams(walk_forward=self.way.walk_forward))
        self.heard = heard
        self.readings = readings.update_readings(
            self.readings if self.way.keeps_readings else None,
            contacts,
            text,
            reader=reader,
            model=recogniser,
            now=now,
        )
        beliefs = readings.beliefs_of(self.readings, (*params.together, *params.gaps), 0.5)
        self.labels = merge_with_reader(ruled.labels, ruled.beliefs, beliefs, params=params)

    def features(self, days: list[date]) -> pl.DataFrame:
        tables = read_tables(self.store / "tables")
        if not self.way.keeps_records:
            del tables["customer_versions"]
        made = features(tables, self.labels, days, params=PARAMS)
        return made.drop("event", "time_days")


def lives(everything: Delivery, store: Path, day: date, way: Way) -> Iterator[pl.DataFrame]:
    """Yields features as of `day` and a month before: of the store cut there, then of the whole."""
    days = [day - timedelta(days=31), day]
    centre = Centre(store, way)
    centre.night(cut(everything, day), day, a_reader(1), "first")
    yield centre.features(days)
    later = with_new_plans(everything)
    centre.night(later, day + timedelta(days=200), a_reader(2), "second")
    yield centre.features(days)


@pytest.mark.parametrize("day", CUTS)
def test_V4_a_store_cut_at_a_day_gives_the_features_of_the_whole_store_bit_for_bit(
    everything: Delivery, day: date, tmp_path: Path
) -> None:
    before, after = lives(everything, tmp_path, day, Way())
    assert before.height > 60
    assert before["attr_contract"].n_unique() > 1
    assert before.equals(after)


@pytest.mark.parametrize(
    "broken", ["walk_forward", "keeps_readings", "keeps_heard", "keeps_records"]
)
def test_V4_without_any_one_part_the_past_would_change(
    everything: Delivery, broken: str, tmp_path: Path
) -> None:
    before, after = lives(everything, tmp_path, CUTS[1], replace(Way(), **{broken: False}))
    assert before.select("customer_id", "as_of").equals(after.select("customer_id", "as_of"))
    assert not before.equals(after)


def test_V4_the_contacts_of_a_month_do_not_change_its_own_label_model(everything: Delivery) -> None:
    """Every day can be a cut, and the first month too, before any label model was fitted."""
    whole = label(everything.contacts, everything.turns).beliefs
    first = everything.contacts["started_at"].min()
    assert isinstance(first, datetime)
    for days in (20, 300):
        known = cut(everything, (first + timedelta(days=days)).date())
        part = label(known.contacts, known.turns).beliefs
        of_those = whole.join(known.contacts, on="contact_id", how="semi")
        key = ["label", "contact_id", "value"]
        assert part.sort(key).equals(of_those.sort(key))


def records_of(store: Path, customer: str) -> list[tuple[date, str]]:
    versions = read_tables(store / "tables")["customer_versions"].filter(customer_id=customer)
    return versions.select("valid_from", "plan").sort("valid_from").rows()


def test_V4_each_ingest_keeps_the_day_a_record_changed(
    everything: Delivery, tmp_path: Path
) -> None:
    monday, friday = datetime(2026, 7, 6, 2, tzinfo=UTC), datetime(2026, 7, 10, 2, tzinfo=UTC)
    stayed = everything.outcomes.filter(~pl.col("happened"))
    changing = everything.customers.gather_every(3).filter(pl.col("plan") != "max")
    customer, plan = changing.join(stayed, on="customer_id").select("customer_id", "plan").row(0)
    ingest(everything, tmp_path, monday)
    ingest(everything, tmp_path, monday + timedelta(days=1))
    assert records_of(tmp_path, customer) == [(monday.date(), plan)]
    ingest(with_new_plans(everything), tmp_path, friday)
    assert records_of(tmp_path, customer) == [(monday.date(), plan), (friday.date(), "max")]
    tables = read_tables(tmp_path / "tables")
    days = [monday.date(), monday.date() + timedelta(days=2), friday.date()]
    days.append(friday.date() + timedelta(days=1))
    rows = features(tables, pl.DataFrame(schema=LABELS), days, params=PARAMS)
    said = rows.filter(customer_id=customer).sort("as_of")["plan"].to_list()
    # Before its first delivery a customer has the first record there is.
    assert said == [plan, plan, plan, "max"]


def test_V4_a_source_may_say_when_a_record_changed(everything: Delivery, tmp_path: Path) -> None:
    monday, friday = datetime(2026, 7, 6, 2, tzinfo=UTC), datetime(2026, 7, 10, 2, tzinfo=UTC)
    one, other = everything.customers["customer_id"][0], everything.customers["customer_id"][3]

    def said(day: date, *customers: str) -> pl.DataFrame:
        return pl.DataFrame([(name, day) for name in customers], schema=CHANGED_ON, orient="row")

    first = replace(everything, changed_on=said(date(2024, 1, 1), one))
    ingest(first, tmp_path, monday)
    changed = with_new_plans(everything)
    # Of the other the store knew something else on Monday, whatever is said of May now.
    changed = replace(
        changed,
        changed_on=pl.concat([said(date(2026, 7, 8), one), said(date(2026, 5, 1), other)]),
    )
    ingest(changed, tmp_path, friday)
    assert [day for day, _ in records_of(tmp_path, one)] == [date(2024, 1, 1), date(2026, 7, 8)]
    assert [day for day, _ in records_of(tmp_path, other)] == [monday.date(), friday.date()]


def test_V4_a_kill_between_versions_and_records_loses_no_change(
    everything: Delivery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monday, friday = datetime(2026, 7, 6, 2, tzinfo=UTC), datetime(2026, 7, 10, 2, tzinfo=UTC)
    customer = everything.customers["customer_id"][0]
    ingest(everything, tmp_path, monday)

    def dies(path: Path, table: pl.DataFrame) -> None:
        if path.name == "customers.parquet":
            raise KeyboardInterrupt
        write_table(path, table)

    monkeypatch.setattr("data.ingest.write_table", dies)
    with pytest.raises(KeyboardInterrupt):
        ingest(with_new_plans(everything), tmp_path, friday)
    monkeypatch.undo()
    ingest(with_new_plans(everything), tmp_path, friday)
    assert [plan for _, plan in records_of(tmp_path, customer)][-1] == "max"
    assert len(records_of(tmp_path, customer)) == 2


def test_V4_a_store_from_before_versions_keeps_what_it_knew(
    everything: Delivery, tmp_path: Path
) -> None:
    monday, friday = datetime(2026, 7, 6, 2, tzinfo=UTC), datetime(2026, 7, 10, 2, tzinfo=UTC)
    customer, plan = everything.customers["customer_id"][0], everything.customers["plan"][0]
    ingest(everything, tmp_path, monday)
    (tmp_path / "tables" / "customer_versions.parquet").unlink()
    ingest(with_new_plans(everything), tmp_path, friday)
    assert records_of(tmp_path, customer) == [
        (friday.date() - timedelta(days=1), plan),
        (friday.date(), "max"),
    ]
