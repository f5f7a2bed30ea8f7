"""How well the base hears what was held out, and the card that says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from evaluation.metrics.wer import corpus_wer, word_errors
from models.asr.recognizer import Recognizer
from models.asr.segments import speech_segments
from training.asr.base_speech import open_corpus
from training.asr.speech import SAMPLE_RATE_HZ, simulate_telephone

SOURCES = {
    "barista": ("spoken coffee orders (Picovoice speech-to-intent-benchmark)", "Apache-2.0"),
    "librispeech": ("read books (part of train-clean-100)", "CC BY 4.0"),
    "ljspeech": ("read books", "public domain"),
    "asterisk_prompts": ("telephone prompts recorded at 8 kHz", "CC BY-SA 3.0"),
    "spoken_digits": ("single digits recorded at 8 kHz (FSDD)", "CC BY-SA 4.0"),
    "speech_commands": ("ten single words", "CC BY 4.0"),
    "simulated": (
        "espeak-ng voices reading sentences of Schema-Guided Dialogue, MultiDoGO, BANKING77 and CLINC150, and digits",
        "texts: CC BY-SA 4.0, CDLA-Permissive-1.0, CC BY 4.0, CC BY 3.0",
    ),
    "flite": (
        "Debian's flite voices slt, rms, awb and kal16 reading the same sentences",
        "as simulated",
    ),
}
CARD = """# keepline-base

A small English speech recogniser to fine-tune from: it knows letters, digits and everyday service talk a little, and
learns the words of one contact centre within minutes. On its own it is not a good transcriber.

- NeMo `EncDecCTCModel`, {parameters} M parameters, {megabytes} MB; 16 kHz mono in, a-z, apostrophe and space out,
  greedy CTC, one step every 20 ms. {blocks} separable convolution blocks with squeeze-and-excite, {channels} channels,
  kernels {kernels}.
- Trained from scratch on the CPU: {steps} steps of {batch_s:.0f} s of audio, AdamW, short utterances first,
  seed {seed}. A share of {telephone} of the audio went through a simulated telephone (300-3400 Hz, 8 kHz, mu-law).
  In the last {refine_steps} steps a share of {anew} was cut to its speech and laid into 0 to {quiet_s} s of its
  own quiet.
- Made by `keepline base train` with the defaults of `training.base.BaseTraining`.
- Licence of the weights: CC BY-SA 4.0, since some of the sources below ask for sharing alike.

## What it learnt from

| set | what | hours | voices | licence |
|---|---|---|---|---|
{sources}

## How well it hears

Corpus word error rate, greedy, no language model, on speech that was held out: every fifth voice of barista, one of
the five of spoken_digits, every sixteenth of speech_commands, a tenth of the {voices} simulated voices; of the sets
with one to four readers, some sentences by a known reader. "telephone" is the same audio through a simulated line,
"as in calls" the same cut down to where speech was found, as segments of long calls are.

| set | utterances | minutes | as recorded | telephone | as in calls |
|---|---|---|---|---|---|
{measured}

## Limits

- English only, and mostly synthetic voices: accents, emotion, overlapping and spontaneous speech are foreign to it.
- Few real voices: expect several times the errors on unknown real speakers until it is fine-tuned.
- No punctuation, no casing; numbers come as words.
- Do not decide anything about a person from its output without fine-tuning and measuring on that centre's speech.
"""


def measure_word_error_rates(
    recognizer: Recognizer, held_out: list[dict[str, Any]], work_dir: Path
) -> dict[str, dict[str, float]]:
    """Corpus WER by set on what was held out: as recorded, through a telephone, and cut as in calls."""
    import torch

    waves: dict[str, list[np.ndarray]] = {}
    said: dict[str, list[str]] = {}
    corpus = open_corpus(held_out, work_dir)
    for i, row in enumerate(held_out):
        waves.setdefault(row["set"], []).append(corpus.wave(i))
        said.setdefault(row["set"], []).append(row["text"])
    results = {}
    for name, heard in waves.items():
        rng = np.random.default_rng(0)
        even = [wave[: len(wave) // 2 * 2] for wave in heard]
        called = [simulate_telephone(torch.from_numpy(wave)[None], rng)[0].numpy() for wave in even]
        results[name] = {
            "utterances": len(heard),
            "minutes": round(sum(map(len, heard)) / SAMPLE_RATE_HZ / 60, 1),
            "recorded": _wer(recognizer, heard, said[name]),
            "telephone": _wer(recognizer, called, said[name]),
            "in_calls": _wer(recognizer, [_found(wave) for wave in heard], said[name]),
        }
    return results


def render_card(params: dict[str, Any], rows: list[dict[str, Any]], summary: dict[str, Any]) -> str:
    """The model card: what it learnt from, under which licences, how well it hears and what not to expect of it."""
    sources = []
    for name, (what, licence) in SOURCES.items():
        own = [row for row in rows if row["set"] == name and not row["held_out"]]
        hours = sum(row["frames"] for row in own) / SAMPLE_RATE_HZ / 3600
        speakers = len({row["speaker"] for row in own})
        sources.append(f"| {name} | {what} | {hours:.1f} | {speakers} | {licence} |")
    measured = [
        f"| {name} | {found['utterances']} | {found['minutes']} | {found['recorded']:.1%} | {found['telephone']:.1%} "
        f"| {found['in_calls']:.1%} |"
        for name, found in summary["wer"].items()
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
        anew=params["refine_quiet_share"],
        quiet_s=params["augmentation"]["quiet_s"],
        voices=params["simulated_voices"],
        sources="\n".join(sources),
        measured="\n".join(measured),
    )


def _found(wave: np.ndarray) -> np.ndarray:
    """`wave` from the first segment of speech found in it to the last; all of it where none is."""
    segments = speech_segments(wave, SAMPLE_RATE_HZ)
    if not segments:
        return wave
    return wave[int(segments[0].from_s * SAMPLE_RATE_HZ) : int(segments[-1].to_s * SAMPLE_RATE_HZ)]


def _wer(recognizer: Recognizer, waves: list[np.ndarray], said: list[str]) -> float:
    heard = recognizer.transcribe(waves)
    return corpus_wer(
        [word_errors(text, found.text) for text, found in zip(said, heard, strict=True)]
    )
