"""A comparison says what differs, how sure that is, and where it got worse."""

import re
from io import StringIO

import pytest
from rich.console import Console

from evaluation.compare import CompareError, DifferentDataError, RunView, compare
from evaluation.gates import examples
from evaluation.report.comparison import comparison_page, print_comparison


def a_run(run_id: str, card=None, data_hash: str = "d1", metrics=None, **params) -> RunView:
    return RunView(run_id, params, metrics or {}, data_hash, card)


def _printed(comparison) -> str:
    out = StringIO()
    print_comparison(comparison, Console(file=out, width=200, no_color=True))
    return out.getvalue()


def test_only_parameters_that_differ_are_shown():
    found = compare(
        [a_run("a", steps="100", rate="0.1"), a_run("b", steps="200", rate="0.1", extra="1")]
    )
    assert found.params == [("extra", [None, "1"]), ("steps", ["100", "200"])]


def test_metrics_come_with_intervals_where_a_scorecard_has_them():
    card = examples.asr(0.1)
    found = compare(
        [a_run("a", card, metrics={"wer": 0.5, "loss": 2.0}), a_run("b", metrics={"wer": 0.3})]
    )
    metrics = dict(found.metrics)
    assert metrics["wer"][0] == card.metrics["wer"]
    assert (metrics["wer"][1].value, metrics["wer"][1].low) == (0.3, None)
    assert metrics["loss"][1] is None


def test_the_worst_regressions_come_first_and_show_what_was_heard():
    found = compare([a_run("old", examples.asr(0.1)), a_run("new", examples.asr(0.3))], worst=5)
    (change,) = found.changes
    assert change.worse > change.better
    assert change.better + change.same + change.worse == 240
    lost = (change.worst["after"] - change.worst["before"]).to_list()
    assert len(lost) == 5
    assert lost == sorted(lost, reverse=True)
    assert lost[0] == max(
        new - old
        for old, new in zip(
            examples.asr(0.1).units["errors"], examples.asr(0.3).units["errors"], strict=True
        )
    )
    first = change.worst.row(0, named=True)
    assert first["hyp_after"].split().count("mumble") == first["after"]


def test_churn_runs_are_paired_by_customer():
    found = compare([a_run("old", examples.churn(2.0)), a_run("new", examples.churn(0.2))])
    by_metric = {difference.metric: difference for difference in found.differences}
    assert by_metric["brier"].sure
    assert by_metric["brier"].gain.value > 0
    assert found.changes[0].worst.columns == ["unit", "before", "after"]
    assert "C" in _printed(found)


def test_luck_is_called_no_sure_difference():
    found = compare([a_run("old", examples.asr(0.3)), a_run("new", examples.asr(0.3, seed=2))])
    assert not next(
        difference for difference in found.differences if difference.metric == "wer"
    ).sure
    assert "no sure difference" in _printed(found)


def test_a_loss_in_one_slice_is_shown_with_its_corrected_p_value():
    found = compare(
        [a_run("old", examples.asr(0.3)), a_run("new", examples.asr(0.05, hidden=("agent", 0.45)))]
    )
    by_name = {f"{one.found.by} {one.found.value}": one.found for one in found.slices}
    assert by_name["role agent"].gain.high < 0
    assert by_name["role agent"].p < 0.001
    assert by_name["role customer"].gain.low > 0
    assert "role agent" in _printed(found)
    assert "too small to test" in _printed(found), "a single voice is no slice to test"


def test_whole_calls_are_listed_with_what_they_lost_and_won():
    (change,) = compare(
        [a_run("old", examples.asr(0.1)), a_run("new", examples.asr(0.3))], worst=4
    ).changes
    assert (change.whole, change.wholes.height) == ("call", 8)
    lost = (change.wholes["after"] - change.wholes["before"]).to_list()
    assert lost == sorted(lost, reverse=True)
    assert lost[0] > 0 > lost[-1]


def test_regressions_can_be_heard_where_the_sound_is_at_hand():
    found = compare([a_run("old", examples.asr(0.1)), a_run("new", examples.asr(0.3))])
    first = found.changes[0].worst.row(0, named=True)
    page = comparison_page(
        found, lambda row: "data:audio/ogg;base64,AAAA" if row == first else None
    )
    assert page.count("<audio") == 1
    assert 'src="data:audio/ogg;base64,AAAA"' in page


@pytest.mark.parametrize(("first", "second"), [("d1", "d2"), ("", ""), ("d1", "")])
def test_other_or_unknown_test_data_is_refused_and_on_request_marked(first, second):
    runs = [
        a_run("a", data_hash=first, metrics={"wer": 0.1}),
        a_run("b", data_hash=second, metrics={"wer": 0.2}),
    ]
    with pytest.raises(
        DifferentDataError, match=f"a on {first or 'unknown'}.*b on {second or 'unknown'}"
    ):
        compare(runs)
    found = compare(runs, across_data=True)
    assert "cannot be subtracted" in _printed(found)
    assert "cannot be subtracted" in comparison_page(found)


def test_scorecards_on_different_data_are_never_subtracted():
    runs = [a_run("a", examples.asr(0.1)), a_run("b", examples.asr(0.3, data_hash="d2"))]
    with pytest.raises(DifferentDataError, match="d2"):
        compare(runs)
    found = compare(runs, across_data=True)
    assert (found.differences, found.changes) == ([], [])
    assert "other data" in comparison_page(found)


def test_one_run_or_two_kinds_are_no_comparison():
    with pytest.raises(CompareError, match="at least two"):
        compare([a_run("a")])
    with pytest.raises(CompareError, match="asr, churn"):
        compare([a_run("a", examples.asr(0.1)), a_run("b", examples.churn(0.2))])


def test_units_that_do_not_match_are_noted_and_nothing_is_subtracted():
    found = compare([a_run("a", examples.asr(0.1)), a_run("b", examples.asr(0.1, utterances=200))])
    assert found.differences == []
    assert "200 of them the same" in _printed(found)


def test_what_people_wrote_cannot_break_the_page_or_the_terminal():
    run = RunView("x" * 32, {"note": "<script>alert(1)</script>[/b]"}, {}, "d1", name="[red]<b>")
    found = compare([run, a_run("b")])
    assert "<script>" not in comparison_page(found)
    assert "[red]<b>" in _printed(found)


def test_the_page_needs_nothing_else():
    page = comparison_page(compare([a_run("a", examples.asr(0.1)), a_run("b", examples.asr(0.3))]))
    assert not re.search(r"""(src|href)\s*=|url\(|@import""", page)
    assert "prefers-color-scheme: dark" in page
