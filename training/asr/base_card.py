"""Measures the base's word error rates on held-out speech and renders its model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from data.audio import SAMPLE_RATE_HZ
from evaluation.metrics.wer import corpus_wer, word_errors
from models.asr.recognizer import Recognizer
from models.asr.segments import speech_segments
from training.asr.base_speech import EVERY_NTH_SPEAKER, open_corpus
from training.asr.speech import simulate_telephone

SOURCES = {
    "barista": ("spoken coffee orders (Picovoice speech-to-intent-benchmark)", "Apache-2.0"),
    "librispeech": ("read books (part of train-clean-100)", "CC BY 4.0"),
    "ljspeech": ("read books", "public domain"),
    "asterisk_prompts": ("telephone prompts recorded at 8 kHz", "CC BY-SA 3.0"),
    "spoken_digits": ("single digits recorded at 8 kHz (FSDD)", "CC BY-SA 4.0"),
    "speech_commands": ("ten single words", "CC BY 4.0"),
    "simulated": (
        "espeak-ng voices reading sentences of Schema-Guided Dialogue, MultiDoGO, BANKING77 and "
        "CLINC150, and digits",
        "texts: CC BY-SA 4.0, CDLA-Permissive-1.0, CC BY 4.0, CC BY 3.0",
    ),
    "flite": (
        "Debian's flite voices slt, rms, awb and kal16 reading the same sentences",
        "as simulated",
    ),
}
# Sets whose held-out utterances are by speakers that the base was not trained on.
UNKNOWN_SPEAKERS = {*EVERY_NTH_SPEAKER, "simulated"}
# The word error rates in the second paragraph and under Limits were measured on the base that
# ships. Whoever ships another one measures them again.
CARD = """# keepline-base

A small English speech recogniser. It was trained on letters, digits and everyday service talk. It
is a start for fine-tuning.

On real speakers it never heard it makes 90 to 94 % word errors (LibriSpeech test-other 90, Common
Voice 93, speechocean adults 94, greedy), and 26 % on orders by other speakers.

- NeMo `EncDecCTCModel`, {parameters} M parameters, {megabytes} MB; 16 kHz mono in, a-z, apostrophe
  and space out, greedy CTC, one step every 20 ms. {blocks} separable convolution blocks with
  squeeze-and-excite, {channels} channels, kernels {kernels}.
- Trained from scratch on the CPU: {steps} steps of {batch_s:.0f} s of audio, AdamW, short
  utterances first, seed {seed}. A share of {telephone} of the audio went through a simulated
  telephone (300-3400 Hz, 8 kHz, mu-law). In the last {refine_steps} steps a share of {recropped}
  was cropped to its speech and padded with 0 to {quiet_s} s of its own background.
- Made by `keepline base train` with the defaults of `training.asr.base.BaseTraining`.
- Licence of the weights: CC BY-SA 4.0, since some of the sources below ask for sharing alike.

## Training data

| set | what | hours | speakers | licence |
|---|---|---|---|---|
{sources}

## Word error rates

Corpus word error rate, greedy, no language model, on held-out speech: every fifth speaker of
barista, one of the five of spoken_digits, every sixteenth of speech_commands, a tenth of the
{voices} simulated voices; of the sets with one to four readers, some sentences by a known reader.
"known" speakers are in the training data, "unknown" ones are not. "telephone" is the same audio
through a simulated line, "cropped to speech" the same audio cut to where speech was detected, as
segments of long calls are.

| set | speakers | utterances | minutes | as recorded | telephone | cropped to speech |
|---|---|---|---|---|---|---|
{measured}

## Limits

- English only, and mostly synthetic voices: accents, emotion, overlapping and spontaneous speech
  are hardly in the training data.
- Few real speakers: on unknown ones nine of ten words are wrong. After `keepline hear` on 476
  orders of 38 speakers, 135 orders by other speakers still had 26.3 % [19.9, 36.7].
