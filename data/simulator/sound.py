"""Renders the lines of a call as a two-channel telephone recording.

It adds pauses, overlaps, noise, hold music and a codec.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data import audio
from data.simulator.talk import Line, transcript
from data.simulator.voice import Synthesizer, Voice

SAMPLE_RATE_HZ = 8000
CUSTOMER, AGENT = 0, 1
# How the recording was kept: codec in the file, and whether the customer's leg came over a GSM
# phone.
CARRIERS = (
    ("ULAW", False, 0.66),
    ("ALAW", False, 0.14),
    ("PCM_16", False, 0.11),
    ("ULAW", True, 0.09),
)


@dataclass(frozen=True)
class SpokenTurn:
    """A line in a recording: times in seconds from its start, text as a transcriber writes it."""

    role: str
    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Call:
    """A finished recording: a WAV of two channels (0 customer, 1 agent) at 8 kHz."""

    wav: bytes
    codec: str
    duration_s: float
    turns: list[SpokenTurn]


def record(
    lines: list[Line],
    *,
    customer: Voice,
    agents: tuple[Voice, Voice],
    synthesizer: Synthesizer,
    rng: np.random.Generator,
) -> Call:
    """Speaks and records `lines`; the same arguments and state of `rng` give the same bytes."""
    pieces, music, turns = _lay_out(
        lines, customer=customer, agents=agents, synthesizer=synthesizer, rng=rng
    )
    end_s = max([turn.end_s for turn in turns] + [start + length for start, length in music])
    track = np.zeros((int((end_s + rng.uniform(0.2, 0.8)) * SAMPLE_RATE_HZ), 2), np.float32)
    gains = rng.uniform(0.5, 1.2), rng.uniform(0.7, 1.1)
    for channel, start_s, samples in pieces:
        begin = round(start_s * SAMPLE_RATE_HZ)
        samples = samples[: len(track) - begin]
        track[begin : begin + len(samples), channel] += samples * gains[channel]
    if rng.random() < 0.6:
        track = audio.telephone_band(track, SAMPLE_RATE_HZ)
    for start_s, length_s in music:
        begin, tune = int(start_s * SAMPLE_RATE_HZ), _hold_music(length_s, rng)
        track[begin : begin + len(tune), AGENT] += tune[: len(track) - begin]
    codec, mobile, _ = CARRIERS[rng.choice(len(CARRIERS), p=[share for _, _, share in CARRIERS])]
    track[:, CUSTOMER] = audio.add_noise(
        track[:, CUSTOMER],
        rng.uniform(15, 36),
        rng,
        noise=_surroundings(len(track), rng, quiet=False),
    )
    track[:, AGENT] = audio.add_noise(
        track[:, AGENT], rng.uniform(22, 40), rng, noise=_surroundings(len(track), rng, quiet=True)
    )
    if mobile:
        track[:, CUSTOMER] = audio.codec_roundtrip(track[:, CUSTOMER], SAMPLE_RATE_HZ, "GSM610")
        if rng.random() < 0.5:
            track[:, CUSTOMER] = audio.packet_loss(
                track[:, CUSTOMER], SAMPLE_RATE_HZ, share=rng.uniform(0.005, 0.03), rng=rng
            )
    track = np.clip(track, -0.95, 0.95)
    wav = audio.to_wav_bytes(track, SAMPLE_RATE_HZ, codec)
    return Call(wav, codec, len(track) / SAMPLE_RATE_HZ, turns)


def _lay_out(
    lines: list[Line],
    *,
    customer: Voice,
    agents: tuple[Voice, Voice],
    synthesizer: Synthesizer,
    rng: np.random.Generator,
) -> tuple[list[tuple[int, float, np.ndarray]], list[tuple[float, float]], list[SpokenTurn]]:
    """Places the lines in time; now and then people overlap.

    Returns (channel, start, samples) of speech, (start, length) of music, and the turns.
    """
    pieces: list[tuple[int, float, np.ndarray]] = []
    music: list[tuple[float, float]] = []
    turns: list[SpokenTurn] = []
    at, last_role = rng.uniform(0.2, 1.0), ""
    for line in lines:
        voice = customer if line.role == "customer" else agents[line.speaker]
        samples = synthesizer.speak(line.text, voice, SAMPLE_RATE_HZ)
        start_s = at
        if last_role and line.role != last_role and rng.random() < 0.12:
            start_s = max(turns[-1].start_s + 0.3, turns[-1].end_s - rng.uniform(0.15, 0.6))
        start_s = round(float(start_s), 3)
        end_s = round(start_s + len(samples) / SAMPLE_RATE_HZ, 3)
        pieces.append((CUSTOMER if line.role == "customer" else AGENT, start_s, samples))
        turns.append(SpokenTurn(line.role, transcript(line.text), start_s, end_s))
        at = max(end_s, at) + rng.uniform(0.15, 0.8)
        if line.hold_s:
            music.append((at, line.hold_s))
            at += line.hold_s + rng.uniform(0.2, 0.5)
        last_role = line.role if not line.hold_s else ""
    return pieces, music, turns


def _hold_music(length_s: float, rng: np.random.Generator) -> np.ndarray:
    """A slow arpeggio of plain tones."""
    note_s = rng.uniform(0.22, 0.4)
    root = 220.0 * 2 ** (rng.integers(0, 8) / 12)
    chord = root * 2 ** (np.array([0, 4, 7, 12, 7, 4]) / 12)
    at = np.arange(int(length_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    step = (at / note_s).astype(int)
    tone = np.sin(2 * np.pi * chord[step % len(chord)] * at) + 0.3 * np.sin(
        4 * np.pi * chord[step % len(chord)] * at
    )
    return np.asarray(0.05 * tone * np.exp(-2.5 * (at / note_s - step)), dtype=np.float32)


def _surroundings(frames: int, rng: np.random.Generator, quiet: bool) -> np.ndarray:
    """Background noise of one end of the line: hiss, traffic, room with hum, or distant speech."""
    hiss = rng.standard_normal(frames, dtype=np.float32)
    background = "hiss" if quiet else rng.choice(("hiss", "traffic", "hum", "people"))
    at = np.arange(frames, dtype=np.float32) / SAMPLE_RATE_HZ
    if background == "hum":
        return (
            0.5 * hiss
            + np.sin(np.float32(2 * np.pi * 100) * at)
            + 0.4 * np.sin(np.float32(2 * np.pi * 150) * at)
        )
    if background == "hiss":
        return hiss
    width = 12 if background == "traffic" else 4
    total = np.cumsum(hiss)
    smooth = total - np.concatenate((np.zeros(width, np.float32), total[:-width]))
    # people: the pace of syllables
    rate_hz = rng.uniform(0.1, 0.4) if background == "traffic" else rng.uniform(2.5, 4.5)
    phase = np.float32(rng.uniform(0, 6))
    return np.asarray(smooth * (0.6 + 0.4 * np.sin(np.float32(2 * np.pi * rate_hz) * at + phase)))
