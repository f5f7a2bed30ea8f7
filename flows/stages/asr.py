"""The stages of the recogniser, from pseudo-transcripts to transcribed calls."""

from __future__ import annotations

import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from data.files import atomic, read_json, read_tables, write_json, write_table
from data.progress import Progress
from data.speech import manifests as speech_manifests
from data.speech import utterances
from data.speech.manifests import rows_of
from data.splits import SPLITS
from evaluation.asr import test_sets
from flows.candidate import active_model, bundles, decision, release, runs, scorecards
from flows.runtime.context import RunContext
from flows.runtime.settings import ROOT
from flows.stages.transcription import files as transcription_files
from flows.stages.transcription import workers
from training.asr import calibration


def base_of(name: str, folder: Path) -> Path:
    """The `.nemo` that asr.base names: a file (relative to the checkout), or a hub model, brought once to `folder`."""
    local = ROOT / name
    if local.exists() or name.endswith(".nemo"):
        return local
    keep = folder / f"base-{re.sub('[^a-z0-9]+', '-', name.lower())}.nemo"
    if not keep.exists():
        from models.asr.nemo import fetch

        with atomic(keep) as temporary:
            fetch(name).save_to(str(temporary))
    return keep


def smoke_sample(manifest: Path) -> Path:
    """The longest test cut, for the service to transcribe before a release."""
    return (
        manifest.parent / max(rows_of(manifest), key=lambda row: row["duration"])["audio_filepath"]
    )


