"""V3: how well voices that the source does not name are told apart, and kept apart as calls come.

`bench_voices.py [SPEAKERS]` stitches calls of 7 to 12 s from the public recordings in
KEEPLINE_REAL_DATA (default ../shared/data), sends them through telephone lines, and prints JSON: the
equal error rate of the shipped encoder, of the network alone and of the cepstra used before, a set
and a line; and what the shipped thresholds do when calls come one after the other. At most SPEAKERS
of a set are used (default 40). Speakers that the encoder's matrix was fitted on are left out.
`--fit PATH` fits that matrix on them instead and writes it to PATH (.npz).
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from peers import cepstra

from data.audio import SAMPLE_RATE_HZ, read, resample
from data.speech.telephone import effect
from data.speech.voices import SCHEMA, VoiceParams, recognise_voices
from models.speaker import encoder

# Calls of a speaker, and seconds of recording in a call.
SETS = {
    "barista": (8, 7.0),
    "speechocean": (4, 12.0),
    "cv_delta": (3, 10.0),
    "spoken_digits": (10, 10.0),
    "librispeech": (10, 12.0),
}
FITTED_ON = ("speechocean", "cv_delta")  # six in ten of their speakers
LINES = {
    "8 kHz": ("as_delivered",),
    "mulaw": ("mulaw",),
    "four lines": ("mulaw", "alaw", "gsm", "mulaw+packet_loss_5pct"),
    "noise 15 dB": ("noise_15db+mulaw",),
}
FIT_LINES = ("as_delivered", "mulaw", "any")
ANY_LINE = ("mulaw", "alaw", "gsm", "noise_15db+mulaw", "mulaw+packet_loss_5pct")
ORDERS = 4  # orders in which the calls come
SHRINK = 0.3  # pull of the within-voice covariance towards a sphere


@dataclass(frozen=True)
class Call:
    """A stitched call: its set, its speaker and 16 kHz mono samples."""

    source: str
    speaker: str
    samples: np.ndarray


def fitted_on(source: str, speaker: str) -> bool:
    """Returns whether a speaker is one that the encoder's matrix is fitted on."""
    place = hashlib.sha256(f"{source}:{speaker}".encode()).digest()[0]
    return source in FITTED_ON and place < 154


def calls_of(folder: Path, source: str, speakers: int, *, fitting: bool) -> Iterator[Call]:
    """Yields the calls of a set, of its speakers for fitting or of those for measuring."""
    per_speaker, seconds = SETS[source]
    by_speaker = defaultdict(list)
    for line in (folder / source / "manifest.jsonl").open(encoding="utf-8"):
        row = json.loads(line)
        by_speaker[str(row["speaker"])].append(row)
    rng, used = np.random.default_rng(1), 0
    for speaker in rng.permutation(sorted(by_speaker)):
        if fitted_on(source, str(speaker)) != fitting or used >= speakers:
            continue
        rows = by_speaker[str(speaker)]
        stitched: list[list[dict[str, Any]]] = [[]]
        for number in rng.permutation(len(rows)):
            if sum(row["duration"] for row in stitched[-1]) >= seconds:
                stitched.append([])
            stitched[-1].append(rows[number])
        whole = [call for call in stitched if sum(row["duration"] for row in call) >= seconds][
            :per_speaker
        ]
        if len(whole) < 2:
            continue
        used += 1
        for call in whole:
            pieces = [_samples(folder / source / row["audio_filepath"]) for row in call]
            yield Call(source, f"{source}:{speaker}", np.concatenate(pieces))


def _samples(path: Path) -> np.ndarray:
    samples, rate_hz = read(path)
    return resample(samples[:, 0], rate_hz, SAMPLE_RATE_HZ)


def through(call: Call, number: int, line: str) -> np.ndarray:
    """Returns a call's samples after a line; of several lines each call takes the next."""
    names = LINES.get(line) or (ANY_LINE if line == "any" else (line,))
    rng = np.random.default_rng([7, number])
    return effect(names[number % len(names)])(call.samples, SAMPLE_RATE_HZ, rng)


def equal_error_rate(vectors: np.ndarray, speakers: np.ndarray) -> dict[str, float]:
    """Returns the rate at which as many pairs of one voice are missed as pairs of two are joined."""
    cosines = vectors @ vectors.T
    pairs = np.triu_indices(len(vectors), 1)
    same = (speakers[:, None] == speakers[None])[pairs]
    ours, others = np.sort(cosines[pairs][same]), np.sort(cosines[pairs][~same])
    edges = np.concatenate([ours, others])
    missed = np.searchsorted(ours, edges) / len(ours)
    joined = 1 - np.searchsorted(others, edges) / len(others)
    place = int(np.abs(missed - joined).argmin())
    return {
        "equal_error_rate": round(float(missed[place] + joined[place]) / 2, 4),
        "different_1_pct": round(float(np.quantile(others, 0.99)), 3),
        "different_1_permille": round(float(np.quantile(others, 0.999)), 3),
        "same_5_pct": round(float(np.quantile(ours, 0.05)), 3),
    }


def _vector_of(vectors: np.ndarray, contact: str) -> tuple[np.ndarray, int]:
    """The vector of contact k7 is the seventh."""
    return vectors[int(contact[1:])], 8000


