"""Defines what validation tolerates, and the error when the data as a whole is unusable."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ValidationParams:
    """The section `validation` of params.yaml."""

    sample_rates_hz: tuple[int, ...] = (8000, 16000, 48000)  # rates a telephone platform delivers
    channels: tuple[int, ...] = (2,)  # one channel a role; 1 would mix customer and agent
    # as data.audio names them
    codecs: tuple[str, ...] = (
        "PCM_16",
        "PCM_24",
        "ULAW",
        "ALAW",
        "GSM610",
        "FLAC",
        "OPUS",
    )
    min_duration_s: float = 1.0  # a shorter recording holds no conversation
    max_duration_s: float = 14400.0  # longer than four hours is a line left open
    max_clipped_share: float = 0.01  # share of samples at full scale
    max_silent_share: float = 0.995  # share of silent frames, in each channel on its own
    max_contact_s: float = 172800.0  # a contact of more than two days is two contacts
    future_tolerance_s: float = 3600.0  # clocks of the sources may run this far ahead
    turn_overrun_s: float = 2.0  # a turn may end this much after its recording
    # tables the pipeline needs
    must_not_be_empty: tuple[str, ...] = ("customers", "contacts")
    # of the rows of any table; above it the source is broken, not the rows
    max_rejected_share: float = 0.25
    tolerated_rejects: int = 5  # so few rejected rows never stop a small export


class ContractBroken(ValueError):  # noqa: N818 (it is what happened, not a mistake of the program)
    """The data as a whole cannot be used: nothing after validation may run on it.

    Attributes: suite, expectation (Great Expectations' name), observed, expected, next_step.
    """

    def __init__(
        self, suite: str, expectation: str, *, observed: str, expected: str, next_step: str
    ) -> None:
        self.suite, self.expectation = suite, expectation
        self.observed, self.expected, self.next_step = observed, expected, next_step
        super().__init__(
            f"contract {suite}, {expectation}: found {observed}, wanted {expected}. {next_step}"
        )
