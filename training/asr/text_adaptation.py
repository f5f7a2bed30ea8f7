"""Adapts a recogniser with text: a language model for decoding, and synthesised training speech."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.audio import SAMPLE_RATE_HZ, AudioError, probe, to_wav_bytes
from data.files import atomic, write_lines
from data.progress import Progress
from data.simulator.voice import Synthesizer, Voice, voices
from data.text import normalise
from evaluation.metrics.wer import corpus_wer, word_errors
from models.asr.decoding import LANGUAGE, Decoding, log_probs_of, save_settings, tune
from models.asr.language import LanguageTraining, Text, train_language_model
from models.asr.nemo import restore
from models.asr.recognizer import Recognizer
from training.asr.manifest import Limits, ManifestError, ManifestReport, read_manifest
from training.asr.speech import simulate_telephone

_TUNING = "adaptation.tuning"


@dataclass(frozen=True)
class TextAdaptation:
    """Settings of adaptation with text; with greedy decoding and nothing spoken it does nothing."""

    # How beam search decodes; tuning replaces its alpha, beta and unknown.
    decoding: Decoding = field(default_factory=Decoding)
    language: LanguageTraining = field(default_factory=LanguageTraining)
    # Train on chats and e-mails of training customers too, not only on their calls.
    messages: bool = True
    # A file of further terms and sentences (see read_terms), relative to the checkout.
    terms: str = ""
    tuning: bool = True  # choose alpha, beta and unknown by the errors on validation speech
    tuning_s: float = 1200.0  # of validation speech to tune on at most
    # Utterances of the texts and terms in simulated voices, to fine-tune on as well.
    spoken: int = 0
    spoken_share: float = 0.2  # of the training audio that they are mixed in at
    voices: int = 40  # simulated voices that speak them
    seed: int = 0  # of voices and texts

    def __post_init__(self) -> None:
        """Raises ValueError for boosts or terms that nothing would use."""
        if self.decoding.mode != "greedy":
            return
        beam = "Set adaptation.decoding.mode to beam"
        if self.decoding.boosts:
            raise ValueError(
                "adaptation.decoding.boosts: greedy decoding does not use them. "
                f"{beam}, or remove them."
            )
        if self.terms and not self.spoken:
            raise ValueError(
                f"adaptation.terms: nothing learns {self.terms}. {beam}, or adaptation.spoken to "
                "so many utterances, or remove it."
            )


class TermsError(ValueError):
    """A file of terms cannot be used. The message names the file, the line and what to do."""


def read_terms(path: Path) -> list[Text]:
    """Returns the terms and sentences of a UTF-8 file, one a line, with a tab and a weight or none.

    A weight is a whole number from 1. Lines that end in . ? or ! are whole utterances, others may
    stand anywhere in one; # begins a comment. Raises TermsError.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TermsError(
            f"{path}: cannot be read ({error}). Give a UTF-8 text file, one term a line."
        ) from error
    terms = []
    for number, line in enumerate(lines, start=1):
        text, _, weight = line.partition("\t")
        if not text.strip() or text.startswith("#"):
            continue
        if weight.strip() and not (weight.strip().isdigit() and int(weight) > 0):
            raise TermsError(
                f"{path}:{number}: weight {weight.strip()!r}. Give a whole number from 1 behind "
                "the tab."
            )
        if not normalise(text):
            raise TermsError(
                f"{path}:{number}: {text!r} has nothing to say in it. Write it as it is spoken."
            )
        terms.append(Text(text, int(weight or 1), whole=text.rstrip().endswith((".", "?", "!"))))
    return terms


