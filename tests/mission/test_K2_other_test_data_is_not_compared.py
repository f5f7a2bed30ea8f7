"""K2: runs on different test data are not compared as if equal, by the real command on runs that MLflow keeps."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from evaluation.compare import DifferentDataError
from evaluation.gates import examples
from flows.commands.compare import compare
from tests.registry_helpers import RegistryFixture


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A store with three evaluated runs: two on test set d1, one on d2; and the ids they have in MLflow."""
    shop = RegistryFixture(tmp_path_factory.mktemp("compare"))
    client, ids = shop.registry.client, {}
    cards = {
        "old": examples.asr(0.1),
        "new": examples.asr(0.3),
        "other": examples.asr(0.1, data_hash="d2"),
    }
    experiment = client.get_run(shop.run_id).info.experiment_id
    for name, card in cards.items():
        run = client.create_run(
            experiment, run_name=name, tags={"validation_data_hash": card.data_hash}
        )
        card.save(shop.folder / name / "candidate.json")
        client.log_artifacts(run.info.run_id, str(shop.folder / name), "validation_scorecards")
        ids[name] = run.info.run_id
    return shop.folder, ids


def _asked(
    store: tuple[Path, dict[str, str]], page: Path, *names: str, across: bool = False
) -> str:
    printed = io.StringIO()
    console = Console(file=printed, width=200, no_color=True)
    compare(
        console, [store[1][name] for name in names], html=page, across_data=across, store=store[0]
    )
    return printed.getvalue()


def test_K2_runs_on_other_test_data_are_refused_with_both_hashes_and_no_page_is_left(
    store: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    page = tmp_path / "compare.html"
    with pytest.raises(DifferentDataError, match=r"old on d1; other on d2.*--across-data"):
        _asked(store, page, "old", "other")
    assert not page.exists()


def test_K2_on_request_they_stand_side_by_side_marked_and_are_never_subtracted(
    store: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    page = tmp_path / "compare.html"
    printed = _asked(store, page, "old", "other", across=True)
    for text in (printed, page.read_text()):
        assert "Tested on different data" in text
        assert "cannot be subtracted" in text
    assert "Paired on the same test units" not in printed
    assert "Paired on the same test units" in _asked(store, page, "old", "new")


def test_K1_the_worst_regression_can_be_played_where_the_store_holds_its_sound(
    store: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    page = tmp_path / "compare.html"
    _asked(store, page, "old", "new")
    assert "<audio" not in page.read_text()
    speech = store[0] / "speech"
    speech.mkdir()
    rows = [
        {
            "contact_id": unit["contact_id"],
            "role": unit["role"],
            "start_s": 0.0,
            "text": unit["ref"],
            "audio_filepath": "one.wav",
        }
        for unit in examples.asr(0.1).units.iter_rows(named=True)
    ]
    (speech / "valid.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    soundfile.write(speech / "one.wav", np.zeros(8000), 16000)
    _asked(store, page, "old", "new")
    assert page.read_text().count("<audio") == 10, "one for each of the worst"
    assert page.read_text().count('src="data:audio/') == 10