- No punctuation, no casing; numbers come as words.
- Do not decide anything about a person from its output without fine-tuning and measuring on that
  centre's speech.
"""


def measure_word_error_rates(
    recognizer: Recognizer, held_out: list[dict[str, Any]], work_dir: Path
) -> dict[str, dict[str, float]]:
    """Returns the corpus WER of each set on held-out speech, with utterances and minutes.

    Keys are recorded, telephone (through a simulated line) and in_calls (cropped to detected
    speech).
    """
    import torch

    waves: dict[str, list[np.ndarray]] = {}
    texts: dict[str, list[str]] = {}
    corpus = open_corpus(held_out, work_dir)
    for i, row in enumerate(held_out):
        waves.setdefault(row["set"], []).append(corpus.wave(i))
        texts.setdefault(row["set"], []).append(row["text"])
    results = {}
    for name, recorded in waves.items():
        rng = np.random.default_rng(0)
        even = [wave[: len(wave) // 2 * 2] for wave in recorded]
        by_phone = [
            simulate_telephone(torch.from_numpy(wave)[None], rng)[0].numpy() for wave in even
        ]
        cropped = [_crop_to_speech(wave) for wave in recorded]
        results[name] = {
            "utterances": len(recorded),
            "minutes": round(sum(map(len, recorded)) / SAMPLE_RATE_HZ / 60, 1),
            "recorded": _wer(recognizer, recorded, texts[name]),
            "telephone": _wer(recognizer, by_phone, texts[name]),
            "in_calls": _wer(recognizer, cropped, texts[name]),
        }
    return results


def render_card(params: dict[str, Any], rows: list[dict[str, Any]], summary: dict[str, Any]) -> str:
    """Returns the model card: training data with licences, word error rates and limits."""
    sources = []
    for name, (what, licence) in SOURCES.items():
        trained_on = [row for row in rows if row["set"] == name and not row["held_out"]]
        hours = sum(row["frames"] for row in trained_on) / SAMPLE_RATE_HZ / 3600
        speakers = len({row["speaker"] for row in trained_on})
        sources.append(f"| {name} | {what} | {hours:.1f} | {speakers} | {licence} |")
    measured = [
        f"| {name} | {'unknown' if name in UNKNOWN_SPEAKERS else 'known'} "
        f"| {result['utterances']} | {result['minutes']} | {result['recorded']:.1%} "
        f"| {result['telephone']:.1%} | {result['in_calls']:.1%} |"
        for name, result in summary["wer"].items()
    ]
    return CARD.format(
        parameters=f"{summary['parameters'] / 1e6:.2f}",
        megabytes=f"{summary['size_bytes'] / 1e6:.1f}",
        steps=summary["step"],
        batch_s=params["batch_duration_s"],
        seed=params["seed"],
        channels=params["channels"],
        blocks=len(params["kernels"]),
        kernels=", ".join(map(str, params["kernels"])),
        telephone=params["augmentation"]["telephone_share"],
        refine_steps=params["refine_steps"],
        recropped=params["refine_quiet_share"],
        quiet_s=params["augmentation"]["quiet_s"],
        voices=params["simulated_voices"],
        sources="\n".join(sources),
        measured="\n".join(measured),
    )


def _crop_to_speech(wave: np.ndarray) -> np.ndarray:
    """Returns `wave` from its first detected segment of speech to its last; all of it if none."""
    segments = speech_segments(wave, SAMPLE_RATE_HZ)
    if not segments:
        return wave
    return wave[int(segments[0].from_s * SAMPLE_RATE_HZ) : int(segments[-1].to_s * SAMPLE_RATE_HZ)]


def _wer(recognizer: Recognizer, waves: list[np.ndarray], texts: list[str]) -> float:
    transcripts = recognizer.transcribe(waves)
    return corpus_wer(
        [
            word_errors(text, transcript.text)
            for text, transcript in zip(texts, transcripts, strict=True)
        ]
    )