def as_they_come(
    vectors: np.ndarray, speakers: np.ndarray, *, named: bool, params: VoiceParams
) -> dict[str, float]:
    """Returns false joins and splits of calls in random orders, by the shipped rule.

    `named`: the source knows each speaker as a customer; else each call is a customer's own.
    """
    counts = np.zeros(4)
    for order in range(ORDERS):
        shuffled = np.random.default_rng(order).permutation(len(vectors))
        table = pl.DataFrame(
            {
                "contact_id": [f"k{n}" for n in range(len(shuffled))],
                "customer_id": [
                    str(speakers[place]) if named else f"c{n}" for n, place in enumerate(shuffled)
                ],
            }
        )
        in_order = vectors[shuffled]
        found = recognise_voices(
            partial(_vector_of, in_order),
            table,
            pl.DataFrame(schema=SCHEMA),
            embed=lambda vector, _: vector,
            params=params,
        )
        owner: dict[str, str] = {}
        heard: set[str] = set()
        for voice, place in zip(found["voice"], shuffled, strict=True):
            speaker = str(speakers[place])
            known = speaker in heard
            counts += (known, not known, known and voice not in owner, not known and voice in owner)
            owner.setdefault(voice, speaker)
            heard.add(speaker)
    again, first, split, joined = counts
    return {
        "false_split": round(float(split / max(1, again)), 4),
        "false_join": round(float(joined / max(1, first)), 4),
        "voices_found": round(float((first - joined + split) / ORDERS), 1),
        "voices": round(float(first / ORDERS), 1),
    }


def fit(calls: list[Call]) -> tuple[np.ndarray, np.ndarray]:
    """Returns centre [256] and matrix [256, 256] of the covariance within a voice, over lines."""
    from scipy.linalg import eigh

    raw = [
        (call.speaker, vector)
        for number, call in enumerate(calls)
        for line in FIT_LINES
        if (vector := encoder.unweighed(through(call, number, line), SAMPLE_RATE_HZ)) is not None
    ]
    names, vectors = np.array([name for name, _ in raw]), np.array([vector for _, vector in raw])
    means = {name: vectors[names == name].mean(0) for name in set(names)}
    spread = vectors - np.array([means[name] for name in names])
    within = spread.T @ spread / len(spread)
    sphere = np.eye(len(within)) * np.trace(within) / len(within)
    values, axes = eigh((1 - SHRINK) * within + SHRINK * sphere)
    matrix = axes / np.sqrt(values) @ axes.T
    return vectors.mean(0), matrix / np.linalg.norm(matrix, 2)


def measured(calls: list[Call], line: str, params: VoiceParams) -> dict[str, Any]:
    """Returns the figures of all sets through one line."""
    sounds = [through(call, number, line) for number, call in enumerate(calls)]
    systems: dict[str, list[np.ndarray | None]] = {
        "encoder": [encoder.embed(sound, SAMPLE_RATE_HZ) for sound in sounds],
        "network alone": [encoder.unweighed(sound, SAMPLE_RATE_HZ) for sound in sounds],
        "cepstra": [cepstra.statistics(sound, SAMPLE_RATE_HZ) for sound in sounds],
    }
    sources = np.array([call.source for call in calls])
    speakers = np.array([call.speaker for call in calls])
    figures: dict[str, Any] = {}
    for source in ("all", *sorted(set(sources))):
        of_it = (sources == source) | (source == "all")
        figures[source] = {"calls": int(of_it.sum()), "voices": len(set(speakers[of_it]))}
        for name, vectors in systems.items():
            whole = np.flatnonzero(of_it & np.array([vector is not None for vector in vectors]))
            rows = np.array([vectors[n] for n in whole], np.float64)
            if name == "cepstra":
                rows = (rows - rows.mean(0)) / (rows.std(0) + 1e-9)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            figures[source][name] = equal_error_rate(rows, speakers[whole])
            if name == "encoder":
                figures[source]["too_little_speech"] = int(of_it.sum()) - len(whole)
                figures[source]["customers_named"] = as_they_come(
                    rows, speakers[whole], named=True, params=params
                )
                figures[source]["customers_unknown"] = as_they_come(
                    rows, speakers[whole], named=False, params=params
                )
    return figures


def main() -> None:
    """Prints the figures, or fits the matrix."""
    folder = Path(os.environ.get("KEEPLINE_REAL_DATA") or "../shared/data") / "speech"
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    fitting = "--fit" in sys.argv
    present = [name for name in SETS if (folder / name / "manifest.jsonl").is_file()]
    for name in set(SETS) - set(present):
        print(f"{folder / name}: not here, left out", file=sys.stderr)
    if not present:
        raise SystemExit(f"{folder}: no public recordings. Set KEEPLINE_REAL_DATA to their folder.")
    speakers = 1000 if fitting else int(words[0]) if words else 40
    calls = [call for name in present for call in calls_of(folder, name, speakers, fitting=fitting)]
    if fitting:
        centre, matrix = fit(calls)
        np.savez(words[0], centre=centre, matrix=matrix)
        return
    params, figures = VoiceParams(), {}
    for line in LINES:
        figures[line] = measured(calls, line, params)
        print(f"{line}: {json.dumps(figures[line]['all'])}", file=sys.stderr)
    thresholds = {count: round(params.threshold(count), 3) for count in (10, 100, 1000, 10_000)}
    print(json.dumps({"voices": {"thresholds": thresholds, "lines": figures}}, indent=1))


if __name__ == "__main__":
    main()
