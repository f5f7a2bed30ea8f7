"""Behaviour tests of a model: what must not matter (invariance), and what must point the right way (direction).

After CheckList (Ribeiro et al., 2020). A test only measures; how far off is too far, the gate's settings say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from data.progress import Progress
from evaluation.metrics.bootstrap import ratio_of_sums
from evaluation.metrics.churn import risk_columns
from evaluation.metrics.wer import word_errors

SILENCE_S = 0.5
_FRAME_S = 0.02
_ALONE = 20  # rows scored one by one
_ANGER = "this is ridiculous, i am really angry and fed up with you"


@dataclass(frozen=True)
class Probe:
    """What one behaviour test found: how much changed (invariance), or by how much it moved the right way (direction).

    `low` and `high` are the ends of a 95 % interval over voices or customers; None where every case was looked at and
    `value` is the worst of them.
    """

    name: str
    kind: Literal["invariance", "direction"]
    promise: str
    value: float
    low: float | None = None
    high: float | None = None
    clusters: int | None = None

    def keeps(self, limit: float) -> bool:
        """Whether it is off by no more than `limit`, at the worst end of its interval."""
        if self.kind == "invariance":
            return (self.value if self.high is None else self.high) <= limit
        return (self.value if self.low is None else self.low) >= -limit

    def said(self) -> str:
        """The figure as words."""
        ends = "" if self.low is None else f" (95 % {self.low:.4g} to {self.high:.4g})"
        return f"{self.value:.4g}{ends}"


def asr_probes(
    hear: Callable[[list[np.ndarray]], list[str]],
    waves: Sequence[np.ndarray],
    voices: Sequence[str],
    sample_rate_hz: int,
    seed: int,
    progress: Progress = lambda done, total: None,
) -> list[Probe]:
    """Share of a recogniser's words that change when the sound is louder, quieter, or begins later.

    `hear` turns waveforms (float32 [frames]) into texts; `voices` names the cluster of each.
    """
    changes: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
        "louder": (
            "Twice as loud (6 dB, clipped at full scale) is heard alike.",
            lambda w: np.clip(2 * w, -1, 1),
        ),
        "quieter": ("A quarter as loud (12 dB less) is heard alike.", lambda w: w / 4),
        "silence_before": (
            f"With {SILENCE_S:g} s of the line's own quiet before it speech is heard alike.",
            lambda w: _later(w, sample_rate_hz, seed),
        ),
    }
    progress(0, len(changes) + 1)
    before = hear(list(waves))
    progress(1, len(changes) + 1)
    probes = []
    for done, (name, (promise, change)) in enumerate(changes.items(), start=2):
        after = hear([np.asarray(change(wave), dtype=np.float32) for wave in waves])
        changed = [
            word_errors(first, second).total for first, second in zip(before, after, strict=True)
        ]
        # An utterance in which nothing was heard counts as one word, so that words out of nothing are not free.
        heard = [max(1, len(text.split())) for text in before]
        found = ratio_of_sums(changed, heard, np.asarray(voices), seed)
        probes.append(
            Probe(name, "invariance", promise, found.value, found.low, found.high, found.clusters)
        )
        progress(done, len(changes) + 1)
    return probes


def churn_probes(
    predict: Callable[[pl.DataFrame], pl.DataFrame],
    rows: pl.DataFrame,
    unresolved: pl.DataFrame,
    resolved: pl.DataFrame,
    seed: int,
) -> list[Probe]:
    """Tests of a churn model on `rows` of features.

    `unresolved` and `resolved` are the same customers and dates with one more complaint each, which ended so.
    """
    risks = _matrix(predict(rows))
    renamed = rows.with_columns(
        pl.format("renamed-{}", "customer_id").alias("customer_id")
    ).reverse()
    alone = np.concatenate([_matrix(predict(one)) for one in rows.head(_ALONE).iter_slices(1)])
    keys = ["customer_id", "as_of"]
    rise = _matrix(predict(unresolved.sort(keys))) - _matrix(predict(resolved.sort(keys)))
    customers = unresolved.sort(keys)["customer_id"].to_numpy()
    found = ratio_of_sums(rise.mean(axis=1), np.ones(len(rise)), customers, seed)
    return [
        Probe(
            "customer_renamed",
            "invariance",
            "Another customer id and another order of rows change no risk.",
            float(np.abs(_matrix(predict(renamed))[::-1] - risks).max()),
        ),
        Probe(
            "scored_alone",
            "invariance",
            "A customer scored alone has the risk of one scored among others.",
            float(np.abs(alone - risks[: len(alone)]).max()),
        ),
        Probe(
            "complaint_unresolved",
            "direction",
            "The same complaint left unresolved instead of resolved does not lower the mean risk.",
            found.value,
            found.low,
            found.high,
            found.clusters,
        ),
    ]


def reader_probes(
    read: Callable[[pl.DataFrame, pl.DataFrame], Mapping[str, np.ndarray]],
    labels: Mapping[str, Sequence[str]],
    contacts: pl.DataFrame,
    turns: pl.DataFrame,
    seed: int,
) -> list[Probe]:
    """Tests of a contact reader on `contacts` (contact_id, customer_id, channel) and their `turns`.

    `read` gives each label's probabilities, [contacts, values of `labels`].
    """
    before = read(contacts, turns)
    loud = pl.format("  {}!! ", pl.col("text").str.to_uppercase().str.replace_all(" ", "  "))
    louder = read(contacts, turns.with_columns(loud.alias("text")))
    alone = [read(one, turns) for one in contacts.head(_ALONE).iter_slices(1)]
    last = pl.col("turn") == pl.col("turn").max().over("contact_id")
    words = pl.when(last).then(pl.lit(_ANGER)).otherwise(pl.lit(""))
    said = turns.filter(pl.col("role") == "customer")
    those = contacts.join(said, on="contact_id", how="semi")
    angry = said.with_columns(pl.concat_str("text", words, separator=" ").alias("text"))
    others = turns.filter(pl.col("role") != "customer")
    at = list(labels["sentiment"]).index("negative")
    calm = read(those, turns)["sentiment"][:, at]
    rise = read(those, pl.concat([angry, others]))["sentiment"][:, at] - calm
    found = ratio_of_sums(rise, np.ones(len(rise)), those["customer_id"].to_numpy(), seed)
    return [
        Probe(
            "written_loudly",
            "invariance",
            "Capitals, exclamation marks and more blanks change no probability.",
            max(float(np.abs(louder[name] - before[name]).max()) for name in before),
        ),
        Probe(
            "read_alone",
            "invariance",
            "A contact read alone has the labels of one read among others.",
            max(
                float(np.abs(one[name][0] - before[name][n]).max())
                for n, one in enumerate(alone)
                for name in one
            ),
        ),
        Probe(
            "anger_added",
            "direction",
            "Words of anger at the end do not lower the mean probability of a bad mood.",
            found.value,
            found.low,
            found.high,
            found.clusters,
        ),
    ]


def _matrix(risks: pl.DataFrame) -> np.ndarray:
    return risks.select(risk_columns(risks)).to_numpy()


def _later(wave: np.ndarray, sample_rate_hz: int, seed: int) -> np.ndarray:
    """`wave` after noise as loud as its quietest twentieth of frames."""
    size = max(1, int(_FRAME_S * sample_rate_hz))
    frames = wave[: len(wave) // size * size].reshape(-1, size)
    quiet = float(np.quantile(np.sqrt((frames**2).mean(axis=1)), 0.05)) if len(frames) else 0.0
    noise = np.random.default_rng(seed).normal(0, quiet, int(SILENCE_S * sample_rate_hz))
    return np.concatenate([noise.astype(np.float32), wave])
