"""Prepares the training speech of the shipped base: recorded sets and synthesised dialogue."""

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

from data.audio import SAMPLE_RATE_HZ
from data.files import atomic, read_lines, write_lines
from data.progress import Progress
from data.simulator.voice import Synthesizer, voices
from data.text import cardinal, normalise
from training.asr.speech import Corpus

REAL_SETS = (
    "barista",
    "librispeech",
    "ljspeech",
    "asterisk_prompts",
    "spoken_digits",
    "speech_commands",
)
# Speakers held out, counted from the first one on.
EVERY_NTH_SPEAKER = {"barista": 5, "speech_commands": 16, "spoken_digits": 5}
EVERY_NTH_SENTENCE = 20  # of the sets with one to three readers, who cannot be held out
FLITE_VOICES = ("slt", "rms", "awb", "kal16")  # of Debian's flite, made from recordings of people

# Shares of synthesised utterances: two frequent words, a number, a part of a sentence, else whole.
_WORDS_BELOW, _DIGITS_BELOW, _PART_ABOVE = 0.12, 0.24, 0.8
_HELD_OUT_SHARE = 0.02
_MIN_UTTERANCE_S = 0.15

Utterance = tuple[np.ndarray, dict[str, Any]]  # float32 [samples] at 16 kHz, its row


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
    """Writes all speech to `work_dir`/audio.i16 and index.jsonl, and returns one row an utterance.

    Rows hold set, start, frames, text, speaker and held_out. Nothing is made again where
    index.jsonl exists.
    """
    index = work_dir / "index.jsonl"
    if not index.exists():
        sources = [(name, read_recorded(speech_dir / name, name)) for name in REAL_SETS]
        dialogue = synthesize_dialogue(
            dialogue_dir, seed=seed, hours=simulated_hours, n_voices=simulated_voices
        )
        sources.append(("simulated", dialogue))
        if flite_hours:
            sources.append(("flite", synthesize_with_flite(dialogue_dir, seed, flite_hours)))
        start, rows = 0, []
        with atomic(work_dir / "audio.i16") as temporary, temporary.open("wb") as out:
            for done, (name, utterances) in enumerate(sources):
                progress(done, len(sources))
                for samples, row in utterances:
                    out.write(np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
                    rows.append({"set": name, "start": start, "frames": len(samples), **row})
                    start += len(samples)
        write_lines(index, rows)
        progress(len(sources), len(sources))
    return read_lines(index)


def open_corpus(rows: list[dict[str, Any]], work_dir: Path) -> Corpus:
    """Returns the utterances of `rows`, their audio memory-mapped."""
    return Corpus(
        np.memmap(work_dir / "audio.i16", dtype="<i2", mode="r"),
        np.array([row["start"] for row in rows], np.int64),
        np.array([row["frames"] for row in rows], np.int64),
        [row["text"] for row in rows],
    )


def read_recorded(folder: Path, name: str) -> Iterator[Utterance]:
    """Yields the utterances of a folder with a NeMo manifest.

    Raises FileNotFoundError without a manifest, ValueError for audio at another rate than 16 kHz.
    """
    manifest = folder / "manifest.jsonl"
    if not manifest.exists():
        raise FileNotFoundError(
            f"{manifest}: no manifest. Point the speech folder at the sets {', '.join(REAL_SETS)}."
        )
    rows = read_lines(manifest)
    for row, is_held_out in zip(rows, mark_held_out(name, rows), strict=True):
        samples, rate_hz = soundfile.read(folder / row["audio_filepath"], dtype="float32")
        if rate_hz != SAMPLE_RATE_HZ:
            raise ValueError(
                f"{folder / row['audio_filepath']}: {rate_hz} Hz instead of {SAMPLE_RATE_HZ}."
            )
        yield (
            samples,
            {"text": normalise(row["text"]), "speaker": row["speaker"], "held_out": is_held_out},
        )


def held_out_speakers(name: str, speakers: set[str]) -> set[str]:
    """Returns the speakers of a set that are never trained on; none where it has too few."""
    return set(sorted(speakers)[:: EVERY_NTH_SPEAKER[name]]) if name in EVERY_NTH_SPEAKER else set()


def mark_held_out(name: str, rows: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Returns for each row of a set's manifest whether it is held out.

    By speaker where `held_out_speakers` has some, else every twentieth sentence.
    """
    speakers = held_out_speakers(name, {row["speaker"] for row in rows})
    return [
        row["speaker"] in speakers if speakers else n % EVERY_NTH_SENTENCE == 0
        for n, row in enumerate(rows)
    ]


def synthesize_dialogue(
    dialogue_dir: Path, *, seed: int, hours: float, n_voices: int
) -> Iterator[Utterance]:
    """Yields service talk in simulated voices until it lasts `hours`.

    The last tenth of the voices is held out, with utterances of its own.
    """
    rng = np.random.default_rng([seed, 1])
    speakers = voices(n_voices, seed)
    n_training = len(speakers) - len(speakers) // 10
    texts = _DialogueTexts(_read_sentences(dialogue_dir), rng)
    synthesizer, total_s = Synthesizer(), 0.0
    while total_s < hours * 3600:
        text = texts.draw()
        is_held_out = rng.random() < _HELD_OUT_SHARE
        first, end = (n_training, len(speakers)) if is_held_out else (0, n_training)
        voice = speakers[int(rng.integers(first, end))]
        samples = synthesizer.speak(text, voice, SAMPLE_RATE_HZ)
        if len(samples) < _MIN_UTTERANCE_S * SAMPLE_RATE_HZ:
            continue
        before, after = (
            np.zeros(int(SAMPLE_RATE_HZ * pause_s), np.float32)
            for pause_s in rng.uniform(0.02, 0.35, 2)
        )
        total_s += len(samples) / SAMPLE_RATE_HZ
        yield (
            np.concatenate((before, samples, after)),
            {"text": text, "speaker": voice.name, "held_out": bool(is_held_out)},
        )


def synthesize_with_flite(dialogue_dir: Path, seed: int, hours: float) -> Iterator[Utterance]:
    """Yields service talk in flite's voices at varied pace and pitch until it lasts `hours`.

    Raises FileNotFoundError without flite.
    """
    if shutil.which("flite") is None:
        raise FileNotFoundError(
            "flite is not installed. Run `apt-get install flite` or set base.flite_hours to 0."
        )
    rng = np.random.default_rng([seed, 4])
    sentences = _read_sentences(dialogue_dir)
    total_s = 0.0
    while total_s < hours * 3600:
        text = sentences[int(rng.integers(0, len(sentences)))]
        voice = FLITE_VOICES[int(rng.integers(0, len(FLITE_VOICES)))]
        stretch, pitch = rng.uniform(0.8, 1.25), rng.uniform(0.9, 1.12)
        pace = f"duration_stretch={stretch * pitch:.3f}"
        command = ["flite", "-voice", voice, "--setf", pace, "-t", text, "-o", "/dev/stdout"]
        output = subprocess.run(command, capture_output=True, check=True).stdout
        samples, rate_hz = soundfile.read(io.BytesIO(output), dtype="float32")
        if rate_hz != SAMPLE_RATE_HZ:
            raise ValueError(f"flite voice {voice}: {rate_hz} Hz instead of {SAMPLE_RATE_HZ}.")
        at = np.arange(0, len(samples) - 1, pitch)
        samples = np.interp(at, np.arange(len(samples)), samples).astype(np.float32)
        total_s += len(samples) / SAMPLE_RATE_HZ
        yield samples, {"text": text, "speaker": voice, "held_out": bool(rng.random() < 0.01)}


class _DialogueTexts:
    """Draws texts to synthesise: sentences, parts of sentences, frequent words and digits."""

    def __init__(self, sentences: list[str], rng: np.random.Generator) -> None:
        self._sentences, self._rng = sentences, rng
        self._order = rng.permutation(len(sentences))
        self._n_used = 0
        counts = Counter(" ".join(sentences).split())
        self._frequent = [word for word, _ in counts.most_common(4000)]
        self._digits = [*(cardinal(value) for value in range(10)), "oh"]

    def draw(self) -> str:
        """Returns the next text; each sentence is used before any is used again."""
        rng = self._rng
        chance = rng.random()
        if chance < _WORDS_BELOW:
            n_frequent = len(self._frequent)
            return " ".join(
                self._frequent[int(n_frequent * rng.random() ** 2)]
                for _ in range(rng.integers(1, 3))
            )
        if chance < _DIGITS_BELOW:
            places = rng.integers(0, len(self._digits), rng.integers(1, 9))
            return " ".join(self._digits[i] for i in places)
        text: str = self._sentences[self._order[self._n_used % len(self._order)]]
        self._n_used += 1
        if chance > _PART_ABOVE:  # a part of the sentence, so that no ending is learnt by heart
            words = text.split()
            first = int(rng.integers(0, len(words)))
            return " ".join(words[first : first + int(rng.integers(1, 6))])
        return text


def _read_sentences(folder: Path) -> list[str]:
    """Returns the distinct sentences of 1 to 24 words of the dialogue sets, in file order."""
    sentences: dict[str, None] = {}
    files = sorted(folder.glob("*.jsonl.gz"))
    if not files:
        raise FileNotFoundError(f"{folder}: no *.jsonl.gz with dialogues.")
    for path in files:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                for text in map(_text_of_turn, row.get("turns", [row])):
                    for sentence in re.split(r"(?<=[.?!])\s+", text):
                        spoken = normalise(sentence)
                        if 1 <= len(spoken.split()) <= 24 and len(spoken) >= 3:
                            sentences[spoken] = None
    return list(sentences)


def _text_of_turn(turn: Any) -> str:
    """Returns the words of a turn: a pair of role and text, or an object with `text`.

    Marks of transcribers such as <UNSURE> are left out.
    """
    text = turn["text"] if isinstance(turn, dict) else turn[1]
    return re.sub(r"<[^>]*>", " ", text)
