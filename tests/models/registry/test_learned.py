"""What a version learned from: hashes in its bundle that say who must not examine it."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from models.registry.bundle import BundleError
from models.registry.learned import FILE, GROUPS, Learned, read_learned

LEARNED = Learned.of(customers=["C1", "C2", None], voices=["v1"], contacts=["k1", "k2", "k2"])


def test_V3_what_was_learned_comes_back_from_the_bundle(tmp_path: Path) -> None:
    assert read_learned(tmp_path) is None
    (tmp_path / FILE).write_text(LEARNED.to_json())
    again = read_learned(tmp_path)
    assert again is not None
    assert again.digest == LEARNED.digest
    assert again.counts == {"customers": 2, "voices": 1, "contacts": 2}


def test_V3_equal_training_gives_equal_content_in_any_order() -> None:
    other = Learned.of(customers=["C2", "C1"], voices=["v1"], contacts=["k2", "k1"])
    assert other.to_json() == LEARNED.to_json()
    # The same name is another id as a customer, as a voice and as a contact.
    assert len({Learned.of(**{group: ["x"]}).digest for group in GROUPS}) == 3


def test_V3_no_id_can_be_read_from_the_file() -> None:
    text = Learned.of(customers=["Jane Doe 555 0199"]).to_json()
    assert "Jane" not in text
    assert "0199" not in text


def test_V3_a_unit_is_seen_by_its_customer_its_voice_or_its_contact() -> None:
    units = pl.DataFrame(
        {
            "customer_id": ["C1", "C9", "C9", "C9", None],
            "voice": [None, "v1", "v9", "C1", None],
            "contact_id": ["k9", "k8", "k2", "k7", "k6"],
        }
    )
    assert LEARNED.seen(units).to_list() == [True, True, True, False, False]
    assert LEARNED.seen(units.select("voice")).to_list() == [False, True, False, False, False]
    assert not Learned.of().seen(units).any()


@pytest.mark.parametrize("damage", ["cut", "edited", "another format"])
def test_V3_a_damaged_record_is_named(tmp_path: Path, damage: str) -> None:
    record = json.loads(LEARNED.to_json())
    if damage == "edited":
        record["customers"]["hashes"] = ""
    elif damage == "another format":
        record["format"] = 9
    text = json.dumps(record)
    (tmp_path / FILE).write_text(text[: len(text) // 2] if damage == "cut" else text)
    with pytest.raises(BundleError, match=rf"{FILE} cannot be read .*Fetch the model again"):
        read_learned(tmp_path)
