"""The ledger adds up to who is champion, previous and challenger, and refuses alteration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from models.registry.ledger import (
    Action,
    Alias,
    AliasState,
    Entry,
    LedgerError,
    append_entry,
    read_entries,
    replay,
)

AT = "2026-03-01T12:00:00+00:00"


def fields(action: str, version: int) -> dict[str, Any]:
    """What a caller hands to `append_entry`."""
    return {
        "at": AT,
        "action": action,
        "name": "churn",
        "version": version,
        "previous": None,
        "bundle_sha256": f"sha of v{version}",
        "decision_id": f"decision on v{version}",
        "actor": "anna",
    }


def state_after(moves: Sequence[tuple[str, int]]) -> AliasState:
    return replay(
        Entry(**fields(action, version), seq=number, prior="", hash="")
        for number, (action, version) in enumerate(moves, start=1)
    )


@pytest.mark.parametrize(
    ("moves", "champion", "previous", "challenger"),
    [
        ([], None, None, None),
        ([("promote", 1)], 1, None, None),
        ([("promote", 1), ("promote", 2)], 2, 1, None),
        ([("promote", 1), ("promote", 2), ("rollback", 1)], 1, None, None),
        ([("promote", 1), ("challenge", 2)], 1, None, 2),
        ([("promote", 1), ("challenge", 2), ("promote", 2)], 2, 1, None),
        ([("promote", 1), ("challenge", 2), ("withdraw", 2)], 1, None, None),
        ([("promote", 1), ("challenge", 2), ("promote", 3)], 3, 1, 2),
    ],
)
def test_each_action_moves_the_aliases(
    moves: list[tuple[str, int]],
    champion: int | None,
    previous: int | None,
    challenger: int | None,
) -> None:
    state = state_after(moves)
    assert [state.version_of(alias) for alias in Alias] == [champion, previous, challenger]


def test_an_action_of_a_newer_keepline_is_refused() -> None:
    with pytest.raises(LedgerError, match=r"entry 2: retire is no action\. Update Keepline"):
        state_after([("promote", 1), ("retire", 1)])


def test_actions_and_aliases_are_stored_under_these_names() -> None:
    assert list(Action) == ["promote", "rollback", "challenge", "withdraw"]
    assert list(Alias) == ["champion", "previous", "challenger"]


def test_entries_are_chained_and_an_altered_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    assert read_entries(path) == []
    first = append_entry(path, fields(Action.PROMOTE, 1))
    second = append_entry(path, fields(Action.PROMOTE, 2))
    assert (second.seq, second.prior) == (2, first.hash)
    assert read_entries(path) == [first, second]
    lines = path.read_text().splitlines()
    altered = json.dumps({**json.loads(lines[0]), "actor": "ben"}, sort_keys=True)
    path.write_text(f"{altered}\n{lines[1]}\n")
    with pytest.raises(LedgerError, match="line 1: altered"):
        read_entries(path)
    path.write_text(f"{lines[1]}\n")
    with pytest.raises(LedgerError, match="line 1: altered"):
        read_entries(path)
