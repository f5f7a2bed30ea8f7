"""Beam search with a language model and boosted terms over a recogniser's steps; the only door to its library."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from data.files import read_json, write_json
from data.params import section
from data.progress import Progress
from data.text import normalise
from models.asr.language import with_words
from models.asr.recognizer import SAMPLE_RATE_HZ, Recognizer, Word
from models.asr.transcript import SHORTEST_S, Transcript

MODES = ("greedy", "beam")
LANGUAGE, SETTINGS = "language.arpa", "decoding.json"
FILES = (
    LANGUAGE,
    "language.json",
    SETTINGS,
)  # what a bundle with a beam search holds beside its model
ALPHAS = (0.3, 0.6, 1.0, 1.5)
BETAS = (0.0, 1.0, 2.0, 3.5, 5.0)
UNKNOWNS = (-6.0, -10.0, -16.0)
WORDS_KEPT = 10_000  # whose labels a decoder remembers; some 20 MB


@dataclass(frozen=True)
class Decoding:
    """How labels become words."""

    mode: str = "greedy"  # greedy (the likeliest label of each step, fastest) or beam (with the language model)
    alpha: float = 0.6  # weight of the language model's natural logarithms
    beta: float = 2.0  # bonus a word, against the language model's liking for few
    beam_width: int = 64  # hypotheses kept at each step
    prune: float = -15.0  # natural logarithm; hypotheses that far behind the best are dropped
    least_label: float = (
        -7.0
    )  # natural logarithm; labels less likely than that at a step are not looked at
    unknown: float = -10.0  # natural logarithm added for a word the language model has never seen
    boosts: tuple[str, ...] = ()  # names and terms to listen for
    boost: float = 6.0  # natural logarithm added for each of their words


class BeamDecoder:
    """Words, times and confidence from log-probabilities; a models.asr.Decoder.

    CTC prefix beam search with shallow fusion of an n-gram model (Hannun et al., arXiv 1408.2873), in the C++ of
    ctc-beam-decoder. Words that the language model does not know can still come out, at a price.
    """

    def __init__(
        self, settings: Decoding, labels: Sequence[str], language: Path | None = None
    ) -> None:
        """`language` is an ARPA file; without one only the boosts count. Raises LanguageError when it is not one."""
        from ctc_beam_decoder import BeamSearchDecoder

        self.settings = settings
        self.labels = [str(label) for label in labels]
        self._boosts = sorted(
            {word for term in settings.boosts for word in normalise(term).split()}
        )
        self._columns = lru_cache(WORDS_KEPT)(
            self._columns_of
        )  # a service hears new words for weeks
        if language is None:
            self._search = BeamSearchDecoder(self.labels)
            return
        with tempfile.TemporaryDirectory() as folder, _quiet_stderr():
            arpa, self._boosts = with_words(language, settings.boosts, Path(folder))
            self._search = BeamSearchDecoder(
                self.labels,
                kenlm_model_path=arpa,
                alpha=settings.alpha,
                beta=settings.beta,
                unk_score_offset=settings.unknown,
            )

    def __call__(self, log_probs: np.ndarray, step_s: float) -> Transcript:
        """`log_probs` is float32 [steps, labels + blank], the blank last; a step lasts `step_s` seconds.

        A word's confidence is the share of the hypotheses, weighed by their scores, that hold it at its place, times
        the mean over its letters of the greatest probability that a label with the letter reaches there.
        """
        if not len(log_probs):
            return Transcript("", [], 0.0)
        found = self._search.decode_beams(
            log_probs,
            beam_width=self.settings.beam_width,
            beam_prune_logp=self.settings.prune,
            token_min_logp=self.settings.least_label,
            hotwords=self._boosts,
            hotword_weight=self.settings.boost,
        )
        probability = np.exp(log_probs)
        if not found or not found[0][2]:
            return Transcript("", [], round(float(probability.max(-1).mean()), 4))
        share = np.exp(np.array([beam[4] for beam in found]) - found[0][4])
        share /= share.sum()
        places: list[dict[str, list[tuple[int, int]]]] = [{} for _ in found]
        for held, beam in zip(places, found, strict=True):
            for text, place in beam[2]:
                held.setdefault(text, []).append(place)
        words = []
        for text, (first, last) in found[0][2]:
            agreed = sum(
                part
                for part, held in zip(share, places, strict=True)
                if any(begin < last and first < end for begin, end in held.get(text, ()))
            )
            heard = self._heard(probability[first:last], text)
            words.append(
                Word(
                    text,
                    round(first * step_s, 3),
                    round(last * step_s, 3),
                    round(float(agreed * heard), 4),
                )
            )
        confidence = float(np.mean([word.confidence for word in words]))
        return Transcript(" ".join(word.text for word in words), words, round(confidence, 4))

    def _heard(self, probability: np.ndarray, word: str) -> float:
        return float(np.mean([probability[:, c].max(initial=0.0) for c in self._columns(word)]))

    def _columns_of(self, word: str) -> list[np.ndarray]:
        """For each letter of a word the labels, within the word, that hold it."""
        pieces = [label.replace("▁", "").strip() for label in self.labels]
        within = [(column, piece) for column, piece in enumerate(pieces) if piece and piece in word]
        return [np.array([c for c, piece in within if letter in piece], int) for letter in word]


def save(folder: Path, settings: Decoding) -> None:
    """Leaves `settings` in `folder`, beside the language model that they were tuned for."""
    write_json(folder / SETTINGS, asdict(settings))


def beside(model: Path, labels: Sequence[str]) -> BeamDecoder | None:
    """The decoder that lies beside the `.nemo` at `model`; None where its words are to be had greedily."""
    path = model.parent / SETTINGS
    if not path.is_file():
        return None
    return decoder(section(Decoding, read_json(path), SETTINGS), labels, model.parent / LANGUAGE)


def decoder(settings: Decoding, labels: Sequence[str], language: Path) -> BeamDecoder | None:
    """A beam search for mode beam (with the model at `language` if it is there), None for greedy.

    Raises ValueError for another mode.
    """
    if settings.mode not in MODES:
        raise ValueError(
            f"decoding.mode {settings.mode!r} is not known. Choose {' or '.join(MODES)}."
        )
    if settings.mode == "greedy":
        return None
    return BeamDecoder(settings, labels, language if language.exists() else None)


def log_probs_of(
    recognizer: Recognizer,
    waveforms: Sequence[np.ndarray],
    progress: Progress = lambda done, total: None,
) -> list[np.ndarray]:
    """What its network makes of each waveform (16 kHz mono float32): float32 [steps, labels + blank], to tune on."""
    found: list[np.ndarray] = []
    for wave in waveforms:
        if len(wave) < SHORTEST_S * SAMPLE_RATE_HZ:
            found.append(np.zeros((0, len(recognizer.labels) + 1), np.float32))
        else:
            found += recognizer.network.log_probs([wave])[0]
        progress(len(found), len(waveforms))
    return found


def tune(
    settings: Decoding,
    labels: Sequence[str],
    language: Path,
    heard: Sequence[np.ndarray],
    wrong: Callable[[list[str]], float],
    progress: Progress = lambda done, total: None,
) -> tuple[Decoding, dict[str, Any]]:
    """The alpha, beta and price of unknown words with the lowest `wrong`, a figure for the texts of `heard`.

    First alpha and beta over a grid, then the price at the best of them; ties go to the smaller weights. Returns
    the settings and {"wrong", "tried": [{"alpha", "beta", "unknown", "wrong"}]}.
    """
    tried: list[tuple[float, Decoding]] = []
    others = [price for price in UNKNOWNS if price != settings.unknown]
    total = len(ALPHAS) * len(BETAS) + len(others)

    def attempt(candidate: Decoding) -> None:
        search = BeamDecoder(candidate, labels, language)
        tried.append((wrong([search(log_probs, 0.0).text for log_probs in heard]), candidate))
        progress(len(tried), total)

    for alpha, beta in itertools.product(ALPHAS, BETAS):
        attempt(replace(settings, mode="beam", alpha=alpha, beta=beta))
    best = min(tried, key=lambda one: one[0])[1]
    for unknown in others:
        attempt(replace(best, unknown=unknown))
    figure, best = min(tried, key=lambda one: one[0])
    rows = [
        {"alpha": one.alpha, "beta": one.beta, "unknown": one.unknown, "wrong": round(at, 5)}
        for at, one in tried
    ]
    return best, {"wrong": round(figure, 5), "tried": rows}


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """KenLM draws a progress bar on the process's own stderr whenever it reads an ARPA file."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
