"""Writes the transcript of a call as JSON, WebVTT, CTM, Lhotse cuts or a NeMo manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


def roles_of(recording: Mapping[str, Any]) -> dict[int, str]:
    """Returns the role on each channel of a recording (a row of RECORDINGS).

    A single channel is the customer's.
    """
    return {recording["agent_channel"]: "agent", recording["customer_channel"]: "customer"}


@dataclass(frozen=True)
class Word:
    """One word, in seconds from the start of its waveform."""

    text: str
    start_s: float
    end_s: float
    # how likely the word is right, 0 to 1, if calibrated; else the network's own score
    confidence: float


@dataclass(frozen=True)
class TranscriptTurn:
    """One stretch of speech of one side of a call, in seconds from the start of the call."""

    role: str
    start_s: float
    end_s: float
    text: str
    confidence: float
    words: list[Word]


@dataclass(frozen=True)
class CallTranscript:
    """The transcript of a whole recording.

    `roles` names the transcribed channels, `calibrated` says whether confidence is a
    probability.
    """

    name: str
    audio: str
    sample_rate_hz: int
    channels: int
    frames: int
    roles: dict[int, str]
    turns: list[TranscriptTurn]
    model: str
    calibrated: bool
    conversation: dict[str, Any] = field(default_factory=dict)

    @property
    def duration_s(self) -> float:
        """Length of the recording."""
        return self.frames / self.sample_rate_hz

    def channel_of(self, role: str) -> int:
        """Returns the channel of `role`."""
        return next(channel for channel, name in self.roles.items() if name == role)


def to_json(call: CallTranscript) -> str:
    """Returns the whole transcript as one JSON document; `from_json` reads it."""
    return (
        json.dumps(
            {**asdict(call), "duration_s": round(call.duration_s, 3)}, indent=1, ensure_ascii=False
        )
        + "\n"
    )


def from_json(text: str) -> CallTranscript:
    """Returns the transcript in a document of `to_json`. Raises ValueError when it is none."""
    try:
        document = json.loads(text)
        document.pop("duration_s")
        document["roles"] = {int(channel): role for channel, role in document["roles"].items()}
        document["turns"] = [
            TranscriptTurn(**{**turn, "words": [Word(**word) for word in turn["words"]]})
            for turn in document["turns"]
        ]
        return CallTranscript(**document)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"not a transcript of Keepline's ({type(error).__name__}: {error})."
        ) from error


def to_vtt(call: CallTranscript) -> str:
    """Returns WebVTT (W3C), a cue a turn with the role as its voice."""
    lines = ["WEBVTT", ""]
    for number, turn in enumerate(call.turns, start=1):
        end_s = max(turn.end_s, turn.start_s + 0.001)  # a cue must last
        lines += [
            str(number),
            f"{_clock(turn.start_s)} --> {_clock(end_s)}",
            f"<v {_escaped(turn.role)}>{_escaped(turn.text)}",
            "",
        ]
    return "\n".join(lines)


def to_ctm(call: CallTranscript) -> str:
    """Returns NIST CTM for sclite: recording, channel from 1, start, duration, word, confidence.

    Lines are sorted as sclite needs them.
    """
    name = "_".join(call.name.split())
    rows = [(call.channel_of(turn.role) + 1, word) for turn in call.turns for word in turn.words]
    return "".join(
        f"{name} {channel} {word.start_s:.3f} {word.end_s - word.start_s:.3f} {word.text} "
        f"{word.confidence:.4f}\n"
        for channel, word in sorted(rows, key=lambda row: (row[0], row[1].start_s))
    )


def to_lhotse(call: CallTranscript) -> str:
    """Returns Lhotse cuts as JSON lines: a MonoCut a turn on its own channel, words aligned."""
    recording = {
        "id": call.name,
        "sources": [{"type": "file", "channels": list(range(call.channels)), "source": call.audio}],
        "sampling_rate": call.sample_rate_hz,
        "num_samples": call.frames,
        "duration": call.duration_s,
        "channel_ids": list(range(call.channels)),
    }
    lines = []
    for number, turn in enumerate(call.turns):
        channel = call.channel_of(turn.role)
        start_s, duration_s = _within(turn, call)
        name = f"{call.name}-{number:05d}"
        supervision = {
            "id": name,
            "recording_id": call.name,
            "start": 0.0,
            "duration": duration_s,
            "channel": channel,
            "text": turn.text,
            "language": "English",
            "speaker": f"{call.name}-{turn.role}",
            "custom": {
                "role": turn.role,
                "confidence": turn.confidence,
                "calibrated": call.calibrated,
            },
            "alignment": {
                "word": [
                    [
                        word.text,
                        round(word.start_s - start_s, 3),
                        round(word.end_s - word.start_s, 3),
                        word.confidence,
                    ]
                    for word in turn.words
                ]
            },
        }
        lines.append(
            {
                "id": name,
                "start": start_s,
                "duration": duration_s,
                "channel": channel,
                "supervisions": [supervision],
                "recording": recording,
                "type": "MonoCut",
            }
        )
    return _lines(lines)


def to_nemo(call: CallTranscript, cuts: Sequence[str]) -> str:
    """Returns a NeMo manifest with a row a turn.

    `cuts` names the mono file each turn was cut to, since NeMo mixes channels.
    """
    return _lines(
        [
            {
                "audio_filepath": cut,
                "duration": _within(turn, call)[1],
                "text": turn.text,
                "contact_id": call.name,
                "role": turn.role,
                "start_s": turn.start_s,
                "confidence": turn.confidence,
                "calibrated": call.calibrated,
            }
            for cut, turn in zip(cuts, call.turns, strict=True)
        ]
    )


def _within(turn: TranscriptTurn, call: CallTranscript) -> tuple[float, float]:
    """Start and duration within the recording.

    Words may end up to one frame of the network after it.
    """
    start_s = min(turn.start_s, call.duration_s)
    return round(start_s, 3), round(min(turn.end_s, call.duration_s) - start_s, 3)


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _clock(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
