"""Trains the small base checkpoint that ships, from scratch: real speech plus simulated voices reading service talk."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.store import atomic, write_text
from data.text import ALPHABET, cardinal, normalise
from evaluation.metrics.wer import corpus_wer, word_errors
from models.asr import Recognizer, nemo_asr, quiet
from training.fit import Fit, fit
from training.speech import SAMPLE_RATE_HZ, Augmentation, Corpus

REAL_SETS = ("librispeech", "ljspeech", "asterisk_prompts", "spoken_digits", "speech_commands")
HELD_OUT_SPEAKERS = {"spoken_digits": ("theo",)}  # by name; of speech_commands every sixteenth voice
EVERY_NTH_SENTENCE = 20  # of the sets with one to three readers, whose voices cannot be held out


@dataclass(frozen=True)
class BaseTraining:
    """How the shipped base is made. The command with these defaults rebuilds it."""

    seed: int = 20  # of texts, voices, weights, batches and augmentation
    channels: int = 256  # width of the encoder
    kernels: tuple[int, ...] = (7, 9, 9, 11, 11, 13)  # one residual block each, in steps of 20 ms
    repeat: int = 2  # separable convolutions a block
    mel_features: int = 64  # 25 ms windows, 10 ms steps
    dropout: float = 0.0  # within the blocks; two passes over the speech leave nothing to unlearn
    simulated_hours: float = 14.0  # synthesised speech of sentences and phrases
    simulated_voices: int = 240  # espeak-ng voices that speak them
    steps: int = 4400  # optimizer steps
    batch_duration_s: float = 40.0  # audio a step
    learning_rate: float = 2e-3  # peak
    weight_decay: float = 1e-3  # AdamW
    warmup_steps: int = 200  # rising to the peak
    cooldown_share: float = 0.35  # last share of the steps, falling to a fiftieth of the peak
    short_steps: int = 600  # only short utterances; then the longest grows as long again
    short_s: float = 2.0  # longest utterance at first
    longest_s: float = 16.0  # longest utterance in the end
    clean_steps: int = 400  # augmentation begins here
    valid_steps: int = 500  # how often a sample of the held-out speech is transcribed
    threads: int = 2  # torch threads
    augmentation: Augmentation = field(
        default_factory=lambda: Augmentation(
            telephone_share=0.4, noise_share=0.25, noise_snr_db_min=12.0, speed_spread=0.07,
            frequency_masks=0, time_masks=0,
        )
    )  # fmt: skip # mild, for the same reason
    shares: dict[str, float] = field(
        default_factory=lambda: {
            "simulated": 0.55, "librispeech": 0.15, "ljspeech": 0.08, "asterisk_prompts": 0.08,
            "spoken_digits": 0.05, "speech_commands": 0.09,
        }
    )  # fmt: skip # of the audio each set gets


def train_base(
    params: BaseTraining,
    speech_dir: Path,
    dialogue_dir: Path,
    work_dir: Path,
    out: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Makes `out`/keepline-base.nemo and its card from the sets in `speech_dir` and the talk in `dialogue_dir`.

    About an hour on two cores. Killed, it goes on from `work_dir`, which must not be shared by different `params`.
    """
    import torch

    torch.set_num_threads(params.threads)
    rows = prepare(params, speech_dir, dialogue_dir, work_dir, lambda done, total: None)
    known = [row for row in rows if not row["held_out"]]
    corpus = corpus_of(known, work_dir)
    model = network(params)
    label = {character: number for number, character in enumerate(ALPHABET)}
    tokens = [[label[character] for character in text] for text in corpus.texts]
    held_out = [row for row in rows if row["held_out"]]
    settings = Fit(
        steps=params.steps,
        learning_rate=params.learning_rate,
        warmup_steps=params.warmup_steps,
        cooldown_share=params.cooldown_share,
        seed=params.seed,
        weight_decay=params.weight_decay,
        clean_steps=params.clean_steps,
        valid_steps=params.valid_steps,
        augmentation=params.augmentation,
    )
    sample = corpus_of(held_out[:: max(1, len(held_out) // 300)], work_dir)
    log = work_dir / "log.jsonl"

    def report(step: int, metrics: dict[str, float]) -> None:
        with log.open("a") as lines:
            lines.write(json.dumps({"step": step, **metrics}) + "\n")

    summary = fit(
        model, corpus, tokens, sampler(params, known), settings, work_dir,
        measure=lambda model: wer(model, sample), report=report, progress=progress,
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    with atomic(out / "keepline-base.nemo") as temporary:
        model.save_to(str(temporary))
    return summary


def prepare(
    params: BaseTraining, speech_dir: Path, dialogue_dir: Path, work_dir: Path, progress: Callable[[int, int], None]
) -> list[dict[str, Any]]:
    """Decodes and synthesises everything once into `work_dir`/audio.i16; returns one row an utterance.

    Rows hold set, start, frames, text, speaker and held_out. With index.jsonl there, nothing is made again.
    """
    index = work_dir / "index.jsonl"
    if not index.exists():
        makers = [(name, _real(speech_dir / name, name)) for name in REAL_SETS]
        makers.append(("simulated", _simulated(params, dialogue_dir)))
        start, lines = 0, []
        with atomic(work_dir / "audio.i16") as temporary, temporary.open("wb") as out:
            for done, (name, utterances) in enumerate(makers):
                progress(done, len(makers))
                for samples, row in utterances:
                    out.write(np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
                    lines.append(json.dumps({"set": name, "start": start, "frames": len(samples), **row}))
                    start += len(samples)
        write_text(index, "\n".join(lines) + "\n")
        progress(len(makers), len(makers))
    return [json.loads(line) for line in index.read_text().splitlines()]


def corpus_of(rows: list[dict[str, Any]], work_dir: Path) -> Corpus:
    """The utterances of `rows`, their audio memory-mapped."""
    return Corpus(
        np.memmap(work_dir / "audio.i16", dtype="<i2", mode="r"),
        np.array([row["start"] for row in rows], np.int64),
        np.array([row["frames"] for row in rows], np.int64),
        [row["text"] for row in rows],
    )


def _real(folder: Path, name: str) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Utterances of one folder with a NeMo manifest. Raises FileNotFoundError naming the folder."""
    import soundfile

    manifest = folder / "manifest.jsonl"
    if not manifest.exists():
        raise FileNotFoundError(f"{manifest}: no manifest. Point the speech folder at the sets {', '.join(REAL_SETS)}.")
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    speakers = sorted({row["speaker"] for row in rows})
    held_out = set(HELD_OUT_SPEAKERS.get(name, speakers[::16] if len(speakers) > 100 else ()))
    for number, row in enumerate(rows):
        samples, rate = soundfile.read(folder / row["audio_filepath"], dtype="float32")
        if rate != SAMPLE_RATE_HZ:
            raise ValueError(f"{folder / row['audio_filepath']}: {rate} Hz instead of {SAMPLE_RATE_HZ}.")
        apart = row["speaker"] in held_out if held_out else number % EVERY_NTH_SENTENCE == 0
        yield samples, {"text": normalise(row["text"]), "speaker": row["speaker"], "held_out": apart}


def _simulated(params: BaseTraining, dialogue_dir: Path) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Service talk in simulated voices; the last tenth of the voices is held out, with sentences of its own."""
    from data.simulator.voice import Synthesizer, voices

    rng = np.random.default_rng([params.seed, 1])
    speakers = voices(params.simulated_voices, params.seed)
    known = len(speakers) - len(speakers) // 10
    sentences = _sentences(dialogue_dir)
    order = rng.permutation(len(sentences))
    common = [word for word, _ in Counter(" ".join(sentences).split()).most_common(4000)]
    digits = [*(cardinal(value) for value in range(10)), "oh"]
    synthesizer, spoken_s, used = Synthesizer(), 0.0, 0
    while spoken_s < params.simulated_hours * 3600:
        kind = rng.random()
        if kind < 0.12:
            text = " ".join(common[int(len(common) * rng.random() ** 2)] for _ in range(rng.integers(1, 3)))
        elif kind < 0.24:
            text = " ".join(digits[i] for i in rng.integers(0, len(digits), rng.integers(1, 9)))
        else:
            text = sentences[order[used % len(order)]]
            used += 1
            if kind > 0.8:  # a piece of the sentence, so that no ending is learnt by heart
                words = text.split()
                first = int(rng.integers(0, len(words)))
                text = " ".join(words[first : first + int(rng.integers(1, 6))])
        held_out = rng.random() < 0.02
        voice = speakers[int(rng.integers(known, len(speakers)) if held_out else rng.integers(0, known))]
        samples = synthesizer.speak(text, voice, SAMPLE_RATE_HZ)
        if len(samples) < 0.15 * SAMPLE_RATE_HZ:
            continue
        edges = [np.zeros(int(SAMPLE_RATE_HZ * gap), np.float32) for gap in rng.uniform(0.02, 0.35, 2)]
        spoken_s += len(samples) / SAMPLE_RATE_HZ
        yield (
            np.concatenate((edges[0], samples, edges[1])),
            {"text": text, "speaker": voice.name, "held_out": bool(held_out)},
        )


def _sentences(folder: Path) -> list[str]:
    """Distinct spoken sentences of 1 to 24 words from the dialogue sets, in the order of the files."""
    found: dict[str, None] = {}
    files = sorted(folder.glob("*.jsonl.gz"))
    if not files:
        raise FileNotFoundError(f"{folder}: no *.jsonl.gz with dialogues.")
    for path in files:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                texts = [text for _, text in row["turns"]] if "turns" in row else [row["text"]]
                for text in texts:
                    for sentence in re.split(r"(?<=[.?!])\s+", text):
                        spoken = normalise(sentence)
                        if 1 <= len(spoken.split()) <= 24 and len(spoken) >= 3:
                            found[spoken] = None
    return list(found)


def network(params: BaseTraining) -> Any:
    """A fresh NeMo EncDecCTCModel: separable convolutions with squeeze-and-excite, 20 ms steps, characters.

    After QuartzNet (arXiv 1910.10261) and Citrinet (arXiv 2104.01721), made small.
    """
    import torch
    from omegaconf import OmegaConf

    models = nemo_asr()

    def block(filters: int, kernel: int, repeat: int = 1, stride: int = 1, residual: bool = False, **more: Any) -> dict:
        return {
            "filters": filters, "repeat": repeat, "kernel": [kernel], "stride": [stride], "dilation": [1],
            "dropout": params.dropout, "residual": residual, "separable": True, "se": True, "se_reduction_ratio": 8,
            **more,
        }  # fmt: skip

    width, labels = params.channels, list(ALPHABET)
    encoder = [block(width, 11, stride=2)]
    encoder += [block(width, kernel, params.repeat, residual=True) for kernel in params.kernels]
    encoder += [block(width, 25), block(width * 2, 1, separable=False)]
    config = {
        "sample_rate": SAMPLE_RATE_HZ,
        "labels": labels,
        "preprocessor": {
            "_target_": "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor",
            "sample_rate": SAMPLE_RATE_HZ, "normalize": "per_feature", "window_size": 0.025, "window_stride": 0.01,
            "window": "hann", "features": params.mel_features, "n_fft": 512, "dither": 1e-5, "pad_to": 0, "log": True,
        },
        "encoder": {
            "_target_": "nemo.collections.asr.modules.ConvASREncoder", "feat_in": params.mel_features,
            "activation": "relu", "conv_mask": True, "jasper": encoder,
        },
        "decoder": {
            "_target_": "nemo.collections.asr.modules.ConvASRDecoder", "feat_in": width * 2,
            "num_classes": len(labels), "vocabulary": labels,
        },
        "spec_augment": {
            "_target_": "nemo.collections.asr.modules.SpectrogramAugmentation",
            "freq_masks": 0, "time_masks": 0, "freq_width": 8, "time_width": 0.03,
        },
    }  # fmt: skip
    torch.manual_seed(params.seed)
    with quiet():
        return models.EncDecCTCModel(OmegaConf.create(config))


def sampler(params: BaseTraining, rows: list[dict[str, Any]]) -> Callable[[int], np.ndarray]:
    """Names the utterances of a step: of like length, short ones first, each set with its share of the audio."""
    duration_s = np.array([row["frames"] for row in rows]) / SAMPLE_RATE_HZ
    sets = np.array([row["set"] for row in rows])
    weight = np.zeros(len(rows))
    for name, share in params.shares.items():
        if (own := sets == name).any():
            weight[own] = share / duration_s[own].sum()
    order = np.argsort(duration_s, kind="stable")
    sorted_s, weight = duration_s[order], weight[order]
    audio_share = np.cumsum(weight * sorted_s)

    def at(step: int) -> np.ndarray:
        rng = np.random.default_rng([params.seed, 3, step])
        grown = np.clip(step / params.short_steps - 1, 0, 1)
        limit = int(np.searchsorted(sorted_s, params.short_s + grown * (params.longest_s - params.short_s), "right"))
        anchor = int(np.searchsorted(audio_share, rng.random() * audio_share[limit - 1]))
        low = int(np.searchsorted(sorted_s, sorted_s[anchor] * 0.87))
        high = min(limit, max(anchor + 1, int(np.searchsorted(sorted_s, sorted_s[anchor] * 1.15))))
        count = max(1, int(params.batch_duration_s / sorted_s[high - 1]))
        rank = rng.exponential(size=high - low) / weight[low:high]  # smallest first: a draw by weight, none twice
        return order[low + np.sort(np.argsort(rank, kind="stable")[:count])]

    return at


def wer(model: Any, corpus: Corpus) -> float:
    """Corpus WER of greedy decoding."""
    heard = Recognizer(model).transcribe([corpus.wave(i) for i in range(len(corpus))])
    return corpus_wer([word_errors(said, found.text) for said, found in zip(corpus.texts, heard, strict=True)])
