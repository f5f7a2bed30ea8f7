"""A6: adaptation with text only: errors and speed of greedy and beam decoding, boosted terms.

Real coffee orders by speakers that neither model nor text has seen. The language model is trained
on the transcripts of the other speakers but a fifth, which its weights are tuned on; no audio is
trained on here. --model is the shipped base by default. The terms are left out of a second
language model, then boosted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import soundfile
from _walk import require_real_data
from bench_asr_peers import BASE, Output, compute_metrics, read_utterances, write_wavs

from data.files import write_text
from models.asr.decoding import LANGUAGE, BeamDecoder, Decoding, log_probs_of
from models.asr.language import LanguageTraining, Text, train_language_model
from models.asr.load import load
from models.asr.nemo import NemoNetwork
from models.asr.recognizer import Recognizer
from models.asr.transcript import Transcript
from training.asr.text_adaptation import TextAdaptation, adapt

TERMS = ("espresso", "cappuccino", "americano")


def score_terms(rows: list[dict[str, Any]], texts: list[str]) -> dict[str, Any]:
    """Returns how many of the spoken terms were recognised, and how many were inserted."""
    spoken = missed = inserted = 0
    for row, text in zip(rows, texts, strict=True):
        truth, log_probs_of_each = Counter(row["text"].split()), Counter(text.split())
        for term in TERMS:
            spoken += truth[term]
            missed += max(0, truth[term] - log_probs_of_each[term])
            inserted += max(0, log_probs_of_each[term] - truth[term])
    return {"said": spoken, "recall": round(1 - missed / spoken, 4), "invented": inserted}


def transcribe(recognizer: Recognizer, waves: list[Any], size_bytes: int) -> Output:
    """Transcribes each wave by itself and returns texts and times."""
    recognizer.transcribe(waves[:1])
    began, cpu = time.monotonic(), time.process_time()
    texts = [recognizer.transcribe([wave])[0].text for wave in waves]
    return Output(texts, time.monotonic() - began, time.process_time() - cpu, size_bytes)


def decoding_cpu_s(
    search: Callable[[Any, float], Transcript], log_probs_of_each: list[Any], step_s: float
) -> float:
    """Returns the CPU seconds that decoding alone takes; it has one thread."""
    began = time.process_time()
    for log_probs in log_probs_of_each:
        search(log_probs, step_s)
    return time.process_time() - began


def measure(model: Path, speech: Path, work: Path) -> dict[str, Any]:
    """Returns all figures."""
    seen, unseen = read_utterances(speech, "barista")
    voices = sorted({row["speaker"] for row in seen})
    tuning = [row for row in seen if row["speaker"] in voices[::5]]
    texts = [row["text"] for row in seen if row["speaker"] not in voices[::5]]
    shutil.copyfile(model, work / "model.nemo")
    write_text(work / "tuning.jsonl", "".join(json.dumps(row) + "\n" for row in tuning))
    began = time.monotonic()
    facts = adapt(
        TextAdaptation(decoding=Decoding(mode="beam")),
        map(Text, texts),
        model=work / "model.nemo",
        valid_manifest=work / "tuning.jsonl",
        folder=work,
    )
    facts.pop("tried", None)
    adapted_s = time.monotonic() - began
    beam = load(work / "model.nemo")
    if not isinstance(beam.network, NemoNetwork):
        raise TypeError(f"{model}: loaded as {type(beam.network).__name__}, not NeMo.")
    greedy = Recognizer(beam.network.model, beam.size_bytes)
    size = beam.size_bytes + (work / LANGUAGE).stat().st_size
    results: dict[str, Any] = {"adaptation": {**facts, "seconds": round(adapted_s, 1)}}
    for condition in ("clean", "mulaw"):
        waves = [
            soundfile.read(path, dtype="float32")[0]
            for path in write_wavs(unseen, work / condition, condition == "mulaw")
        ]
        results[condition] = {
            "greedy": compute_metrics(unseen, transcribe(greedy, waves, greedy.size_bytes)),
            "with language model": compute_metrics(unseen, transcribe(beam, waves, size)),
        }
    log_probs_of_each = log_probs_of(greedy, waves)
    step_s = len(waves[0]) / 16000 / len(log_probs_of_each[0])
    audio_s = sum(row["duration"] for row in unseen)
    settings = Decoding(mode="beam", **{name: facts[name] for name in ("alpha", "beta", "unknown")})
    search = BeamDecoder(settings, greedy.labels, work / LANGUAGE)
    results["decoding alone, times real time, one core"] = round(
        audio_s / decoding_cpu_s(search, log_probs_of_each, step_s)
    )
    texts_without_terms = [text for text in texts if not set(TERMS) & set(text.split())]
    train_language_model(map(Text, texts_without_terms), LanguageTraining(), work / "without.arpa")
    results["terms in no text, mulaw"] = {
        name: score_terms(
            unseen, [search(log_probs, step_s).text for log_probs in log_probs_of_each]
        )
        for name, search in (
            ("not listened for", BeamDecoder(settings, greedy.labels, work / "without.arpa")),
            (
                "listened for",
                BeamDecoder(replace(settings, boosts=TERMS), greedy.labels, work / "without.arpa"),
            ),
        )
    }
    return {
        "utterances": len(unseen),
        "voices": len({row["speaker"] for row in unseen}),
        "texts": len(texts),
        **results,
    }


def main() -> None:
    """Prints one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=BASE)
    arguments = parser.parse_args()
    data_folder = require_real_data("A6 text-only adaptation", "speech")
    result: dict[str, Any] = {
        "benchmark": "A6 text-only adaptation",
        "model": arguments.model.name,
        "cores": os.cpu_count(),
    }
    with tempfile.TemporaryDirectory() as work:
        print(
            json.dumps(
                {**result, **measure(arguments.model, data_folder / "speech", Path(work))}, indent=1
            )
        )


if __name__ == "__main__":
    main()
