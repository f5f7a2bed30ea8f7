"""What text alone can teach a recogniser: a language model for its decoding, and speech by simulated voices."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.audio import AudioError, probe, to_wav_bytes
from data.files import atomic, write_lines
from data.progress import Progress
from data.simulator.voice import Synthesizer, voices
from data.text import normalise
from evaluation.metrics.wer import corpus_wer, word_errors
from models.asr.decoding import LANGUAGE, Decoding, log_probs_of, save_settings, tune
from models.asr.language import LanguageTraining, Text, train_language_model
from models.asr.nemo import restore
from models.asr.recognizer import Recognizer
from training.asr.manifest import Limits, ManifestError, ManifestReport, read_manifest
from training.asr.speech import SAMPLE_RATE_HZ, telephone

_TUNING = "adaptation.tuning"


@dataclass(frozen=True)
class TextAdaptation:
    """How a recogniser is adapted with text only; with decoding.mode greedy and nothing spoken it is not."""

    decoding: Decoding = field(
        default_factory=Decoding
    )  # its alpha, beta and unknown are tuned unless tuning is off
    language: LanguageTraining = field(
        default_factory=LanguageTraining
    )  # how the language model is learnt
    messages: bool = (
        True  # learn from chats and e-mails of training customers too, not only from their calls
    )
    terms: str = ""  # a file of terms and sentences to learn from as well (see read_terms), beside the checkout
    tuning: bool = True  # choose alpha, beta and unknown by the errors on validation speech
    tuning_s: float = 1200.0  # of validation speech to tune on at most
    spoken: int = (
        0  # utterances of the texts and terms in simulated voices, to fine-tune on as well
    )
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
                f"adaptation.decoding.boosts: greedy decoding does not use them. {beam}, or remove them."
            )
        if self.terms and not self.spoken:
            said = f"{beam}, or adaptation.spoken to so many utterances"
            raise ValueError(
                f"adaptation.terms: nothing learns {self.terms}. {said}, or remove it."
            )


class TermsError(ValueError):
    """A file of terms cannot be used. The message names the file, the line and what to do."""


def read_terms(path: Path) -> list[Text]:
    """The terms and sentences of a file: one a line, with a tab and a whole number behind it where it weighs more.

    Lines that end in . ? or ! are whole utterances, others may stand anywhere in one; # begins a remark.
    Raises TermsError.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TermsError(
            f"{path}: cannot be read ({error}). Give a UTF-8 text file, one term a line."
        ) from error
    found = []
    for number, line in enumerate(lines, start=1):
        text, _, weight = line.partition("\t")
        if not text.strip() or text.startswith("#"):
            continue
        if weight.strip() and not (weight.strip().isdigit() and int(weight) > 0):
            raise TermsError(
                f"{path}:{number}: weight {weight.strip()!r}. Give a whole number from 1 behind the tab."
            )
        if not normalise(text):
            raise TermsError(
                f"{path}:{number}: {text!r} has nothing to say in it. Write it as it is spoken."
            )
        found.append(Text(text, int(weight or 1), whole=text.rstrip().endswith((".", "?", "!"))))
    return found


