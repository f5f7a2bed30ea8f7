"""Loads a recogniser with its ONNX export, decoder and confidence calibration."""

from __future__ import annotations

import logging
from pathlib import Path

from data.files import file_sha256
from models.asr import confidence, decoding
from models.asr.nemo import ExportError, ModelError, export_onnx, restore
from models.asr.onnx_network import OnnxNetwork
from models.asr.recognizer import Recognizer

log = logging.getLogger(__name__)


def load(path: str | Path, exports: Path | None = None) -> Recognizer:
    """Returns the recogniser in a local `.nemo`, on the CPU.

    The calibration and the decoder of the same folder are loaded with it. With `exports`, a folder,
    the network runs from its ONNX export there (see `cached_export`), which needs neither NeMo nor
    torch. Raises ModelError, naming the file, when it is not a recogniser.
    """
    path = Path(path)
    export = cached_export(path, exports) if exports else None
    model = OnnxNetwork(export) if export else restore(path)
    recognizer = Recognizer(
        model, path.stat().st_size, calibration=confidence.load_calibration(path)
    )
    recognizer.decoder = decoding.load_decoder(path, recognizer.labels)
    return recognizer


def cached_export(path: Path, folder: Path) -> Path | None:
    """Returns the `.onnx` of a `.nemo`, made in `folder` on first use, which needs NeMo.

    Returns None where no export gives NeMo's answers. That is not remembered: ask once, then `load`
    without `exports`. Raises ModelError as `restore` does.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file. Name a local .nemo.")
    sha256 = file_sha256(path)
    target = folder / f"{sha256[:16]}.onnx"
    if not target.exists():
        try:
            export_onnx(restore(path), target, sha256)
        except ExportError as error:
            log.warning("%s: %s NeMo runs it instead, which is slower.", path, error)
            return None
    return target
