"""K1: runs compared by parameters, data, metrics with intervals, per-call differences and what to listen to."""

from html import unescape
from io import StringIO

from rich.console import Console

from evaluation.compare import RunView, compare
from evaluation.gates import examples
from evaluation.report.comparison import comparison_page, print_comparison
from tests.typing_helpers import known


def _runs() -> list[RunView]:
    settings = {"asr.steps": "600", "asr.seed": "0"}
    before = RunView(
        "a" * 32, settings, {"valid_wer": 0.31}, scorecard=examples.asr(0.3), name="base"
    )
    after = RunView(
        "b" * 32, {**settings, "asr.steps": "900"}, {"valid_wer": 0.11}, scorecard=examples.asr(0.1)
    )
    return [before, after]


def test_K1_terminal_and_page_say_the_same() -> None:
    comparison = compare(_runs())
    out = StringIO()
    print_comparison(comparison, Console(file=out, width=240, no_color=True))
    terminal, page = out.getvalue(), unescape(comparison_page(comparison))
    wer = examples.asr(0.1).metrics["wer"]
    gained = next(
        difference.gain for difference in comparison.differences if difference.metric == "wer"
    )
    worst = comparison.changes[0].worst.row(0, named=True)
    for said in (
        "base",
        "bbbbbbbbbbbb",
        "asr.steps",
        "600",
        "900",
        "d1",
        "valid_wer",
        f"{wer.value:.4f}",
        f"{wer.low:.4f}",
        f"{gained.value:+.4f}",
        f"{gained.low:+.4f}",
        f"{comparison.changes[0].worse} worse",
        worst["ref"],
    ):
        assert said in terminal, said
        assert said in page, said
    for text in (terminal, page):
        assert "asr.seed" not in text
    assert known(gained.low) > 0


def test_K1_lists_the_calls_that_got_worse_with_what_was_heard_before_and_after() -> None:
    change = compare(_runs()).changes[0]
    assert change.worst.height > 0
    assert (change.worst["after"] > change.worst["before"]).all()
    assert set(change.worst.columns) >= {"contact_id", "start_s", "ref", "hyp_before", "hyp_after"}
    old, new = (examples.asr(rate).units for rate in (0.3, 0.1))
    assert change.worse == (new["errors"] > old["errors"]).sum()
