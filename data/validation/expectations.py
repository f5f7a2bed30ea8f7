"""What each table promises: one expectation a line, with the reason a broken one is given in quarantine.

Plain values only, so that the contract can be read and changed without knowing Great Expectations. Columns that are
not in data/records.py are measured or joined in first (`data.validation.tables`, `data.validation.measures`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from data.records import ASSIGNERS, CHANNELS, ORIGINS, ROLES
from data.validation.params import ValidationParams


@dataclass(frozen=True)
class Expectation:
    """One expectation.

    Within a suite the first broken promise names the reason of a rejected row.
    """

    expectation: str  # Great Expectations' name for it
    kwargs: dict[str, Any]
    reason: str  # short slug, unique within its suite
    next_step: str  # what the reader of the quarantine can do
    stops: bool = False  # True: breaking it stops the street instead of costing rows
    says: str = ""  # the detail, with {column}s of the row filled in; else column, value and what was wanted

    @property
    def column(self) -> str | None:
        """The column (the first of two) a broken row is explained with."""
        return self.kwargs.get("column") or self.kwargs.get("column_A")

    @property
    def wanted(self) -> str:
        """What was asked for, in words."""
        kwargs = self.kwargs
        if "value_set" in kwargs:
            return "one of " + ", ".join(str(value) for value in kwargs["value_set"])
        if "min_value" in kwargs or "max_value" in kwargs:
            low, high = kwargs.get("min_value"), kwargs.get("max_value")
            if low is not None and high is not None:
                return f"between {low} and {high}"
            return f"at least {low}" if low is not None else f"at most {high}"
        if "column_A" in kwargs:
            return (
                f"equal to {kwargs['column_B']}"
                if "equal" in self.expectation
                else f"not before {kwargs['column_B']}"
            )
        return {
            "expect_column_values_to_not_be_null": "a value",
            "expect_column_values_to_be_json_parseable": "JSON",
        }.get(self.expectation, self.expectation)


def _filled(column: str, reason: str, next_step: str) -> Expectation:
    return Expectation("expect_column_values_to_not_be_null", {"column": column}, reason, next_step)


def _within(
    column: str, reason: str, next_step: str, *, low: Any = None, high: Any = None
) -> Expectation:
    limits = {
        key: value for key, value in (("min_value", low), ("max_value", high)) if value is not None
    }
    return Expectation(
        "expect_column_values_to_be_between", {"column": column, **limits}, reason, next_step
    )


def _among(
    column: str, values: tuple[Any, ...], *, reason: str, next_step: str, stops: bool = False
) -> Expectation:
    kwargs = {"column": column, "value_set": list(values)}
    return Expectation("expect_column_values_to_be_in_set", kwargs, reason, next_step, stops)


def _true(column: str, reason: str, *, says: str, next_step: str) -> Expectation:
    kwargs = {"column": column, "value_set": [True]}
    return Expectation("expect_column_values_to_be_in_set", kwargs, reason, next_step, says=says)


def _listed(what: str, reason: str, next_step: str) -> Expectation:
    return _true(
        f"{what}_listed",
        reason,
        says=f"{what} {{{what}_id}} is not in {what}s",
        next_step=next_step,
    )


def _accepted(what: str) -> Expectation:
    says = f"{what} {{{what}_id}} was rejected"
    return _true(
        f"{what}_accepted",
        f"{what}-rejected",
        says=says,
        next_step=f"Repair the {what} first: see its own line.",
    )


def _once(
    reason: str, next_step: str, *, column: str = "key", says: str = "its key came before"
) -> Expectation:
    return Expectation(
        "expect_column_values_to_be_first_of_their_kind",
        {"column": column},
        reason,
        next_step,
        says=says,
    )


def _not_before(column: str, other: str, *, reason: str, next_step: str) -> Expectation:
    kwargs = {
        "column_A": column,
        "column_B": other,
        "or_equal": True,
        "ignore_row_if": "either_value_is_missing",
    }
    return Expectation(
        "expect_column_pair_values_a_to_be_greater_than_b", kwargs, reason, next_step
    )


def _last_day(params: ValidationParams, now: datetime) -> datetime:
    """Midnight of the latest day that can be true, without a zone: how dates look once they are in pandas."""
    latest = now.astimezone(UTC) + timedelta(seconds=params.future_tolerance_s)
    return datetime(latest.year, latest.month, latest.day)


def schema() -> list[Expectation]:
    """On a list of all columns, with the type found and the type wanted."""
    kwargs = {"column_A": "found", "column_B": "wanted", "ignore_row_if": "neither"}
    step = "Correct the source's mapping to data/records.py, then ingest again."
    return [
        Expectation(
            "expect_column_pair_values_to_be_equal", kwargs, "wrong-column", step, stops=True
        )
    ]


def customers(params: ValidationParams, now: datetime) -> list[Expectation]:
    """Who may leave."""
    fix = "Correct the customer in the CRM export and ingest again."
    return [
        _filled("customer_id", "no-customer-id", fix),
        _once(
            "duplicate-customer", "Keep one line a customer in the CRM export; the first was kept."
        ),
        _within("since", "since-in-the-future", fix, high=_last_day(params, now)),
        _within("monthly_price", "negative-price", fix, low=0.0),
        Expectation(
            "expect_column_values_to_be_json_parseable",
            {"column": "attributes"},
            "attributes-not-json",
            fix,
        ),
    ]


def contacts(params: ValidationParams, now: datetime) -> list[Expectation]:
    """Every touch, of a customer we know, with a length and a start that can be true."""
    fix = "Correct the contact in the source system's export and ingest again."
    return [
        _filled("contact_id", "no-contact-id", fix),
        _once("duplicate-contact", "Export each contact once; the first was kept."),
        _listed(
            "customer", "unknown-customer", "Add the customer to the CRM export, then ingest again."
        ),
        _accepted("customer"),
        _among(
            "channel",
            CHANNELS,
            reason="unknown-channel",
            next_step="Map the source's channel to one of these.",
        ),
        _filled("started_at", "no-start", fix),
        _within(
            "started_at",
            "in-the-future",
            "Check the source's clock and time zone: records are UTC.",
            high=now + timedelta(seconds=params.future_tolerance_s),
        ),
        _filled("duration_s", "no-duration", fix),
        _within("duration_s", "impossible-duration", fix, low=0.0, high=params.max_contact_s),
        _within("wait_s", "impossible-wait", fix, low=0.0, high=params.max_contact_s),
    ]


def recordings(params: ValidationParams) -> list[Expectation]:
    """What the measured audio must be like."""
    again = "Export the recording again from the telephone platform."
    return [
        _filled(
            "contact_id", "no-contact-id", "Name the contact of this recording, then ingest again."
        ),
        _once("duplicate-recording", "Deliver one recording a contact; the first was kept."),
        _listed(
            "contact",
            "unknown-contact",
            "Deliver the contact of this recording, then ingest again.",
        ),
        _accepted("contact"),
        Expectation(
            "expect_column_values_to_be_null",
            {"column": "error"},
            "unreadable",
            again,
            says="{error}",
        ),
        _filled("content", "no-hash", "Ingest it again: its hash is missing."),
        _true(
            "content_matches",
            "content-changed",
            says="its bytes are not those that were ingested",
            next_step="Restore its shard.",
        ),
        _among(
            "measured_codec",
            params.codecs,
            reason="codec",
            next_step="Export in a known codec, or add it to validation.codecs.",
        ),
        _among(
            "measured_rate_hz",
            params.sample_rates_hz,
            reason="wrong-rate",
            next_step="Export at a telephone rate, or add it to validation.sample_rates_hz.",
        ),
        _among(
            "measured_channels",
            params.channels,
            reason="wrong-channels",
            next_step="Export stereo, one role a channel.",
        ),
        _within(
            "measured_s",
            "too-short",
            "Nothing to do if the caller hung up; else export again.",
            low=params.min_duration_s,
        ),
        _within(
            "measured_s",
            "too-long",
            "Check for a line left open; or raise validation.max_duration_s.",
            high=params.max_duration_s,
        ),
        _within(
            "clipped_share",
            "clipped",
            "Lower the recording level of this line.",
            high=params.max_clipped_share,
        ),
        _within(
            "customer_silent_share",
            "silent-customer",
            "Check the recorder's customer leg.",
            high=params.max_silent_share,
        ),
        _within(
            "agent_silent_share",
            "silent-agent",
            "Check the recorder's agent leg.",
            high=params.max_silent_share,
        ),
        _once(
            "duplicate-content",
            "Find out which contact it belongs to; the earliest keeps it.",
            column="content",
            says="the same audio as call {same_as}",
        ),
    ]


def turns(params: ValidationParams) -> list[Expectation]:
    """What was said, by a known role, inside its recording."""
    fix = "Correct the transcript and ingest again."
    return [
        _listed(
            "contact", "unknown-contact", "Deliver the contact of this turn, then ingest again."
        ),
        _accepted("contact"),
        _filled("turn", "no-turn-number", fix),
        _once("duplicate-turn", "Number the turns of a contact once; the first was kept."),
        _filled("role", "no-role", "Name who spoke: customer, agent or system."),
        _among(
            "role",
            ROLES,
            reason="unknown-role",
            next_step="Name who spoke: customer, agent or system.",
        ),
        _filled("text", "no-text", fix),
        Expectation(
            "expect_column_values_to_match_regex",
            {"column": "text", "regex": r"\S"},
            "blank-text",
            fix,
            says="no word in it",
        ),
        _among("origin", ORIGINS, reason="unknown-origin", next_step=fix),
        _within("start_s", "negative-start", fix, low=0.0),
        _not_before("end_s", "start_s", reason="ends-before-it-starts", next_step=fix),
        _within(
            "overrun_s",
            "past-the-recording",
            "Check that transcript and recording are of the same call.",
            high=params.turn_overrun_s,
        ),
    ]


def outcomes(params: ValidationParams, now: datetime) -> list[Expectation]:
    """What customers did, on dates that can be true."""
    fix = "Correct the outcome in the CRM export and ingest again."
    latest = _last_day(params, now)
    return [
        _listed(
            "customer", "unknown-customer", "Add the customer to the CRM export, then ingest again."
        ),
        _accepted("customer"),
        _filled("event", "no-event", fix),
        _once("duplicate-outcome", "Export one line a customer and event; the first was kept."),
        _filled("happened", "not-known-whether", fix),
        _true(
            "dated_only_if_happened",
            "date-without-event",
            says="on is {on} but happened is {happened}",
            next_step="Set happened, or clear the date.",
        ),
        _within("on", "in-the-future", fix, high=latest),
        _not_before("on", "since", reason="before-the-customer", next_step=fix),
        _not_before("observed_until", "on", reason="after-observation", next_step=fix),
        _within("observed_until", "observed-in-the-future", fix, high=latest),
    ]


def interventions(params: ValidationParams, now: datetime) -> list[Expectation]:
    """Who was offered what, on dates and with probabilities that can be true."""
    fix = "Correct the log of interventions and ingest again."
    return [
        _listed(
            "customer", "unknown-customer", "Add the customer to the CRM export, then ingest again."
        ),
        _accepted("customer"),
        _filled("decided_on", "no-date", fix),
        _filled("kind", "no-kind", fix),
        _once(
            "duplicate-intervention",
            "Log one decision a customer, day and kind; the first was kept.",
        ),
        _filled("offered", "not-known-whether", fix),
        _among(
            "assigned_by",
            ASSIGNERS,
            reason="unknown-assigner",
            next_step="Say who decided: random, policy or agent.",
        ),
        _within("decided_on", "in-the-future", fix, high=_last_day(params, now)),
        _not_before("decided_on", "since", reason="before-the-customer", next_step=fix),
        _within(
            "propensity",
            "impossible-propensity",
            "Log the probability of the offer, within 0 and 1.",
            low=0.0,
            high=1.0,
        ),
        _within("cost", "negative-cost", fix, low=0.0),
    ]


def shares(params: ValidationParams) -> list[Expectation]:
    """On one line a table: how much of it was left after the suites above."""
    look = "Read quarantine/validate.jsonl for the reasons, repair the source and ingest again."
    return [
        _among(
            "missing",
            (False,),
            reason="empty",
            next_step="Check that the source's export holds this table.",
            stops=True,
        ),
        _among("emptied", (False,), reason="nothing-left", next_step=look, stops=True),
        Expectation(
            "expect_column_values_to_be_between",
            {"column": "rejected_share", "max_value": params.max_rejected_share},
            "too-many-rejected",
            look + " Or raise validation.max_rejected_share, saying why.",
            stops=True,
        ),
    ]
