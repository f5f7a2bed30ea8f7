"""/v1/transcribe hears one or two channels with a real (tiny) NeMo model, and refuses what it cannot hear."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from data.simulator.voice import Synthesizer, voices
from models.bundle import write_bundle
from models.serving.app import Options, create_app
from models.serving.loaded import Served
from models.serving.smoke import smoke_test
from tests.speaking import a_nemo

RATE = 8000


def wav(samples: np.ndarray, subtype: str = "PCM_16") -> bytes:
    """`samples` [frames, channels] as a WAV at 8 kHz."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="WAV", subtype=subtype)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asr")
    files = {"model.nemo": a_nemo(folder / "model.nemo", channels=16, kernels=(5,)), "card.md": "# Tiny"}
    path = folder / "bundle"
    write_bundle(path, "asr", files, data_hash="d1", git_commit="c", created_at="2026", licence="MIT")
    return path


@pytest.fixture(scope="module")
def client(bundle: Path) -> TestClient:
    app = create_app(lambda kind: Served("3", bundle), ("asr",), options=Options(max_audio_s=60))
    app.state.models.refresh()
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def call() -> np.ndarray:
    """Two seconds of the customer on channel 0, then the agent on channel 1."""
    first, second = (Synthesizer().speak("please cancel my bill", voice, RATE) for voice in voices(2, 1))
    samples = np.zeros((len(first) + len(second) + RATE, 2), np.float32)
    samples[: len(first), 0] = first
    samples[len(first) + RATE // 2 : len(first) + RATE // 2 + len(second), 1] = second
    return samples


def _post(client: TestClient, content: bytes, **fields: str):
    return client.post("/v1/transcribe", files={"recording": ("call.wav", content, "audio/wav")}, data=fields)


def test_a_call_comes_back_as_turns_of_both_sides_in_order(client: TestClient, call: np.ndarray):
    reply = _post(client, wav(call))
    assert reply.status_code == 200, reply.text
    answer = reply.json()
    assert (answer["channels"], answer["model"]["version"]) == (2, "3")
    assert answer["duration_s"] == pytest.approx(len(call) / RATE, abs=0.01)
    assert [turn["role"] for turn in answer["turns"]] == ["customer", "agent"]
    for turn in answer["turns"]:
        times = [time for word in turn["words"] for time in (word["start_s"], word["end_s"])]
        assert times == sorted(times)
        assert turn["text"] == " ".join(word["text"] for word in turn["words"])


def test_the_customers_channel_can_be_the_second(client: TestClient, call: np.ndarray):
    turns = _post(client, wav(call), customer_channel="1").json()["turns"]
    assert [turn["role"] for turn in turns] == ["agent", "customer"]
    assert _post(client, wav(call), customer_channel="2").status_code == 422


def test_one_channel_is_the_customers(client: TestClient, call: np.ndarray):
    answer = _post(client, wav(call[:, :1], "ULAW")).json()
    assert (answer["channels"], {turn["role"] for turn in answer["turns"]}) == (1, {"customer"})


def test_silence_has_no_turns(client: TestClient):
    reply = _post(client, wav(np.zeros((RATE, 2))))
    assert (reply.status_code, reply.json()["turns"]) == (200, [])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"not audio at all", "not audio"),
        (wav(np.zeros((RATE, 2)))[:-5000], "truncated"),
        (wav(np.zeros((RATE, 3))), "3 channels"),
        (wav(np.zeros((61 * RATE, 1))), "at most 60 s"),
        (wav(np.full((RATE, 1), np.nan), "FLOAT"), "not a number"),
    ],
)
def test_what_cannot_be_heard_is_refused_by_name(client: TestClient, content: bytes, says: str):
    reply = _post(client, content)
    assert reply.status_code == 422, reply.text
    assert says in reply.json()["error"]
    assert "call.wav" in reply.json()["error"]


def test_no_file_at_all_is_refused(client: TestClient):
    assert client.post("/v1/transcribe", data={"customer_channel": "0"}).status_code == 422
    assert client.post("/v1/transcribe", files={"recording": "text"}).status_code == 422


def test_the_smoke_test_hears_a_sample(bundle: Path, call: np.ndarray):
    found = smoke_test(bundle, "asr", wav(call))
    assert found["ok"], found["error"]
    assert found["answer"]["turns"]
    assert "422" in smoke_test(bundle, "asr", b"noise")["error"]
