"""V3: no customer, voice or future event on both sides of a split; a planted leak stops the stage
that would learn.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from data.features.features import FeatureParams
from data.files import write_table
from data.records import LABELS
from data.splits import LeakError
from flows.runtime.context import RunContext
from flows.runtime.params import Params
from flows.runtime.settings import from_environment
from flows.stages import asr, churn, prepare
from tests.data.test_leaks import some_features
from tests.factories import an_export


def quiet(done: int, total: int) -> None:
    """No one looks at this progress."""


def a_context(store: Path, **params: Any) -> RunContext:
    return RunContext(
        from_environment({}, store), Params(**params), "commit", store.parent / "export", "folder"
    )


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a small centre up to its manifests; C2 is tested on."""
    folder = tmp_path_factory.mktemp("leaks")
    an_export(folder / "export", calls=9, chats=0)
    context = a_context(folder / "store")
    for stage in (prepare.ingest, prepare.validate):
        stage(context, quiet)
    contacts = pl.read_parquet(context.path("clean/contacts.parquet"))
    contacts.select(
        "contact_id",
        "customer_id",
        pl.format("voice of {}", "customer_id").alias("voice_group"),
        pl.when(pl.col("customer_id") == "C2")
        .then(pl.lit("test"))
        .otherwise(pl.lit("train"))
        .alias("split"),
    ).write_parquet(context.path("splits.parquet"))
    prepare.cut(context, quiet)
    asr.pseudo(context, quiet)
    return context.store


@pytest.fixture
def cut(clean: Path, tmp_path: Path) -> RunContext:
    """A copy to plant leaks in."""
    return a_context(Path(shutil.copytree(clean, tmp_path / "store")))


def manifest(context: RunContext, split: str) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in context.path(f"speech/{split}.jsonl").read_text().splitlines()
    ]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, r"call call-\d+: in the speech of train and of test"),
        (
            {"contact_id": "other", "audio_filepath": "audio/other.wav"},
            "voice voice of C2: in the speech of train and",
        ),
        (
            {"voice": None, "contact_id": "other"},
            r"cut .*\.wav: in the speech of train and of test",
        ),
    ],
)
def test_V3_test_speech_in_the_training_manifest_stops_the_training(
    cut: RunContext, changes: dict[str, Any], says: str
) -> None:
    leaked = {**manifest(cut, "test")[0], **changes}
    with cut.path("pseudo/train.jsonl").open("a") as train:
        train.write(json.dumps(leaked) + "\n")
    with pytest.raises(LeakError, match=says):
        asr.train(cut, quiet)
    assert not cut.path("train_asr.json").exists()


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("voice_group", "voice of C1", "voice voice of C1: in the speech of train and of test"),
        ("customer_id", "C1", "customer C1: in the speech of train and of test"),
    ],
)
def test_V3_a_split_that_was_tampered_with_stops_the_cut(
    cut: RunContext, column: str, value: str, says: str
) -> None:
    path = cut.path("splits.parquet")
    splits = pl.read_parquet(path)
    tested = pl.col("split") == "test"
    splits.with_columns(
        pl.when(tested).then(pl.lit(value)).otherwise(column).alias(column)
    ).write_parquet(path)
    with pytest.raises(LeakError, match=says):
        prepare.cut(cut, quiet)


def test_V3_a_customer_whose_months_are_on_both_sides_stops_the_churn_training(
    tmp_path: Path,
) -> None:
    context = a_context(tmp_path / "store")
    context.store.mkdir()
    pl.concat([some_features("train")[0], some_features("test")[0]]).write_parquet(
        context.path("features.parquet")
    )
    with pytest.raises(LeakError, match="customer C1: in the features of test and train, 2 such"):
        churn.train(context, quiet)


def test_V3_features_that_have_seen_the_future_stop_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = a_context(
        tmp_path / "store", features=FeatureParams(min_history_days=10, min_follow_up_days=10)
    )
    _, tables = some_features()
    for name, table in tables.items():
        context.path("clean").mkdir(parents=True, exist_ok=True)
        table.write_parquet(context.path(f"clean/{name}.parquet"))
    pl.DataFrame(schema=LABELS).write_parquet(context.path("labels.parquet"))
    sides = {"contact_id": [None, None], "customer_id": ["C1", "C2"], "split": ["train", "test"]}
    pl.DataFrame(sides, schema_overrides={"contact_id": pl.String}).write_parquet(
        context.path("splits.parquet")
    )
    import data.features.features

    churn.features(context, quiet)
    honest = data.features.features.features_in_parts

    def a_day_ahead(
        tables: dict[str, pl.LazyFrame], *rest: Any, **more: Any
    ) -> Iterator[pl.DataFrame]:
        """A plausible mistake: contacts are dated a day early, so that a window sees one day too
        many.
        """
        early = tables["contacts"].with_columns(pl.col("started_at").dt.offset_by("-1d"))
        return honest({**tables, "contacts": early}, *rest, **more)

    monkeypatch.setattr(data.features.features, "features_in_parts", a_day_ahead)
    context.path("features.parquet").unlink()
    with pytest.raises(LeakError, match=r"contacts_\d+d is .* A feature has seen the future"):
        churn.features(context, quiet)
    assert not context.path("features.parquet").exists()


def test_V3_a_kill_between_ledger_and_split_leads_to_the_same_division(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts = [a_context(Path(shutil.copytree(clean, tmp_path / name))) for name in ("a", "b")]
    for context in contexts:
        context.path("splits.parquet").unlink()
    killed, _ = contexts
    written = write_table

    class Killed(BaseException):
        """Nothing catches it."""

    def until_the_split(path: Path, frame: pl.DataFrame) -> None:
        if path.name == "splits.parquet":
            raise Killed
        written(path, frame)

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "write_table", until_the_split)
        with pytest.raises(Killed):
            prepare.split(killed, quiet)
    assert killed.path("split_ledger.parquet").exists()
    assert not killed.path("splits.parquet").exists()
    for context in contexts:
        prepare.split(context, quiet)
    divisions = [pl.read_parquet(context.path("splits.parquet")) for context in contexts]
    assert divisions[0].equals(divisions[1])

    # Whoever then moves somebody by hand is stopped where the speech would be cut.
    moved = {"train": "test", "test": "valid", "valid": "train", "aside": "train"}
    by_hand = divisions[0].with_columns(pl.col("split").replace_strict(moved))
    by_hand.write_parquet(killed.path("splits.parquet"))
    with pytest.raises(LeakError, match=r"was in \w+ and is in \w+ now"):
        prepare.cut(killed, quiet)
