"""Rollout of a challenger: which requests it gets, and when it has shown that it must get none."""

from __future__ import annotations

import difflib
import hashlib
import statistics
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

from models.kinds import CHURN

# off: no requests. shadow: a copy of each request; its answers are never given.
# canary: it answers its share of the requests.
Mode = Literal["off", "shadow", "canary"]


@dataclass(frozen=True)
class Rollout:
    """What a challenger gets to do."""

    mode: Mode = "off"
    share: float = 0.1  # of the keys that a canary answers
    max_errors: int = 2  # among its last answers; one more stops it
    window: int = 200  # answers looked at
    min_answers: int = 20  # before its speed is judged
    max_slowdown: float = 3.0  # its median time against the champion's
    slack_s: float = 0.02  # slower than that many times by less than this is no harm


class Trial:
    """How a challenger does against the champion of the same time. Once `stopped` it stays so.

    `stopped` is why it ended, at the start why an earlier trial of the version did. `reported` says
    whether the registry knows that.
    """

    def __init__(self, rules: Rollout, stopped: str | None = None) -> None:
        self._rules = rules
        self._lock = threading.Lock()
        self._errors: deque[bool] = deque(maxlen=rules.window)
        self._seconds: dict[str, deque[float]] = {
            role: deque(maxlen=rules.window) for role in ("champion", "challenger")
        }
        self.stopped = stopped
        self.reported = stopped is not None

    def record_answer(self, role: str, seconds: float) -> None:
        """Records an answer of the champion or the challenger, and stops one that is too slow."""
        with self._lock:
            self._seconds[role].append(seconds)
            if role != "challenger":
                return
            self._errors.append(False)
            own, champions = self._seconds["challenger"], self._seconds["champion"]
            if (
                min(len(own), len(champions)) < self._rules.min_answers
                or len(own) % self._rules.min_answers
            ):
                return
            median_s, champion_s = statistics.median(own), statistics.median(champions)
            if median_s > self._rules.max_slowdown * champion_s + self._rules.slack_s:
                self._stop(
                    f"answers in {median_s * 1000:.0f} ms, "
                    f"the champion in {champion_s * 1000:.0f} ms"
                )

    def record_error(self, error: BaseException) -> None:
        """Records an error of the challenger, and stops one that has had too many."""
        with self._lock:
            self._errors.append(True)
            if sum(self._errors) > self._rules.max_errors:
                self._stop(
                    f"{sum(self._errors)} of its last {len(self._errors)} answers failed "
                    f"({type(error).__name__})"
                )

    def _stop(self, why: str) -> None:
        self.stopped = self.stopped or why


def falls_to_challenger(key: str, salt: str, share: float) -> bool:
    """Whether a key belongs to the canary's share: always or never, for one `salt`."""
    drawn = int.from_bytes(
        hashlib.sha256(f"{salt}\x00{key}".encode("utf-8", "surrogatepass")).digest()[:8], "big"
    )
    return drawn < share * 2**64


def disagreement(kind: str, given: Any, shadow: Any) -> float:
    """Returns how far apart two answers of a kind are, 0 to 1.

    churn: lists of {horizon: risk}, the largest difference. asr: turns with words, the share of
    words that differ.
    """
    if kind == CHURN.name:
        return max(
            (
                abs(row[name] - other[name])
                for row, other in zip(given, shadow, strict=True)
                for name in row.keys() & other.keys()
            ),
            default=0.0,
        )
    words, shadow_words = (
        [word.text for turn in turns for word in turn.words] for turns in (given, shadow)
    )
    return 1 - difflib.SequenceMatcher(None, words, shadow_words, autojunk=False).ratio()
