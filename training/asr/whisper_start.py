"""Builds a recogniser whose encoder starts from the weights of a Whisper model.

The weights are read from a `model.bin` of CTranslate2, as faster-whisper ships them. Only the
encoder is taken. Its output goes through one new convolution and a new layer over characters.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from data.audio import SAMPLE_RATE_HZ
from data.text import ALPHABET
from models.asr.nemo import ModelError, nemo_asr, suppress_logs

_DTYPES = ("float32", "int8", "int16", "int32", "float16", "bfloat16")  # by CTranslate2's number
# Names in CTranslate2's WhisperSpec, and ours.
_LAYER = {
    "self_attention/layer_norm/gamma": "attention_norm.weight",
    "self_attention/layer_norm/beta": "attention_norm.bias",
    "self_attention/linear_0/weight": "query_key_value.weight",
    "self_attention/linear_0/bias": "query_key_value.bias",
    "self_attention/linear_1/weight": "attention_out.weight",
    "self_attention/linear_1/bias": "attention_out.bias",
    "ffn/layer_norm/gamma": "feed_norm.weight",
    "ffn/layer_norm/beta": "feed_norm.bias",
    "ffn/linear_0/weight": "feed_in.weight",
    "ffn/linear_0/bias": "feed_in.bias",
    "ffn/linear_1/weight": "feed_out.weight",
    "ffn/linear_1/bias": "feed_out.bias",
}
_OUTSIDE = {
    "conv1/weight": "conv1.weight",
    "conv1/bias": "conv1.bias",
    "conv2/weight": "conv2.weight",
    "conv2/bias": "conv2.bias",
    "layer_norm/gamma": "norm.weight",
    "layer_norm/beta": "norm.bias",
}


def whisper_network(weights: Path, seed: int = 0) -> Any:
    """Returns a NeMo EncDecCTCModel over characters with the encoder of a Whisper model.

    `weights` is the model.bin of an English or multilingual Whisper of any size. The layers behind
    the encoder are new, drawn with `seed`. Raises ModelError when the file holds no Whisper
    encoder.
    """
    import torch

    arrays = read_ctranslate2(weights)
    try:
        width = arrays["encoder/conv1/bias"].shape[0]
        heads = int(arrays["encoder/num_heads"])
        layers = 1 + max(
            int(name.split("/")[1].removeprefix("layer_"))
            for name in arrays
            if name.startswith("encoder/layer_") and name.split("/")[1][6:].isdigit()
        )
        state = {ours: arrays[f"encoder/{theirs}"] for theirs, ours in _OUTSIDE.items()}
        for layer in range(layers):
            for theirs, ours in _LAYER.items():
                state[f"layers.{layer}.{ours}"] = arrays[f"encoder/layer_{layer}/{theirs}"]
    except (KeyError, ValueError) as error:
        raise ModelError(
            f"{weights}: holds no Whisper encoder ({error}). Name the model.bin of a Whisper model "
            "for faster-whisper."
        ) from error
    torch.manual_seed(seed)
    model = build_network(width=width, heads=heads, layers=layers)
    tensors = {name: torch.from_numpy(np.array(array, np.float32)) for name, array in state.items()}
    missing, unexpected = model.encoder.load_state_dict(tensors, strict=False)
    if unexpected or {name.split(".")[0] for name in missing} != {"mix"}:
        raise ModelError(f"{weights}: its encoder has other weights than Whisper's.")
    torch.nn.init.normal_(model.encoder.mix.weight, std=1 / math.sqrt(width * 5))
    torch.nn.init.zeros_(model.encoder.mix.bias)
    return model


def build_network(*, width: int = 384, heads: int = 6, layers: int = 4) -> Any:
    """Returns a NeMo EncDecCTCModel with a WhisperEncoder of these sizes and random weights."""
    from omegaconf import OmegaConf

    from models.asr.nemo_archive import WHISPER_ENCODER
    from models.asr.whisper_encoder import MEL_FLOOR

    labels = list(ALPHABET)
    config = {
        "sample_rate": SAMPLE_RATE_HZ,
        "labels": labels,
        "preprocessor": {
            "_target_": "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor",
            "sample_rate": SAMPLE_RATE_HZ,
            "window_size": 0.025,
            "window_stride": 0.01,
            "window": "hann",
            "n_fft": 400,
            "features": 80,
            "preemph": None,
            "dither": 0.0,
            "pad_to": 0,
            "log": True,
            "log_zero_guard_type": "clamp",
            "log_zero_guard_value": MEL_FLOOR,
            "mag_power": 2.0,
            "normalize": "NA",
        },
        "encoder": {
            "_target_": WHISPER_ENCODER,
            "feat_in": 80,
            "d_model": width,
            "n_heads": heads,
            "n_layers": layers,
        },
        "decoder": {
            "_target_": "nemo.collections.asr.modules.ConvASRDecoder",
            "feat_in": width,
            "num_classes": len(labels),
            "vocabulary": labels,
        },
        "spec_augment": {
            "_target_": "nemo.collections.asr.modules.SpectrogramAugmentation",
            "freq_masks": 0,
            "time_masks": 0,
            "freq_width": 8,
            "time_width": 0.03,
        },
    }
    models = nemo_asr()
    with suppress_logs():
        return models.EncDecCTCModel(OmegaConf.create(config))


def read_ctranslate2(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a CTranslate2 model.bin (binary versions 4 to 6) by name.

    Raises ModelError when the file is none, or is cut short.
    """
    content = path.read_bytes()
    place = 0

    def number(form: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from(f"<{form}", content, place)
        place += struct.calcsize(f"<{form}")
        return int(value)

    def text() -> str:
        nonlocal place
        length = number("H")
        raw = content[place : place + length]
        place += length
        return raw.rstrip(b"\0").decode()

    try:
        version = number("I")
        if not 4 <= version <= 6:
            raise ValueError(f"its first number is {version}, not a version from 4 to 6")
        text()  # the name of the specification
        number("I")  # its revision
        arrays = {}
        for _ in range(number("I")):
            name = text()
            shape = [number("I") for _ in range(number("B"))]
            dtype, size = _DTYPES[number("B")], number("I")
            raw = content[place : place + size]
            place += size
            arrays[name] = np.frombuffer(raw, dtype).reshape(shape)
    except (struct.error, ValueError, IndexError, TypeError) as error:
        raise ModelError(f"{path}: not a model.bin of CTranslate2 ({error}).") from error
    return arrays
