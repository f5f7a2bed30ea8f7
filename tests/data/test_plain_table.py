"""Tests that a plain table is read as meant and that errors name the column or row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from data.plain_table import (
    Columns,
    TableError,
    columns_of,
    identifiers,
    read,
    target,
    unseen_values,
    values_of,
)


@pytest.mark.parametrize(
    "values",
    [
        ["Yes", "no", "YES"],
        ["True", "false", "t"],
        [1, 0, 1],
        [1.0, 0.0, 1.0],
        [True, False, True],
        [" y", "n", "Y"],
    ],
)
def test_a_target_says_yes_in_many_ways(values: list[Any]) -> None:
    assert target(pl.DataFrame({"churn": values}), "churn").to_list() == [True, False, True]


def test_a_missing_target_is_unknown_not_no() -> None:
    assert target(pl.DataFrame({"churn": ["yes", None, "no", ""]}), "churn").to_list() == [
        True,
        None,
        False,
        None,
    ]


def test_other_words_need_to_be_told_which_means_yes() -> None:
    frame = pl.DataFrame({"status": ["gone", "here", "here"]})
    with pytest.raises(TableError, match=r"says gone, here. Name with --positive"):
        target(frame, "status")
    assert target(frame, "status", "gone").to_list() == [True, False, False]
    with pytest.raises(TableError, match="no row is 'left'"):
        target(frame, "status", "left")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["yes", "yes"], "is yes in every one of 2 rows"),
        (["a", "b", "c"], "has 3 values"),
        ([None, None], "is empty"),
    ],
)
def test_a_target_that_tells_nothing_is_refused(values: list[Any], message: str) -> None:
    with pytest.raises(TableError, match=message):
        target(pl.DataFrame({"churn": values}), "churn")


def test_a_column_that_is_not_there_is_named_with_the_nearest() -> None:
    with pytest.raises(TableError, match=r"no column chrun for the target\. Did you mean churn"):
        target(pl.DataFrame({"churn": [1, 0], "plan": ["a", "b"]}), "chrun")


def test_a_file_that_is_no_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no such file"):
        read(tmp_path / "gone.csv")
    (tmp_path / "none.csv").write_text("a,b\n")
    with pytest.raises(TableError, match=r"none\.csv: has no rows"):
        read(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(TableError, match="cannot be read as a table"):
        read(tmp_path / "empty.csv")
    (tmp_path / "false.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(TableError, match="cannot be read as a table"):
        read(tmp_path / "false.parquet")


def test_separators_and_parquet_are_understood(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    for name, separator in (("c.csv", ","), ("s.csv", ";"), ("t.tsv", "\t")):
        frame.write_csv(tmp_path / name, separator=separator)
        assert read(tmp_path / name).equals(frame)
    frame.write_parquet(tmp_path / "p.parquet")
    assert read(tmp_path / "p.parquet").equals(frame)


def test_an_id_that_stands_twice_is_named() -> None:
    frame = pl.DataFrame({"who": ["a", "b", "b", None]})
    with pytest.raises(TableError, match="1 rows have no id, the first is row 4"):
        identifiers(frame, "who")
    with pytest.raises(TableError, match="1 ids stand more than once, b 2 times"):
        identifiers(frame.drop_nulls(), "who")
    assert identifiers(frame, None).to_list()[0] == "row 1"


def test_columns_are_told_apart_and_nothing_is_left_out_silently() -> None:
    frame = pl.DataFrame(
        {
            "churn": ["yes", "no"] * 60,
            "who": [f"c{n}" for n in range(120)],
            "customerID": [f"7590-{n}" for n in range(120)],
            "charges": ["29.85", " "] * 60,
            "plan": ["a", "b", "c"] * 40,
            "paperless": [True, False] * 60,
            "note": [f"note {n}" for n in range(120)],
            "since": pl.date_range(pl.date(2026, 1, 1), pl.date(2026, 4, 30), eager=True),
            "nothing": pl.Series([None] * 120, dtype=pl.Float64),
            "known_later": range(120),
        }
    )
    columns = columns_of(frame, "churn", positive=None, id="who", exclude=["known_later"])
    assert columns.numeric == ("charges",)
    assert columns.categorical == ("plan", "paperless")
    assert set(columns.left_out) == {"customerID", "note", "since", "nothing", "known_later"}
    values = values_of(frame, columns)
    assert values["charges"].to_list()[:2] == [29.85, None]
    assert values["paperless"].to_list()[:2] == ["true", "false"]


def test_a_table_to_score_is_read_like_the_one_learned_from() -> None:
    columns = Columns("churn", numeric=("charges",), categorical=("plan",))
    with pytest.raises(TableError, match="no column charges, plan, which the model learned from"):
        values_of(pl.DataFrame({"x": [1]}), columns)
    # a category of numbers says the same read as whole numbers, with a gap, or as text
    for plans in ([1, 2], [1.0, 2.0], ["1", " 2"]):
        assert values_of(pl.DataFrame({"charges": [1, 2], "plan": plans}), columns)[
            "plan"
        ].to_list() == ["1", "2"]


def test_values_never_seen_are_counted() -> None:
    values = pl.DataFrame({"plan": ["a", "new", "new", "newer", None]})
    assert unseen_values(values, {"plan": ["a", "b"]}) == {"plan": {"new": 2, "newer": 1}}
    assert unseen_values(values, {"plan": ["a", "new", "newer", None]}) == {}
