"""Calibrates word confidence on whole validation calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.audio import AudioError
from data.speech.transcripts import roles_of
from evaluation.metrics.word_correctness import word_correctness

if TYPE_CHECKING:
    from models.asr.segments import Segmentation


def calibrate_confidence(
    model: Path,
    calls: Sequence[Mapping[str, Any]],
    *,
    read_audio: Callable[[str], tuple[np.ndarray, int]],
    segmentation: Segmentation,
    exports: Path,
) -> dict[str, Any]:
    """Writes confidence.json beside the `.nemo` at `model` and returns what was fitted.

    `calls` are transcribed validation calls, decoded as in production. Whole sides are compared
    with their whole reference, so that words recognised where nobody speaks count as wrong. Calls
    that cannot be decoded are left out. With too few words there is no calibration, and the result
    says so: {"calibrated": False, "says": reason}.
    """
    from models.asr import confidence
    from models.asr.load import load
    from models.asr.transcript import Transcript

    path = model.with_name(confidence.FILE)
    path.unlink(missing_ok=True)
    recognizer = load(model, exports)
    references, transcripts = [], []
    for call in calls:
        try:
            turns = recognizer.transcribe_call(
                *read_audio(call["contact_id"]), roles_of(call), segmentation=segmentation
            )
        except AudioError:
            continue
        words = [word for turn in turns if turn.role == "customer" for word in turn.words]
        references.append(call)
        transcripts.append(Transcript(" ".join(word.text for word in words), words, 0.0))
    try:
        calibration = confidence.fit_calibration(*word_correctness(references, transcripts))
    except confidence.CalibrationError as error:
        return {"calibrated": False, "says": str(error)}
    confidence.save_calibration(path, calibration)
    return {"calibrated": True, "calls": len(references), **asdict(calibration)}
