"""Loads a recogniser with all that lies beside its weights: ONNX export, decoder, confidence."""

from __future__ import annotations

import logging
from pathlib import Path

from data.files import file_sha256
from models.asr import confidence
from models.asr.nemo import ExportError, ModelError, export_onnx, restore
from models.asr.onnx_network import OnnxNetwork
from models.asr.recognizer import Recognizer

log = logging.getLogger(__name__)


def load(path: str | Path, exports: Path | None = None) -> Recognizer:
    """The recogniser in a local `.nemo`, on the CPU, with the calibration and the decoder that lie beside it.

    With `exports`, a folder, it is heard through its export there (see `exported`), which needs neither NeMo nor torch.
    Raises ModelError when it is not a recogniser, naming the file.
    """
    from models.asr import decoding  # which builds on what is here

    path = Path(path)
    light = exported(path, exports) if exports else None
    model = OnnxNetwork(light) if light else restore(path)
    found = Recognizer(model, path.stat().st_size, calibration=confidence.beside(path))
    found.decoder = decoding.beside(path, found.labels)
    return found


def exported(path: Path, folder: Path) -> Path | None:
    """The `.onnx` of a `.nemo`, made in `folder` on first use (NeMo is needed then).

    None where it has no faithful one, which is found out anew each time: ask once and then `load` without `exports`.
    Raises ModelError as `restore` does.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file. Name a local .nemo.")
    sha256 = file_sha256(path)
    target = folder / f"{sha256[:16]}.onnx"
    if not target.exists():
        try:
            export_onnx(restore(path), target, sha256)
        except ExportError as error:
            log.warning("%s: %s It is heard with NeMo, which is slower.", path, error)
            return None
    return target
