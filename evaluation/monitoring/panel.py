"""The drift panel: measures of contacts, night by night, against a frozen reference period."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from evaluation.monitoring import drift
from evaluation.monitoring.params import MonitoringParams

# Columns of a table of observations that are no metric: one row a contact.
KEYS = ("contact_id", "customer_id", "day")
NULL = "none"  # stands for a category that is not known
OTHER = "new"  # stands for all categories that the reference does not have
FEATURE = "feature "  # begins the names of metrics that are one metric together
_MAX_CATEGORIES = 20


@dataclass(frozen=True)
class Alarm:
    """A metric that differs from the reference by more than chance explains."""

    kind: str
    metric: str
    window: int  # nights
    p: float  # of this metric and window, before correction for their number
    limit: float  # at or below which it is an alarm
    reference: float | None  # mean, or share of `category`, in the reference
    value: float | None  # the same in the window
    category: str = ""
    sentence: str = ""


@dataclass(frozen=True)
class PanelResult:
    """What the panel of one kind of model found in a night."""

    kind: str
    nights: int  # of observations since the reference was frozen
    reference_days: int
    reference_contacts: int
    alarms: list[Alarm] = field(default_factory=list)
    smallest_p: dict[str, float] = field(default_factory=dict)  # corrected, by metric
    says: str = ""  # why nothing can be said, where nothing can


def metrics_of(reference: pl.DataFrame) -> list[str]:
    """Returns the metrics of a table of observations that the reference has values of."""
    return [
        name
        for name in reference.columns
        if name not in KEYS and reference[name].null_count() < reference.height
    ]


def weight_of(metric: str, metrics: Sequence[str]) -> float:
    """Returns the share of the alarms a metric may have; all features count as one metric."""
    features = sum(name.startswith(FEATURE) for name in metrics)
    plain = len(metrics) - features
    groups = plain + (1 if features else 0)
    return 1 / groups / (features if metric.startswith(FEATURE) else 1)


def judge_panel(
    kind: str,
    reference: pl.DataFrame,
    nights: Sequence[pl.DataFrame],
    *,
    params: MonitoringParams,
    kinds: int,
) -> PanelResult:
    """Returns what differs from `reference` in the last of `nights`, oldest first.

    Tables have a row a contact with KEYS and a column a metric, numeric or a category. `kinds` is
    the number of panels that share the alarms of `params.nights_per_false_alarm`.
    """
    days = reference["day"].n_unique()
    found = PanelResult(kind, len(nights), days, reference.height)
    if days < params.min_days or reference.height < params.min_units:
        return _nothing(
            found,
            f"The reference period has {reference.height} contacts of {days} days. Nothing can be "
            f"said of drift below {params.min_units} contacts of {params.min_days} days.",
        )
    if not nights or nights[-1].is_empty():
        return _nothing(found, "No contact came.")
    metrics = metrics_of(reference)
    level = 1 / params.nights_per_false_alarm / kinds / len(params.windows)
    alarms, smallest = [], {}
    for metric in metrics:
        if metric not in nights[-1].columns:
            continue
        limit = level * weight_of(metric, metrics)
        results = _test(kind, metric, reference, nights, params=params, limit=limit)
        if results:
            best = min(results, key=lambda alarm: alarm.p)
            smallest[metric] = min(1.0, best.p / limit / params.nights_per_false_alarm)
            if best.p <= best.limit:
                alarms.append(best)
    return PanelResult(
        kind,
        len(nights),
        days,
        reference.height,
        sorted(alarms, key=lambda alarm: alarm.p),
        smallest,
    )


def _nothing(found: PanelResult, says: str) -> PanelResult:
    return PanelResult(
        found.kind, found.nights, found.reference_days, found.reference_contacts, says=says
    )


def _test(
    kind: str,
    metric: str,
    reference: pl.DataFrame,
    nights: Sequence[pl.DataFrame],
    *,
    params: MonitoringParams,
    limit: float,
) -> list[Alarm]:
    """Returns the test of a metric in each window of nights, as alarms whatever their p-value."""
    numeric = reference.schema[metric].is_numeric()
    columns = [*KEYS, metric]
    known = [night.select(columns) for night in nights if metric in night.columns]
    base = reference.select(columns)
    if numeric:
        base = base.filter(pl.col(metric).is_finite())
        known = [night.filter(pl.col(metric).is_finite()) for night in known]
    else:
        filled = pl.col(metric).cast(pl.String).fill_null(NULL)
        base = base.with_columns(filled)
        known = [night.with_columns(filled) for night in known]
    enough = base["day"].n_unique() >= params.min_days and base.height >= params.min_units
    if not enough or not known or known[-1].is_empty():
        return []
    test = _test_number if numeric else _test_shares
    return test(kind, metric, base, known, windows=params.windows, limit=limit)


def _days(frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Returns (number of each contact's day [contacts], type of each day [days])."""
    days = sorted(frame["day"].unique().to_list())
    place = {day: number for number, day in enumerate(days)}
    types = drift.day_type(np.array([day.weekday() for day in days]))
    return np.array([place[day] for day in frame["day"].to_list()]), types


