"""CTC beam search with a language model and boosted terms, using ctc-beam-decoder."""

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

from data.audio import SAMPLE_RATE_HZ
from data.files import read_json, write_json
from data.params import section
from data.progress import Progress
from data.speech.transcripts import Word
from data.text import normalise
from models.asr.language import add_words
from models.asr.recognizer import Recognizer
from models.asr.transcript import SHORTEST_S, Transcript

MODES = ("greedy", "beam")
LANGUAGE, SETTINGS = "language.arpa", "decoding.json"
# What a bundle with a beam search holds beside its model.
FILES = (LANGUAGE, "language.json", SETTINGS)
# The grid that `tune` searches.
ALPHAS = (0.3, 0.6, 1.0, 1.5)
BETAS = (0.0, 1.0, 2.0, 3.5, 5.0)
UNKNOWNS = (-6.0, -10.0, -16.0)
WORDS_KEPT = 10_000  # whose labels a decoder remembers; some 20 MB


@dataclass(frozen=True)
class Decoding:
    """How labels become words."""

    # greedy (the likeliest label of each step, fastest) or beam (with the language model)
    mode: str = "greedy"
    alpha: float = 0.6  # weight of the language model's natural logarithms
    beta: float = 2.0  # bonus a word, against the language model's liking for few
    beam_width: int = 64  # hypotheses kept at each step
    prune: float = -15.0  # natural logarithm; hypotheses that far behind the best are dropped
    least_label: float = -7.0  # natural logarithm; less likely labels of a step are left out
    unknown: float = -10.0  # natural logarithm added for a word the language model has never seen
    boosts: tuple[str, ...] = ()  # names and terms to make likelier
    boost: float = 6.0  # natural logarithm added for each of their words


class BeamDecoder:
    """Words, times and confidence from log-probabilities; a models.asr.transcript.Decoder.

    It is a CTC prefix beam search with shallow fusion of an n-gram model (Hannun et al., arXiv
    1408.2873), in the C++ of ctc-beam-decoder. Words that the language model does not know can
    still come out, at a price.
    """

    def __init__(
        self, settings: Decoding, labels: Sequence[str], language: Path | None = None
    ) -> None:
        """`language` is an ARPA file; without one only the boosts count.

        Raises LanguageError when it is not one.
        """
        from ctc_beam_decoder import BeamSearchDecoder

        self.settings = settings
        self.labels = [str(label) for label in labels]
        self._boosts = sorted(
            {word for term in settings.boosts for word in normalise(term).split()}
        )
        # Bounded, because a service recognises new words for weeks.
        self._columns = lru_cache(WORDS_KEPT)(self._columns_of)
        if language is None:
            self._search = BeamSearchDecoder(self.labels)
            return
        with tempfile.TemporaryDirectory() as folder, _quiet_stderr():
            arpa, self._boosts = add_words(language, settings.boosts, Path(folder))
            self._search = BeamSearchDecoder(
                self.labels,
                kenlm_model_path=arpa,
                alpha=settings.alpha,
                beta=settings.beta,
                unk_score_offset=settings.unknown,
            )

    def __call__(self, log_probs: np.ndarray, step_s: float) -> Transcript:
        """Returns the best hypothesis of `log_probs`, float32 [steps, labels + blank], blank last.

        A step lasts `step_s` seconds. A word's confidence is the share of the hypotheses, weighed
        by their scores, that hold it at its place, times the mean over its letters of the greatest
        probability that a label with the letter reaches there.
        """
        if not len(log_probs):
            return Transcript("", [], 0.0)
        beams = self._search.decode_beams(
            log_probs,
            beam_width=self.settings.beam_width,
            beam_prune_logp=self.settings.prune,
            token_min_logp=self.settings.least_label,
            hotwords=self._boosts,
            hotword_weight=self.settings.boost,
        )
        probability = np.exp(log_probs)
        if not beams or not beams[0][2]:
            return Transcript("", [], round(float(probability.max(-1).mean()), 4))
        # A beam holds its words with their places at index 2 and its score, a logarithm, at index
        # 4.
        weights = np.exp(np.array([beam[4] for beam in beams]) - beams[0][4])
        weights /= weights.sum()
        places: list[dict[str, list[tuple[int, int]]]] = [{} for _ in beams]
        for by_text, beam in zip(places, beams, strict=True):
            for text, place in beam[2]:
                by_text.setdefault(text, []).append(place)
        words = []
        for text, (first, last) in beams[0][2]:
            agreement = sum(
                weight
                for weight, by_text in zip(weights, places, strict=True)
                if any(begin < last and first < end for begin, end in by_text.get(text, ()))
            )
            acoustic = self._acoustic_score(probability[first:last], text)
            words.append(
                Word(
                    text,
                    round(first * step_s, 3),
                    round(last * step_s, 3),
                    round(float(agreement * acoustic), 4),
                )
            )
        confidence = float(np.mean([word.confidence for word in words]))
        return Transcript(" ".join(word.text for word in words), words, round(confidence, 4))

    def _acoustic_score(self, probability: np.ndarray, word: str) -> float:
        """Mean over the letters of the greatest probability of a label with the letter."""
        return float(np.mean([probability[:, c].max(initial=0.0) for c in self._columns(word)]))

    def _columns_of(self, word: str) -> list[np.ndarray]:
        """For each letter of a word the indices of the labels, parts of the word, that hold it."""
        pieces = [label.replace("▁", "").strip() for label in self.labels]
        within = [(column, piece) for column, piece in enumerate(pieces) if piece and piece in word]
        return [np.array([c for c, piece in within if letter in piece], int) for letter in word]


