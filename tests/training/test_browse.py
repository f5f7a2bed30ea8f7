"""Runs are listed and filtered the same way whether MLflow is asked or its tables are read."""

from pathlib import Path

import pytest

from tests.judging import Shop
from training.browse import BrowseError, browse
from training.tracking import list_runs


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    from mlflow.entities import Metric, Param, RunTag

    shop = Shop(tmp_path_factory.mktemp("runs"))
    experiment = shop.registry.client.create_experiment("more")
    for n in range(6):
        run = shop.registry.client.create_run(experiment, run_name=f"asr {n}", start_time=1000 + n)
        tags = [RunTag("kind", "asr"), RunTag("verdict", "accepted" if n % 2 else "refused")]
        shop.registry.client.log_batch(
            run.info.run_id, [Metric("test_wer", 0.1 * n, 0, 0)], [Param("asr.steps", str(100 * n))], tags
        )
    shop.registry.client.delete_run(run.info.run_id)
    return shop.uri


def test_K3_reading_the_tables_tells_what_mlflow_tells(uri: str):
    told = [{key: value for key, value in run.items() if key != "inputs"} for run in list_runs(uri)]
    assert browse(uri) == told
    assert len(told) == 6  # five, and the shop's own; the deleted one is gone


@pytest.mark.parametrize(
    ("where", "names"),
    [
        (["test_wer<0.25"], ["asr 2", "asr 1", "asr 0"]),
        (["test_wer >= 0.1", "verdict=accepted"], ["asr 3", "asr 1"]),
        (["asr.steps>=300", "kind=asr"], ["asr 4", "asr 3"]),
        (["name=asr 4"], ["asr 4"]),
        (["verdict!=refused"], ["asr 3", "asr 1"]),
        (["nobody=knows"], []),
    ],
)
def test_K3_conditions_choose(uri: str, where, names):
    assert [run["name"] for run in browse(uri, where)] == names


def test_K3_runs_are_sorted_by_a_metric_and_limited(uri: str):
    assert [run["name"] for run in browse(uri, ["kind=asr"], sort="test_wer", limit=2)] == ["asr 0", "asr 1"]


def test_K3_a_condition_that_is_none_is_told(uri: str):
    with pytest.raises(BrowseError, match="write a name"):
        browse(uri, ["test_wer is small"])


def test_K3_a_store_without_runs_has_none(tmp_path: Path):
    assert browse(f"sqlite:///{tmp_path}/mlflow.db") == []
    assert list(tmp_path.iterdir()) == []