def _night_type(night: pl.DataFrame) -> int:
    """Returns the type of the day that most contacts of a night are from."""
    if night.is_empty():
        return 0
    day: date = night.group_by("day").len().sort("len", "day")["day"][-1]
    return int(drift.day_type(np.array([day.weekday()]))[0])


def _by_customer(frame: pl.DataFrame, metric: str) -> pl.DataFrame:
    """Returns one row a customer and day with the mean of the metric: their contacts are alike."""
    return frame.group_by("customer_id", "day", maintain_order=True).agg(pl.col(metric).mean())


def _test_number(
    kind: str,
    metric: str,
    base: pl.DataFrame,
    nights: Sequence[pl.DataFrame],
    *,
    windows: Sequence[int],
    limit: float,
) -> list[Alarm]:
    values = base[metric].to_numpy().astype(float)
    base = _by_customer(
        base.with_columns(pl.Series("score", drift.normal_scores(values, values))), "score"
    )
    day, types = _days(base)
    fit = drift.fit_numbers(base["score"].to_numpy(), day, types)
    means, counts, kinds_of_day, plain = [], [], [], []
    for night in nights:
        of_night = night[metric].to_numpy().astype(float)
        scored = _by_customer(
            night.with_columns(pl.Series("score", drift.normal_scores(of_night, values))), "score"
        )
        means.append(float(scored["score"].mean() or 0.0))  # type: ignore[arg-type]
        counts.append(scored.height)
        kinds_of_day.append(_night_type(night))
        plain.append(of_night)
    made = []
    for window in windows:
        part = slice(-window, None)
        p, shift = drift.number_p(
            fit, np.array(means[part]), np.array(counts[part]), np.array(kinds_of_day[part])
        )
        alarm = Alarm(
            kind,
            metric,
            window,
            float(p),
            limit,
            float(values.mean()),
            float(np.concatenate(plain[part]).mean()),
        )
        made.append(_with_sentence(alarm, shift=float(shift)))
    return made


def _test_shares(
    kind: str,
    metric: str,
    base: pl.DataFrame,
    nights: Sequence[pl.DataFrame],
    *,
    windows: Sequence[int],
    limit: float,
) -> list[Alarm]:
    common = base.group_by(metric).len().sort("len", metric, descending=[True, False])
    categories = [*common[metric].to_list()[: _MAX_CATEGORIES - 1], OTHER]
    place = {name: number for number, name in enumerate(categories)}
    rest = len(categories) - 1

    def numbers(frame: pl.DataFrame) -> np.ndarray:
        return np.array([place.get(name, rest) for name in frame[metric].to_list()], int)

    day, types = _days(base)
    hits = np.zeros((len(types), len(categories)))
    np.add.at(hits, (day, numbers(base)), 1)
    fit = drift.fit_shares(hits, hits.sum(1))
    seen = np.array([np.bincount(numbers(night), minlength=rest + 1) for night in nights])
    made = []
    for window in windows:
        part = seen[-window:]
        tests = [drift.share_p(fit, n, part[:, n], part.sum(1)) for n in range(rest + 1)]
        best = min(range(rest + 1), key=lambda n: float(tests[n][0]))
        alarm = Alarm(
            kind,
            metric,
            window,
            min(1.0, float(tests[best][0]) * (rest + 1)),
            limit,
            float(hits[:, best].sum() / hits.sum()),
            float(tests[best][1]),
            category=_category_of(best, categories, nights, window, metric),
        )
        made.append(_with_sentence(alarm))
    return made


def _category_of(
    number: int,
    categories: Sequence[str],
    nights: Sequence[pl.DataFrame],
    window: int,
    metric: str,
) -> str:
    """Returns the category's name; of those that the reference lacks the commonest one's."""
    if number < len(categories) - 1:
        return categories[number]
    last = pl.concat([night.select(metric) for night in nights[-window:]])
    new = last.filter(~pl.col(metric).is_in(categories[:-1]))
    if new.is_empty():
        return OTHER
    return str(new.group_by(metric).len().sort("len", metric)[metric][-1])


def _with_sentence(alarm: Alarm, shift: float | None = None) -> Alarm:
    since = "Last night" if alarm.window == 1 else f"In the last {alarm.window} nights"
    what = f"{alarm.metric} {alarm.category}".strip()
    if shift is None:
        reference, value = f"{alarm.reference:.1%}", f"{alarm.value:.1%}"
        sentence = f"{since}: {what} {value}, {reference} in the reference period."
    else:
        sentence = (
            f"{since}: {what} {alarm.value:.4g} on average, {alarm.reference:.4g} in the "
            f"reference period ({shift:+.2f} of its spread)."
        )
    return replace(alarm, sentence=sentence)


def as_rows(result: PanelResult) -> dict[str, Any]:
    """Returns the result as JSON takes it."""
    return asdict(result)