def adapt(
    params: TextAdaptation,
    texts: Iterable[Text],
    *,
    model: Path,
    valid_manifest: Path,
    folder: Path,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Writes language.arpa, language.json and decoding.json to `folder` and returns the figures.

    `folder` is that of the `.nemo` at `model`. `texts` must hold nothing of the test set. The
    weights are tuned on `valid_manifest` (NeMo); where beam search makes no fewer errors there than
    greedy decoding, decoding.json says greedy.

    Returns {"mode", "wer_greedy", "wer_beam", "alpha", "beta", "unknown", "vocabulary", "ngrams",
    "texts", "words"}, after tuning also "tried"; the WERs are those of validation, None without
    tuning. Raises LanguageError, ModelError, ManifestError.
    """
    decoding = params.decoding
    boosted = [Text(term, whole=False) for term in decoding.boosts]
    language = train_language_model([*texts, *boosted], params.language, folder / LANGUAGE)
    figures: dict[str, Any] = {"wer_greedy": None, "wer_beam": None}
    if params.tuning:
        recognizer = Recognizer(restore(model))
        waves, references = sample_manifest(valid_manifest, params.tuning_s)
        decoding, figures = _tune(
            decoding,
            recognizer,
            waves,
            references=references,
            language=folder / LANGUAGE,
            progress=progress,
        )
    save_settings(folder, decoding)
    counts = {name: language[name] for name in ("vocabulary", "ngrams", "texts", "words")}
    chosen = {name: getattr(decoding, name) for name in ("mode", "alpha", "beta", "unknown")}
    return {**chosen, **figures, **counts}


def _tune(
    decoding: Decoding,
    recognizer: Recognizer,
    waves: list[np.ndarray],
    *,
    references: list[str],
    language: Path,
    progress: Progress,
) -> tuple[Decoding, dict[str, Any]]:
    """Returns `decoding` with the best weights (or greedy), and wer_greedy, wer_beam and tried."""
    steps = len(waves)
    log_probs = log_probs_of(recognizer, waves, lambda done, _: progress(done, 2 * steps))

    def wer(texts: list[str]) -> float:
        return corpus_wer(
            [
                word_errors(reference, normalise(text))
                for reference, text in zip(references, texts, strict=True)
            ]
        )

    decoding, trials = tune(
        decoding,
        recognizer.labels,
        language,
        log_probs=log_probs,
        error_rate=wer,
        progress=lambda done, total: progress(steps + steps * done // total, 2 * steps),
    )
    wer_greedy = wer([transcript.text for transcript in recognizer.transcribe(waves)])
    figures = {"wer_greedy": wer_greedy, "wer_beam": trials["wrong"], "tried": trials["tried"]}
    if figures["wer_beam"] >= wer_greedy:
        decoding = replace(decoding, mode="greedy")
    return decoding, figures


def synthesize_manifest(
    texts: Sequence[str],
    out: Path,
    *,
    count: int,
    seed: int,
    voice_count: int = 40,
    telephone_share: float = 0.5,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Writes a NeMo manifest `out` of `count` synthesised utterances of `texts`, and returns `out`.

    The 16 kHz mono files are in a folder of its name. They are for training beside real speech,
    never for evaluation. Each text is spoken before any is spoken again; `telephone_share` of them
    pass a simulated telephone (G.711). Rows hold audio_filepath, duration, text, voice and origin
    "simulated". Files that exist already are not made again. Raises ValueError without a text.
    """
    spoken = [text for text in map(normalise, texts) if text]
    if not spoken:
        raise ValueError("no text with a word to speak. Give sentences or terms.")
    rng = np.random.default_rng([seed, 0x5EA])
    speakers, synthesizer = voices(voice_count, seed), Synthesizer()
    order: list[int] = []
    while len(order) < count:
        order += rng.permutation(len(spoken)).tolist()
    folder = out.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    rows, names = [], set()
    for done, number in enumerate(order[:count], start=1):
        utterance = _draw_utterance(spoken[number], speakers, telephone_share, rng=rng)
        name = utterance.file_name(seed)
        audio = folder / name
        names.add(name)
        if not _length_s(audio):
            wave = utterance.synthesize(synthesizer)
            with atomic(audio, flush=False) as temporary:
                temporary.write_bytes(to_wav_bytes(np.clip(wave, -1, 1), SAMPLE_RATE_HZ))
        row = {
            "audio_filepath": f"{folder.name}/{name}",
            "duration": _length_s(audio),
            "text": utterance.text,
            "voice": utterance.voice.name,
            "origin": "simulated",
        }
        rows.append(row)
        progress(done, count)
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink()
    write_lines(out, rows)
    return out


@dataclass(frozen=True)
class _SpokenText:
    """An utterance to synthesise, with everything that was drawn for it."""

    text: str
    voice: Voice
    by_phone: bool
    pauses_s: np.ndarray  # float64 [2], before and after
    telephone_seed: np.int64

    def file_name(self, seed: int) -> str:
        parts = (seed, self.voice, self.by_phone, self.pauses_s.tolist(), self.text)
        return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:16] + ".wav"

    def synthesize(self, synthesizer: Synthesizer) -> np.ndarray:
        """Returns float32 [samples] at 16 kHz."""
        import torch

        before, after = (
            np.zeros(int(SAMPLE_RATE_HZ * pause_s), np.float32) for pause_s in self.pauses_s
        )
        speech = synthesizer.speak(self.text, self.voice, SAMPLE_RATE_HZ)
        wave = np.concatenate((before, speech, after))
        if not self.by_phone:
            return wave
        even = torch.from_numpy(wave[: len(wave) // 2 * 2])[None]
        rng = np.random.default_rng(self.telephone_seed)
        samples: np.ndarray = simulate_telephone(even, rng)[0].numpy()
        return samples


def _draw_utterance(
    text: str, speakers: Sequence[Voice], telephone_share: float, *, rng: np.random.Generator
) -> _SpokenText:
    return _SpokenText(
        text,
        voice=speakers[int(rng.integers(len(speakers)))],
        by_phone=bool(rng.random() < telephone_share),
        pauses_s=rng.uniform(0.05, 0.35, 2),
        telephone_seed=rng.integers(2**31),
    )


def _length_s(audio: Path) -> float:
    """Returns the length of a file, 0 where it is missing or a power cut left part of it."""
    try:
        return probe(audio).duration_s if audio.exists() else 0.0
    except AudioError:
        return 0.0


def sample_manifest(manifest: Path, max_s: float) -> tuple[list[np.ndarray], list[str]]:
    """Returns waveforms (16 kHz mono float32) and texts of a manifest, `max_s` of them at most.

    Where it holds more, every second, third … row is taken. Broken rows are left out: training
    reads the same manifest and reports them. Raises ManifestError without a readable row.
    """
    limits = Limits(shortest_s=0.0, longest_s=float("inf"), defect_share=1.0, in_memory_hours=0.0)
    try:
        corpus = read_manifest(
            manifest,
            lambda text: ([], ""),
            step_s=0.0,
            limits=limits,
            report=ManifestReport(str(manifest)),
            for_training=False,
        ).corpus
    except ManifestError as error:
        raise ManifestError(f"{error} Or set {_TUNING} to false.") from error
    every = max(1, int(np.ceil(corpus.duration_s.sum() / max_s)))
    waves, texts = [], []
    for i in range(0, len(corpus), every):
        with contextlib.suppress(AudioError):
            waves.append(corpus.wave(i))
            texts.append(normalise(corpus.texts[i]))
    if not waves:
        raise ManifestError(
            f"{manifest}: none of its audio can be read. Export it again, or set {_TUNING} to "
            "false."
        )
    return waves, texts
