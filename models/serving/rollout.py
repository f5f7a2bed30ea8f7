"""Which of champion and challenger answers a request, and when a challenger has shown that it must not."""

from __future__ import annotations

import hashlib
import statistics
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

from models.kinds import CHURN

Mode = Literal["off", "shadow", "canary"]


@dataclass(frozen=True)
class Rollout:
    """What a challenger gets to do."""

    mode: Mode = (
        "off"  # off, shadow (a copy of each request, its answers are never given) or canary
    )
    share: float = 0.1  # of the keys that a canary answers
    max_errors: int = 2  # among its last answers; one more stops it
    window: int = 200  # answers looked at
    min_answers: int = 20  # before its speed is judged
    max_slowdown: float = 3.0  # its median time against the champion's
    slack_s: float = 0.02  # slower than that many times by less than this is no harm


class Trial:
    """How a challenger does against the champion of the same time. Once `stopped` it stays so.

    `stopped` at the start is why an earlier trial of the version ended; `told` is whether the registry knows.
    """

    def __init__(self, rules: Rollout, stopped: str | None = None) -> None:
        self._rules = rules
        self._lock = threading.Lock()
        self._errors: deque[bool] = deque(maxlen=rules.window)
        self._seconds: dict[str, deque[float]] = {
            role: deque(maxlen=rules.window) for role in ("champion", "challenger")
        }
        self.stopped = stopped
        self.told = stopped is not None

    def answered(self, role: str, seconds: float) -> None:
        """Notes an answer of the champion or the challenger; judges speed."""
        with self._lock:
            self._seconds[role].append(seconds)
            if role != "challenger":
                return
            self._errors.append(False)
            own, others = self._seconds["challenger"], self._seconds["champion"]
            if (
                min(len(own), len(others)) < self._rules.min_answers
                or len(own) % self._rules.min_answers
            ):
                return
            median, wanted = statistics.median(own), statistics.median(others)
            if median > self._rules.max_slowdown * wanted + self._rules.slack_s:
                self._stop(
                    f"answers in {median * 1000:.0f} ms, the champion in {wanted * 1000:.0f} ms"
                )

    def failed(self, error: BaseException) -> None:
        """Notes an error of the challenger."""
        with self._lock:
            self._errors.append(True)
            if sum(self._errors) > self._rules.max_errors:
                self._stop(
                    f"{sum(self._errors)} of its last {len(self._errors)} answers failed ({type(error).__name__})"
                )

    def _stop(self, why: str) -> None:
        self.stopped = self.stopped or why


def falls_to_challenger(key: str, salt: str, share: float) -> bool:
    """Whether a key belongs to the canary's share: the same key always does or never does, for one `salt`."""
    drawn = int.from_bytes(
        hashlib.sha256(f"{salt}\x00{key}".encode("utf-8", "surrogatepass")).digest()[:8], "big"
    )
    return drawn < share * 2**64


def disagreement(kind: str, given: Any, shadow: Any) -> float:
    """How far apart two answers of a kind are, 0 to 1.

    churn: lists of {horizon: risk}: the largest difference. asr: turns with words: the share of words that differ.
    """
    if kind == CHURN.name:
        return max(
            (
                abs(a[name] - b[name])
                for a, b in zip(given, shadow, strict=True)
                for name in a.keys() & b.keys()
            ),
            default=0.0,
        )
    import difflib

    ours, theirs = (
        [word.text for turn in turns for word in turn.words] for turns in (given, shadow)
    )
    return 1 - difflib.SequenceMatcher(None, ours, theirs, autojunk=False).ratio()
