"""Runs an exported recogniser with ONNX Runtime: spectra in numpy, the rest in the graph; no NeMo and no torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

METADATA = "keepline"  # the key under which an exported file says what it expects
LONGEST_S = 120.0  # its masks are made for this much


@dataclass(frozen=True)
class Spectrum:
    """How a waveform becomes the power spectra the graph expects, and what comes out of it."""

    sample_rate_hz: int
    fft: int  # points of the transform
    window: int  # samples of the Hann window, centred in it
    hop: int  # samples from one spectrum to the next
    preemphasis: float
    step_s: float  # what one step of the output stands for
    labels: list[str]  # without the blank, which comes last
    parameters: int
    source_sha256: str  # of the .nemo it was exported from

    def power(self, wave: np.ndarray) -> np.ndarray:
        """float32 [bins, frames] of a mono waveform (float32 [samples]), as NeMo's featuriser computes it."""
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
        turned = np.fft.rfft(frames * np.hanning(self.window).astype(np.float32), self.fft)
        return np.asarray(turned.real**2 + turned.imag**2, np.float32).T


class OnnxNetwork:
    """A network exported by models.asr.export_onnx. One thread: calls are spread over processes instead."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Batches differ in shape; without the arena their memory is given back instead of piling up.
        options.enable_cpu_mem_arena = False
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        said = self._session.get_modelmeta().custom_metadata_map
        if METADATA not in said:
            raise ValueError(
                f"{path}: not exported by Keepline (it does not say what it expects). Export it again."
            )
        self.spectrum = Spectrum(**json.loads(said[METADATA]))
        self.labels = self.spectrum.labels

    @property
    def parameters(self) -> int:
        """Weights of the network it was exported from."""
        return self.spectrum.parameters

    def log_probs(self, waves: list[np.ndarray]) -> tuple[list[np.ndarray], float]:
        """Of each waveform (16 kHz float32 [frames]) float32 [steps, labels + blank], and the seconds a step lasts."""
        longest = int(LONGEST_S * self.spectrum.sample_rate_hz)
        if any(len(wave) > longest for wave in waves):
            return [self._in_parts(wave, longest) for wave in waves], self.spectrum.step_s
        spectra = [self.spectrum.power(wave) for wave in waves]
        frames = np.array([spectrum.shape[1] for spectrum in spectra], np.int64)
        batch = np.zeros((len(spectra), self.spectrum.fft // 2 + 1, frames.max()), np.float32)
        for row, spectrum in zip(batch, spectra, strict=True):
            row[:, : spectrum.shape[1]] = spectrum
        found, steps = self._session.run(["log_probs", "steps"], {"power": batch, "frames": frames})
        return [found[i, : steps[i]] for i in range(len(waves))], self.spectrum.step_s

    def _in_parts(self, wave: np.ndarray, longest: int) -> np.ndarray:
        parts = np.array_split(wave, -(-len(wave) // longest))
        return np.concatenate([self.log_probs([part])[0][0] for part in parts])


def metadata(spectrum: Spectrum) -> dict[str, Any]:
    """What an exported file carries about itself."""
    return {METADATA: json.dumps(asdict(spectrum))}
