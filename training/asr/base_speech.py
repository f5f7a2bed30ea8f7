"""The speech that the shipped base learns from: recorded sets, and simulated voices reading service talk."""

from __future__ import annotations

import gzip
import io
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from data.files import atomic, read_lines, write_lines
from data.progress import Progress
from data.simulator.voice import Synthesizer, voices
from data.text import cardinal, normalise
from training.asr.speech import SAMPLE_RATE_HZ, Corpus

REAL_SETS = (
    "barista",
    "librispeech",
    "ljspeech",
    "asterisk_prompts",
    "spoken_digits",
    "speech_commands",
)
EVERY_NTH_SPEAKER = {
    "barista": 5,
    "speech_commands": 16,
    "spoken_digits": 5,
}  # held out, from the first one on
EVERY_NTH_SENTENCE = 20  # of the sets with one to three readers, whose voices cannot be held out
FLITE_VOICES = ("slt", "rms", "awb", "kal16")  # of Debian's flite, made from recordings of people


def prepare_speech(
    speech_dir: Path,
    dialogue_dir: Path,
    work_dir: Path,
    *,
    seed: int,
    simulated_hours: float,
    simulated_voices: int,
    flite_hours: float = 0.0,
    progress: Progress = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Decodes and synthesises everything once into `work_dir`/audio.i16; returns one row an utterance.

    Rows hold set, start, frames, text, speaker and held_out. With index.jsonl there, nothing is made again.
    """
    index = work_dir / "index.jsonl"
    if not index.exists():
        makers = [(name, read_recorded(speech_dir / name, name)) for name in REAL_SETS]
        makers.append(
            (
                "simulated",
                synthesize_dialogue(
                    dialogue_dir, seed=seed, hours=simulated_hours, n_voices=simulated_voices
                ),
            )
        )
        if flite_hours:
            makers.append(("flite", synthesize_with_flite(dialogue_dir, seed, flite_hours)))
        start, rows = 0, []
        with atomic(work_dir / "audio.i16") as temporary, temporary.open("wb") as out:
            for done, (name, utterances) in enumerate(makers):
                progress(done, len(makers))
                for samples, row in utterances:
                    out.write(np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
                    rows.append({"set": name, "start": start, "frames": len(samples), **row})
                    start += len(samples)
        write_lines(index, rows)
        progress(len(makers), len(makers))
    return read_lines(index)


def open_corpus(rows: list[dict[str, Any]], work_dir: Path) -> Corpus:
    """The utterances of `rows`, their audio memory-mapped."""
    return Corpus(
        np.memmap(work_dir / "audio.i16", dtype="<i2", mode="r"),
        np.array([row["start"] for row in rows], np.int64),
        np.array([row["frames"] for row in rows], np.int64),
        [row["text"] for row in rows],
    )


def read_recorded(folder: Path, name: str) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Utterances of one folder with a NeMo manifest. Raises FileNotFoundError naming the folder."""
    manifest = folder / "manifest.jsonl"
    if not manifest.exists():
        raise FileNotFoundError(
            f"{manifest}: no manifest. Point the speech folder at the sets {', '.join(REAL_SETS)}."
        )
    rows = read_lines(manifest)
    for row, apart in zip(rows, mark_held_out(name, rows), strict=True):
        samples, rate = soundfile.read(folder / row["audio_filepath"], dtype="float32")
        if rate != SAMPLE_RATE_HZ:
            raise ValueError(
                f"{folder / row['audio_filepath']}: {rate} Hz instead of {SAMPLE_RATE_HZ}."
            )
        yield (
            samples,
            {"text": normalise(row["text"]), "speaker": row["speaker"], "held_out": apart},
        )


def held_out_speakers(name: str, speakers: set[str]) -> set[str]:
    """The voices of a set that no training of ours hears; none where a set has too few to spare."""
    return set(sorted(speakers)[:: EVERY_NTH_SPEAKER[name]]) if name in EVERY_NTH_SPEAKER else set()


def mark_held_out(name: str, rows: Sequence[Mapping[str, Any]]) -> list[bool]:
    """For each row of a set's manifest, whether no training of ours hears it: by voice, else some sentences."""
    apart = held_out_speakers(name, {row["speaker"] for row in rows})
    return [
        row["speaker"] in apart if apart else n % EVERY_NTH_SENTENCE == 0
        for n, row in enumerate(rows)
    ]


def synthesize_dialogue(
    dialogue_dir: Path, *, seed: int, hours: float, count: int
) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Service talk in simulated voices; the last tenth of the voices is held out, with sentences of its own."""
    rng = np.random.default_rng([seed, 1])
    speakers = voices(count, seed)
    known = len(speakers) - len(speakers) // 10
    sentences = _sentences(dialogue_dir)
    order = rng.permutation(len(sentences))
    common = [word for word, _ in Counter(" ".join(sentences).split()).most_common(4000)]
    digits = [*(cardinal(value) for value in range(10)), "oh"]
    synthesizer, spoken_s, used = Synthesizer(), 0.0, 0
    while spoken_s < hours * 3600:
        kind = rng.random()
        if kind < 0.12:
            text = " ".join(
                common[int(len(common) * rng.random() ** 2)] for _ in range(rng.integers(1, 3))
            )
        elif kind < 0.24:
            text = " ".join(digits[i] for i in rng.integers(0, len(digits), rng.integers(1, 9)))
        else:
            text = sentences[order[used % len(order)]]
            used += 1
            if kind > 0.8:  # a piece of the sentence, so that no ending is learnt by heart
                words = text.split()
                first = int(rng.integers(0, len(words)))
                text = " ".join(words[first : first + int(rng.integers(1, 6))])
        apart = rng.random() < 0.02
        voice = speakers[
            int(rng.integers(known, len(speakers)) if apart else rng.integers(0, known))
        ]
        samples = synthesizer.speak(text, voice, SAMPLE_RATE_HZ)
        if len(samples) < 0.15 * SAMPLE_RATE_HZ:
            continue
        edges = [
            np.zeros(int(SAMPLE_RATE_HZ * gap), np.float32) for gap in rng.uniform(0.02, 0.35, 2)
        ]
        spoken_s += len(samples) / SAMPLE_RATE_HZ
        yield (
            np.concatenate((edges[0], samples, edges[1])),
            {"text": text, "speaker": voice.name, "held_out": bool(apart)},
        )


def synthesize_with_flite(
    dialogue_dir: Path, seed: int, hours: float
) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Service talk in the voices of flite, at other paces and pitches. Raises FileNotFoundError without flite."""
    if shutil.which("flite") is None:
        raise FileNotFoundError(
            "flite is not installed. Run `apt-get install flite` or set base.flite_hours to 0."
        )
    rng = np.random.default_rng([seed, 4])
    sentences = _sentences(dialogue_dir)
    spoken_s = 0.0
    while spoken_s < hours * 3600:
        text = sentences[int(rng.integers(0, len(sentences)))]
        voice = FLITE_VOICES[int(rng.integers(0, len(FLITE_VOICES)))]
        stretch, pitch = rng.uniform(0.8, 1.25), rng.uniform(0.9, 1.12)
        pace = f"duration_stretch={stretch * pitch:.3f}"
        command = ["flite", "-voice", voice, "--setf", pace, "-t", text, "-o", "/dev/stdout"]
        said = subprocess.run(command, capture_output=True, check=True)
        samples, rate = soundfile.read(io.BytesIO(said.stdout), dtype="float32")
        if rate != SAMPLE_RATE_HZ:
            raise ValueError(f"flite voice {voice}: {rate} Hz instead of {SAMPLE_RATE_HZ}.")
        at = np.arange(0, len(samples) - 1, pitch)
        samples = np.interp(at, np.arange(len(samples)), samples).astype(np.float32)
        spoken_s += len(samples) / SAMPLE_RATE_HZ
        yield samples, {"text": text, "speaker": voice, "held_out": bool(rng.random() < 0.01)}


def _sentences(folder: Path) -> list[str]:
    """Distinct spoken sentences of 1 to 24 words from the dialogue sets, in the order of the files."""
    found: dict[str, None] = {}
    files = sorted(folder.glob("*.jsonl.gz"))
    if not files:
        raise FileNotFoundError(f"{folder}: no *.jsonl.gz with dialogues.")
    for path in files:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                texts = [text for _, text in row["turns"]] if "turns" in row else [row["text"]]
                for text in texts:
                    for sentence in re.split(r"(?<=[.?!])\s+", text):
                        spoken = normalise(sentence)
                        if 1 <= len(spoken.split()) <= 24 and len(spoken) >= 3:
                            found[spoken] = None
    return list(found)