def adapt(
    params: TextAdaptation,
    texts: Iterable[Text],
    model: Path,
    valid_manifest: Path,
    folder: Path,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Leaves language.arpa, language.json and decoding.json in `folder`, to lie beside the `.nemo` at `model`.

    `texts` must hold nothing of what the model will be judged on. The weights are tuned on `valid_manifest` (NeMo);
    where beam search makes no fewer errors there than greedy decoding, greedy is what is left.
    Returns {"mode", "wer_greedy", "wer_beam", "alpha", "beta", "unknown", "vocabulary", "ngrams", "texts", "words"};
    the rates are those of validation, None without tuning. Raises LanguageError, ModelError.
    """
    settings = params.decoding
    boosted = [Text(term, whole=False) for term in settings.boosts]
    language = train_language_model([*texts, *boosted], params.language, folder / LANGUAGE)
    facts: dict[str, Any] = {"wer_greedy": None, "wer_beam": None}
    if params.tuning:
        recognizer = Recognizer(restore(model))
        waves, said = _some_of(valid_manifest, params.tuning_s)
        steps = len(waves)
        heard = log_probs_of(recognizer, waves, lambda done, _: progress(done, 2 * steps))

        def wrong(found: list[str]) -> float:
            return corpus_wer(
                [
                    word_errors(truth, normalise(text))
                    for truth, text in zip(said, found, strict=True)
                ]
            )

        settings, tried = tune(
            settings,
            recognizer.labels,
            folder / LANGUAGE,
            log_probs=heard,
            error_rate=wrong,
            progress=lambda done, total: progress(steps + steps * done // total, 2 * steps),
        )
        greedy = wrong([found.text for found in recognizer.transcribe(waves)])
        facts = {"wer_greedy": greedy, "wer_beam": tried["wrong"], "tried": tried["tried"]}
        if facts["wer_beam"] >= greedy:
            settings = replace(settings, mode="greedy")
    save_settings(folder, settings)
    kept = {name: language[name] for name in ("vocabulary", "ngrams", "texts", "words")}
    chosen = {name: getattr(settings, name) for name in ("mode", "alpha", "beta", "unknown")}
    return {**chosen, **facts, **kept}


def speak(
    texts: Sequence[str],
    out: Path,
    count: int,
    seed: int,
    voice_count: int = 40,
    telephone_share: float = 0.5,
    progress: Progress = lambda done, total: None,
) -> Path:
    """A NeMo manifest `out` of `count` utterances of `texts` in simulated voices, their 16 kHz mono wavs in a folder
    of its name; to be trained on beside real speech, never to be judged on.

    Each text is spoken before any is spoken again; a share of them sounds through a telephone (G.711). Rows hold
    audio_filepath, duration, text, voice and origin "simulated". What is there already is not spoken again.
    """
    import torch

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
    rows, kept = [], set()
    for done, place in enumerate(order[:count], start=1):
        text, voice = spoken[place], speakers[int(rng.integers(len(speakers)))]
        phoned, edges_s = bool(rng.random() < telephone_share), rng.uniform(0.05, 0.35, 2)
        name = (
            hashlib.sha256(
                f"{seed}|{voice}|{phoned}|{edges_s.tolist()}|{text}".encode()
            ).hexdigest()[:16]
            + ".wav"
        )
        audio = folder / name
        kept.add(name)
        line_noise = rng.integers(2**31)
        if not _length_s(audio):
            edges = [np.zeros(int(SAMPLE_RATE_HZ * gap), np.float32) for gap in edges_s]
            wave = np.concatenate(
                (edges[0], synthesizer.speak(text, voice, SAMPLE_RATE_HZ), edges[1])
            )
            if phoned:
                even = torch.from_numpy(wave[: len(wave) // 2 * 2])[None]
                wave = telephone(even, np.random.default_rng(line_noise))[0].numpy()
            with atomic(audio, flush=False) as temporary:
                temporary.write_bytes(to_wav_bytes(np.clip(wave, -1, 1), SAMPLE_RATE_HZ))
        row = {
            "audio_filepath": f"{folder.name}/{name}",
            "duration": _length_s(audio),
            "text": text,
            "voice": voice.name,
            "origin": "simulated",
        }
        rows.append(row)
        progress(done, count)
    for path in folder.iterdir():
        if path.name not in kept:
            path.unlink()
    write_lines(out, rows)
    return out


def _length_s(audio: Path) -> float:
    """0 where a file is missing or was torn by a power cut."""
    try:
        return probe(audio).duration_s if audio.exists() else 0.0
    except AudioError:
        return 0.0


def _some_of(manifest: Path, most_s: float) -> tuple[list[np.ndarray], list[str]]:
    """Waveforms (16 kHz mono float32) and texts of a manifest; every second, third … row when it holds too much.

    Broken rows are left out: training, which the same manifest serves, has told of them.
    """
    limits = Limits(shortest_s=0.0, longest_s=float("inf"), defect_share=1.0, in_memory_hours=0.0)
    try:
        corpus = read_manifest(
            manifest, lambda text: ([], ""), 0.0, limits, ManifestReport(str(manifest)), False
        ).corpus
    except ManifestError as error:
        raise ManifestError(f"{error} Or set {_TUNING} to false.") from error
    every = max(1, int(np.ceil(corpus.duration_s.sum() / most_s)))
    waves, said = [], []
    for i in range(0, len(corpus), every):
        with contextlib.suppress(AudioError):
            waves.append(corpus.wave(i))
            said.append(normalise(corpus.texts[i]))
    if not waves:
        raise ManifestError(
            f"{manifest}: none of its audio can be read. Export it again, or set {_TUNING} to false."
        )
    return waves, said
