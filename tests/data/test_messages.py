"""Tests that plain words and JSON lines are parsed, and that errors name the line."""

from __future__ import annotations

import json

import pytest

from data.messages import MessageError, parse


def test_plain_words_are_the_customers_until_a_line_names_a_side() -> None:
    contacts, turns = parse(
        "my bill is wrong\nand late\nAgent: sorry to hear\nIVR: goodbye\n\n", "m.txt", "chat"
    )
    assert contacts.rows() == [("m.txt", "chat")]
    assert turns.select("role", "text").rows() == [
        ("customer", "my bill is wrong and late"),
        ("agent", "sorry to hear"),
        ("system", "goodbye"),
    ]


def test_json_lines_are_contacts_of_their_own() -> None:
    lines = [
        {"contact_id": "a", "channel": "email", "text": "hello"},
        {
            "turns": [
                {"role": "agent", "text": "hi", "start_s": 0.0},
                {"role": "customer", "text": "my bill"},
            ]
        },
    ]
    contacts, turns = parse("\ufeff" + "\n".join(map(json.dumps, lines)) + "\n\n", "f.jsonl")
    assert contacts.rows() == [("a", "email"), ("f.jsonl:2", "")]
    assert turns["contact_id"].to_list() == ["a", "f.jsonl:2", "f.jsonl:2"]


def test_one_transcript_over_many_lines_is_one_contact() -> None:
    contacts, turns = parse(
        json.dumps({"turns": [{"role": "customer", "text": "hello"}]}, indent=2), "call.json"
    )
    assert contacts.height == turns.height == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "nothing to read"),
        ("  \n\n", "nothing to read"),
        ("agent:\n", "nothing to read"),
        ('{"text": ""}', "nothing to read"),
        ('{"text": "a"}\n{"text": ', "line 2: not JSON"),
        ('{"text": "a"}\n[1]', "must be a JSON object"),
        ('{"turns": 3}', "turns must be a list"),
        ('{"turns": [{"role": "agent"}]}', "needs a text"),
        ('{"text": "a", "channel": "fax"}', "'fax' is no channel"),
        ('{"turns": [{"role": "cat", "text": "a"}]}', "'cat' is no role"),
        ('{"contact_id": "k", "text": "a"}\n{"contact_id": "k", "text": "b"}', "on two lines"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_to_do(text: str, says: str) -> None:
    with pytest.raises(MessageError, match=says):
        parse(text, "m")
