"""Declares the expectations of each table, with the reason a rejected row gets in quarantine.

Plain values only, so that the contract can be read and changed without knowing Great Expectations.
Columns that are not in data/records.py are measured or joined in first (`data.validation.tables`,
`data.validation.measures`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from data.records import ASSIGNERS, CHANNELS, ORIGINS, ROLES
from data.validation.params import ValidationParams


@dataclass(frozen=True)
class Expectation:
    """One expectation. The first broken one of its suite names the reason of a rejected row."""

    expectation: str  # Great Expectations' name for it
    kwargs: dict[str, Any]
    reason: str  # short slug, unique within its suite
    next_step: str  # what the reader of the quarantine can do
    stops: bool = False  # True: breaking it stops the run instead of costing rows
    # what is wrong, with {column}s of the row filled in; else column, value and requirement
    detail: str = ""

    @property
    def column(self) -> str | None:
        """The column (the first of two) a broken row is explained with."""
        return self.kwargs.get("column") or self.kwargs.get("column_A")

    @property
    def requirement(self) -> str:
        """What the expectation requires, in words."""
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


def _not_null(column: str, reason: str, next_step: str) -> Expectation:
    return Expectation("expect_column_values_to_not_be_null", {"column": column}, reason, next_step)


def _between(
    column: str, reason: str, next_step: str, *, low: Any = None, high: Any = None
) -> Expectation:
    limits = {
        key: value for key, value in (("min_value", low), ("max_value", high)) if value is not None
    }
    return Expectation(
        "expect_column_values_to_be_between", {"column": column, **limits}, reason, next_step
    )


def _in_set(
    column: str, values: tuple[Any, ...], *, reason: str, next_step: str, stops: bool = False
) -> Expectation:
    kwargs = {"column": column, "value_set": list(values)}
    return Expectation("expect_column_values_to_be_in_set", kwargs, reason, next_step, stops)


def _is_true(column: str, reason: str, *, detail: str, next_step: str) -> Expectation:
    kwargs = {"column": column, "value_set": [True]}
    return Expectation(
        "expect_column_values_to_be_in_set", kwargs, reason, next_step, detail=detail
    )


def _parent_listed(what: str, reason: str, next_step: str) -> Expectation:
    return _is_true(
        f"{what}_listed",
        reason,
        detail=f"{what} {{{what}_id}} is not in {what}s",
        next_step=next_step,
    )


def _parent_accepted(what: str) -> Expectation:
    detail = f"{what} {{{what}_id}} was rejected"
    return _is_true(
        f"{what}_accepted",
        f"{what}-rejected",
        detail=detail,
        next_step=f"Repair the {what} first: see its own line.",
    )


def _first_of_its_kind(
    reason: str, next_step: str, *, column: str = "key", detail: str = "its key came before"
) -> Expectation:
    return Expectation(
        "expect_column_values_to_be_first_of_their_kind",
        {"column": column},
        reason,
        next_step,
        detail=detail,
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
    """Midnight of the latest day that can be true, without a zone, as pandas holds dates."""
    latest = now.astimezone(UTC) + timedelta(seconds=params.future_tolerance_s)
    return datetime(latest.year, latest.month, latest.day)


def schema() -> list[Expectation]:
    """Returns the suite of the catalogue of columns: each has its declared type."""
    kwargs = {"column_A": "actual", "column_B": "expected", "ignore_row_if": "neither"}
    step = "Correct the source's mapping to data/records.py, then ingest again."
    return [
        Expectation(
            "expect_column_pair_values_to_be_equal", kwargs, "wrong-column", step, stops=True
        )
    ]


def customers(params: ValidationParams, now: datetime) -> list[Expectation]:
    """Returns the suite of customers: unique, priced and dated possibly."""
    fix = "Correct the customer in the CRM export and ingest again."
    return [
        _not_null("customer_id", "no-customer-id", fix),
        _first_of_its_kind(
            "duplicate-customer", "Keep one line a customer in the CRM export; the first was kept."
        ),
        _between("since", "since-in-the-future", fix, high=_last_day(params, now)),
        _between("monthly_price", "negative-price", fix, low=0.0),
        Expectation(
            "expect_column_values_to_be_json_parseable",
            {"column": "attributes"},
            "attributes-not-json",
            fix,
        ),
    ]


def contacts(params: ValidationParams, now: datetime) -> list[Expectation]:
    """Returns the suite of contacts: of a known customer, with a possible length and start."""
    fix = "Correct the contact in the source system's export and ingest again."
    return [
        _not_null("contact_id", "no-contact-id", fix),
        _first_of_its_kind("duplicate-contact", "Export each contact once; the first was kept."),
        _parent_listed(
            "customer", "unknown-customer", "Add the customer to the CRM export, then ingest again."
        ),
        _parent_accepted("customer"),
        _in_set(
            "channel",
            CHANNELS,
            reason="unknown-channel",
            next_step="Map the source's channel to one of these.",
        ),
        _not_null("started_at", "no-start", fix),
        _between(
            "started_at",
            "in-the-future",
            "Check the source's clock and time zone: records are UTC.",
            high=now + timedelta(seconds=params.future_tolerance_s),
        ),
        _not_null("duration_s", "no-duration", fix),
        _between("duration_s", "impossible-duration", fix, low=0.0, high=params.max_contact_s),
        _between("wait_s", "impossible-wait", fix, low=0.0, high=params.max_contact_s),
    ]


def recordings(params: ValidationParams) -> list[Expectation]:
    """Returns the suite of recordings with their measures."""
    again = "Export the recording again from the telephone platform."
    return [
        _not_null(
            "contact_id", "no-contact-id", "Name the contact of this recording, then ingest again."
        ),
        _first_of_its_kind(
            "duplicate-recording", "Deliver one recording a contact; the first was kept."
        ),
        _parent_listed(
            "contact",
            "unknown-contact",
            "Deliver the contact of this recording, then ingest again.",
        ),
        _parent_accepted("contact"),
        Expectation(
            "expect_column_values_to_be_null",
            {"column": "error"},
            "unreadable",
            again,
            detail="{error}",
        ),
        _not_null("content", "no-hash", "Ingest it again: its hash is missing."),
        _is_true(
            "content_matches",
            "content-changed",
            detail="its bytes are not those that were ingested",
            next_step="Restore its shard.",
        ),
        *_recording_format(params),
        *_recording_levels(params),
        _first_of_its_kind(
            "duplicate-content",
            "Find out which contact it belongs to; the earliest keeps it.",
            column="content",
            detail="the same audio as call {same_as}",
        ),
    ]


def _recording_format(params: ValidationParams) -> list[Expectation]:
    """Codec, sample rate, channels and length."""
    return [
        _in_set(
            "measured_codec",
            params.codecs,
            reason="codec",
            next_step="Export in a known codec, or add it to validation.codecs.",
        ),
        _in_set(
            "measured_rate_hz",
            params.sample_rates_hz,
            reason="wrong-rate",
            next_step="Export at a telephone rate, or add it to validation.sample_rates_hz.",
        ),
        _in_set(
            "measured_channels",
            params.channels,
            reason="wrong-channels",
            next_step="Export stereo, one role a channel.",
        ),
        _between(
            "measured_s",
            "too-short",
            "Nothing to do if the caller hung up; else export again.",
            low=params.min_duration_s,
        ),
        _between(
            "measured_s",
            "too-long",
            "Check for a line left open; or raise validation.max_duration_s.",
            high=params.max_duration_s,
        ),
    ]


def _recording_levels(params: ValidationParams) -> list[Expectation]:
    """Clipping and silence."""
    return [
        _between(
            "clipped_share",
            "clipped",
            "Lower the recording level of this line.",
            high=params.max_clipped_share,
        ),
        _between(
            "customer_silent_share",
            "silent-customer",
            "Check the recorder's customer leg.",
            high=params.max_silent_share,
        ),
        _between(
            "agent_silent_share",
            "silent-agent",
            "Check the recorder's agent leg.",
            high=params.max_silent_share,
        ),
    ]


def turns(params: ValidationParams) -> list[Expectation]:
    """Returns the suite of turns: words of a known role, inside their recording."""
    fix = "Correct the transcript and ingest again."
    return [
        _parent_listed(
            "contact", "unknown-contact", "Deliver the contact of this turn, then ingest again."
        ),
        _parent_accepted("contact"),
        _not_null("turn", "no-turn-number", fix),
        _first_of_its_kind(
            "duplicate-turn", "Number the turns of a contact once; the first was kept."
        ),
        _not_null("role", "no-role", "Name who spoke: customer, agent or system."),
        _in_set(
            "role",
            ROLES,
            reason="unknown-role",
            next_step="Name who spoke: customer, agent or system.",
        ),
        _not_null("text", "no-text", fix),
        Expectation(
            "expect_column_values_to_match_regex",
            {"column": "text", "regex": r"\S"},
            "blank-text",
            fix,
            detail="no word in it",
        ),
        _in_set("origin", ORIGINS, reason="unknown-origin", next_step=fix),
        _between("start_s", "negative-start", fix, low=0.0),
        _not_before("end_s", "start_s", reason="ends-before-it-starts", next_step=fix),
        _between(
            "overrun_s",
            "past-the-recording",
            "Check that transcript and recording are of the same call.",
            high=params.turn_overrun_s,
        ),
    ]


def outcomes(params: ValidationParams, now: datetime) -> list[Expectation]:
    """Returns the suite of outcomes: of a known customer, on possible dates."""
    fix = "Correct the outcome in the CRM export and ingest again."
    latest = _last_day(params, now)
    return [
        _parent_listed(
            "customer", "unknown-customer", "Add the customer to the CRM export, then ingest again."
        ),
        _parent_accepted("customer"),
        _not_null("event", "no-event", fix),
        _first_of_its_kind(
            "duplicate-outcome", "Export one line a customer and event; the first was kept."
        ),
        _not_null("happened", "not-known-whether", fix),
        _is_true(
            "dated_only_if_happened",
            "date-without-event",
            detail="on is {on} but happened is {happened}",
            next_step="Set happened, or clear the date.",
        ),
        _between("on", "in-the-future", fix, high=latest),
        _not_before("on", "since", reason="before-the-customer", next_step=fix),
        _not_before("observed_until", "on", reason="after-observation", next_step=fix),
        _between("observed_until", "observed-in-the-future", fix, high=latest),
    ]


def interventions(params: ValidationParams, now: datetime) -> list[Expectation]:
    """Returns the suite of interventions: on possible dates, with possible probabilities."""
    fix = "Correct the log of interventions and ingest again."
    return [
        _parent_listed(
            "customer", "unknown-customer", "Add the customer to the CRM export, then ingest again."
        ),
        _parent_accepted("customer"),
        _not_null("decided_on", "no-date", fix),
        _not_null("kind", "no-kind", fix),
        _first_of_its_kind(
            "duplicate-intervention",
            "Log one decision a customer, day and kind; the first was kept.",
        ),
        _not_null("offered", "not-known-whether", fix),
        _in_set(
            "assigned_by",
            ASSIGNERS,
            reason="unknown-assigner",
            next_step="Say who decided: random, policy or agent.",
        ),
        _between("decided_on", "in-the-future", fix, high=_last_day(params, now)),
        _not_before("decided_on", "since", reason="before-the-customer", next_step=fix),
        _between(
            "propensity",
            "impossible-propensity",
            "Log the probability of the offer, within 0 and 1.",
            low=0.0,
            high=1.0,
        ),
        _between("cost", "negative-cost", fix, low=0.0),
    ]


def customer_versions(params: ValidationParams, now: datetime) -> list[Expectation]:
    """Returns the suite of what customer records said and since when: of a known customer."""
    fix = (
        "Restore tables/customer_versions.parquet: ingest wrote it, and something changed it since."
    )
    return [
        _not_null("valid_from", "no-valid-from", fix),
        _first_of_its_kind("duplicate-version", fix),
        _parent_listed("customer", "unknown-customer", fix),
        _parent_accepted("customer"),
        _between("valid_from", "valid-in-the-future", fix, high=_last_day(params, now)),
        _between("monthly_price", "negative-price", fix, low=0.0),
        Expectation(
            "expect_column_values_to_be_json_parseable",
            {"column": "attributes"},
            "attributes-not-json",
            fix,
        ),
    ]


def shares(params: ValidationParams) -> list[Expectation]:
    """Returns the suite on how much of each table is left after the suites above."""
    look = "Read quarantine/validate.jsonl for the reasons, repair the source and ingest again."
    return [
        _in_set(
            "missing",
            (False,),
            reason="empty",
            next_step="Check that the source's export holds this table.",
            stops=True,
        ),
        _in_set("emptied", (False,), reason="nothing-left", next_step=look, stops=True),
        Expectation(
            "expect_column_values_to_be_between",
            {"column": "rejected_share", "max_value": params.max_rejected_share},
            "too-many-rejected",
            look + " Or raise validation.max_rejected_share, saying why.",
            stops=True,
        ),
    ]
