"""The card that ships with the base says what its template says, with figures in their columns."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from training.asr.base_card import CARD, SOURCES, UNKNOWN_SPEAKERS, render_card

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = (ROOT / "models" / "base" / "card.md").read_text(encoding="utf-8")
PARAMS: dict[str, Any] = {
    "batch_duration_s": 40.0,
    "seed": 20,
    "channels": 256,
    "kernels": (7, 9),
    "augmentation": {"telephone_share": 0.4, "quiet_s": 0.6},
    "refine_steps": 5000,
    "refine_quiet_share": 0.7,
    "simulated_voices": 320,
}


def wer_rows(card: str) -> dict[str, str]:
    """Set → speakers, from the table of word error rates."""
    table = card.split("## Word error rates")[1].split("## Limits")[0]
    return dict(
        re.findall(r"^\| (\w+) \| (known|unknown) \| \d+ \| [\d.]+ \|", table, re.MULTILINE)
    )


def test_the_shipped_card_has_every_line_of_the_template() -> None:
    lines = [re.split(r"\{[^}]*\}", line) for line in CARD.splitlines()]
    patterns = [".*".join(map(re.escape, parts)) for parts in lines]
    missing = [
        pattern for pattern in patterns if not re.search(f"^{pattern}$", SHIPPED, re.MULTILINE)
    ]
    assert not missing


def test_the_shipped_card_marks_known_and_unknown_speakers() -> None:
    speakers = wer_rows(SHIPPED)
    assert set(speakers) == set(SOURCES)
    assert {name for name, value in speakers.items() if value == "unknown"} == UNKNOWN_SPEAKERS
    assert {"librispeech", "ljspeech", "asterisk_prompts"} <= set(speakers) - UNKNOWN_SPEAKERS


@pytest.mark.parametrize(("name", "speakers"), [("barista", "unknown"), ("ljspeech", "known")])
def test_a_rendered_card_has_hours_speakers_and_rates_of_a_set(name: str, speakers: str) -> None:
    rows = [
        {"set": name, "frames": 16000 * 3600, "speaker": speaker, "held_out": held_out}
        for speaker, held_out in (("anna", False), ("ben", False), ("carl", True))
    ]
    rates = {"utterances": 3, "minutes": 1.5, "recorded": 0.25, "telephone": 0.5, "in_calls": 1.0}
    summary = {"parameters": 1.6e6, "size_bytes": 6.8e6, "step": 12, "wer": {name: rates}}
    card = render_card(PARAMS, rows, summary)
    what, licence = SOURCES[name]
    assert f"| {name} | {what} | 2.0 | 2 | {licence} |" in card
    assert f"| {name} | {speakers} | 3 | 1.5 | 25.0% | 50.0% | 100.0% |" in card
    assert "kernels 7, 9." in card
