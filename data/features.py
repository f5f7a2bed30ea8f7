"""What is known about each customer at the start of a day: the features churn is learned from, and the targets.

An as-of date is the start of that day in UTC. A feature sees contacts that began before it; the target says what
happened from that day on. Each feature is declared once below, and named by a small grammar that `describe` reads back:
`<measure>_<days>d` is a sum over the last days, `<measure>_decayed` one in which a contact counts half after
`half_life_days` (and what it left behind less still after a smooth contact: people forgive), `attr_<name>` a column of
the customer record.

What the customer record says (plan, price, attributes) carries no date. It is taken as it stands at delivery, so an
attribute that changes when somebody leaves must be named in `exclude`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import polars as pl

from data.labelling.scheme import SCHEME
from data.records import CHANNELS

KEYS = ("customer_id", "as_of", "split", "event", "time_days")
FRICTIONS = {
    "friction_ivr_dead_end": "menus that led nowhere",
    "friction_pressed_zero": "menus left by pressing 0",
    "friction_system_hangup": "contacts cut off by the system",
    "friction_please_call": "written contacts answered with 'please call'",
    "friction_repeated_contact": "contacts about the same thing again",
    "friction_transfer": "transfers",
    "friction_unresolved": "contacts without a solution",
    "friction_long_wait": "long waits",
}
_ABOUT = tuple(
    f"{label}_{value}"
    for label in ("reason", "barrier", "sentiment")
    for value in SCHEME[label]
    if value not in ("none", "neutral", "other")
)
_TRUE = ("yes", "true", "1", "present")


@dataclass(frozen=True)
class FeatureParams:
    """What features look at, and from when."""

    event: str = "churn"  # the outcome to foresee
    windows_days: tuple[int, ...] = (7, 30, 90, 365)  # lengths of looking back
    half_life_days: float = 50.0  # after so many days a contact counts half in `_decayed` and in the worst episode
    relief: float = 0.5  # share of earlier friction, reasons and barriers that a smooth contact makes up for
    repeat_days: float = 7.0  # contacts closer than this belong to one episode
    as_of_count: int = 10  # at most so many monthly dates to learn from
    min_history_days: int = 90  # of contacts before the first as-of date
    min_follow_up_days: int = 30  # of outcomes after the last as-of date
    attributes: bool = True  # use the further columns of the customer record
    max_categories: int = 50  # a text column with more different values is an identifier and is left out
    exclude: tuple[str, ...] = ()  # attributes to leave out, beside the one named like the event


@dataclass(frozen=True)
class Feature:
    """One feature as declared. `group` is what a reason is called; `meaning` completes "3 …".

    `carries` marks what contacts left behind, a fading sum that the model may add up. `detail` marks a refinement of
    another feature (a window, a count by channel), which only many customers who left can tell from chance.
    """

    name: str
    meaning: str
    group: str
    kind: str = "numeric"
    carries: bool = False
    detail: bool = False


# Sums over contacts: meaning, group, and what one contact adds.
_MEASURES: dict[str, tuple[str, str, pl.Expr]] = {
    "contacts": ("contacts", "contact volume", pl.lit(1.0)),
    **{
        f"contacts_{channel}": (
            f"{channel} contacts",
            "contact volume",
            (pl.col("channel") == channel).cast(pl.Float64),
        )
        for channel in CHANNELS
    },
    "talk_s": ("seconds in contact", "contact volume", pl.col("duration_s").fill_null(0)),
    "repeated_contacts": ("contacts soon after another", "effort", pl.col("repeated")),
    "channel_switches": ("changes of channel within an episode", "effort", pl.col("switched")),
    "wait_s": ("seconds spent waiting", "effort", pl.col("wait_s").fill_null(0)),
    "friction": ("friction events", "friction", pl.col("severity")),
    "smooth_contacts": ("contacts without friction", "friction", pl.col("severity") < 0.5),
    **{name: (meaning, "friction", pl.col(name)) for name, meaning in FRICTIONS.items()},
}
_SINGLES = {
    feature.name: feature
    for feature in (
        Feature("days_since_last_contact", "days since the last contact", "contact volume", detail=True),
        Feature("days_since_last_friction", "days since the last friction", "friction", detail=True),
        Feature("worst_episode", "friction in the worst episode, fading with age", "friction", detail=True),
        Feature("longest_wait_s", "seconds of the longest wait", "effort", detail=True),
        Feature("last_channel", "channel of the last contact", "contact volume", "categorical", detail=True),
        Feature("last_reason", "reason of the last contact", "reasons and mood", "categorical", detail=True),
        Feature("tenure_days", "days as a customer", "tenure and price"),
        Feature("monthly_price", "monthly price", "tenure and price"),
        Feature("plan", "plan", "plan and region", "categorical"),
        Feature("region", "region", "plan and region", "categorical"),
    )
}


def describe(name: str, kind: str = "numeric") -> Feature:
    """The declaration behind a feature's name. `kind` is used for `attr_…`. Raises KeyError for an unknown name."""
    if name in _SINGLES:
        return _SINGLES[name]
    if name.startswith("attr_"):
        return Feature(name, name.removeprefix("attr_").replace("_", " "), "customer record", kind)
    match = re.fullmatch(r"(.+)_(?:(\d+)d|decayed)", name)
    if not match:
        raise KeyError(f"{name}: no such feature. Declare it in data/features.py.")
    base, days = match.groups()
    when = f"in the last {days} days" if days else "recently, fading with age"
    if base in _MEASURES:
        meaning, group, _ = _MEASURES[base]
        carries = base in FRICTIONS and not days
        detail = not carries and (base not in ("contacts", "friction") or days is not None)
        return Feature(name, f"{meaning} {when}", group, carries=carries, detail=detail)
    topic, _, value = base.partition("_")
    if base not in _ABOUT:
        raise KeyError(f"{name}: no such feature. Declare it in data/features.py.")
    noun = {"barrier": "contacts where agents lacked", "reason": "contacts about", "sentiment": "contacts in a mood"}
    group = "friction" if topic == "barrier" else "reasons and mood"
    carries = topic != "sentiment" and not days  # a mood is what friction leaves behind, and would count twice
    return Feature(name, f"{noun[topic]} {value} {when}", group, carries=carries, detail=not carries)


