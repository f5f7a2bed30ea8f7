"""M1, M5, M6: false alarms in quiet nights, nights until a planted change is found, coverage.

`bench_monitoring.py [NIGHTS] [SEED]` simulates centres of 200 nights with weekends, causes that
last from night to night and heavy tails, and runs the statistics as they ship. Prints JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from evaluation.monitoring import drift
from evaluation.monitoring.params import MonitoringParams
from evaluation.monitoring.sequential import evidence
from evaluation.monitoring.wer_without_words import estimate_wer, fit_wer_model, joined_wer
from tests.call_simulation import calls_like_real_ones, chosen_calls

NIGHTS, SEED = 4000, 0
REFERENCE_DAYS, CENTRE_NIGHTS = 56, 200
NUMBERS = (
    "level_dbfs",
    "snr_db",
    "band_hz",
    "silence_share",
    "confidence",
    "unknown_words",
    "risk",
)
PARAMS = MonitoringParams()


class Centre:
    """Calls a day with measures whose causes last: the same law in reference and quiet nights."""

    def __init__(self, rng: np.random.Generator, calls: int) -> None:
        self.rng = rng
        self.days = REFERENCE_DAYS + CENTRE_NIGHTS
        self.types = drift.day_type(np.arange(self.days) % 7)
        self.count = np.maximum(rng.poisson(np.where(self.types > 0, calls / 2, calls)), 1)
        self.day = np.repeat(np.arange(self.days), self.count)

    def causes(self, size: float) -> np.ndarray:
        """What the contacts of a day have in common; it lasts, and weekends differ."""
        lasting = self.rng.normal(0, size, self.days)
        for day in range(1, self.days):
            lasting[day] = 0.3 * lasting[day - 1] + 0.954 * lasting[day]
        return lasting + (self.types > 0) * self.rng.normal(0, 0.8)

    def number(self, shift: float = 0.0, at: int = 10**6) -> np.ndarray:
        """Returns the smallest p-value of each night over the windows."""
        values = self.causes(0.3)[self.day] + self.rng.standard_t(6, len(self.day))
        values = values + shift * (self.day >= at)
        known = self.day < REFERENCE_DAYS
        scores = drift.normal_scores(values, values[known])
        fit = drift.fit_numbers(scores[known], self.day[known], self.types[:REFERENCE_DAYS])
        mean = np.bincount(self.day, scores, self.days) / self.count
        best = np.ones(CENTRE_NIGHTS)
        for window in PARAMS.windows:
            place = self._window(window)
            p, _ = drift.number_p(fit, mean[place], self._counts(place), self.types[place])
            best = np.minimum(best, p)
        return best

    def shares(self, base: np.ndarray, later: np.ndarray | None = None, at: int = 0) -> np.ndarray:
        """Returns the smallest p-value of each night over windows and categories."""
        odds = np.log(base) + np.stack([0.3 * self.causes(1.0) for _ in base], axis=1)
        shares = np.exp(odds) / np.exp(odds).sum(1, keepdims=True)
        if later is not None:
            shares[at:] = later
        hits = np.stack(
            [self.rng.multinomial(n, share) for n, share in zip(self.count, shares, strict=True)]
        )
        fit = drift.fit_shares(hits[:REFERENCE_DAYS], self.count[:REFERENCE_DAYS])
        best = np.ones(CENTRE_NIGHTS)
        for window in PARAMS.windows:
            place = self._window(window)
            counts = self._counts(place)
            for number in range(len(base)):
                p, _ = drift.share_p(fit, number, hits[place, number] * (counts > 0), counts)
                best = np.minimum(best, p * len(base))
        return best

    def _window(self, window: int) -> np.ndarray:
        return REFERENCE_DAYS + np.arange(CENTRE_NIGHTS)[:, None] - np.arange(window)

    def _counts(self, place: np.ndarray) -> np.ndarray:
        return np.where(place >= REFERENCE_DAYS, self.count[place], 0)


TOPICS = np.array([0.25, 0.2, 0.15, 0.12, 0.1, 0.08, 0.06, 0.04])
OUTAGE = np.array([0.15, 0.12, 0.09, 0.07, 0.4, 0.06, 0.06, 0.05])
CODECS = np.array([0.899, 0.1, 0.001])
GSM = np.array([0.001, 0.001, 0.998])
# In equal parts over three kinds of model, the windows and each kind's metrics, as panel.py does.
LIMIT = {
    "asr": 1 / PARAMS.nights_per_false_alarm / 3 / len(PARAMS.windows) / 6,
    "other": 1 / PARAMS.nights_per_false_alarm / 3 / len(PARAMS.windows) / 3,
}


def false_alarms(rng: np.random.Generator, nights: int, calls: int) -> dict[str, Any]:
    """Returns first alarms of each metric in quiet centres, as the panel counts them."""
    centres, alarms, most = max(1, nights // CENTRE_NIGHTS), 0, 0
    for _ in range(centres):
        centre = Centre(rng, calls)
        panel = [
            *((centre.number(), LIMIT["asr"] if n < 5 else LIMIT["other"]) for n in range(7)),
            (centre.shares(CODECS), LIMIT["asr"]),
            (centre.shares(TOPICS), LIMIT["other"]),
        ]
        here = sum(bool((p <= limit).any()) for p, limit in panel)
        alarms, most = alarms + here, max(most, here)
    return {
        "calls_a_night": calls,
        "nights": centres * CENTRE_NIGHTS,
        "alarms": alarms,
        "in_200_nights": alarms / centres,
        "most_in_one_centre": most,
    }


def delays(rng: np.random.Generator, calls: int, centres: int = 30) -> dict[str, Any]:
    """Returns nights until a change of night 12 is found: median, 90 %, and share never found."""
    at = REFERENCE_DAYS + 11

    def summary(found: list[np.ndarray], limit: float) -> dict[str, Any]:
        waited = [
            int(np.argmax(p[11:] <= limit)) if (p[11:] <= limit).any() else CENTRE_NIGHTS
            for p in found
        ]
        return {
            "median_nights": float(np.median(waited)),
            "nights_90": float(np.quantile(waited, 0.9)),
            "same_night": float(np.mean(np.array(waited) == 0)),
            "never": float(np.mean(np.array(waited) == CENTRE_NIGHTS)),
        }

    def many(make: Any, limit: float) -> dict[str, Any]:
        return summary([make(Centre(rng, calls)) for _ in range(centres)], limit)

    return {
        "codec_changed": many(lambda c: c.shares(CODECS, GSM, at), LIMIT["asr"]),
        "level_2_spreads": many(lambda c: c.number(2.0, at), LIMIT["asr"]),
        "level_half_a_spread": many(lambda c: c.number(0.5, at), LIMIT["asr"]),
        "topic_10_to_40_percent": many(lambda c: c.shares(TOPICS, OUTAGE, at), LIMIT["other"]),
    }


def coverage(rng: np.random.Generator, nights: int) -> dict[str, Any]:
    """Returns how often the intervals of the WER of 40 calls hold the truth, and their width."""
    held: dict[str, list[bool]] = {}
    width: dict[str, list[float]] = {}
    for _ in range(nights):
        model = fit_wer_model(calls_like_real_ones(rng, 30))
        night = calls_like_real_ones(rng, 40)
        truth = night.errors.sum() / night.words.sum()
        for count in (12, 20):
            chosen = np.sort(rng.choice(40, count, replace=False))
            joined = joined_wer(model, night.heard, chosen, chosen_calls(night, chosen))
            pair = [(f"joined_{count}_transcribed", joined)]
            if count == 12:
                pair.append(("confidence", estimate_wer(model, night.heard)))
            for name, found in pair:
                if found and found.low is not None and found.high is not None:
                    held.setdefault(name, []).append(bool(found.low <= truth <= found.high))
                    width.setdefault(name, []).append(found.high - found.low)
    return {
        name: {"nights": len(hits), "coverage": np.mean(hits), "width": np.mean(width[name])}
        for name, hits in held.items()
    }


def verdicts(rng: np.random.Generator, centres: int = 4000, nights: int = 200) -> dict[str, Any]:
    """Returns how often `worse` and `holds` are ever said, by true loss, at an error of 1.65 points.

    The promoted WER is 31.7 %; each night adds a tenth of the test set's information.
    """
    error, margin = 0.0165, 0.0317
    said = {}
    for loss in (0.0, 0.0317, 0.053):
        each = error * 10**0.5
        now = rng.normal(loss, each, (centres, nights)).cumsum(1) / np.arange(1, nights + 1)
        apart = now - rng.normal(0, error, (centres, 1))
        known = 1 / (each**2 / np.arange(1, nights + 1) + error**2)
        most = 1 / error**2
        worse = evidence(apart, known, most, scale=margin, level=PARAMS.level)
        holds = evidence(margin - apart, known, most, scale=margin, level=PARAMS.level)
        said[f"loss_{loss:g}"] = {
            "worse": float((worse >= 1 / PARAMS.level).any(1).mean()),
            "holds": float((holds >= 1 / PARAMS.level).any(1).mean()),
        }
    return said


def main() -> None:
    """Prints one JSON document."""
    nights = int(sys.argv[1]) if len(sys.argv) > 1 else NIGHTS
    rng = np.random.default_rng(int(sys.argv[2]) if len(sys.argv) > 2 else SEED)
    figures = {
        "false_alarms": [false_alarms(rng, nights, calls) for calls in (5, 20)],
        "delays": {f"{calls}_calls_a_night": delays(rng, calls) for calls in (5, 20)},
        "coverage": coverage(rng, max(50, nights // 4)),
        "verdicts": verdicts(rng),
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
