"""Tests that every source gives the same records and refuses bad ones by name."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from data import sources
from data.files import read_tables
from data.ingest import ingest
from data.records import TABLES
from data.sources import SourceError, SourceParams
from tests.factories import a_wav, an_asterisk_export, an_export, edit


def refused(delivery: sources.Delivery) -> dict[str, str]:
    return {refusal.thing: refusal.reason for refusal in delivery.refusals}


def test_finds_out_what_kind_of_export_it_is(tmp_path: Path) -> None:
    assert sources.detect(an_export(tmp_path / "a")) == "folder"
    assert sources.detect(an_asterisk_export(tmp_path / "b")) == "asterisk"


def test_an_empty_folder_is_refused_saying_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"the folder is empty.*asterisk: cdr/Master.csv; folder: customers.csv"
    ):
        sources.read("auto", tmp_path)


def test_an_unknown_folder_is_refused_saying_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(SourceError, match=r"found holiday.jpg"):
        sources.read("folder", tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such folder"):
        sources.read("auto", tmp_path / "nowhere")


def test_an_unknown_kind_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"'genesis' is not a source. Known: asterisk, folder"):
        sources.read("genesis", tmp_path)


def test_the_wrong_kind_says_which_is_right(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="this is a folder export, not asterisk"):
        sources.read("asterisk", an_export(tmp_path))


@pytest.mark.parametrize("make", [an_export, an_asterisk_export])
def test_tables_have_exactly_the_schema_of_the_records(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    delivery = sources.read("auto", make(tmp_path))
    for name in ("customers", "contacts", "turns", "outcomes", "interventions"):
        assert getattr(delivery, name).schema == pl.Schema(TABLES[name])
    assert delivery.refusals == []


def test_reads_an_export_without_optional_files(tmp_path: Path) -> None:
    export = an_export(tmp_path)
    (export / "messages.jsonl").unlink()
    (export / "outcomes.csv").unlink()
    delivery = sources.read("folder", export)
    assert delivery.outcomes.is_empty()
    assert delivery.contacts.height == 4


def test_further_columns_become_attributes_with_numbers_as_numbers(tmp_path: Path) -> None:
    export = an_export(tmp_path)
    edit(export / "customers.csv", ",31\n", ",007\n")
    assert set(sources.read("folder", export).customers["attributes"]) == {'{"tenure": "007"}'}
    edit(export / "customers.csv", ",007\n", ",31\n")
    assert set(sources.read("folder", export).customers["attributes"]) == {'{"tenure": 31}'}


def test_a_wrong_column_is_an_error_naming_file_column_and_columns_found(tmp_path: Path) -> None:
    export = an_export(tmp_path)
    edit(export / "contacts.csv", "started_at", "start")
    with pytest.raises(
        SourceError, match=r"contacts.csv: no column 'started_at' \(columns found: contact_id, cust"
    ):
        sources.read("folder", export)


def test_a_csv_that_is_no_csv_is_an_error_naming_it(tmp_path: Path) -> None:
    export = an_export(tmp_path)
    (export / "customers.csv").write_bytes(b"customer_id,phone\n\xff\xfe\x00,1,2,3\n")
    with pytest.raises(SourceError, match=r"customers.csv"):
        sources.read("folder", export)
    (export / "customers.csv").write_bytes(b"")
    with pytest.raises(SourceError, match=r"customers.csv: the file is empty"):
        sources.read("folder", export)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (
            "call-1,C1,phone",
            "call-1,C1,fax",
            "channel is not one of phone ivr chat email social ('fax' in contacts.csv",
        ),
        ("T09:00:00", "T29:00:00", "started_at is not a time"),
        ("call-1,C1,phone", "call-1,,phone", "customer_id is empty (contacts.csv row 2)"),
        (".wav,0,1", ".wav,left,1", "customer_channel is not a channel number from 0"),
        (",2.0,5.0,", ",two,5.0,", "duration_s is not a number"),
        (",2.0,5.0,", ",nan,5.0,", "duration_s is not a number"),
    ],
)
def test_a_bad_value_refuses_its_contact_and_leaves_the_others(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    export = an_export(tmp_path)
    header, first, *rest = (export / "contacts.csv").read_text().splitlines(keepends=True)
    assert old in first
    (export / "contacts.csv").write_text("".join([header, first.replace(old, new), *rest]))
    delivery = sources.read("folder", export)
    assert refused(delivery)["contact call-1"].startswith(reason)
    assert delivery.contacts["contact_id"].to_list() == ["call-2", "call-3", "chat-1"]


def test_a_row_without_its_key_is_named_by_its_row(tmp_path: Path) -> None:
    export = an_export(tmp_path)
    edit(export / "contacts.csv", "call-2,C2", ",C2")
    assert (
        refused(sources.read("folder", export))["contacts.csv row 3"]
        == "contact_id is empty (contacts.csv)"
    )


def test_a_malformed_json_line_is_refused_with_file_and_line(tmp_path: Path) -> None:
    export = an_export(tmp_path, chats=2)
    edit(export / "messages.jsonl", '{"contact_id": "chat-2"', '{"contact_id: "chat-2"')
    delivery = sources.read("folder", export)
    assert list(refused(delivery)) == ["messages.jsonl line 2"]
    assert "chat-1" in delivery.turns["contact_id"]


def test_a_malformed_transcript_is_refused_by_its_file(tmp_path: Path) -> None:
    export = an_export(tmp_path)
    (export / "transcripts" / "call-2.json").write_text("[1, 2]")
    assert list(refused(sources.read("folder", export))) == ["transcripts/call-2.json"]


def test_an_unknown_role_can_be_mapped(tmp_path: Path) -> None:
    export = an_export(tmp_path)
    edit(export / "transcripts" / "call-2.json", '"agent"', '"bot"')
    mapped = sources.read("folder", export, SourceParams(roles={"bot": "system"}))
    assert mapped.refusals == []
    assert "system" in mapped.turns["role"]


@pytest.mark.parametrize(
    "rest", ["", ', "text": "a", "start_s": "x"', ', "text": "a", "end_s": NaN']
)
def test_a_turn_without_text_or_with_a_wrong_time_refuses_the_transcript(
    tmp_path: Path, rest: str
) -> None:
    export = an_export(tmp_path)
    turns = f'[{{"role": "agent"{rest}}}]'
    (export / "transcripts" / "call-2.json").write_text(
        f'{{"contact_id": "call-2", "turns": {turns}}}'
    )
    delivery = sources.read("folder", export)
    assert list(refused(delivery)) == ["contact call-2"]
    assert "call-2" not in delivery.turns["contact_id"]


@pytest.mark.parametrize("expected", [True, False])
def test_a_call_without_its_recording_is_refused_or_kept_as_told(
    tmp_path: Path, expected: bool
) -> None:
    for make, file in (
        (an_export, "recordings/call-2.wav"),
        (an_asterisk_export, "monitor/call-2.wav"),
    ):
        export = make(tmp_path / make.__name__)
        (export / file).unlink()
        delivery = sources.read("auto", export, SourceParams(expect_recordings=expected))
        assert ("call-2" in delivery.contacts["contact_id"]) is not expected
        assert len(delivery.refusals) == int(expected)
        assert len(delivery.recordings) == 2


def test_an_unanswered_call_needs_no_recording(tmp_path: Path) -> None:
    export = an_asterisk_export(tmp_path, calls=2)
    edit(export / "cdr" / "Master.csv", "ANSWERED", "NO ANSWER")
    (export / "monitor" / "call-1.wav").unlink()
    delivery = sources.read("asterisk", export)
    assert delivery.refusals == []
    assert "call-1" in delivery.contacts["contact_id"]


def test_a_recording_no_contact_names_is_refused_with_its_file(tmp_path: Path) -> None:
    export = an_export(tmp_path)
    lost = a_wav(export / "recordings" / "lost.wav")
    (refusal,) = sources.read("folder", export).refusals
    assert (refusal.thing, refusal.reason, refusal.path) == (
        "recording lost.wav",
        "no contact names it",
        lost,
    )


def test_a_contact_cannot_name_a_file_outside_its_export(tmp_path: Path) -> None:
    export = an_export(tmp_path / "export")
    a_wav(tmp_path / "secret.wav")
    edit(export / "contacts.csv", "recordings/call-2.wav", "../secret.wav")
    delivery = sources.read("folder", export)
    assert "call-2" not in [recording.contact_id for recording in delivery.recordings]
    assert refused(delivery)["contact call-2"] == "its recording is not in the export"


def test_local_times_are_read_in_the_stated_zone_and_offsets_win(tmp_path: Path) -> None:
    export = an_export(tmp_path)
    edit(export / "contacts.csv", "2026-08-03T09:00:00+00:00", "2026-08-03 09:00")
    edit(export / "contacts.csv", "2026-08-03T10:00:00+00:00", "2026-08-03T10:00:00.5-04:00")
    edit(export / "contacts.csv", "2026-08-03T11:00:00+00:00", "2026-08-03T11:00:00Z")
    contacts = sources.read("folder", export, SourceParams(timezone="Europe/Zurich")).contacts
    at = dict(contacts.select("contact_id", "started_at").iter_rows())
    assert at["call-1"] == datetime(2026, 8, 3, 7, tzinfo=UTC)
    assert at["call-2"] == datetime(2026, 8, 3, 14, 0, 0, 500000, tzinfo=UTC)
    assert at["call-3"] == datetime(2026, 8, 3, 11, tzinfo=UTC)


def test_an_hour_that_never_was_is_refused(tmp_path: Path) -> None:
    export = an_export(tmp_path)
    edit(
        export / "contacts.csv", "2026-08-03T09:00:00+00:00", "2026-03-29 02:30:00"
    )  # the clock jumps from 2 to 3
    delivery = sources.read("folder", export, SourceParams(timezone="Europe/Zurich"))
    assert "started_at is not a time" in refused(delivery)["contact call-1"]


def test_an_unknown_time_zone_is_an_error_naming_the_setting(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"sources.timezone: 'Mars/Base'"):
        sources.read("folder", an_export(tmp_path), SourceParams(timezone="Mars/Base"))


def test_a_cdr_with_too_few_columns_is_an_error_listing_those_needed(tmp_path: Path) -> None:
    export = an_asterisk_export(tmp_path)
    (export / "cdr" / "Master.csv").write_text('"call-1","2026-08-03 09:00:00","60"\n')
    with pytest.raises(
        SourceError, match=r"Master.csv: 3 columns found, at least 17 needed: accountcode, src"
    ):
        sources.read("asterisk", export)


def test_an_asterisk_export_without_its_crm_is_an_error_naming_the_file(tmp_path: Path) -> None:
    export = an_asterisk_export(tmp_path)
    (export / "crm" / "customers.csv").unlink()
    with pytest.raises(SourceError, match=r"crm/customers.csv: no such file"):
        sources.read("asterisk", export)


def test_a_caller_is_found_by_number_where_no_id_is_quoted(tmp_path: Path) -> None:
    export = an_asterisk_export(tmp_path)
    edit(export / "cdr" / "Master.csv", '""C2"" ', "")
    contacts = sources.read("asterisk", export).contacts
    assert contacts.filter(pl.col("contact_id") == "call-2")["customer_id"].to_list() == ["C2"]


def test_a_caller_nobody_knows_is_refused_naming_the_call(tmp_path: Path) -> None:
    export = an_asterisk_export(tmp_path)
    edit(export / "cdr" / "Master.csv", '""C2"" <+15550000002>', "<+4100>")
    delivery = sources.read("asterisk", export)
    assert refused(delivery)["call call-2"].startswith("unknown customer (clid <+4100>")


def test_the_crm_s_churn_column_is_an_outcome_and_never_an_attribute(tmp_path: Path) -> None:
    delivery = sources.read("asterisk", an_asterisk_export(tmp_path))
    assert dict(delivery.outcomes.select("customer_id", "happened").iter_rows()) == {
        "C1": True,
        "C2": False,
    }
    assert delivery.outcomes["on"].null_count() == 2
    assert all("churn" not in json.loads(text) for text in delivery.customers["attributes"])


def test_wait_and_talk_are_told_apart(tmp_path: Path) -> None:
    call = sources.read("asterisk", an_asterisk_export(tmp_path)).contacts.row(0, named=True)
    assert (call["wait_s"], call["duration_s"], call["queue"], call["agent_id"]) == (
        5.0,
        2.0,
        "support",
        "agent01",
    )


def a_folder_of_recordings(root: Path) -> Path:
    """Three utterances: one with a .txt, one in the manifest, one without words."""
    for name in ("order-1", "order-2", "deep/order-3"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        a_wav(root / f"{name}.wav", duration_s=2.0, channels=1)
    (root / "order-1.txt").write_text("a large mocha\n")
    lines = [{"audio_filepath": "order-2.wav", "text": "two small ones", "speaker": "eve"}]
    (root / "manifest.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return root


def test_a_bare_folder_of_recordings_needs_no_tables(tmp_path: Path) -> None:
    delivery = sources.read("recordings", a_folder_of_recordings(tmp_path))
    assert delivery.refusals == []
    assert delivery.turns["text"].to_list() == ["a large mocha", "two small ones"]
    assert delivery.turns["end_s"].to_list() == [2.0, 2.0]
    assert {r.contact_id: r.voice for r in delivery.recordings} == {
        "deep_order-3": None,
        "order-1": None,
        "order-2": "eve",
    }
    assert delivery.customers["customer_id"].to_list() == ["deep_order-3", "order-1", "eve"]
    for name in ("customers", "contacts", "turns", "outcomes", "interventions"):
        assert getattr(delivery, name).schema == pl.Schema(TABLES[name])


def test_two_channel_calls_without_words_are_taken_in_whole(tmp_path: Path) -> None:
    """The normal file of a call centre: no hour is refused, and each side has its channel."""
    root = a_folder_of_recordings(tmp_path / "export")
    for number in range(9):
        a_wav(root / f"call-{number}.wav", duration_s=6.0, seed=number)
    for customer, agent in ((0, 1), (1, 0)):
        delivery = sources.read(
            "recordings", root, SourceParams(customer_channel=customer, agent_channel=agent)
        )
        summary = ingest(delivery, tmp_path / f"store-{customer}", datetime(2026, 3, 1, tzinfo=UTC))
        assert (summary["added"]["recordings"], summary["refused"]) == (12, 0)
        taken = read_tables(tmp_path / f"store-{customer}" / "tables")["recordings"]
        sides = (
            taken.filter(pl.col("channels") == 2)
            .select("customer_channel", "agent_channel")
            .unique()
        )
        assert sides.rows() == [(customer, agent)]


def test_what_a_folder_of_recordings_cannot_use_is_named(tmp_path: Path) -> None:
    root = a_folder_of_recordings(tmp_path)
    a_wav(root / "call.wav", duration_s=2.0, channels=2)
    (root / "call.txt").write_text("good morning. my bill is wrong")
    a_wav(root / "three.wav", duration_s=2.0, channels=3)
    a_wav(root / "long.wav", duration_s=31.0, channels=1)
    (root / "long.txt").write_text("hello")
    (root / "broken.wav").write_bytes(b"no audio")
    edit(root / "manifest.jsonl", "order-2.wav", "gone.wav")
    delivery = sources.read("recordings", root)
    reasons = refused(delivery)
    assert "more than two channels (3)" in reasons["call three"]
    assert (
        "words that do not say who of two channels said them (call.txt)" in reasons["contact call"]
    )
    assert "words without times in over 30 s (31 s, long.txt)" in reasons["contact long"]
    for contact in ("call", "long"):  # heard all the same
        assert contact in [recording.contact_id for recording in delivery.recordings]
        (refusal,) = [
            candidate for candidate in delivery.refusals if candidate.thing == f"contact {contact}"
        ]
        assert (
            "transcripts/<contact_id>.json, whose turns have role, start_s, end_s and text"
            in refusal.next_step
        )
    assert "manifest.jsonl names it, but it is not here" in reasons["recording gone.wav"]
    assert "call broken" in reasons


def test_a_folder_without_recordings_says_what_would_do(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"no recordings. Give a folder with files in one of .wav"
    ):
        sources.read("recordings", tmp_path)


def test_a_log_of_interventions_is_read_with_or_without_propensities(tmp_path: Path) -> None:
    export = an_export(tmp_path)
    assert sources.read("folder", export).interventions.is_empty()
    log = export / "interventions.csv"
    log.write_text(
        "customer_id,decided_on,kind,offered,assigned_by,propensity,cost\n"
        "C1,2026-07-01,call back,yes,random,0.5,12\nC2,2026-07-01,call back,no,agent,,\n"
        "C2,2026-07-32,call back,no,agent,,\nC2,2026-07-02,call "
        "back,no,boss,,\nC1,2026-07-03,call back,,agent,,\n"
    )
    delivery = sources.read("folder", export)
    assert delivery.interventions.select("customer_id", "offered", "propensity", "cost").rows() == [
        ("C1", True, 0.5, 12.0),
        ("C2", False, None, None),
    ]
    assert [refusal.reason.split(" (")[0] for refusal in delivery.refusals] == [
        "decided_on is not a date",
        "assigned_by is not one of random policy agent",
        "offered is empty",
    ]
    log.write_text(
        "customer_id,decided_on,kind,offered,assigned_by\nC1,2026-07-01,call back,yes,policy\n"
    )
    assert sources.read("folder", export).interventions["propensity"].to_list() == [None]
    log.write_text("customer_id,kind,offered,assigned_by\nC1,call back,yes,policy\n")
    with pytest.raises(SourceError, match=r"interventions.csv: no column 'decided_on'"):
        sources.read("folder", export)