def declared(params: FeatureParams) -> list[Feature]:
    """Every feature computed from contacts and the customer record, but for the attributes a record may have."""
    names = []
    for base in (*_MEASURES, *_ABOUT):
        names += [f"{base}_{days}d" for days in _windows(base, params)] + [f"{base}_decayed"]
    return [*_SINGLES.values(), *(describe(name) for name in names)]


def _windows(base: str, params: FeatureParams) -> tuple[int, ...]:
    # What a contact was about counts over the longest window only: fewer columns, and the decayed sum is nearer.
    return params.windows_days if base in _MEASURES else params.windows_days[-1:]


def is_dated(outcomes: pl.DataFrame, params: FeatureParams) -> bool:
    """Whether anything that happened has a date. Without dates there is only yes or no, and one as-of date."""
    return not _of_event(outcomes, params).filter(pl.col("happened") & pl.col("on").is_not_null()).is_empty()


def snapshot(outcomes: pl.DataFrame, contacts: pl.DataFrame, params: FeatureParams) -> date:
    """The day after everything known: where customers are scored. Raises ValueError when no table has a date."""
    ends = [_of_event(outcomes, params)["observed_until"].max(), contacts["started_at"].dt.date().max()]
    known = [day for day in ends if isinstance(day, date)]
    if not known:
        raise ValueError("features: no contact and no outcome has a date. Deliver contacts or outcomes.observed_until.")
    # Contacts after the end of observation would be scored without knowing whether their customers had left.
    return (known[0] if isinstance(ends[0], date) else known[-1]) + timedelta(days=1)


