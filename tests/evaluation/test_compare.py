"""A comparison says what differs, how sure that is, and where it got worse."""

import re
from collections.abc import Mapping
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from evaluation.compare import CompareError, Comparison, DifferentDataError, RunView, compare
from evaluation.gates import examples
from evaluation.report.comparison import comparison_page, print_comparison
from evaluation.scorecard import Scorecard
from tests.typing_helpers import known


def a_run(
    run_id: str,
    card: Scorecard | None = None,
    *,
    data_hash: str = "d1",
    metrics: Mapping[str, float] | None = None,
    **params: Any,
) -> RunView:
    return RunView(run_id, params, metrics or {}, data_hash, card)


def _printed(comparison: Comparison) -> str:
    out = StringIO()
    print_comparison(comparison, Console(file=out, width=200, no_color=True))
    return out.getvalue()


def test_only_parameters_that_differ_are_shown() -> None:
    comparison = compare(
        [a_run("a", steps="100", rate="0.1"), a_run("b", steps="200", rate="0.1", extra="1")]
    )
    assert comparison.params == [("extra", [None, "1"]), ("steps", ["100", "200"])]


def test_metrics_come_with_intervals_where_a_scorecard_has_them() -> None:
    card = examples.asr(0.1)
    comparison = compare(
        [a_run("a", card, metrics={"wer": 0.5, "loss": 2.0}), a_run("b", metrics={"wer": 0.3})]
    )
    metrics = dict(comparison.metrics)
    assert metrics["wer"][0] == card.metrics["wer"]
    logged = known(metrics["wer"][1])
    assert (logged.value, logged.low) == (0.3, None)
    assert metrics["loss"][1] is None


def test_the_worst_regressions_come_first_and_show_what_was_heard() -> None:
    comparison = compare(
        [a_run("old", examples.asr(0.1)), a_run("new", examples.asr(0.3))], worst=5
    )
    (change,) = comparison.changes
    assert change.worse > change.better
    assert change.better + change.same + change.worse == 240
    losses = (change.worst["after"] - change.worst["before"]).to_list()
    assert len(losses) == 5
    assert losses == sorted(losses, reverse=True)
    assert losses[0] == max(
        new - old
        for old, new in zip(
            examples.asr(0.1).units["errors"], examples.asr(0.3).units["errors"], strict=True
        )
    )
    first = change.worst.row(0, named=True)
    assert first["hyp_after"].split().count("mumble") == first["after"]


def test_churn_runs_are_paired_by_customer() -> None:
    comparison = compare([a_run("old", examples.churn(2.0)), a_run("new", examples.churn(0.2))])
    by_metric = {difference.metric: difference for difference in comparison.differences}
    assert by_metric["brier"].is_significant
    assert by_metric["brier"].gain.value > 0
    assert comparison.changes[0].worst.columns == ["unit", "before", "after"]
    assert "C" in _printed(comparison)


def test_luck_is_called_no_sure_difference() -> None:
    comparison = compare([a_run("old", examples.asr(0.3)), a_run("new", examples.asr(0.3, seed=2))])
    assert not next(
        difference for difference in comparison.differences if difference.metric == "wer"
    ).is_significant
    assert "no sure difference" in _printed(comparison)


def test_a_loss_in_one_slice_is_shown_with_its_corrected_p_value() -> None:
    comparison = compare(
        [a_run("old", examples.asr(0.3)), a_run("new", examples.asr(0.05, hidden=("agent", 0.45)))]
    )
    by_name = {
        f"{change.slice_gain.by} {change.slice_gain.value}": change.slice_gain
        for change in comparison.slices
    }
    assert known(by_name["role agent"].gain.high) < 0
    assert known(by_name["role agent"].p) < 0.001
    assert known(by_name["role customer"].gain.low) > 0
    assert "role agent" in _printed(comparison)
    assert "too small to test" in _printed(comparison), "a single voice is no slice to test"


def test_whole_calls_are_listed_with_what_they_lost_and_won() -> None:
    (change,) = compare(
        [a_run("old", examples.asr(0.1)), a_run("new", examples.asr(0.3))], worst=4
    ).changes
    assert (change.whole, change.wholes.height) == ("call", 8)
    losses = (change.wholes["after"] - change.wholes["before"]).to_list()
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 0 > losses[-1]


def test_regressions_can_be_heard_where_the_sound_is_at_hand() -> None:
    comparison = compare([a_run("old", examples.asr(0.1)), a_run("new", examples.asr(0.3))])
    first = comparison.changes[0].worst.row(0, named=True)
    page = comparison_page(
        comparison, lambda row: "data:audio/ogg;base64,AAAA" if row == first else None
    )
    assert page.count("<audio") == 1
    assert 'src="data:audio/ogg;base64,AAAA"' in page


@pytest.mark.parametrize(("first", "second"), [("d1", "d2"), ("", ""), ("d1", "")])
def test_other_or_unknown_test_data_is_refused_and_on_request_marked(
    first: str, second: str
) -> None:
    runs = [
        a_run("a", data_hash=first, metrics={"wer": 0.1}),
        a_run("b", data_hash=second, metrics={"wer": 0.2}),
    ]
    with pytest.raises(
        DifferentDataError, match=f"a on {first or 'unknown'}.*b on {second or 'unknown'}"
    ):
        compare(runs)
    comparison = compare(runs, across_data=True)
    assert "cannot be subtracted" in _printed(comparison)
    assert "cannot be subtracted" in comparison_page(comparison)


def test_scorecards_on_different_data_are_never_subtracted() -> None:
    runs = [a_run("a", examples.asr(0.1)), a_run("b", examples.asr(0.3, data_hash="d2"))]
    with pytest.raises(DifferentDataError, match="d2"):
        compare(runs)
    comparison = compare(runs, across_data=True)
    assert (comparison.differences, comparison.changes) == ([], [])
    assert "other data" in comparison_page(comparison)


def test_one_run_or_two_kinds_are_no_comparison() -> None:
    with pytest.raises(CompareError, match="at least two"):
        compare([a_run("a")])
    with pytest.raises(CompareError, match="asr, churn"):
        compare([a_run("a", examples.asr(0.1)), a_run("b", examples.churn(0.2))])


def test_units_that_do_not_match_are_noted_and_nothing_is_subtracted() -> None:
    comparison = compare(
        [a_run("a", examples.asr(0.1)), a_run("b", examples.asr(0.1, utterances=200))]
    )
    assert comparison.differences == []
    assert "200 of them the same" in _printed(comparison)


def test_what_people_wrote_cannot_break_the_page_or_the_terminal() -> None:
    run = RunView("x" * 32, {"note": "<script>alert(1)</script>[/b]"}, {}, "d1", name="[red]<b>")
    comparison = compare([run, a_run("b")])
    assert "<script>" not in comparison_page(comparison)
    assert "[red]<b>" in _printed(comparison)


def test_the_page_needs_nothing_else() -> None:
    page = comparison_page(compare([a_run("a", examples.asr(0.1)), a_run("b", examples.asr(0.3))]))
    assert not re.search(r"""(src|href)\s*=|url\(|@import""", page)
    assert "prefers-color-scheme: dark" in page
