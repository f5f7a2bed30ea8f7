"""Synthesizes many English voices with one espeak-ng library.

Voices differ in accent, variant, pitch, pace, vocal tract and breath. The library ships inside the
wheel `espeakng_loader` and is driven through ctypes. It keeps hidden state between utterances
(flutter phase, sample counters), so the same words would sound different the second time; loading
it afresh for each utterance costs under a millisecond and makes `speak` a pure function of text and
voice.
"""

from __future__ import annotations

import _ctypes
import ctypes
import hashlib
import shutil
import tempfile
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr

# Accent and how often a caller has it.
ACCENTS = {
    "en-us": 0.40,
    "en-gb-x-rp": 0.12,
    "en-029": 0.10,
    "en-gb-scotland": 0.10,
    "en": 0.10,
    "en-us-nyc": 0.08,
    "en-gb-x-gbclan": 0.05,
    "en-gb-x-gbcwmd": 0.05,
}
# Variants that sound like people; robots, whispers and the third-party synthesiser (which is not
# repeatable) stay out, and so do six that our base, trained on them too, hears twice as badly as
# the others (word error rates over 0.4 against 0.2 to 0.3 on plain sentences): Alicia, Lee,
# RicishayMax, announcer, edward, klatt3.
FEMALE = (
    "f1",
    "f2",
    "f3",
    "f4",
    "f5",
    "Andrea",
    "Annie",
    "anika",
    "aunty",
    "belinda",
    "linda",
    "steph",
    "shelby",
    "grandma",
)
MALE = (
    "m1",
    "m2",
    "m3",
    "m4",
    "m5",
    "m6",
    "m7",
    "m8",
    "Alex",
    "Andy",
    "Denis",
    "Diogo",
    "Gene",
    "Gene2",
    "Mario",
    "Michael",
    "Mike",
    "boris",
    "ed",
    "grandpa",
    "gustave",
    "ian",
    "iven2",
    "john",
    "max",
    "michel",
    "miguel",
    "norbert",
    "pablo",
    "paul",
    "quincy",
    "rob",
    "robert",
    "sandro",
    "travis",
    "victor",
    "zac",
)

_SYNCHRONOUS, _UTF8 = 2, 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_BUFFER_MS = 2000  # of speech handed over at a time
_FAMILY = "gmw"  # where espeak-ng files English: West Germanic
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)
_library_lock = threading.Lock()


@dataclass(frozen=True)
class Voice:
    """One speaker. Two voices with equal fields sound the same."""

    name: str
    accent: str = "en-us"  # an espeak-ng language
    variant: str = ""  # an espeak-ng voice variant; empty for the accent's own
    pitch: int = 50  # 0–99, 50 is the variant's own pitch
    pitch_range: int = 50  # 0–99, how lively the intonation is
    rate_wpm: int = 170  # words a minute
    warp: float = 1.0  # formants (and pitch) are scaled by this: above 1 a shorter vocal tract
    tilt: float = 0.0  # -0.6 bright … 0.6 dull: a one-tap filter
    breath: float = 0.0  # share of noise that follows the loudness of the speech


def voices(count: int, seed: int) -> list[Voice]:
    """Returns `count` clearly different English voices, the same for the same seed.

    The first k of a longer list agree with a list of k.
    """
    rng = np.random.default_rng([seed, 0x701CE])
    accents, weights = list(ACCENTS), np.array(list(ACCENTS.values()))
    speakers: list[Voice] = []
    decks: dict[str, list[str]] = {"f": [], "m": []}
    used: set[tuple[str, str]] = set()
    for number in range(count):
        sex = "f" if rng.random() < 0.5 else "m"
        if not decks[sex]:  # every variant is used once before any comes twice
            deck = FEMALE if sex == "f" else MALE
            decks[sex] = [deck[i] for i in rng.permutation(len(deck))]
        variant = decks[sex].pop()
        accent = accents[rng.choice(len(accents), p=weights / weights.sum())]
        for _ in range(8):
            if (accent, variant) not in used:
                break
            accent = accents[rng.integers(len(accents))]
        used.add((accent, variant))
        speakers.append(
            Voice(
                name=f"v{seed}-{number:04d}-{accent}-{variant}",
                accent=accent,
                variant=variant,
                pitch=int(rng.integers(32, 69)),
                pitch_range=int(rng.integers(25, 76)),
                rate_wpm=int(rng.integers(140, 206)),
                warp=round(float(rng.uniform(0.90, 1.12)), 3),
                tilt=round(float(rng.uniform(-0.35, 0.45)), 2),
                breath=round(float(rng.uniform(0.0, 0.12)), 3) if rng.random() < 0.5 else 0.0,
            )
        )
    return speakers


