"""Computes customers' features at the start of a day, and the targets churn is learned from.

An as-of date is the start of that day in UTC. A feature sees contacts that began before it; the
target says what happened from that day on. Each feature is declared once, sums over contacts in
`data.features.contact_marks` and all others below, and named by a small grammar that
`parse_feature_name` reads: `<measure>_<days>d` is a sum over the last days, `<measure>_decayed` one
in which a contact counts half after `half_life_days` (and less again after a smooth contact),
`attr_<name>` a column of the customer record.

The customer record (plan, price, attributes) is the one known before that day, see
`data.features.customer_record`. In rows older than the store's first delivery it is the first one
delivered, so an attribute that changes when somebody leaves must be named in `exclude`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from data.features.contact_marks import (
    FRICTIONS,
    MEASURES,
    TOPIC_FEATURES,
    contact_features,
    contacts_as_of,
    contribution,
    parse_feature_name,
)
from data.features.customer_record import AttributeParams, record_versions, records_as_of
from data.progress import Progress

KEYS = ("customer_id", "as_of", "split", "event", "time_days")


@dataclass(frozen=True)
class FeatureParams:
    """What features cover, and from when; section `features` of params.yaml."""

    event: str = "churn"  # the outcome to predict
    windows_days: tuple[int, ...] = (7, 30, 90, 365)  # lengths of the windows
    # after so many days a contact counts half in `_decayed` and in the worst episode
    half_life_days: float = 50.0
    # share of earlier friction, reasons and barriers that a smooth contact takes away
    relief: float = 0.5
    repeat_days: float = 7.0  # contacts closer than this belong to one episode
    as_of_count: int = 10  # at most so many monthly dates to learn from
    min_history_days: int = 90  # of contacts before the first as-of date
    min_follow_up_days: int = 30  # of outcomes after the last as-of date
    lead_days: int = 0  # days an outcome must lie ahead to count: what it takes to act on a risk
    # sentiment_trend compares contacts of so many days with those before
    mood_days: float = 90.0
    part_contacts: int = 100_000  # contacts worked on at once: bounds the memory
    attributes: bool = True  # use the further columns of the customer record
    # a text column with more different values is an identifier and is left out
    max_categories: int = 50
    exclude: tuple[str, ...] = ()  # attributes to leave out, as is the one named like the event
    # Columns of the record that only those who left have, and that are known before they leave.
    known_beforehand: tuple[str, ...] = ()


@dataclass(frozen=True)
class Feature:
    """One feature as declared. `group` is what a reason is called; `meaning` completes "3 …".

    `value_type` is numeric or categorical. `carries` marks a decayed sum of contact effects
    that the model may add inside the hazard. `detail` marks a refinement of another feature (a
    window, a count by channel), which only many churners can tell from chance. `advances` says
    that the value grows by one with every day to come, so that its future is known.
    """

    name: str
    meaning: str
    group: str
    value_type: str = "numeric"
    carries: bool = False
    detail: bool = False
    advances: bool = False


_SINGLES = {
    feature.name: feature
    for feature in (
        Feature(
            "days_since_last_contact", "days since the last contact", "contact volume", detail=True
        ),
        Feature(
            "days_since_last_friction",
            "days since the last friction",
            "friction of any kind",
            detail=True,
        ),
        Feature(
            "worst_episode",
            "friction in the worst episode, fading with age",
            "friction of any kind",
            detail=True,
        ),
        Feature(
            "sentiment_trend",
            "mood of late less that before, from -2 to 2",
            "reasons and mood",
            detail=True,
        ),
        Feature("longest_wait_s", "seconds of the longest wait", "waiting", detail=True),
        Feature(
            "last_channel",
            "channel of the last contact",
            "contact volume",
            "categorical",
            detail=True,
        ),
        Feature(
            "last_reason",
            "reason of the last contact",
            "reasons and mood",
            "categorical",
            detail=True,
        ),
        Feature("tenure_days", "days as a customer", "tenure and price", advances=True),
        Feature("monthly_price", "monthly price", "tenure and price"),
        Feature("plan", "plan", "plan and region", "categorical"),
        Feature("region", "region", "plan and region", "categorical"),
    )
}


def describe(name: str, value_type: str = "numeric") -> Feature:
    """Returns the declaration behind a feature's name.

    `value_type` is used for `attr_…`. Raises KeyError for an unknown name.
    """
    if name in _SINGLES:
        return _SINGLES[name]
    if name.startswith("attr_"):
        return Feature(
            name, name.removeprefix("attr_").replace("_", " "), "customer record", value_type
        )
    base, days, _ = named = parse_feature_name(name)
    when = f"in the last {days} days" if days else "recently, fading with age"
    if base in MEASURES and named.is_sum:
        meaning, group, _ = MEASURES[base]
        carries = base in FRICTIONS and not days
        detail = not carries and (base not in ("contacts", "friction") or days is not None)
        return Feature(name, f"{meaning} {when}", group, carries=carries, detail=detail)
    topic, _, value = base.partition("_")
    if base not in TOPIC_FEATURES or not named.is_sum:
        raise KeyError(f"{name}: no such feature. Declare it in data/features/features.py.")
    noun = {
        "barrier": "contacts where agents lacked",
        "reason": "contacts about",
        "sentiment": "contacts in a mood",
    }
    group = "what agents can do" if topic == "barrier" else "reasons and mood"
    # a mood is what friction leaves behind, and would count twice
    carries = topic != "sentiment" and not days
    return Feature(
        name, f"{noun[topic]} {value} {when}", group, carries=carries, detail=not carries
    )


def declared_features(params: FeatureParams) -> list[Feature]:
    """Returns every declared feature; the attributes of customer records come on top of them."""
    return [*_SINGLES.values(), *(describe(name) for name in _sums(params))]


def _sums(params: FeatureParams) -> list[str]:
    # What a contact was about counts over the longest window only: fewer columns, and the decayed
    # sum is nearer.
    windows = dict.fromkeys(MEASURES, params.windows_days) | dict.fromkeys(
        TOPIC_FEATURES, params.windows_days[-1:]
    )
    return [
        f"{base}_{when}"
        for base, days in windows.items()
        for when in (*(f"{n}d" for n in days), "decayed")
    ]


def is_dated(outcomes: pl.DataFrame, params: FeatureParams) -> bool:
    """Returns whether any event has a date.

    Without dates there is only yes or no, and one as-of date.
    """
    return (
        not outcomes_of_event(outcomes, params)
        .filter(pl.col("happened") & pl.col("on").is_not_null())
        .is_empty()
    )


def snapshot(outcomes: pl.DataFrame, contacts: pl.DataFrame, params: FeatureParams) -> date:
    """Returns the day after all data, at which customers are scored.

    Raises ValueError when no table has a date.
    """
    ends = [
        outcomes_of_event(outcomes, params)["observed_until"].max(),
        contacts["started_at"].dt.date().max(),
    ]
    dates = [day for day in ends if isinstance(day, date)]
    if not dates:
        raise ValueError(
            "features: no contact and no outcome has a date. Deliver contacts or "
            "outcomes.observed_until."
        )
    # Contacts after the end of observation would be scored without knowing whether their customers
    # had left.
    return (dates[0] if isinstance(ends[0], date) else dates[-1]) + timedelta(days=1)


def as_of_dates(
    outcomes: pl.DataFrame, contacts: pl.DataFrame, params: FeatureParams
) -> list[date]:
    """Returns first days of months to learn from, with history before and follow-up after.

    The snapshot alone where outcomes carry no dates. Raises ValueError when there is no outcome
    or no such month.
    """
    end = snapshot(outcomes, contacts, params)
    if outcomes_of_event(outcomes, params).is_empty():
        raise ValueError(
            "features: no outcome has been delivered, so there is nothing to learn from. Deliver "
            "who left and who was still there, with dates: customer_id, event, happened, on, "
            "observed_until."
        )
    if not is_dated(outcomes, params):
        return [end]
    first = contacts["started_at"].dt.date().min()
    first = (
        first if isinstance(first, date) else end - timedelta(days=params.min_history_days + 365)
    )
    begin, last = (
        first + timedelta(days=params.min_history_days),
        end - timedelta(days=params.min_follow_up_days + params.lead_days),
    )
    months, day = [], date(begin.year, begin.month, 1)
    while day <= last:
        if day >= begin:
            months.append(day)
        day = date(day.year + day.month // 12, day.month % 12 + 1, 1)
    if not months:
        raise ValueError(
            f"features: contacts from {first} and outcomes until {end - timedelta(days=1)} leave "
            f"no month with {params.min_history_days} days before and {params.min_follow_up_days} "
            "after. Lower features.min_history_days."
        )
    if len(months) > params.as_of_count:
        step = (len(months) - 1) / max(1, params.as_of_count - 1)
        months = sorted({months[round(k * step)] for k in range(params.as_of_count)} | {months[-1]})
    return months


def features(
    tables: Mapping[str, pl.DataFrame | pl.LazyFrame],
    labels: pl.DataFrame | pl.LazyFrame,
    as_of: Sequence[date],
    *,
    params: FeatureParams,
    progress: Progress = lambda done, total: None,
) -> pl.DataFrame:
    """Returns one row a customer and as-of date for those who were customers then, sorted by both.

    Columns: customer_id, as_of, event (bool), time_days (float), then features (Float64 or
    String, null where unknown). `time_days` counts from the start of the as-of day (`lead_days`
    later, where there is a lead) to the end of the day of leaving, or to the end of the last
    observed day where `event` is false (right-censored), so that an event within H days has
    time_days <= H. Both are null where nobody observed; `time_days` alone is null where
    outcomes carry no dates (then the target is yes or no).
    """
    return pl.concat(features_in_parts(tables, labels, as_of, params=params, progress=progress))


def features_in_parts(
    tables: Mapping[str, pl.DataFrame | pl.LazyFrame],
    labels: pl.DataFrame | pl.LazyFrame,
    as_of: Sequence[date],
    *,
    params: FeatureParams,
    last_record: bool = False,
    progress: Progress = lambda done, total: None,
) -> Iterator[pl.DataFrame]:
    """Yields what `features` returns, some customers at a time in order of their ids.

    With `last_record` customer records are those known now instead of those known on the as-of
    date: for scoring today, when the store's last delivery may be of the same day. Memory stays
    bounded: give tables and labels as scans of Parquet files and they are never read as a whole. A
    part holds the contacts of at most `part_contacts` and the labels of those. Raises ValueError
    without as-of dates.
    """
    if not as_of:
        raise ValueError("features: no as-of date. Take them from as_of_dates.")
    contacts, labels = tables["contacts"].lazy(), labels.lazy()
    customers = (
        tables["customers"]
        .lazy()
        .collect()
        .unique("customer_id", keep="first", maintain_order=True)
    )
    if customers.is_empty():
        raise ValueError(
            "features: there is no customer. Deliver the customers that contacts and outcomes "
            "are about."
        )
    kept = tables.get("customer_versions")
    versions = record_versions(
        customers,
        None if kept is None else kept.lazy().collect(),
        AttributeParams(params.attributes, (params.event, *params.exclude), params.max_categories),
    )
    outcomes = tables["outcomes"].lazy().collect()
    dated = is_dated(outcomes, params)
    outcomes = outcomes_of_event(outcomes, params).unique(
        "customer_id", keep="first", maintain_order=True
    )
    id_ranges = _id_ranges(customers, contacts, params.part_contacts)
    for done, (first, last) in enumerate(id_ranges):
        in_part = pl.col("customer_id").is_between(pl.lit(first), pl.lit(last))
        part_contacts = contacts.filter(in_part).collect(engine="streaming")
        part_labels = labels.join(
            part_contacts.lazy().select("contact_id"), on="contact_id", how="semi"
        ).collect(engine="streaming")
        featured = contact_features(
            part_contacts, part_labels, repeat_days=params.repeat_days, relief=params.relief
        )
        part_versions = versions.filter(in_part)
        rows = []
        for number, day in enumerate(as_of, start=1):
            people = records_as_of(part_versions, None if last_record else day)
            rows.append(
                _at_risk(people, outcomes, day, dated=dated, lead_days=params.lead_days)
                .join(people.drop("since"), on="customer_id", how="left")
                .join(_history(featured, day, params), on="customer_id", how="left")
            )
            progress(done * len(as_of) + number, len(id_ranges) * len(as_of))
        yield _with_tenure(pl.concat(rows), params)


def _with_tenure(rows: pl.DataFrame, params: FeatureParams) -> pl.DataFrame:
    """`rows` with tenure_days instead of `since`, and zero where there was no contact."""
    tenure = (pl.col("as_of") - pl.col("since")).dt.total_days().cast(pl.Float64)
    return (
        rows.with_columns(tenure.alias("tenure_days"))
        .with_columns(pl.col([*_sums(params), "worst_episode"]).fill_null(0.0))
        .drop("since")
        .sort("customer_id", "as_of")
    )


def _id_ranges(
    customers: pl.DataFrame, contacts: pl.LazyFrame, part_contacts: int
) -> list[tuple[str, str]]:
    """First and last customer id of parts with about `part_contacts` contacts each."""
    counts = contacts.group_by("customer_id").len().collect(engine="streaming")
    sized = (
        customers.select("customer_id")
        .drop_nulls()
        .join(counts, on="customer_id", how="left")
        .sort("customer_id")
        .with_columns(
            ((pl.col("len").fill_null(0) + 1).cum_sum() // (part_contacts + 1)).alias("part")
        )
    )
    ends = sized.group_by("part", maintain_order=True).agg(
        pl.col("customer_id").first().alias("first"), pl.col("customer_id").last().alias("last")
    )
    return ends.select("first", "last").rows()


def outcomes_of_event(outcomes: pl.DataFrame, params: FeatureParams) -> pl.DataFrame:
    """Returns the outcomes of the event to predict.

    Raises ValueError where there are outcomes, and none of that event.
    """
    matching = outcomes.filter(pl.col("event") == params.event)
    if matching.is_empty() and not outcomes.is_empty():
        names = ", ".join(sorted(outcomes["event"].unique().to_list()))
        raise ValueError(
            f"features: no outcome is called {params.event!r}, there is {names}. Set "
            "features.event."
        )
    return matching


def _at_risk(
    customers: pl.DataFrame, outcomes: pl.DataFrame, day: date, *, dated: bool, lead_days: int
) -> pl.DataFrame:
    """Who is a customer at the start of `day`, with event and time_days."""
    rows = customers.select("customer_id", "since", pl.lit(day).alias("as_of"))
    if dated:
        rows = rows.filter(pl.col("since").is_null() | (pl.col("since") < day))
    return targets(rows, outcomes, dated=dated, lead_days=lead_days)


def targets(
    rows: pl.DataFrame, outcomes: pl.DataFrame, *, dated: bool = True, lead_days: int = 0
) -> pl.DataFrame:
    """Adds event and time_days as `features` has them, leaving out those who had left.

    `rows` has customer_id, as_of, …; `outcomes` are of one event, a row a customer. Whoever
    leaves within `lead_days` of the as-of date is left out as well: nobody could have acted in
    time.
    """
    extra = [name for name in rows.columns if name not in ("customer_id", "as_of")]
    rows = rows.join(
        outcomes.select("customer_id", "happened", "on", "observed_until"),
        on="customer_id",
        how="left",
    )
    if not dated:
        return rows.select(
            "customer_id",
            "as_of",
            pl.col("happened").alias("event"),
            pl.lit(None, pl.Float64).alias("time_days"),
            *extra,
        )
    left = pl.col("happened").fill_null(False) & pl.col("on").is_not_null()
    seen = pl.when(left).then(pl.col("on")).otherwise(pl.col("observed_until"))
    begin = pl.col("as_of") + pl.duration(days=lead_days)
    days = (seen - begin).dt.total_days().cast(pl.Float64) + 1
    # Happened on an unknown day: neither an event with a time nor a survivor.
    unknown = days.is_null() | (days < 0) | (pl.col("happened").fill_null(False) & ~left)
    return rows.filter(~(left & (pl.col("on") < begin))).select(
        "customer_id",
        "as_of",
        pl.when(unknown).then(None).otherwise(left).alias("event"),
        pl.when(unknown).then(None).otherwise(days).alias("time_days"),
        *extra,
    )


def _history(featured: pl.DataFrame, day: date, params: FeatureParams) -> pl.DataFrame:
    """Features of contacts, one row a customer with any contact before `day`."""
    before = contacts_as_of(featured, day, params.half_life_days)
    episodes = before.group_by("customer_id", "episode").agg(
        (pl.col("severity").sum() * pl.col("decay").max()).alias("worst_episode")
    )
    mood = pl.col("sentiment_positive") - pl.col("sentiment_negative")
    late = pl.col("age") <= params.mood_days
    return (
        before.group_by("customer_id")
        .agg(
            *(
                contribution(parse_feature_name(name)).sum().cast(pl.Float64).alias(name)
                for name in _sums(params)
            ),
            pl.col("age").min().alias("days_since_last_contact"),
            pl.col("age").filter(pl.col("severity") >= 0.5).min().alias("days_since_last_friction"),
            pl.col("wait_s")
            .filter(pl.col("age") <= params.windows_days[-1])
            .max()
            .alias("longest_wait_s"),
            (mood.filter(late).mean() - mood.filter(~late).mean()).alias("sentiment_trend"),
            pl.col("channel").last().alias("last_channel"),
            pl.col("reason").last().alias("last_reason"),
        )
        .join(
            episodes.group_by("customer_id").agg(pl.col("worst_episode").max()),
            on="customer_id",
            how="left",
        )
    )


def active_customers(
    parts: Iterable[pl.DataFrame], outcomes: pl.DataFrame, params: FeatureParams
) -> Iterator[pl.DataFrame]:
    """Yields each part of today's features without customers who have left, on whatever day."""

    gone = outcomes_of_event(outcomes, params).filter(pl.col("happened"))
    for part in parts:
        yield part.join(gone, on="customer_id", how="anti", maintain_order="left")