def save_settings(folder: Path, settings: Decoding) -> None:
    """Writes `settings` to `folder`, which holds the language model that they were tuned for."""
    write_json(folder / SETTINGS, asdict(settings))


def load_decoder(model: Path, labels: Sequence[str]) -> BeamDecoder | None:
    """Returns the decoder in the folder of the `.nemo` at `model`, or None for greedy decoding."""
    path = model.parent / SETTINGS
    if not path.is_file():
        return None
    settings = section(Decoding, read_json(path), SETTINGS)
    return make_decoder(settings, labels, model.parent / LANGUAGE)


def make_decoder(settings: Decoding, labels: Sequence[str], language: Path) -> BeamDecoder | None:
    """Returns a beam search for mode beam, None for greedy.

    The search uses the language model at `language` if the file exists. Raises ValueError for
    another mode.
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
    """Returns float32 [steps, labels + blank] for each waveform (16 kHz mono float32)."""
    outputs: list[np.ndarray] = []
    for wave in waveforms:
        if len(wave) < SHORTEST_S * SAMPLE_RATE_HZ:
            outputs.append(np.zeros((0, len(recognizer.labels) + 1), np.float32))
        else:
            outputs += recognizer.network.log_probs([wave])[0]
        progress(len(outputs), len(waveforms))
    return outputs


def tune(
    settings: Decoding,
    labels: Sequence[str],
    language: Path,
    *,
    log_probs: Sequence[np.ndarray],
    error_rate: Callable[[list[str]], float],
    progress: Progress = lambda done, total: None,
) -> tuple[Decoding, dict[str, Any]]:
    """Returns the alpha, beta and price of unknown words with the lowest error rate, and all tried.

    `error_rate` is a figure for the texts decoded from `log_probs`. First alpha and beta are
    searched over a grid, then the price at the best of them; ties go to the smaller weights. The
    second value is {"wrong": lowest rate, "tried": [{"alpha", "beta", "unknown", "wrong"}]}.
    """
    tried: list[tuple[float, Decoding]] = []
    others = [price for price in UNKNOWNS if price != settings.unknown]
    total = len(ALPHAS) * len(BETAS) + len(others)

    def attempt(candidate: Decoding) -> None:
        search = BeamDecoder(candidate, labels, language)
        tried.append((error_rate([search(scores, 0.0).text for scores in log_probs]), candidate))
        progress(len(tried), total)

    for alpha, beta in itertools.product(ALPHAS, BETAS):
        attempt(replace(settings, mode="beam", alpha=alpha, beta=beta))
    best = min(tried, key=lambda attempt: attempt[0])[1]
    for unknown in others:
        attempt(replace(best, unknown=unknown))
    lowest, best = min(tried, key=lambda attempt: attempt[0])
    rows = [
        {
            "alpha": candidate.alpha,
            "beta": candidate.beta,
            "unknown": candidate.unknown,
            "wrong": round(rate, 5),
        }
        for rate, candidate in tried
    ]
    return best, {"wrong": round(lowest, 5), "tried": rows}


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Silences stderr, where KenLM draws a progress bar whenever it reads an ARPA file."""
    sys.stderr.flush()
    saved = os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
