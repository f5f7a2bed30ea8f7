"""NeMo models: restores checkpoints, computes CTC outputs and exports to ONNX.

No other module of models/ imports NeMo.
"""

from __future__ import annotations

import contextlib
import logging
import tarfile
import warnings
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.audio import SAMPLE_RATE_HZ
from data.files import atomic
from models.asr.nemo_archive import WHISPER_ENCODER, NemoArchiveError, check_nemo
from models.asr.onnx_network import LONGEST_S, OnnxNetwork, Spectrum, in_parts, metadata

if TYPE_CHECKING:
    import torch


PARITY = 0.01  # by how much an export's probabilities (0 to 1) may differ from NeMo's
# By how much they may differ on average where the matrix products are in 8 bits.
QUANTISED_PARITY = 0.01
log = logging.getLogger(__name__)


class ModelError(ValueError):
    """A file is not a recogniser we can load. The message names it and says what to do."""


class ExportError(ValueError):
    """A network cannot be run outside NeMo. NeMo runs it then."""


class NemoNetwork:
    """A NeMo CTC model, or the CTC branch of a hybrid one, as a `Network`."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.labels = [str(label) for label in _decoder(model).vocabulary]

    @property
    def parameters(self) -> int:
        """Weights of the network."""
        return sum(weight.numel() for weight in self.model.parameters())

    def log_probs(self, waves: list[np.ndarray]) -> tuple[list[np.ndarray], float]:
        """Returns float32 [steps, labels + blank] for each waveform, and the seconds a step lasts.

        Waveforms are 16 kHz float32 [frames]. One longer than the encoder takes goes through in
        parts.
        """
        import torch

        longest = int(getattr(self.model.encoder, "longest_s", LONGEST_S) * SAMPLE_RATE_HZ)
        if any(len(wave) > longest for wave in waves):
            return in_parts(self, waves, longest), self.step_s
        lengths = np.array([len(wave) for wave in waves])
        batch = np.zeros((len(waves), lengths.max()), np.float32)
        for row, wave in zip(batch, waves, strict=True):
            row[: len(wave)] = wave
        self.model.eval()
        device = next(self.model.parameters()).device  # where training left it
        with torch.inference_mode():
            log_probs, steps = ctc_log_probs(
                self.model, torch.from_numpy(batch).to(device), torch.from_numpy(lengths).to(device)
            )
        log_probs, counts = log_probs.cpu(), steps.cpu().numpy()
        return [log_probs[i, : counts[i]].numpy() for i in range(len(waves))], self.step_s

    @cached_property
    def step_s(self) -> float:
        """Seconds a step lasts, measured on ten seconds of silence, as networks subsample."""
        import torch

        self.model.eval()
        device = next(self.model.parameters()).device
        frames = 10 * SAMPLE_RATE_HZ
        with torch.inference_mode():
            _, steps = ctc_log_probs(
                self.model,
                torch.zeros(1, frames, device=device),
                torch.tensor([frames], device=device),
            )
        hop_s = float(self.model.cfg.preprocessor.window_stride)
        return hop_s * round(10 / hop_s / int(steps[0]))


def export_onnx(model: Any, path: Path, source_sha256: str) -> None:
    """Writes the CTC network, from power spectra to log-probabilities, as one ONNX file.

    Its metadata say what it expects (see Spectrum). Matrix products of an encoder that allows it
    are stored and computed in 8 bits. Raises ExportError when the graph cannot be traced, or
    differs from NeMo's probabilities by more than PARITY.
    """
    featurizer = model.preprocessor.featurizer
    if (
        featurizer.exact_pad
        or featurizer.mag_power != 2.0
        or featurizer.frame_splicing != 1
        or not featurizer.log
    ):
        raise ExportError("its features are not plain log-mel spectra.")
    model.eval()
    if hasattr(model.encoder, "update_max_sequence_length"):
        # The trace keeps masks of this length.
        model.encoder.update_max_sequence_length(int(LONGEST_S * 100) + 1, "cpu")
    network = NemoNetwork(model)
    waves = _test_waves()
    expected, step_s = network.log_probs(waves)
    spectrum = Spectrum(
        sample_rate_hz=SAMPLE_RATE_HZ,
        fft=featurizer.n_fft,
        window=featurizer.win_length,
        hop=featurizer.hop_length,
        preemphasis=featurizer.preemph or 0.0,
        step_s=step_s,
        labels=network.labels,
        parameters=network.parameters,
        source_sha256=source_sha256,
        longest_s=getattr(model.encoder, "longest_s", LONGEST_S),
    )
    with atomic(path) as temporary:
        _trace(model, spectrum, temporary)
        if np.max(_differences(temporary, waves, expected)) > PARITY:
            raise ExportError("the export does not give NeMo's probabilities.")
        if getattr(model.encoder, "quantised_export", False):
            _quantise(temporary)
            if np.mean(_differences(temporary, waves, expected)) > QUANTISED_PARITY:
                raise ExportError("the export in 8 bits does not give NeMo's probabilities.")


def _differences(path: Path, waves: list[np.ndarray], expected: list[np.ndarray]) -> np.ndarray:
    """Returns by how much each probability of an export differs from the expected one.

    Raises ExportError where it gives another number of steps.
    """
    exported, _ = OnnxNetwork(path).log_probs(waves)
    if any(log_probs.shape != own.shape for log_probs, own in zip(exported, expected, strict=True)):
        raise ExportError("the export gives another number of steps than NeMo.")
    ours, nemos = np.exp(np.concatenate(exported)), np.exp(np.concatenate(expected))
    return np.asarray(np.abs(ours - nemos))


def _quantise(path: Path) -> None:
    """Rewrites an ONNX file with its matrix products in 8 bits, scaled at run time.

    Convolutions stay as they are. The metadata are kept.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    properties = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    with suppress_logs():
        quantize_dynamic(
            str(path), str(path), op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8
        )
    graph = onnx.load(str(path))
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, properties)
    onnx.save(graph, str(path))


