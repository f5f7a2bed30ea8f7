"""/v1/transcribe takes one or two channels, with a real (tiny) NeMo model, and refuses the rest."""

from __future__ import annotations

import io
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from data.simulator.voice import Synthesizer, voices
from models.asr.onnx_network import OnnxNetwork
from models.registry.bundle import write_bundle
from models.serving import loaded
from models.serving.app import Options, create_app
from models.serving.loaded import Models, Served
from models.serving.questions import check_recording
from models.serving.rollout import Rollout
from models.serving.smoke import smoke_test
from tests.service_helpers import figure, until
from tests.speech_helpers import a_nemo

RATE = 8000


def wav(samples: np.ndarray, subtype: str = "PCM_16", rate: int = RATE) -> bytes:
    """`samples` [frames, channels] as a WAV."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype=subtype)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asr")
    files: dict[str, Path | bytes | str] = {
        "model.nemo": a_nemo(folder / "model.nemo", channels=16, kernels=(5,)),
        "card.md": "# Tiny",
    }
    path = folder / "bundle"
    write_bundle(
        path, "asr", files, data_hash="d1", git_commit="c", created_at="2026", licence="MIT"
    )
    return path


@pytest.fixture(scope="module")
def client(bundle: Path) -> TestClient:
    app = create_app(lambda kind: Served("3", bundle), ("asr",), options=Options(max_audio_s=60))
    app.state.models.refresh()
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def call() -> np.ndarray:
    """Two seconds of the customer on channel 0, then the agent on channel 1."""
    first, second = (
        Synthesizer().speak("please cancel my bill", voice, RATE) for voice in voices(2, 1)
    )
    samples = np.zeros((len(first) + len(second) + RATE, 2), np.float32)
    samples[: len(first), 0] = first
    samples[len(first) + RATE // 2 : len(first) + RATE // 2 + len(second), 1] = second
    return samples


@pytest.fixture(scope="module")
def other(bundle: Path) -> Path:
    """A recogniser with other weights, that writes other words."""
    path = bundle.with_name("other")
    files: dict[str, Path | bytes | str] = {
        "model.nemo": a_nemo(path.parent / "other.nemo", channels=24, kernels=(5,)),
        "card.md": "# Other",
    }
    write_bundle(
        path, "asr", files, data_hash="d2", git_commit="c", created_at="2026", licence="MIT"
    )
    return path


def _on_trial(bundle: Path, other: Path, rollout: Rollout) -> TestClient:
    """A service with `bundle` as champion 3 and `other` as challenger 4."""
    app = create_app(
        lambda kind: Served("3", bundle),
        ("asr",),
        options=Options(rollout=rollout),
        challengers=lambda kind: Served("4", other),
    )
    app.state.models.refresh()
    return TestClient(app, raise_server_exceptions=False)


def _models(client: TestClient) -> Models:
    models: Models = client.app.state.models  # type: ignore[attr-defined]
    return models


def _post(client: TestClient, content: bytes, **fields: str) -> Any:
    return client.post(
        "/v1/transcribe", files={"recording": ("call.wav", content, "audio/wav")}, data=fields
    )


def test_a_call_comes_back_as_turns_of_both_sides_in_order(
    client: TestClient, call: np.ndarray
) -> None:
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


def test_the_customers_channel_can_be_the_second(client: TestClient, call: np.ndarray) -> None:
    turns = _post(client, wav(call), customer_channel="1").json()["turns"]
    assert [turn["role"] for turn in turns] == ["agent", "customer"]
    assert _post(client, wav(call), customer_channel="2").status_code == 422


def test_one_channel_is_the_customers(client: TestClient, call: np.ndarray) -> None:
    answer = _post(client, wav(call[:, :1], "ULAW")).json()
    assert (answer["channels"], {turn["role"] for turn in answer["turns"]}) == (1, {"customer"})


def test_an_export_gives_the_same_words(
    bundle: Path, client: TestClient, call: np.ndarray, tmp_path: Path
) -> None:
    app = create_app(
        lambda kind: Served("3", bundle), ("asr",), options=Options(exports=tmp_path / "exports")
    )
    app.state.models.refresh()
    assert isinstance(app.state.models.slot("asr").champion.model.network, OnnxNetwork)
    exported, nemos = (
        _post(service, wav(call)).json()["turns"] for service in (TestClient(app), client)
    )
    assert exported
    assert [(turn["role"], turn["text"]) for turn in exported] == [
        (turn["role"], turn["text"]) for turn in nemos
    ]


def test_silence_has_no_turns(client: TestClient) -> None:
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
        (wav(np.zeros((RATE, 1)), rate=655_350), "655350 samples a second; 4000 to 192000"),
        (wav(np.zeros((RATE, 1)), rate=1000), "1000 samples a second"),
        (wav(np.full((RATE, 1), np.nan), "FLOAT"), "not a number"),
    ],
)
def test_what_cannot_be_transcribed_is_refused_by_name(
    client: TestClient, content: bytes, says: str
) -> None:
    reply = _post(client, content)
    assert reply.status_code == 422, reply.text
    assert says in reply.json()["error"]
    assert "call.wav" in reply.json()["error"]


def test_a_few_kilobytes_that_unfold_to_gigabytes_take_little_memory(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", 48_000, 2, format="FLAC") as flac:
        for _ in range(300):
            flac.write(np.zeros((48_000, 2), np.float32))
    content = buffer.getvalue()
    assert len(content) < 300_000
    tracemalloc.start()
    try:
        assert (
            check_recording(content, "call.flac", 3600).duration_s == 300
        )  # 115 MB if it were decoded at once
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()
    given: list[bytes] = []

    def record(source: bytes, roles: dict[int, str]) -> list[Any]:
        given.append(source)
        return []

    model = _models(client).slot("asr").champion.model
    monkeypatch.setattr(model, "transcribe_file", record)
    assert _post(client, wav(np.zeros((RATE, 1)))).status_code == 200
    assert given == [wav(np.zeros((RATE, 1)))], "the model takes it piece by piece too"


def test_a_recording_that_finds_too_many_waiting_is_refused_before_the_upload(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(
        lambda kind: Served("3", bundle), ("asr",), options=Options(max_calls_waiting=1)
    )
    app.state.models.refresh()
    client, gate = TestClient(app), threading.Event()
    started, sent = threading.Event(), list[str]()

    def slowly(source: bytes, roles: dict[int, str]) -> list[Any]:
        started.set()
        gate.wait(60)
        return []

    def upload() -> Iterator[bytes]:
        sent.append("some of it")
        yield b"x" * 100

    monkeypatch.setattr(app.state.models.slot("asr").champion.model, "transcribe_file", slowly)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(_post, client, wav(np.zeros((RATE, 1))))
        assert started.wait(60)
        refused = client.post(
            "/v1/transcribe", content=upload(), headers={"content-type": "multipart/form-data"}
        )
        gate.set()
        assert (refused.status_code, refused.headers["retry-after"], sent) == (429, "5", [])
        assert "1 recordings are waiting already" in refused.json()["error"]
        assert first.result().status_code == 200
    assert _post(client, wav(np.zeros((RATE, 1)))).status_code == 200, "there is room again"


def test_no_file_at_all_is_refused(client: TestClient) -> None:
    assert client.post("/v1/transcribe", data={"customer_channel": "0"}).status_code == 422
    assert client.post("/v1/transcribe", files={"recording": "text"}).status_code == 422


def test_S3_a_shadow_gets_copies_of_calls_and_its_words_are_never_given(
    bundle: Path, other: Path, client: TestClient, call: np.ndarray
) -> None:
    tried = _on_trial(bundle, other, Rollout("shadow"))
    shadows = {"kind": "asr", "version": "4", "role": "challenger", "outcome": "ok"}
    given = []
    for number in (1, 2):
        given.append(_post(tried, wav(call)).json())
        until(lambda: figure(tried, "keepline_answers_total", **shadows) == number)  # noqa: B023
    assert given[0]["turns"] == given[1]["turns"] == _post(client, wav(call)).json()["turns"]
    assert {answer["model"]["version"] for answer in given} == {"3"}
    assert figure(tried, "keepline_shadow_disagreement_count", kind="asr", version="4") == 2
    assert figure(tried, "keepline_shadow_disagreement_sum", kind="asr", version="4") > 0.5, (
        "they write other words"
    )


def test_S3_a_shadow_that_takes_its_time_keeps_no_call_waiting_and_hoards_none(
    bundle: Path, other: Path, call: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()

    class Slow:
        """Transcribes the second of noise it is warmed up with, and a call when the gate opens."""

        def __init__(self, model: Any) -> None:
            self.model = model

        def transcribe_file(self, content: bytes, roles: dict[int, str]) -> Any:
            if len(content) > 40_000:
                gate.wait(60)
            return self.model.transcribe_file(content, roles)

    load = loaded.load_model
    monkeypatch.setattr(
        loaded, "load_model", lambda b, *how: Slow(load(b)) if b.path.name == "other" else load(b)
    )
    tried = _on_trial(bundle, other, Rollout("shadow"))
    try:
        assert [_post(tried, wav(call)).status_code for _ in range(5)] == [200] * 5
        assert not _models(tried).transcribing.locked()
        assert figure(tried, "keepline_shadow_dropped_total", kind="asr") == 2, (
            "one is being transcribed, two wait"
        )
        with _models(tried).transcribing:  # a customer's call
            gate.set()
            until(lambda: figure(tried, "keepline_shadow_dropped_total", kind="asr") == 4)
    finally:
        gate.set()
    assert figure(tried, "keepline_answers_total", kind="asr", version="4", outcome="ok") == 1


def test_S3_a_canary_gets_its_share_of_calls_and_each_call_has_one_model(
    bundle: Path, other: Path, call: np.ndarray
) -> None:
    tried = _on_trial(bundle, other, Rollout("canary", share=0.5))
    contents = [wav(call[: len(call) - n]) for n in range(8)]
    versions = [_post(tried, content).json()["model"]["version"] for content in contents]
    assert set(versions) == {"3", "4"}
    assert [
        _post(tried, content).json()["model"]["version"] for content in contents[:3]
    ] == versions[:3]
    headers = {"x-canary-key": "household 7"}
    uploads = [{"recording": ("call.wav", content, "audio/wav")} for content in contents[:4]]
    same = {
        tried.post("/v1/transcribe", files=upload, headers=headers).json()["model"]["version"]
        for upload in uploads
    }
    assert len(same) == 1


def test_S3_a_recogniser_that_fails_on_calls_is_stopped_and_every_call_is_answered(
    bundle: Path, other: Path, call: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        """Transcribes the second of noise it is warmed up with, and fails on calls."""

        def __init__(self, model: Any) -> None:
            self.model = model

        def transcribe_file(self, content: bytes, roles: dict[int, str]) -> Any:
            if len(content) > 40_000:
                raise RuntimeError("out of memory")
            return self.model.transcribe_file(content, roles)

    load = loaded.load_model
    monkeypatch.setattr(
        loaded,
        "load_model",
        lambda b, *how: Failing(load(b)) if b.path.name == "other" else load(b),
    )
    tried = _on_trial(bundle, other, Rollout("canary", share=1.0, max_errors=2))
    replies = [_post(tried, wav(call)) for _ in range(4)]
    assert [(reply.status_code, reply.json()["model"]["version"]) for reply in replies] == [
        (200, "3")
    ] * 4
    assert (
        "3 of its last 3 answers failed"
        in tried.get("/v1/models").json()["challengers"]["asr"]["stopped"]
    )
    assert figure(tried, "keepline_challenger_stopped", kind="asr", version="4") == 1


def test_the_smoke_test_transcribes_a_sample(bundle: Path, call: np.ndarray) -> None:
    result = smoke_test(bundle, "asr", wav(call))
    assert result["ok"], result["error"]
    assert result["answer"]["turns"]
    assert "422" in smoke_test(bundle, "asr", b"noise")["error"]