def as_of_dates(outcomes: pl.DataFrame, contacts: pl.DataFrame, params: FeatureParams) -> list[date]:
    """First days of months to learn from, with history before and follow-up after; undated outcomes: the snapshot."""
    end = snapshot(outcomes, contacts, params)
    if not is_dated(outcomes, params):
        return [end]
    first = contacts["started_at"].dt.date().min()
    first = first if isinstance(first, date) else end - timedelta(days=params.min_history_days + 365)
    begin, last = first + timedelta(days=params.min_history_days), end - timedelta(days=params.min_follow_up_days)
    months, day = [], date(begin.year, begin.month, 1)
    while day <= last:
        if day >= begin:
            months.append(day)
        day = date(day.year + day.month // 12, day.month % 12 + 1, 1)
    if not months:
        raise ValueError(
            f"features: contacts from {first} and outcomes until {end - timedelta(days=1)} leave no month with "
            f"{params.min_history_days} days before and {params.min_follow_up_days} after. "
            "Lower features.min_history_days."
        )
    if len(months) > params.as_of_count:
        step = (len(months) - 1) / max(1, params.as_of_count - 1)
        months = sorted({months[round(k * step)] for k in range(params.as_of_count)} | {months[-1]})
    return months


def features(
    tables: dict[str, pl.DataFrame],
    labels: pl.DataFrame,
    as_of: list[date],
    params: FeatureParams,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> pl.DataFrame:
    """One row a customer and as-of date for those who were customers then, sorted by both.

    Columns: customer_id, as_of, event (bool), time_days (float), then features (Float64 or String, null where unknown).
    `time_days` counts from the start of the as-of day to the end of the day of leaving, or to the end of the last
    observed day where `event` is false (right-censored), so that an event within H days has time_days <= H. Both are
    null where nobody observed; `time_days` alone is null where outcomes carry no dates (then the target is yes or no).
    """
    marks = _marks(tables["contacts"], labels, params)
    customers = tables["customers"].unique("customer_id", keep="first", maintain_order=True)
    record = _record(customers, params)
    outcomes = _of_event(tables["outcomes"], params).unique("customer_id", keep="first", maintain_order=True)
    dated = is_dated(tables["outcomes"], params)
    parts = []
    for done, day in enumerate(as_of, start=1):
        rows = _at_risk(customers, outcomes, day, dated)
        parts.append(rows.join(record, on="customer_id", how="left").join(
            _history(marks, day, params), on="customer_id", how="left"
        ))  # fmt: skip
        progress(done, len(as_of))
    if not parts:
        raise ValueError("features: no as-of date. Take them from as_of_dates.")
    frame = pl.concat(parts).with_columns(
        (pl.col("as_of") - pl.col("since")).dt.total_days().cast(pl.Float64).alias("tenure_days")
    )
    sums = [name for name in frame.columns if re.fullmatch(r".+_(\d+d|decayed)", name) and not name.startswith("attr_")]
    return (
        frame.with_columns(pl.col([*sums, "worst_episode"]).fill_null(0.0)).drop("since").sort("customer_id", "as_of")
    )


def _of_event(outcomes: pl.DataFrame, params: FeatureParams) -> pl.DataFrame:
    found = outcomes.filter(pl.col("event") == params.event)
    if found.is_empty() and not outcomes.is_empty():
        names = ", ".join(sorted(outcomes["event"].unique().to_list()))
        raise ValueError(f"features: no outcome is called {params.event!r}, there is {names}. Set features.event.")
    return found


def _at_risk(customers: pl.DataFrame, outcomes: pl.DataFrame, day: date, dated: bool) -> pl.DataFrame:
    """Who is a customer at the start of `day`, with what became of them."""
    rows = customers.select("customer_id", "since", pl.lit(day).alias("as_of")).join(
        outcomes.select("customer_id", "happened", "on", "observed_until"), on="customer_id", how="left"
    )
    if not dated:
        return rows.with_columns(
            pl.col("happened").alias("event"), pl.lit(None, pl.Float64).alias("time_days")
        ).select("customer_id", "as_of", "event", "time_days", "since")  # fmt: skip
    left = pl.col("happened").fill_null(False) & pl.col("on").is_not_null()
    seen = pl.when(left).then(pl.col("on")).otherwise(pl.col("observed_until"))
    days = (seen - pl.col("as_of")).dt.total_days().cast(pl.Float64) + 1
    # Happened on an unknown day: neither an event with a time nor a survivor.
    unknown = days.is_null() | (days < 0) | (pl.col("happened").fill_null(False) & ~left)
    return (
        rows.filter((pl.col("since").is_null() | (pl.col("since") < day)) & ~(left & (pl.col("on") < day)))
        .with_columns(
            pl.when(unknown).then(None).otherwise(left).alias("event"),
            pl.when(unknown).then(None).otherwise(days).alias("time_days"),
        )
        .select("customer_id", "as_of", "event", "time_days", "since")
    )


def _marks(contacts: pl.DataFrame, labels: pl.DataFrame, params: FeatureParams) -> pl.DataFrame:
    """Contacts in order with what each adds. Every column looks at the contact itself or at earlier ones only."""
    value = pl.col("value").str.to_lowercase()
    friction = pl.col("label").str.starts_with("friction_")
    names = [*FRICTIONS, *_ABOUT]
    probabilities = (
        labels.select(
            "contact_id",
            pl.when(friction).then("label").otherwise(pl.format("{}_{}", "label", value)).alias("mark"),
            pl.when(friction & ~value.is_in(_TRUE)).then(1 - pl.col("probability")).otherwise("probability").alias("p"),
        )
        .filter(pl.col("mark").is_in(names))
        .group_by("contact_id", "mark")
        .agg(pl.col("p").mean())
    )
    wide = probabilities.pivot("mark", on_columns=names, index="contact_id", values="p")
    reason = (
        labels.filter(pl.col("label") == "reason")
        .sort("contact_id", "probability", "value", descending=[False, True, False])
        .unique("contact_id", keep="first", maintain_order=True).select("contact_id", pl.col("value").alias("reason"))
    )  # fmt: skip
    gap = (pl.col("started_at") - pl.col("started_at").shift(1).over("customer_id")).dt.total_seconds() / 86400
    soon = (gap <= params.repeat_days).fill_null(False)
    changed = (pl.col("channel") != pl.col("channel").shift(1).over("customer_id")).fill_null(False)
    return (
        contacts.sort("customer_id", "started_at", "contact_id")
        .join(wide, on="contact_id", how="left", maintain_order="left")
        .join(reason, on="contact_id", how="left", maintain_order="left")
        .with_columns(pl.col(names).fill_null(0.0))
        .with_columns(
            soon.cast(pl.Float64).alias("repeated"),
            (soon & changed).cast(pl.Float64).alias("switched"),
            (~soon).cum_sum().over("customer_id").alias("episode"),
            pl.sum_horizontal(*FRICTIONS).alias("severity"),
        )
        .with_columns(_relieved(params).alias("relieved"))
    )


def _relieved(params: FeatureParams) -> pl.Expr:
    """The logarithm of what smooth contacts up to this one would leave of something that came before them all."""
    trouble = pl.sum_horizontal("severity", *(name for name in _ABOUT if name.startswith("barrier_")))
    return (1 - params.relief * (1 - trouble).clip(0, 1)).log().cum_sum().over("customer_id")


def _history(marks: pl.DataFrame, day: date, params: FeatureParams) -> pl.DataFrame:
    """One row a customer with any contact before `day`."""
    midnight = datetime.combine(day, time(), UTC)
    age = (pl.lit(midnight) - pl.col("started_at")).dt.total_seconds() / 86400
    past = marks.filter(pl.col("started_at") < midnight).with_columns(
        age.alias("age"),
        (0.5 ** (age / params.half_life_days)).alias("decay"),
        (pl.col("relieved").last().over("customer_id") - pl.col("relieved")).exp().alias("unrelieved"),
    )
    measures = {base: amount for base, (_, _, amount) in _MEASURES.items()}
    sums = []
    for base, amount in (measures | {name: pl.col(name) for name in _ABOUT}).items():
        sums += [
            pl.when(pl.col("age") <= days).then(amount).sum().cast(pl.Float64).alias(f"{base}_{days}d")
            for days in _windows(base, params)
        ]
        forgiven = base == "friction" or describe(f"{base}_decayed").carries
        left = pl.col("decay") * pl.col("unrelieved") if forgiven else pl.col("decay")
        sums.append((amount.cast(pl.Float64) * left).sum().alias(f"{base}_decayed"))
    episodes = past.group_by("customer_id", "episode").agg(
        (pl.col("severity").sum() * pl.col("decay").max()).alias("worst_episode")
    )
    return (
        past.group_by("customer_id")
        .agg(
            *sums,
            pl.col("age").min().alias("days_since_last_contact"),
            pl.col("age").filter(pl.col("severity") >= 0.5).min().alias("days_since_last_friction"),
            pl.col("wait_s").filter(pl.col("age") <= params.windows_days[-1]).max().alias("longest_wait_s"),
            pl.col("channel").last().alias("last_channel"),
            pl.col("reason").last().alias("last_reason"),
        )
        .join(episodes.group_by("customer_id").agg(pl.col("worst_episode").max()), on="customer_id", how="left")
    )


def _record(customers: pl.DataFrame, params: FeatureParams) -> pl.DataFrame:
    """Plan, region, price and typed attributes, one row a customer."""
    base = customers.select("customer_id", "plan", "region", "monthly_price")
    if not params.attributes:
        return base
    rows: list[dict[str, Any]] = []
    for customer_id, text in customers.select("customer_id", "attributes").iter_rows():
        try:
            found = json.loads(text or "{}")
        except json.JSONDecodeError as error:
            raise ValueError(f"customer {customer_id}: attributes are not JSON ({error}). Ingest it again.") from error
        if not isinstance(found, dict):
            raise ValueError(f"customer {customer_id}: attributes are not a JSON object. Ingest it again.")
        rows.append(found)
    left_out = {name.casefold() for name in (params.event, *params.exclude)}
    columns = []
    for name in sorted({name for row in rows for name in row if name.casefold() not in left_out}):
        column = _typed(f"attr_{name}", (row.get(name) for row in rows), params.max_categories)
        if column is not None:
            columns.append(column)
    return base.with_columns(columns)


def _typed(name: str, values: Iterable[Any], max_categories: int) -> pl.Series | None:
    """Numbers where every known value is one, else text; None where nothing is known or text is an identifier."""
    known = [None if value in (None, "") else str(int(value)) if isinstance(value, bool) else str(value).strip()
             for value in values]  # fmt: skip
    text = pl.Series(name, known, dtype=pl.String)
    numbers = text.cast(pl.Float64, strict=False)
    if text.null_count() == len(text):
        return None
    if numbers.null_count() == text.null_count():
        return numbers
    return text if text.n_unique() <= max_categories else None
