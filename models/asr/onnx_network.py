"""Runs an exported recogniser with ONNX Runtime, without NeMo and torch.

Power spectra are computed in numpy, everything after them in the exported graph.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

METADATA = "keepline"  # the key of an exported file's metadata that holds its Spectrum
LONGEST_S = 120.0  # of one input, unless the encoder takes less


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """How a waveform becomes the power spectra the graph takes, and what the graph returns."""

    sample_rate_hz: int
    fft: int  # points of the transform
    window: int  # samples of the Hann window, centred in it
    hop: int  # samples from one spectrum to the next
    preemphasis: float  # share of the sample before that is subtracted
    step_s: float  # seconds that one step of the output stands for
    labels: list[str]  # without the blank, which comes last
    parameters: int
    source_sha256: str  # of the .nemo it was exported from
    longest_s: float = LONGEST_S  # of one input

    def power(self, wave: np.ndarray) -> np.ndarray:
        """Returns float32 [bins, frames] of a mono waveform (float32 [samples]).

        It is what NeMo's FilterbankFeatures computes before its mel bands.
        """
        count = len(wave) // self.hop
        # The window starts `edge` samples into a transform that is centred on its frame.
        edge = (self.fft - self.window) // 2
        padded = np.zeros(len(wave) + self.fft, np.float32)
        speech = padded[self.fft // 2 :][: len(wave)]
        speech[:] = wave
        speech[1:] -= np.float32(self.preemphasis) * wave[:-1]
        frames = np.lib.stride_tricks.sliding_window_view(padded[edge:], self.window)[:: self.hop][
            :count
        ]
        spectra = np.fft.rfft(frames * np.hanning(self.window).astype(np.float32), self.fft)
        return np.asarray(spectra.real**2 + spectra.imag**2, np.float32).T


class OnnxNetwork:
    """A network exported by models.asr.nemo.export_onnx.

    It uses one thread: calls are spread over processes instead.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Batches differ in shape; without the arena their memory is given back instead of piling
        # up.
        options.enable_cpu_mem_arena = False
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        properties = self._session.get_modelmeta().custom_metadata_map
        if METADATA not in properties:
            raise ValueError(
                f"{path}: not exported by Keepline (it does not say what it expects). "
                "Export it again."
            )
        self.spectrum = Spectrum(**json.loads(properties[METADATA]))
        self.labels = self.spectrum.labels

    @property
    def parameters(self) -> int:
        """Weights of the network it was exported from."""
        return self.spectrum.parameters

    def log_probs(self, waves: list[np.ndarray]) -> tuple[list[np.ndarray], float]:
        """Returns float32 [steps, labels + blank] for each waveform, and the seconds a step lasts.

        Waveforms are 16 kHz float32 [frames]. One longer than the network takes goes through in
        parts.
        """
        longest = int(self.spectrum.longest_s * self.spectrum.sample_rate_hz)
        if any(len(wave) > longest for wave in waves):
            return in_parts(self, waves, longest), self.spectrum.step_s
        spectra = [self.spectrum.power(wave) for wave in waves]
        frames = np.array([spectrum.shape[1] for spectrum in spectra], np.int64)
        batch = np.zeros((len(spectra), self.spectrum.fft // 2 + 1, frames.max()), np.float32)
        for row, spectrum in zip(batch, spectra, strict=True):
            row[:, : spectrum.shape[1]] = spectrum
        log_probs, steps = self._session.run(
            ["log_probs", "steps"], {"power": batch, "frames": frames}
        )
        return [log_probs[i, : steps[i]] for i in range(len(waves))], self.spectrum.step_s


def in_parts(network: Any, waves: list[np.ndarray], longest: int) -> list[np.ndarray]:
    """Returns the log-probabilities of each waveform, taken in parts of up to `longest` samples."""
    return [
        np.concatenate(
            [
                network.log_probs([part])[0][0]
                for part in np.array_split(wave, -(-len(wave) // longest))
            ]
        )
        for wave in waves
    ]


def metadata(spectrum: Spectrum) -> dict[str, Any]:
    """Returns the metadata that an exported file carries about itself."""
    return {METADATA: json.dumps(asdict(spectrum))}