class Synthesizer:
    """Speaks text. Several may exist in a process; utterances of different threads wait in turn."""

    def __init__(self) -> None:
        import espeakng_loader

        self._library = espeakng_loader.get_library_path()
        self._data = Path(tempfile.mkdtemp(prefix="espeak-"))
        weakref.finalize(self, shutil.rmtree, self._data, ignore_errors=True)
        _link_english(Path(espeakng_loader.get_data_path()), self._data)

    def speak(self, text: str, voice: Voice, sample_rate_hz: int = 16000) -> np.ndarray:
        """Returns `text` in `voice`: float32 mono of about -20 dBFS within [-1, 1].

        The same arguments give the same bytes. Raises ValueError when espeak-ng does not
        know the voice or has nothing to say.
        """
        samples, native_hz = self._synthesize(text, voice)
        audio = soxr.resample(samples, native_hz * voice.warp, sample_rate_hz, quality="MQ").astype(
            np.float32
        )
        return _finish(audio, voice, sample_rate_hz=sample_rate_hz, seed=_seed(text, voice))

    def _synthesize(self, text: str, voice: Voice) -> tuple[np.ndarray, int]:
        pieces: list[np.ndarray] = []

        def keep(wave: Any, count: int, _events: Any) -> int:
            if wave and count > 0:
                pieces.append(np.ctypeslib.as_array(wave, (count,)).copy())
            return 0

        callback = _CALLBACK(keep)
        language, variant = f"lang/{_FAMILY}/{voice.accent}", f"voices/!v/{voice.variant}"
        for path in (language, variant) if voice.variant else (language,):
            if not (self._data / path).exists():  # espeak-ng would quietly take another
                raise ValueError(f"voice {voice.name}: espeak-ng has no {path}.")
        name = f"{_FAMILY}/{voice.accent}" + (f"+{voice.variant}" if voice.variant else "")
        spoken = text.encode("utf-8") + b"\0"
        with _library_lock:
            library = ctypes.CDLL(self._library)
            try:
                native_hz = library.espeak_Initialize(
                    _SYNCHRONOUS, _BUFFER_MS, str(self._data).encode(), 0
                )
                if native_hz <= 0:
                    raise ValueError(
                        f"espeak-ng found no voices in {self._data}. Reinstall espeakng_loader."
                    )
                library.espeak_SetSynthCallback(callback)
                if library.espeak_SetVoiceByName(name.encode()) != 0:
                    raise ValueError(f"voice {voice.name}: espeak-ng does not know {name!r}.")
                library.espeak_ng_SetRandSeed(_seed(text, voice) & 0x7FFFFFFF)
                library.espeak_SetParameter(
                    _RATE, int(np.clip(voice.rate_wpm / voice.warp, 80, 450)), 0
                )
                library.espeak_SetParameter(_PITCH, int(np.clip(voice.pitch, 0, 99)), 0)
                library.espeak_SetParameter(_RANGE, int(np.clip(voice.pitch_range, 0, 99)), 0)
                library.espeak_Synth(
                    spoken, ctypes.c_size_t(len(spoken)), 0, 1, 0, _UTF8, None, None
                )
                library.espeak_Terminate()
            finally:
                _ctypes.dlclose(library._handle)  # with the last handle the library's state goes
        if not any(np.any(piece) for piece in pieces):
            raise ValueError(f"voice {voice.name}: nothing to say in {text!r}.")
        return np.concatenate(pieces).astype(np.float32) / 32768, native_hz


def _finish(audio: np.ndarray, voice: Voice, *, sample_rate_hz: int, seed: int) -> np.ndarray:
    """Applies tilt and breath, trims pauses and sets the level."""
    if voice.tilt:
        audio = audio + np.float32(voice.tilt) * np.concatenate(([np.float32(0)], audio[:-1]))
    if voice.breath:
        window = max(1, sample_rate_hz // 50)
        energy = np.cumsum(np.concatenate(([0.0], audio.astype(np.float64) ** 2)))
        padded = np.minimum(np.arange(len(audio)) + window, len(audio))
        envelope = np.sqrt(np.maximum(energy[padded] - energy[np.arange(len(audio))], 0) / window)
        noise = np.random.default_rng(seed).standard_normal(len(audio) + 1)
        # the difference tilts the noise to hiss
        audio = audio + voice.breath * envelope * np.diff(noise)
    loud = audio[np.abs(audio) > 0.01]
    rms = float(np.sqrt(np.mean(loud.astype(np.float64) ** 2))) if len(loud) else 0.0
    peak = float(np.max(np.abs(audio))) if len(audio) else 0.0
    # espeak-ng ends every clause with a pause
    speech = np.flatnonzero(np.abs(audio) > 0.002 * peak)
    if len(speech):
        audio = audio[speech[0] : speech[-1] + 1]
    gain = min(0.1 / rms if rms else 1.0, 0.98 / peak if peak else 1.0)
    return (audio * gain).astype(np.float32)


def _seed(text: str, voice: Voice) -> int:
    return int.from_bytes(
        hashlib.blake2b(f"{voice}|{text}".encode(), digest_size=6).digest(), "big"
    )


def _link_english(source: Path, folder: Path) -> None:
    """Fills `folder` with links to espeak-ng's English data, language files in lower case.

    espeak-ng lowers the name of a voice before it looks for a file of that name; where it finds
    none it reads all its voices first, which takes as long as speaking. It also keeps the path
    in 160 bytes, which this keeps short.
    """
    (folder / "lang" / _FAMILY).mkdir(parents=True)
    for name in ("phondata", "phonindex", "phontab", "intonations", "en_dict", "voices"):
        (folder / name).symlink_to(source / name)
    for language in (source / "lang" / _FAMILY).glob("en*"):
        (folder / "lang" / _FAMILY / language.name.lower()).symlink_to(language)
