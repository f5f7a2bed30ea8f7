"""Whisper's encoder as a NeMo module: batches, archives, exports, rates, weights from a file."""

from __future__ import annotations

import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from models.asr.load import load
from models.asr.nemo import ModelError, NemoNetwork, export_onnx, restore
from models.asr.nemo_archive import NemoArchiveError, check_nemo
from models.asr.onnx_network import OnnxNetwork
from models.asr.recognizer import Recognizer
from training.asr.layers import parameter_groups, set_trainable
from training.asr.losses import loss_sum
from training.asr.whisper_start import build_network, read_ctranslate2, whisper_network

WIDTH, HEADS, LAYERS = 32, 2, 2


@pytest.fixture(scope="module")
def network() -> Any:
    import torch

    torch.manual_seed(3)
    model = build_network(width=WIDTH, heads=HEADS, layers=LAYERS)
    torch.nn.init.normal_(model.decoder.decoder_layers[0].weight, std=0.5)
    return model.eval()


@pytest.fixture(scope="module")
def archive(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whisper") / "small.nemo"
    network.save_to(str(path))
    return path


def waves(*seconds: float) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.1, int(s * 16000)).astype(np.float32) for s in seconds]


def test_A1_a_batch_gives_what_each_clip_alone_gives(network: Any) -> None:
    clips = waves(1.0, 2.37, 0.4)
    together, step_s = NemoNetwork(network).log_probs(clips)
    assert step_s == pytest.approx(0.02)
    for clip, log_probs in zip(clips, together, strict=True):
        (alone,), _ = NemoNetwork(network).log_probs([clip])
        assert log_probs.shape == alone.shape == (-(-(len(clip) // 160) // 2), 29)
        assert np.abs(np.exp(log_probs) - np.exp(alone)).max() < 1e-4


def test_A1_a_clip_longer_than_the_positions_goes_through_in_parts(network: Any) -> None:
    (long,), _ = NemoNetwork(network).log_probs(waves(61.0))
    (first,), _ = NemoNetwork(network).log_probs([np.array_split(waves(61.0)[0], 3)[0]])
    assert abs(len(long) - 61 * 50) <= 3
    assert np.allclose(long[: len(first)], first)


def test_A1_a_nemo_with_the_encoder_is_restored_and_exported_in_eight_bits(
    network: Any, archive: Path, tmp_path: Path
) -> None:
    check_nemo(archive)
    restored = restore(archive)
    clips = waves(1.5, 1.0)
    expected, _ = NemoNetwork(network).log_probs(clips)
    exact, _ = NemoNetwork(restored).log_probs(clips)
    assert all(np.array_equal(a, b) for a, b in zip(expected, exact, strict=True))
    export_onnx(restored, tmp_path / "small.onnx", "0" * 64)
    exported = OnnxNetwork(tmp_path / "small.onnx")
    assert exported.spectrum.longest_s == 30.0
    assert b"MatMulInteger" in (tmp_path / "small.onnx").read_bytes()
    for log_probs, nemos in zip(exported.log_probs(clips)[0], expected, strict=True):
        assert log_probs.shape == nemos.shape
        assert 0 < np.abs(np.exp(log_probs) - np.exp(nemos)).mean() < 0.01
    long = exported.log_probs(waves(31.0))[0][0]
    assert abs(len(long) - 31 * 50) <= 2


def test_A1_a_loaded_archive_transcribes_by_either_way(archive: Path, tmp_path: Path) -> None:
    for recognizer in (load(archive), load(archive, tmp_path)):
        assert isinstance(recognizer, Recognizer)
        assert len(recognizer.transcribe(waves(1.0, 0.05))) == 2


@pytest.mark.parametrize(
    "target",
    [
        "models.asr.whisper_encoder.WhisperEncoderX",
        "models.asr.whisper_encoder.sinusoids",
        "models.asr.nemo.fetch",
        "models.asr.whisper_encoder",
    ],
)
def test_S5_only_the_exact_name_of_the_encoder_is_allowed(
    archive: Path, tmp_path: Path, target: str
) -> None:
    with tarfile.open(archive) as whole:
        whole.extractall(tmp_path / "parts", filter="data")
    config = tmp_path / "parts" / "model_config.yaml"
    settings = yaml.safe_load(config.read_text())
    settings["encoder"]["_target_"] = target
    config.write_text(yaml.safe_dump(settings))
    with tarfile.open(tmp_path / "hostile.nemo", "w") as changed:
        for part in (tmp_path / "parts").iterdir():
            changed.add(part, part.name)
    with pytest.raises(NemoArchiveError, match=target):
        check_nemo(tmp_path / "hostile.nemo")


def test_A1_the_layer_behind_the_encoder_trains_with_the_decoder(network: Any) -> None:
    groups = parameter_groups(network, 0.5, 0.1)
    scales = [group["scale"] for group in groups]
    assert scales == pytest.approx([1.0, 0.1 * 0.5, 0.1 * 0.25])
    full = {id(weight) for weight in groups[0]["params"]}
    assert {id(weight) for weight in network.encoder.mix.parameters()} <= full
    assert id(network.encoder.conv1.weight) in {id(weight) for weight in groups[-1]["params"]}
    set_trainable(network, encoder=False, frozen_layers=0)
    trainable = {name for name, weight in network.named_parameters() if weight.requires_grad}
    assert trainable == {
        *(f"encoder.mix.{part}" for part in ("weight", "bias")),
        *(f"decoder.decoder_layers.0.{part}" for part in ("weight", "bias")),
    }
    set_trainable(network, encoder=True, frozen_layers=0)
    network.eval()


def test_A1_the_loss_in_bfloat16_is_close_to_that_in_float32(network: Any) -> None:
    import torch

    audio, lengths = torch.from_numpy(np.stack(waves(2.0, 2.0))), torch.tensor([32000, 24000])
    losses = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled), torch.no_grad():
            losses.append(float(loss_sum(network, audio, lengths, tokens=[[1, 2, 3], [4, 5]])))
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_A1_the_encoder_starts_from_the_weights_of_a_whisper_model(tmp_path: Path) -> None:
    arrays = _whisper_arrays()
    path = tmp_path / "model.bin"
    path.write_bytes(_ctranslate2(arrays))
    stored = read_ctranslate2(path)
    assert all(np.array_equal(stored[name], array) for name, array in arrays.items())
    encoder = whisper_network(path).encoder
    query = encoder.layers[1].query_key_value.weight.detach().numpy()
    assert np.array_equal(query, arrays["encoder/layer_1/self_attention/linear_0/weight"])
    assert np.array_equal(encoder.conv1.bias.detach().numpy(), arrays["encoder/conv1/bias"])


@pytest.mark.parametrize("damage", ["cut", "not", "other"])
def test_A1_a_file_that_is_no_whisper_model_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "model.bin"
    content = _ctranslate2(_whisper_arrays())
    if damage == "other":
        content = _ctranslate2({"decoder/weight": np.zeros((2, 2), np.float32)})
    path.write_bytes(
        {"cut": content[: len(content) // 2], "not": b"RIFF0000", "other": content}[damage]
    )
    with pytest.raises(ModelError, match=r"model\.bin: "):
        whisper_network(path)


def _whisper_arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.1, shape).astype(np.float32)

    arrays = {
        "encoder/num_heads": np.array(HEADS, np.int16),
        "encoder/conv1/weight": draw(WIDTH, 80, 3),
        "encoder/conv1/bias": draw(WIDTH),
        "encoder/conv2/weight": draw(WIDTH, WIDTH, 3),
        "encoder/conv2/bias": draw(WIDTH),
        "encoder/layer_norm/gamma": draw(WIDTH),
        "encoder/layer_norm/beta": draw(WIDTH),
    }
    for layer in range(LAYERS):
        for part, shape in (
            ("self_attention/layer_norm/gamma", (WIDTH,)),
            ("self_attention/layer_norm/beta", (WIDTH,)),
            ("self_attention/linear_0/weight", (3 * WIDTH, WIDTH)),
            ("self_attention/linear_0/bias", (3 * WIDTH,)),
            ("self_attention/linear_1/weight", (WIDTH, WIDTH)),
            ("self_attention/linear_1/bias", (WIDTH,)),
            ("ffn/layer_norm/gamma", (WIDTH,)),
            ("ffn/layer_norm/beta", (WIDTH,)),
            ("ffn/linear_0/weight", (4 * WIDTH, WIDTH)),
            ("ffn/linear_0/bias", (4 * WIDTH,)),
            ("ffn/linear_1/weight", (WIDTH, 4 * WIDTH)),
            ("ffn/linear_1/bias", (WIDTH,)),
        ):
            arrays[f"encoder/layer_{layer}/{part}"] = draw(*shape)
    return arrays


def _ctranslate2(arrays: dict[str, np.ndarray]) -> bytes:
    """A model.bin of binary version 6 with these arrays."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    numbers = {"float32": 0, "int16": 2}
    content = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(arrays))
    for name, array in arrays.items():
        shape = struct.pack("<B", array.ndim) + b"".join(struct.pack("<I", n) for n in array.shape)
        kind = struct.pack("<BI", numbers[array.dtype.name], array.nbytes)
        content += text(name) + shape + kind + array.tobytes()
    return content + struct.pack("<I", 0)