def pseudo(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Leaves pseudo/train.jsonl: what people transcribed and, if pseudo.learn, what the champion heard and is sure of.

    It was heard at the end of the last walk; today's splits and people's transcripts decide again what may be used.
    """
    summary = speech_manifests.add_pseudo(
        read_tables(context.path("clean")),
        pl.read_parquet(context.path("splits.parquet")),
        context.path("speech"),
        context.path("pseudo.parquet"),
        context.path("pseudo"),
        context.decoded(),
        context.params.pseudo,
        progress,
    )
    write_json(context.path("pseudo.json"), summary)
    return summary


def train_asr(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Fine-tunes the recogniser as one MLflow run, adapts it with text and leaves it as the bundle asr/bundle."""
    from data.hours import read_hours_account
    from data.leaks import assert_manifests_apart
    from flows.stages import asr_adaptation
    from models.asr.decoding import FILES
    from training.asr.finetune import finetune

    params, speech, work = context.params.asr, context.path("speech"), context.path("asr/work")
    base = base_of(params.base, context.path("asr"))
    train = context.path("pseudo/train.jsonl")
    manifests = {
        name: speech_manifests.lines_of(train if name == "train" else speech / f"{name}.jsonl")
        for name in SPLITS
    }
    splits = pl.read_parquet(context.path("splits.parquet"))
    assert_manifests_apart(manifests, splits)
    params = asr_adaptation.with_synthetic_speech(context, params, progress)
    with runs.training_run(context, "asr", asdict(params)) as run:
        found = finetune(params, base, train, speech / "valid.jsonl", work, run, progress)
        skipped = found["train"].get("skipped", {})
        hours, heard = (
            read_hours_account(read_json(context.path("hours.json"))),
            read_json(context.path("pseudo.json")),
        )
        hours = hours.with_pseudo(heard["added_s"]) if heard["learn"] else hours
        hours = hours.settled({reason: 3600 * entry["hours"] for reason, entry in skipped.items()})
        budget = hours.summary(context.params.hours)
        write_json(context.path("asr/hours.json"), budget)
        run.log_metrics(
            {
                f"hours_{name}": budget[name]
                for name in ("input_h", "train_h", "lost_h", "lost_share")
            }
        )
        run.log_artifact(context.path("asr/hours.json"))
        hours.hold(context.params.hours)
    found |= {"adaptation": asr_adaptation.adapt(context, work / "model.nemo", progress)}
    calls = utterances.transcribed_calls(read_tables(context.path("clean")), splits, "valid")
    found |= {
        "confidence": calibration.calibrate(
            work / "model.nemo",
            calls,
            context.decoded(),
            context.params.hearing.segmentation,
            context.path("exports"),
        )
    }
    files = [
        path for name in ("model.nemo", "confidence.json", *FILES) if (path := work / name).exists()
    ]
    return bundles.write_candidate_bundle(
        context, "asr", {path.name: path for path in files}, run.run_id, found
    )


def reference_asr(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Names the recogniser to beat (the champion, or the base before there is one) and what reads its text."""
    from flows.candidate.probes import write_text_readers

    base = base_of(context.params.asr.base, context.path("asr"))
    write_text_readers(context)
    return scorecards.reference(context, "asr", {"model": "base", "path": str(base)})


def evaluate_asr(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Scores candidate and reference on the same held-out speech, clean, through the telephone, and in general."""
    params = context.params.evaluation
    parts = test_sets.load_test_sets(context.path("speech/test.jsonl"), params, ROOT)
    reference = read_json(context.path("reference/asr.json"))
    models = {
        "reference": Path(reference["path"]),
        "candidate": context.path("asr/bundle/model.nemo"),
    }
    cards = {
        role: test_sets.evaluate(
            path,
            parts,
            name=scorecards.model_name(context, "asr", role),
            bundle_sha256=scorecards.model_checksum(context, "asr", role),
            params=params,
            now=context.now(),
            progress=_half(progress, number),
        )
        for number, (role, path) in enumerate(models.items())
    }
    shutil.rmtree(
        context.path("scorecards/asr"), ignore_errors=True
    )  # a part that params no longer name
    for part in sorted(set(parts) - {"test"}):
        scorecards.write_secondary_scorecards(
            context, "asr", part, {role: found[part] for role, found in cards.items()}
        )
    return scorecards.write_scorecards(
        context, "asr", {role: found["test"] for role, found in cards.items()}
    )


def probe_asr(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Tests the candidate's behaviour, and what reads its text, for the gate."""
    from flows.stages.asr_probes import probe_asr

    return probe_asr(context, progress)


def decide_asr(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Puts the candidate through the gate, smoke test included, and writes the decision record."""
    return decision.decide(context, "asr", smoke_sample(context.path("speech/test.jsonl")))


def release_asr(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Registers the candidate and, if the gate accepted it, makes it champion."""
    return release.release(context, "asr")


def office_asr(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Names the recogniser in office: the champion, whatever the last candidate was."""
    return active_model.write_active_model(context, "asr")


def transcribe(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Hears the recordings that no person has transcribed, with the recogniser in office, and how all calls went.

    Also sorts what was heard: sure enough for the next training to learn from, or next for a person to review.
    """
    from data.labelling.pseudo import choose
    from evaluation.experience.conversation import conversations

    clean, params = read_tables(context.path("clean")), context.params
    typed = clean["turns"].filter(pl.col("origin") == "person")
    recordings = clean["recordings"].join(typed, on="contact_id", how="anti")
    model, office = (
        active_model.active_model_path(context, "asr"),
        read_json(context.path("office/asr.json")),
    )
    if model is None:
        raise ValueError(
            "there is no recogniser to hear with. Set asr.base in params.yaml to a .nemo."
        )
    ears = workers.TranscriberConfig(Path(model), context.path("exports"), params.hearing)
    turns, calibrated = workers.transcribe_all(
        ears, recordings, context.path("shards"), workers.cores(), progress
    )
    talks = conversations(
        pl.concat([typed, turns.select(typed.columns)]),
        clean["recordings"],
        params.hearing.conversation,
    )
    choice = choose(
        turns, pl.read_parquet(context.path("splits.parquet")), typed, calibrated, params.pseudo
    )
    write_table(context.path("transcripts.parquet"), turns)
    write_table(context.path("conversation.parquet"), talks)
    write_table(context.path("review_queue.parquet"), choice.queue)
    write_table(context.path("pseudo.parquet"), choice.accepted)
    summary = {
        "calls": recordings.height,
        "heard_with": office["model"],
        "says": office.get("says", ""),
        "turns": turns.height,
        "words": int(turns["text"].str.split(" ").list.len().sum()),
        "mean_confidence": turns["confidence"].mean(),
        "calibrated": calibrated,
        "model": transcription_files.model_stamp(ears),
        "pseudo": choice.summary,
        "review_queue": choice.queue.height,
    }
    write_json(context.path("transcribe.json"), summary)
    return summary


def _half(progress: Progress, number: int) -> Progress:
    """The progress of the first (0) or second (1) of two equal parts."""
    return lambda done, total: progress(number * total + done, 2 * total)
