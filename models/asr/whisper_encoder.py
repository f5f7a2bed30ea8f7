"""The encoder of Whisper as a NeMo module, so that an EncDecCTCModel can start from its weights.

NeMo finds the class by its name in a `.nemo`. That name is allowed in two places, by name alone:
models.asr.nemo (for NeMo) and models.asr.nemo_archive (for the check before). A `.nemo` with it
opens only where Keepline is installed.
"""

from __future__ import annotations

import math

import torch
from nemo.core.classes.common import typecheck
from nemo.core.classes.exportable import Exportable
from nemo.core.classes.module import NeuralModule
from nemo.core.neural_types import (
    AcousticEncodedRepresentation,
    LengthsType,
    NeuralType,
    SpectrogramType,
)
from torch import nn
from torch.nn import functional

MEL_FLOOR = 1e-6  # of the mel power; Whisper's own floor depends on the loudest bin of the clip
_DECADES_PER_NEPER = 1 / math.log(10)


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each with its normalisation before it, and no dropout.

    Dropout on the residual branches wrecks Whisper's weights, whose activations are very large in
    a few channels.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.feed_norm = nn.LayerNorm(width)
        self.feed_in = nn.Linear(width, 4 * width)
        self.feed_out = nn.Linear(4 * width, width)

    def forward(self, states: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Returns float [batch, steps, width]; `valid` is bool [batch, steps]."""
        batch, steps, width = states.shape
        heads = self.query_key_value(self.attention_norm(states))
        query, key, value = heads.view(batch, steps, 3, self.heads, width // self.heads).permute(
            2, 0, 3, 1, 4
        )
        attended = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=valid[:, None, None]
        )
        states = states + self.attention_out(attended.transpose(1, 2).reshape(batch, steps, width))
        fed: torch.Tensor = self.feed_out(functional.gelu(self.feed_in(self.feed_norm(states))))
        return states + fed


class WhisperEncoder(NeuralModule, Exportable):  # type: ignore[misc]  # NeMo has no types
    """Whisper's encoder (arXiv 2212.04356) with one residual convolution behind it.

    It takes natural logarithms of mel power without normalisation (`normalize: NA`, floor
    MEL_FLOOR) and gives one step for two frames. Clips need no padding to 30 s. Positions are the
    sinusoids that Whisper was trained with. Longer inputs than `longest_s` get positions that no
    training has met, so callers cut them.
    """

    longest_s = 30.0  # positions Whisper was trained with
    trained_with_decoder = ("mix",)  # new where the encoder starts from Whisper's weights
    quantised_export = True  # its matrix products lose nothing in 8 bits that a test could show

    def __init__(
        self,
        feat_in: int = 80,
        d_model: int = 384,
        n_heads: int = 6,
        n_layers: int = 4,
        kernel_size: int = 5,
    ) -> None:
        super().__init__()
        # NeMo reads these three.
        self._feat_in, self._feat_out, self.subsampling_factor = feat_in, d_model, 2
        self.conv1 = nn.Conv1d(feat_in, d_model, 3, padding=1)
        self.conv2 = nn.Conv1d(d_model, d_model, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(EncoderLayer(d_model, n_heads) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.mix = nn.Conv1d(d_model, d_model, kernel_size, padding=kernel_size // 2)

    @property
    def input_types(self) -> dict[str, NeuralType]:
        """Neural types of NeMo's checks."""
        return {
            "audio_signal": NeuralType(("B", "D", "T"), SpectrogramType()),
            "length": NeuralType(("B",), LengthsType()),
        }

    @property
    def output_types(self) -> dict[str, NeuralType]:
        """Neural types of NeMo's checks."""
        return {
            "outputs": NeuralType(("B", "D", "T"), AcousticEncodedRepresentation()),
            "encoded_lengths": NeuralType(("B",), LengthsType()),
        }

    @typecheck()  # type: ignore[untyped-decorator]
    def forward(
        self, audio_signal: torch.Tensor, length: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns float [batch, width, steps] and the valid steps of each, int64 [batch].

        `audio_signal` is float [batch, mels, frames], `length` the valid frames of each. What
        follows the end of a clip is zero before each convolution, so a batch gives what each clip
        alone gives.
        """
        frames = torch.arange(audio_signal.shape[-1], device=length.device)
        within = (frames[None] < length[:, None])[:, None]
        mel = (audio_signal * _DECADES_PER_NEPER + 4) / 4 * within  # Whisper's scale
        states = functional.gelu(self.conv1(mel)) * within
        states = functional.gelu(self.conv2(states)).transpose(1, 2)
        states = states + sinusoids(states.shape[1], states.shape[2], states.device)
        steps = (length + 1) // 2
        valid = torch.arange(states.shape[1], device=length.device)[None] < steps[:, None]
        for layer in self.layers:
            states = layer(states, valid)
        states = (self.norm(states) * valid[..., None]).transpose(1, 2)
        return states + functional.gelu(self.mix(states)), steps.to(torch.int64)


def sinusoids(steps: int, width: int, device: torch.device) -> torch.Tensor:
    """Returns float32 [steps, width]: sines of falling frequency, then cosines of the same."""
    half = width // 2
    rates = torch.exp(-math.log(10_000) / (half - 1) * torch.arange(half, device=device))
    angles = torch.arange(steps, device=device)[:, None] * rates[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)
