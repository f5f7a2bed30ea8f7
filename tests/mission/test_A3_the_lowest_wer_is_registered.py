"""A3: best, last and averaged weights are scored by one standalone evaluator, and the lowest WER is
what is kept.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest

from models.asr.nemo import restore
from tests.speech_helpers import a_manifest
from training.asr import finetune as asr_finetune
from training.asr.finetune import AsrTraining, evaluate, finetune
from training.asr.manifest import Limits, ManifestReport, read_manifest
from training.tracking import get_run, start_or_resume

BASE = Path(__file__).resolve().parents[2] / AsrTraining().base
KINDS = ("best", "last", "averaged")


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, dict[str, Any]]:
    """The base that ships learns ten words a little: what finetune found, its folder, its MLflow
    run.
    """
    folder = tmp_path_factory.mktemp("learnt")
    a_manifest(folder / "train.jsonl", 24)
    a_manifest(folder / "valid.jsonl", 12, seed=1, words=3)
    params = AsrTraining(
        steps=20,
        batch_duration_s=12.0,
        learning_rate=5e-3,
        warmup_steps=5,
        cooldown_share=0.1,
        valid_steps=6,
        average_share=0.5,
        threads=1,
    )
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with start_or_resume(uri, "asr", "A3") as run:
        summary = finetune(
            params,
            BASE,
            train_manifest=folder / "train.jsonl",
            valid_manifest=folder / "valid.jsonl",
            work_dir=folder / "work",
            run=run,
        )
    return summary, folder, get_run(uri, run.run_id)


def test_A3_the_model_that_is_kept_has_the_lowest_of_three_figures(
    learnt: tuple[dict[str, Any], Path, dict[str, Any]],
) -> None:
    summary, folder, run = learnt
    figures = {kind: summary[f"wer_{kind}"] for kind in KINDS}
    assert len(set(figures.values())) > 1  # there was a choice
    assert (
        summary["wer"]
        == min(figures.values())
        == figures[summary["chosen"]]
        < summary["wer_before"]
    )
    valid = read_manifest(
        folder / "valid.jsonl",
        lambda text: ([], ""),
        step_s=0.0,
        limits=Limits(0.2, 20.0, 0.0, 1.0),
        report=ManifestReport("valid"),
        for_training=False,
    ).corpus
    # From the file, by the same evaluator.
    assert evaluate(folder / "work" / "model.nemo", valid) == summary["wer"]
    assert {kind: run["metrics"][f"valid_wer_{kind}"] for kind in KINDS} == figures
    assert run["metrics"]["valid_wer_before"] == summary["wer_before"]


@pytest.mark.parametrize("winner", KINDS)
def test_A3_whichever_wins_its_weights_are_shipped(
    learnt: tuple[dict[str, Any], Path, dict[str, Any]],
    winner: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    _, folder, _ = learnt
    for name in ("last.pt", "best.pt"):
        (tmp_path / name).write_bytes((folder / "work" / name).read_bytes())
    model = restore(BASE)
    monkeypatch.setattr(
        asr_finetune, "evaluate", lambda path, valid: 0.1 if path.stem == winner else 0.2
    )
    figures = asr_finetune._score_candidates(model, tmp_path, None)
    assert min(figures, key=lambda kind: figures[kind]) == winner
    last = torch.load(tmp_path / "last.pt", weights_only=True)
    expected = {
        "best": torch.load(tmp_path / "best.pt", weights_only=True)["model"],
        "last": last["model"],
        "averaged": last["model"] | last["average"],
    }[winner]
    with tarfile.open(tmp_path / "candidates" / f"{winner}.nemo") as archive:
        (member,) = [name for name in archive.getnames() if name.endswith("model_weights.ckpt")]
        stored: Any = archive.extractfile(member)
        shipped = torch.load(stored, weights_only=True)
    assert all(torch.equal(shipped[name], value) for name, value in expected.items())
