"""Parses plain text and JSON lines into contacts and turns, for a message without an export."""

from __future__ import annotations

import json
import re
from typing import Any

import polars as pl

from data.records import CHANNELS, ROLES

_SPEAKER = re.compile(rf"^\s*({'|'.join(ROLES)}|ivr|menu|bot)\s*:\s*", re.IGNORECASE)
_MENU = ("ivr", "menu", "bot")  # other names of the system's side
_NO_WORDS = "there is nothing to read in it. Give it a message or a transcript."
CONTACT = {"contact_id": pl.String, "channel": pl.String}
TURN = {"contact_id": pl.String, "turn": pl.Int32, "role": pl.String, "text": pl.String}


class MessageError(ValueError):
    """A message cannot be read. The text names the line and says what to do."""


def parse(text: str, name: str, channel: str = "") -> tuple[pl.DataFrame, pl.DataFrame]:
    """Parses a text and returns (contacts, turns).

    JSON lines where its first line is a JSON object, else one contact in plain words. In plain
    words a line may begin with `customer:`, `agent:` or `system:` (also `ivr:`); a line without
    belongs to the side before it, at first to the customer. A JSON line has `text`, or `turns`
    of role and text as `keepline transcribe` writes them, and may have `contact_id` and
    `channel`. Raises MessageError.
    """
    if text.lstrip("\ufeff \t\r\n").startswith("{"):
        return _json_lines(text.lstrip("\ufeff"), name, channel)
    turns = _plain(text.lstrip("\ufeff"))
    if not turns:
        raise MessageError(f"{name}: {_NO_WORDS}")
    return _tables([(name, channel, turns)])


def _plain(text: str) -> list[tuple[str, str]]:
    """(role, words) of each turn; lines without a speaker's name continue the turn before."""
    turns: list[tuple[str, str]] = []
    for line in text.splitlines():
        speaker = _SPEAKER.match(line)
        if speaker:
            turns.append((_role(speaker[1]), line[speaker.end() :].strip()))
        elif line.strip():
            role, before = turns.pop() if turns else ("customer", "")
            turns.append((role, f"{before} {line.strip()}".strip()))
    return [(role, words) for role, words in turns if words]


def _json_lines(text: str, name: str, channel: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    try:
        # one object over many lines, as `keepline transcribe` writes it
        documents = [(name, json.loads(text))]
    except ValueError:
        documents = []
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                try:
                    documents.append((f"{name}:{number}", json.loads(line)))
                except ValueError as error:
                    raise MessageError(
                        f"{name}, line {number}: not JSON ({error}). One JSON object a line."
                    ) from error
    contacts = [_contact(where, value, channel) for where, value in documents]
    seen: set[str] = set()
    for contact_id, _, _ in contacts:
        if contact_id in seen:
            raise MessageError(
                f"{name}: contact_id {contact_id!r} is on two lines. Put a contact's turns on one "
                "line."
            )
        seen.add(contact_id)
    return _tables(contacts)


def _contact(where: str, value: Any, channel: str) -> tuple[str, str, list[tuple[str, str]]]:
    if not isinstance(value, dict):
        raise MessageError(
            f"{where}: a line must be a JSON object with text or turns, not {type(value).__name__}."
        )
    turns = value.get("turns", [{"role": "customer", "text": value.get("text")}])
    if not isinstance(turns, list):
        raise MessageError(f"{where}: turns must be a list of objects with role and text.")
    parsed = []
    for turn in turns:
        if not isinstance(turn, dict) or not isinstance(turn.get("text"), str):
            raise MessageError(
                f"{where}: every turn needs a text. Write {{'text': …}} or turns of role and text."
            )
        role = str(turn.get("role") or "customer").lower()
        if role not in (*ROLES, *_MENU):
            raise MessageError(f"{where}: {role!r} is no role. Roles are {', '.join(ROLES)}.")
        parsed.append((_role(role), turn["text"]))
    given = str(value.get("channel") or channel)
    if given and given not in CHANNELS:
        raise MessageError(f"{where}: {given!r} is no channel. Channels are {', '.join(CHANNELS)}.")
    if not any(words.strip() for _, words in parsed):
        raise MessageError(f"{where}: {_NO_WORDS}")
    return str(value.get("contact_id") or where), given, parsed


def _role(name: str) -> str:
    return "system" if name.lower() in _MENU else name.lower()


def _tables(
    parsed: list[tuple[str, str, list[tuple[str, str]]]],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    contacts = [(contact_id, channel) for contact_id, channel, _ in parsed]
    rows = [
        (contact_id, number, role, words)
        for contact_id, _, turns in parsed
        for number, (role, words) in enumerate(turns)
    ]
    return (
        pl.DataFrame(contacts, schema=CONTACT, orient="row"),
        pl.DataFrame(rows, schema=TURN, orient="row"),
    )
