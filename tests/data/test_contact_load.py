"""When the centre is busy."""

from datetime import UTC, datetime

import polars as pl

from data.contact_load import load_bands
from data.records import TABLES, Contact, frame


def _bands(hours: list[int]) -> dict[int, str]:
    """hour → band, of a centre with one contact at each of `hours`."""
    contacts = [
        Contact(f"k{n}", "c", "chat", datetime(2026, 3, 1 + n, at, 30, tzinfo=UTC))
        for n, at in enumerate(hours)
    ]
    bands = load_bands(frame("contacts", contacts)).sort("contact_id")
    assert bands["contact_id"].to_list() == sorted(contact.contact_id for contact in contacts)
    return {
        contact.started_at.hour: band for contact, band in zip(contacts, bands["load"], strict=True)
    }


def test_peak_are_the_fewest_hours_that_hold_half_of_all_contacts() -> None:
    assert _bands([9, 9, 9, 11, 11, 14, 20]) == {
        9: "peak",
        11: "peak",
        14: "off-peak",
        20: "off-peak",
    }
    assert _bands([9, 9, 11, 14]) == {9: "peak", 11: "off-peak", 14: "off-peak"}, (
        "two of four is half"
    )
    assert _bands([14, 11]) == {11: "peak", 14: "off-peak"}, "of equal hours the earlier"
    assert _bands([9]) == {9: "peak"}


def test_without_contacts_there_is_no_band() -> None:
    assert load_bands(pl.DataFrame(schema=TABLES["contacts"])).is_empty()
