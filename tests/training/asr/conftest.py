"""A few synthesised utterances and a tiny network to fine-tune, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.speech_helpers import a_manifest, a_nemo


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spoken")
    a_manifest(folder / "train.jsonl", 12)
    a_manifest(folder / "valid.jsonl", 4, seed=1)
    a_nemo(folder / "base.nemo", channels=16, kernels=(5, 7), dropout=0.1)
    return folder
