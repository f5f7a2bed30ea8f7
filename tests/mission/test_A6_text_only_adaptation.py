"""A6: domain terms and sentences improve WER without a new recording, by a language model and by
simulated voices.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.audio import read
from data.files import write_text
from evaluation.metrics.wer import corpus_wer, word_errors
from models.asr.decoding import FILES, Decoding
from models.asr.language import Text
from models.asr.load import load
from models.asr.nemo import restore
from models.asr.recognizer import Recognizer
from training.asr.base_speech import held_out_speakers
from training.asr.text_adaptation import TextAdaptation, adapt, synthesize_manifest

ROOT = Path(__file__).parents[2]
BASE = ROOT / "models" / "base" / "keepline-base.nemo"
BARISTA = (
    Path(os.environ.get("KEEPLINE_REAL_DATA", ROOT.parent / "shared" / "data"))
    / "speech"
    / "barista"
)

CAUSES = (
    "a question about my bill",
    "a problem with my modem",
    "a refund for my order",
    "no signal since monday",
)
OPENINGS = (
    "hello i have {}",
    "hi i am calling about {}",
    "good morning it is about {}",
    "i called before about {}",
)
SENTENCES = [opening.format(cause) for cause in CAUSES for opening in OPENINGS]
BEAM = TextAdaptation(decoding=Decoding(mode="beam"))


@pytest.fixture(scope="module")
def base() -> Any:
    return restore(BASE)


def listen(model: Path, network: Any, manifest: Path) -> tuple[float, float]:
    """WER of greedy decoding and of what `load` decodes with, on a manifest."""
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    waves = [
        np.ascontiguousarray(read(manifest.parent / row["audio_filepath"])[0][:, 0]) for row in rows
    ]
    greedy, adapted = Recognizer(network), load(model)
    assert adapted.decoder is not None
    first, second = (
        corpus_wer(
            [
                word_errors(row["text"], transcript.text)
                for row, transcript in zip(rows, recognizer.transcribe(waves), strict=True)
            ]
        )
        for recognizer in (greedy, adapted)
    )
    return first, second


def link_base(folder: Path) -> Path:
    """The shipped base in a folder of its own, for a language model to lie beside it."""
    (folder / "model.nemo").symlink_to(BASE)
    return folder / "model.nemo"


def test_A6_wer_falls_with_sentences_alone(tmp_path: Path, base: Any) -> None:
    """Simulated voices say sentences that the model has never heard; only their like was ever
    written down.
    """
    test_sentences, written_sentences = (
        SENTENCES[::3],
        [text for number, text in enumerate(SENTENCES) if number % 3],
    )
    synthesize_manifest(test_sentences, tmp_path / "test.jsonl", count=12, seed=3)
    model = link_base(tmp_path)
    summary = adapt(
        BEAM,
        map(Text, written_sentences),
        model=model,
        valid_manifest=synthesize_manifest(
            written_sentences[:8], tmp_path / "valid.jsonl", count=8, seed=4
        ),
        folder=tmp_path,
    )
    assert set(FILES) <= {path.name for path in tmp_path.iterdir()}
    greedy, adapted = listen(model, base, tmp_path / "test.jsonl")
    assert summary["mode"] == "beam"
    assert adapted < 0.75 * greedy


@pytest.mark.skipif(
    not BARISTA.is_dir(), reason=f"no real speech at {BARISTA}; set KEEPLINE_REAL_DATA"
)
def test_A6_wer_on_real_speech_falls(tmp_path: Path, base: Any) -> None:
    """Coffee orders of voices that neither the base nor the language model has met."""
    rows = [json.loads(line) for line in (BARISTA / "manifest.jsonl").read_text().splitlines()]
    for row in rows:
        row["audio_filepath"] = str((BARISTA / row["audio_filepath"]).resolve())
    apart = held_out_speakers("barista", {row["speaker"] for row in rows})
    rest = [row for row in rows if row["speaker"] not in apart]
    tuned = set(sorted({row["speaker"] for row in rest})[::5])
    parts = {
        "valid": [row for row in rest if row["speaker"] in tuned][::5],
        "test": [row for row in rows if row["speaker"] in apart][::4],
    }
    for name, part in parts.items():
        write_text(tmp_path / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in part))
    model = link_base(tmp_path)
    texts = [Text(row["text"]) for row in rest if row["speaker"] not in tuned]
    adapt(BEAM, texts, model=model, valid_manifest=tmp_path / "valid.jsonl", folder=tmp_path)
    greedy, adapted = listen(model, base, tmp_path / "test.jsonl")
    assert adapted < 0.75 * greedy
