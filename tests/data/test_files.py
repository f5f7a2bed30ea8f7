"""Artefacts are whole or not there; JSON lines hold whatever a text holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.files import read_lines, write_lines


def test_a_text_with_a_line_separator_stays_one_line(tmp_path: Path) -> None:
    rows = [{"text": "one\u2028two\u0085three\nfour"}, {"text": "five"}]
    write_lines(tmp_path / "rows.jsonl", rows)
    assert read_lines(tmp_path / "rows.jsonl") == rows


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n\n{"a"\n')
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 3"):
        read_lines(tmp_path / "rows.jsonl")