def _test_waves() -> list[np.ndarray]:
    """Two waveforms of bursts of noise, 3 and 1.7 seconds long."""
    rng = np.random.default_rng(0)
    return [
        rng.normal(0, 0.1, int(SAMPLE_RATE_HZ * s)).astype(np.float32)
        * (np.arange(int(SAMPLE_RATE_HZ * s)) % 9000 < 5000)
        for s in (3.0, 1.7)
    ]


def _trace(model: Any, spectrum: Spectrum, path: Path) -> None:
    """Writes the traced graph to `path` with `spectrum` as its metadata. Raises ExportError."""
    import onnx
    import torch
    from nemo.core.classes.common import typecheck

    power = torch.zeros(2, spectrum.fft // 2 + 1, 200).uniform_()
    axes = {
        "power": {0: "batch", 2: "time"},
        "frames": {0: "batch"},
        "log_probs": {0: "batch", 1: "step"},
        "steps": {0: "batch"},
    }
    try:
        with suppress_logs(), torch.no_grad(), typecheck.disable_checks():
            torch.onnx.export(
                _graph(model).eval(),
                (power, torch.tensor([200, 150])),
                str(path),
                dynamo=False,
                input_names=["power", "frames"],
                output_names=["log_probs", "steps"],
                dynamic_axes=axes,
                opset_version=17,
            )
    except Exception as error:  # whatever the tracer meets in a network it does not know
        raise ExportError(f"it cannot be traced ({type(error).__name__}).") from error
    graph = onnx.load(str(path))
    for key, value in metadata(spectrum).items():
        graph.metadata_props.add(key=key, value=value)
    onnx.save(graph, str(path))


def _graph(model: Any) -> Any:
    """The part of a NeMo model after its power spectra, as a torch module to trace."""
    import torch
    from nemo.collections.asr.parts.preprocessing.features import normalize_batch

    featurizer = model.preprocessor.featurizer

    class Graph(torch.nn.Module):
        """Mel bands, logarithm, normalisation, encoder and CTC decoder."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = model.encoder, _decoder(model)

        def forward(
            self, power: torch.Tensor, frames: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor]:
            guard = featurizer.log_zero_guard_value_fn(power)
            mel = torch.matmul(featurizer.fb, power)
            mel = (
                mel + guard if featurizer.log_zero_guard_type == "add" else mel.clamp(min=guard)
            ).log()
            mel, _, _ = normalize_batch(mel, frames, featurizer.normalize)
            mel = mel.masked_fill(
                torch.arange(mel.size(2))[None, None] >= frames[:, None, None], featurizer.pad_value
            )
            encoded, steps = self.encoder(audio_signal=mel, length=frames)
            return self.decoder(encoder_output=encoded), steps

    return Graph()


def restore(path: Path) -> Any:
    """Returns the NeMo model in a local `.nemo`, on the CPU, weights only.

    Raises ModelError for a file that is none, holds what no model needs, or has no CTC decoder.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file. Name a local .nemo.")
    try:
        with tarfile.open(path) as archive:
            members = {Path(name).name for name in archive.getnames()}
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ModelError(
            f"{path}: not a .nemo (not a tar archive). Export it with NeMo's save_to."
        ) from error
    missing = {"model_config.yaml", "model_weights.ckpt"} - members
    if missing:
        raise ModelError(
            f"{path}: not a .nemo ({min(missing)} is missing in it). Export it with NeMo's save_to."
        )
    try:
        check_nemo(path)  # before NeMo unpacks anything
    except NemoArchiveError as error:
        raise ModelError(str(error)) from error
    models = nemo_asr()
    try:
        with suppress_logs():
            model = models.ASRModel.restore_from(str(path), map_location="cpu")
    except Exception as error:  # NeMo raises whatever the damaged part happens to raise
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ModelError(
            f"{path}: NeMo cannot restore it ({type(error).__name__}: {reason})."
        ) from error
    check(model, str(path))
    return model


def fetch(name: str) -> Any:
    """Downloads the `.nemo` of that name from the hub (Hugging Face or NGC) and restores it.

    Raises ModelError when it cannot be had, or as `restore` does.
    """
    models = nemo_asr()
    try:
        with suppress_logs():
            path = Path(models.ASRModel.from_pretrained(model_name=name, return_model_file=True))
    except Exception as error:
        # No network, no such name, not a speech model: all the same to the caller.
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ModelError(
            f"{name}: cannot be fetched from the hub ({type(error).__name__}: {reason}). "
            "Name a local .nemo instead."
        ) from error
    if path.is_dir():
        raise ModelError(
            f"{name}: the hub has no {name.rpartition('/')[2]}.nemo of it. "
            "Name a model packed as a .nemo."
        )
    return restore(path)


def check(model: Any, name: str) -> None:
    """Raises ModelError unless `model` has a CTC decoder and takes audio of 16 kHz."""
    if getattr(_decoder(model), "vocabulary", None) is None or not hasattr(model, "encoder"):
        raise ModelError(
            f"{name}: {type(model).__name__} has no CTC decoder. Use a CTC or hybrid checkpoint."
        )
    rate = int(model.cfg.preprocessor.sample_rate)
    if rate != SAMPLE_RATE_HZ:
        raise ModelError(
            f"{name}: takes audio of {rate} Hz. Use a checkpoint made for {SAMPLE_RATE_HZ} Hz."
        )


@contextlib.contextmanager
def suppress_logs() -> Iterator[None]:
    """Silences logs and warnings of NeMo and what it imports, which are many while it loads."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def nemo_asr() -> Any:
    """Returns the module `nemo.collections.asr.models`, imported on first use (about 20 s)."""
    with suppress_logs():
        from nemo.collections.asr import models
        from nemo.core.classes import common
        from nemo.utils import logging as nemo_logging

        from models.asr import whisper_encoder  # noqa: F401  # NeMo imports it by name

        nemo_logging.setLevel(logging.ERROR)
    if WHISPER_ENCODER not in common.ALLOWED_TARGET_PREFIXES:
        # NeMo compares beginnings; check_nemo, which comes before, compares the whole name.
        common.ALLOWED_TARGET_PREFIXES.append(WHISPER_ENCODER)
    return models


def ctc_log_probs(
    model: Any, signal: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns float32 [batch, steps, labels + blank] and the steps of each, int64 [batch].

    `signal` is float32 [batch, frames], `lengths` the frames of each. Of a hybrid model it is the
    CTC branch.
    """
    if hasattr(model, "ctc_decoder"):
        encoded, steps = model(input_signal=signal, input_signal_length=lengths)
        return model.ctc_decoder(encoder_output=encoded), steps
    log_probs, steps, _ = model(input_signal=signal, input_signal_length=lengths)
    return log_probs, steps


def _decoder(model: Any) -> Any:
    return getattr(model, "ctc_decoder", None) or getattr(model, "decoder", None)
