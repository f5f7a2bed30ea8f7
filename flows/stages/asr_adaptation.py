"""Adapts the recogniser with text: what it may learn from, and what joins its bundle."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from data import artefacts
from data.progress import Progress
from flows.runtime.settings import checkout_file
from models.kinds import ASR

if TYPE_CHECKING:
    from flows.runtime.context import RunContext
    from models.asr.language import Text
    from training.asr.finetune import AsrTraining
    from training.asr.text_adaptation import TextAdaptation


def domain_texts(context: RunContext) -> list[Text]:
    """Returns the sentences of training customers and their agents, and adaptation.terms.

    Nothing of validation or test contacts is among them.
    """
    from models.asr.language import Text
    from training.asr.text_adaptation import read_terms

    params = context.params.adaptation
    splits = pl.read_parquet(context.path(artefacts.SPLITS))
    train = splits.filter((pl.col("split") == "train") & pl.col("contact_id").is_not_null()).select(
        "contact_id"
    )
    if not params.messages:
        contacts = pl.read_parquet(context.path(artefacts.CLEAN.within("contacts.parquet")))
        train = train.join(
            contacts.filter(pl.col("channel") == "phone"), on="contact_id", how="semi"
        )
    turns = pl.read_parquet(context.path(artefacts.CLEAN.within("turns.parquet"))).join(
        train, on="contact_id", how="semi"
    )
    spoken = turns.filter(
        pl.col("role").is_in(["customer", "agent"]) & pl.col("text").is_not_null()
    )
    sentences = [
        Text(sentence)
        for text in spoken.sort("contact_id", "turn")["text"]
        for sentence in re.split(r"(?<=[.?!])\s+", text)
        if sentence.strip()
    ]
    return sentences + (read_terms(checkout_file(params.terms)) if params.terms else [])


def with_synthetic_speech(
    context: RunContext, training: AsrTraining, progress: Progress
) -> AsrTraining:
    """Returns `training` with the texts in simulated voices mixed in.

    Without adaptation.spoken it is returned as it is.
    """
    from training.asr.finetune import ExtraSpeech
    from training.asr.text_adaptation import synthesize_manifest

    params = context.params.adaptation
    if not params.spoken:
        return training
    texts = [text.text for text in domain_texts(context)]
    path = synthesize_manifest(
        texts,
        context.path(artefacts.WORK.of(ASR.name).within("spoken.jsonl")),
        count=params.spoken,
        seed=params.seed,
        voice_count=params.voices,
        progress=progress,
    )
    return replace(
        training, extra=(*training.extra, ExtraSpeech(str(path.absolute()), params.spoken_share))
    )


def adapt(context: RunContext, model: Path, progress: Progress) -> dict[str, Any]:
    """Writes the language model and decoding settings beside the `.nemo`; returns the facts.

    Nothing is written where adaptation.decoding is greedy, or beam search made no fewer errors.
    `says` among the facts says to a person what became of texts, terms and boosts.
    """
    from models.asr.decoding import FILES
    from training.asr.text_adaptation import adapt

    params, facts = context.params.adaptation, {}
    if params.decoding.mode != "greedy":
        facts = adapt(
            params,
            domain_texts(context),
            model=model,
            valid_manifest=context.path(artefacts.SPEECH.within("valid.jsonl")),
            folder=model.parent,
            progress=progress,
        )
        facts["says"] = describe_adaptation(params, facts)
    elif params.spoken:
        also = f", those of {Path(params.terms).name} among them," if params.terms else ""
        facts["says"] = (
            f"{params.spoken} utterances of the texts{also} were trained on in simulated voices."
        )
    if facts.get("mode", "greedy") == "greedy":
        for name in FILES:
            (model.parent / name).unlink(missing_ok=True)
    return facts


def describe_adaptation(params: TextAdaptation, facts: Mapping[str, Any]) -> str:
    """Returns what became of texts, terms and boosts, in words for a person."""
    terms = [f"the terms of {Path(params.terms).name}"] if params.terms else []
    boosts = [f"{len(params.decoding.boosts)} boosts"] if params.decoding.boosts else []
    what = " and ".join([", ".join(["A language model of the transcripts", *terms]), *boosts])
    if facts["wer_beam"] is None:
        return f"{what}: in use; adaptation.tuning is off, so nobody knows whether it helps."
    figures = (
        f"WER {facts['wer_greedy']:.1%} without, {facts['wer_beam']:.1%} with it on "
        "validation speech"
    )
    if facts["mode"] != "greedy":
        return f"{what}: in use ({figures})."
    spoken = (
        " The terms were spoken to it in training all the same."
        if params.terms and params.spoken
        else ""
    )
    return (
        f"{what}: not used, as it made no fewer errors ({figures}).{spoken} Give texts closer "
        "to what is said."
    )
