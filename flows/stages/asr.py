"""The stages of the recogniser, from pseudo-transcripts to transcribed calls."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from data import artefacts
from data.files import atomic, read_json, read_tables, write_json, write_table
from data.progress import Progress
from data.speech import manifests, utterances
from data.speech.heard import keep_first_heard
from data.splits import SPLITS
from evaluation.asr import test_sets
from evaluation.asr.test_sets import TestSpeech
from flows.candidate import active_model, bundles, runs, scorecards
from flows.candidate.learned import learned_by_role, leave_out_seen
from flows.runtime.context import RunContext
from flows.runtime.settings import ROOT, checkout_file
from flows.stages import asr_nightly, asr_probes
from flows.stages.transcription import files as transcription_files
from flows.stages.transcription import workers
from models.kinds import ASR
from models.registry.learned import Learned
from training.asr import calibration

if TYPE_CHECKING:
    from evaluation.gates.evidence import Check
    from evaluation.monitoring.observed import Observed
    from evaluation.params import EvaluationParams
    from evaluation.scorecard import Scorecard
    from flows.candidate.learned import LeftOut
    from models.registry.bundle import Bundle
    from training.search import SearchTask
    from training.tracking import Run

KIND = ASR.name


def base_of(name: str, folder: Path) -> Path:
    """Returns the `.nemo` that asr.base names.

    That is a file (relative to the checkout) or a hub model, fetched once to `folder`.
    """
    local = checkout_file(name)
    if local.exists() or name.endswith(".nemo"):
        return local
    keep = folder / f"base-{re.sub('[^a-z0-9]+', '-', name.lower())}.nemo"
    if not keep.exists():
        from models.asr.nemo import fetch

        with atomic(keep) as temporary:
            fetch(name).save_to(str(temporary))
    return keep


def pseudo(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Writes pseudo/train.jsonl, the training manifest, and returns the summary.

    It holds what people transcribed and, with pseudo.learn, confident transcripts that the champion
    made at the end of the last run. Today's splits and people's transcripts decide again which of
    them may be used.
    """
    summary = manifests.add_pseudo_transcripts(
        read_tables(context.path(artefacts.CLEAN)),
        pl.read_parquet(context.path(artefacts.SPLITS)),
        speech=context.path(artefacts.SPEECH),
        chosen=context.path(artefacts.PSEUDO_TURNS),
        out=context.path(artefacts.PSEUDO),
        read_audio=context.decoded(),
        params=context.params.pseudo,
        progress=progress,
    )
    write_json(context.path(artefacts.PSEUDO_SUMMARY), summary)
    return summary


def train(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Fine-tunes the recogniser as one MLflow run and writes the bundle asr/bundle.

    Returns the summary, with what the adaptation with text and the calibration came to.
    """
    from data.leaks import assert_manifests_apart
    from flows.stages import asr_adaptation
    from models.asr.decoding import FILES
    from training.asr.finetune import finetune

    params, speech, work = (
        context.params.asr,
        context.path(artefacts.SPEECH),
        context.path(artefacts.WORK.of(KIND).within("work")),
    )
    base = base_of(params.base, context.path(artefacts.WORK.of(KIND)))
    train_manifest = context.path(artefacts.PSEUDO.within("train.jsonl"))
    lines = {
        name: manifests.read_manifest(
            train_manifest if name == "train" else speech / f"{name}.jsonl"
        )
        for name in SPLITS
    }
    splits = pl.read_parquet(context.path(artefacts.SPLITS))
    assert_manifests_apart(lines, splits)
    params = asr_adaptation.with_synthetic_speech(context, params, progress)
    with runs.training_run(context, KIND, asdict(params)) as run:
        summary = finetune(
            params,
            base,
            train_manifest=train_manifest,
            valid_manifest=speech / "valid.jsonl",
            work_dir=work,
            run=run,
            progress=progress,
        )
        _enforce_hours_budget(context, run, summary["train"].get("skipped", {}))
    summary |= {"adaptation": asr_adaptation.adapt(context, work / "model.nemo", progress)}
    calls = utterances.transcribed_calls(
        read_tables(context.path(artefacts.CLEAN)), splits, "valid"
    )
    summary |= {
        "confidence": calibration.calibrate_confidence(
            work / "model.nemo",
            calls,
            read_audio=context.decoded(),
            segmentation=context.params.hearing.segmentation,
            exports=context.path(artefacts.EXPORTS),
        )
    }
    files = [
        path for name in ("model.nemo", "confidence.json", *FILES) if (path := work / name).exists()
    ]
    return bundles.write_candidate_bundle(
        context,
        KIND,
        {path.name: path for path in files},
        run.run_id,
        summary,
        learned=_learned(lines, splits),
    )


def _learned(lines: Mapping[str, list[dict[str, Any]]], splits: pl.DataFrame) -> Learned:
    """Returns whom a recogniser learns from: its manifests, and the texts of those sides."""
    sides = pl.col("split").is_in(["train", "valid"])
    own = splits.filter(sides & pl.col("contact_id").is_not_null())
    rows = [row for name in ("train", "valid") for row in lines[name]]
    contacts = {row["contact_id"] for row in rows} | set(own["contact_id"])
    of_them = splits.filter(pl.col("contact_id").is_in(list(contacts)))
    return Learned.of(
        customers=of_them["customer_id"],
        voices={*of_them["voice_group"], *(row.get("voice") for row in rows)},
        contacts=contacts,
    )


def _enforce_hours_budget(
    context: RunContext, run: Run, skipped: Mapping[str, Mapping[str, float]]
) -> None:
    """Accounts for every recorded hour including this training's; raises where too many are lost.

    `skipped` holds, a reason, the `hours` that training left out. Writes asr/hours.json and logs
    the account to `run`.
    """
    from data.hours import read_hours_account

    hours = read_hours_account(read_json(context.path(artefacts.HOURS)))
    pseudo_summary = read_json(context.path(artefacts.PSEUDO_SUMMARY))
    hours = hours.with_pseudo(pseudo_summary["added_s"]) if pseudo_summary["learn"] else hours
    hours = hours.with_training_skips(
        {reason: 3600 * entry["hours"] for reason, entry in skipped.items()}
    )
    budget = hours.summary(context.params.hours)
    path = context.path(artefacts.WORK.of(KIND).within("hours.json"))
    write_json(path, budget)
    names = ("input_h", "train_h", "lost_h", "lost_share")
    run.log_metrics({f"hours_{name}": budget[name] for name in names})
    run.log_artifact(path)
    hours.enforce_budget(context.params.hours)


def training_line(summary: dict[str, Any]) -> str:
    """Returns validation WER before and after, and which weights were chosen."""
    before, after = summary["wer_before"], summary["wer"]
    return f"validation WER {before:.1%} → {after:.1%} ({summary['chosen']})"


def transcribe(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Transcribes the recordings that no person has, with the active recogniser.

    Returns the summary. Measures conversations of all calls as well, and sorts the machine
    transcripts: confident enough for the next training, or next for a person to review. Raises
    ValueError where no recogniser is active.
    """
    from data.labelling.pseudo import select_pseudo_transcripts
    from evaluation.experience.conversation import conversations

    clean, params = read_tables(context.path(artefacts.CLEAN)), context.params
    typed = clean["turns"].filter(pl.col("origin") == "person")
    recordings = clean["recordings"].join(typed, on="contact_id", how="anti")
    model = active_model.active_model_path(context, KIND)
    active = read_json(context.path(artefacts.ACTIVE.of(KIND)))
    if model is None:
        raise ValueError(
            "there is no recogniser to hear with. Set asr.base in params.yaml to a .nemo."
        )
    config = workers.TranscriberConfig(model, context.path(artefacts.EXPORTS), params.hearing)
    turns, calibrated = workers.transcribe_all(
        config, recordings, context.path(artefacts.SHARDS), workers.cores(), progress
    )
    talks = conversations(
        pl.concat([typed, turns.select(typed.columns)]),
        clean["recordings"],
        params.hearing.conversation,
    )
    choice = select_pseudo_transcripts(
        turns,
        pl.read_parquet(context.path(artefacts.SPLITS)),
        typed,
        calibrated=calibrated,
        params=params.pseudo,
    )
    heard = context.path(artefacts.HEARD)
    first = keep_first_heard(
        pl.read_parquet(heard) if heard.exists() else None,
        turns,
        clean["recordings"],
        model=active["model"],
        now=context.now(),
    )
    write_table(heard, first)
    write_table(context.path(artefacts.TRANSCRIPTS), turns)
    write_table(context.path(artefacts.CONVERSATION), talks)
    write_table(context.path(artefacts.REVIEW_QUEUE), choice.queue)
    write_table(context.path(artefacts.PSEUDO_TURNS), choice.accepted)
    summary = {
        "calls": recordings.height,
        "heard_with": active["model"],
        "says": active.get("says", ""),
        "turns": turns.height,
        "words": int(turns["text"].str.split(" ").list.len().sum()),
        "mean_confidence": turns["confidence"].mean(),
        "calibrated": calibrated,
        "model": transcription_files.model_stamp(config),
        "pseudo": choice.summary,
        "review_queue": choice.queue.height,
    }
    write_json(context.path(artefacts.TRANSCRIBE), summary)
    return summary


def baseline(context: RunContext) -> dict[str, Any]:
    """Returns the base that fine-tuning starts from: what a first recogniser has to beat."""
    base = base_of(context.params.asr.base, context.path(artefacts.WORK.of(KIND)))
    return {"model": "base", "path": context.stored(base)}


def smoke_sample(context: RunContext) -> Path:
    """Returns the longest test cut, for the service to transcribe before a release."""
    manifest = context.path(artefacts.SPEECH.within("test.jsonl"))
    longest = max(manifests.require_manifest(manifest), key=lambda row: row["duration"])
    return manifest.parent / str(longest["audio_filepath"])


def smoke_test(context: RunContext, bundle: Path) -> dict[str, Any]:
    """Asks the bundle the smoke sample, as the service would."""
    from models.serving import smoke

    return smoke.smoke_test(bundle, KIND, smoke_sample(context))


def search_task(context: RunContext, progress: Progress) -> SearchTask:
    """Returns the search of fine-tuning settings on train and valid speech."""
    from flows.stages import asr_adaptation
    from training.asr.search import task

    params = asr_adaptation.with_synthetic_speech(context, context.params.asr, progress)
    return task(
        params,
        base_of(params.base, context.path(artefacts.WORK.of(KIND))),
        train_manifest=context.path(artefacts.PSEUDO.within("train.jsonl")),
        valid_manifest=context.path(artefacts.SPEECH.within("valid.jsonl")),
    )


def assess(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Scores the candidate on the validation speech alone."""
    manifest, params = (
        context.path(artefacts.SPEECH.within("valid.jsonl")),
        _test_set_alone(context),
    )
    cards = test_sets.evaluate(
        ASR.weights_in(context.path(artefacts.BUNDLE.of(KIND))),
        test_sets.load_test_sets(manifest, params),
        name=scorecards.model_name(context, KIND, "candidate"),
        bundle_sha256=scorecards.model_checksum(context, KIND, "candidate"),
        params=params,
        now=context.now(),
        progress=progress,
    )
    return scorecards.write_validation_scorecard(context, KIND, cards["test"])


def evaluate(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Scores candidate and reference on the same held-out speech; returns the summary.

    Scored are the test calls, a sample of them through telephone conditions, general speech, and
    planted sentences with critical words.
    """
    manifest = context.path(artefacts.SPEECH.within("test.jsonl"))
    speech, left_out = _unseen_speech(context, learned_by_role(context, KIND))
    parts = test_sets.load_test_sets(manifest, context.params.evaluation, ROOT, speech=speech)
    cards = {
        role: test_sets.evaluate(
            path,
            parts,
            name=scorecards.model_name(context, KIND, role),
            bundle_sha256=scorecards.model_checksum(context, KIND, role),
            params=context.params.evaluation,
            now=context.now(),
            progress=_half(progress, number),
        )
        for number, (role, path) in enumerate(scorecards.models_to_compare(context, KIND).items())
        if path is not None
    }
    # A part that params no longer name must not stay behind.
    shutil.rmtree(context.path(artefacts.SCORECARDS.of(KIND)), ignore_errors=True)
    for part in sorted(set(parts) - {"test"}):
        secondary = {role: by_part[part] for role, by_part in cards.items()}
        scorecards.write_secondary_scorecards(context, KIND, part, secondary)
    test_set = pl.read_parquet(context.path(artefacts.SPLITS)).filter(
        (pl.col("split") == "test")
        & (pl.col("contact_id").is_null() | ~pl.col("contact_id").is_in(list(speech.left_out)))
    )
    test = {role: by_part["test"] for role, by_part in cards.items()}
    return scorecards.write_scorecards(context, KIND, test, test_set, left_out)


def _unseen_speech(
    context: RunContext, learned: Mapping[str, Learned | None]
) -> tuple[TestSpeech, LeftOut]:
    """Returns which test utterances no model of `learned` knows, with the customer of each call."""
    splits = pl.read_parquet(context.path(artefacts.SPLITS)).drop_nulls("contact_id")
    # A customer named like the call is one that the source made up for it: nobody is known.
    named = splits.filter(pl.col("customer_id") != pl.col("contact_id"))
    customers = dict(named.select("contact_id", "customer_id").iter_rows())
    rows = manifests.read_manifest(context.path(artefacts.SPEECH.within("test.jsonl")))
    units = pl.DataFrame(
        [(row["contact_id"], row.get("voice"), customers.get(row["contact_id"])) for row in rows],
        schema={"contact_id": pl.String, "voice": pl.String, "customer_id": pl.String},
        orient="row",
    )
    unseen, left_out = leave_out_seen(units, learned)
    if rows and unseen.is_empty():
        raise ValueError(
            f"test: candidate or reference learned from all {len(rows)} held-out utterances, so "
            "nobody can be examined. Deliver calls of new customers."
        )
    seen_calls = units.join(unseen, on="contact_id", how="anti")["contact_id"]
    return TestSpeech(customers, frozenset(seen_calls)), left_out


def probe(context: RunContext, progress: Progress) -> dict[str, Any]:
    """Tests the candidate's behaviour, and what reads its text, for the gate."""
    return asr_probes.probe_asr(context, progress)


def evaluate_new(
    context: RunContext, bundle: Bundle, name: str, contacts: Sequence[str], progress: Progress
) -> Scorecard | None:
    """Returns the scorecard of a registered version on people's transcripts of `contacts`.

    Customers alone are scored, as in the test set. None where nobody transcribed any.
    """
    test_set = test_sets.test_set_of(context.path(artefacts.SPEECH), contacts)
    if test_set is None or not any(row["text"] for row in test_set.rows):
        return None
    return test_sets.evaluate(
        ASR.weights_in(bundle.path),
        {"test": test_set},
        name=name,
        bundle_sha256=bundle.sha256,
        params=_test_set_alone(context),
        now=context.now(),
        progress=progress,
        exports=context.path(artefacts.EXPORTS),
    )["test"]


def observe(
    context: RunContext, bundle: Bundle, contacts: pl.DataFrame, progress: Progress
) -> Observed:
    """Returns how new calls sound, how sure the recogniser is of them, and estimated errors."""
    return asr_nightly.observe(context, bundle, contacts, progress)


def restore_test_set(context: RunContext, rows: pl.DataFrame, dataset: Path, out: Path) -> str:
    """Cuts the held-out contacts `rows` from the recordings in `dataset` again.

    Returns the hash of the test set.
    """
    from data.audio import read
    from data.speech.shards import recording_reader
    from data.speech.utterances import cut_utterances

    tables = read_tables(dataset / "tables")
    content = recording_reader(tables["recordings"], dataset / "shards")
    recordings = utterances.recordings_with_slices(tables)
    cut_utterances(
        recordings,
        tables["turns"],
        rows,
        read_audio=lambda call: read(content(call), call),
        out=out,
    )
    parts = test_sets.load_test_sets(out / "test.jsonl", _test_set_alone(context))
    return parts["test"].data_hash


def _test_set_alone(context: RunContext) -> EvaluationParams:
    """Returns the evaluation's parameters for the test calls and nothing besides."""
    return replace(
        context.params.evaluation, conditions=(), guardrail_s=0.0, critical_sentence_words=0
    )


def fallback(context: RunContext, decided: Mapping[str, Any]) -> tuple[Path | None, str]:
    """Returns the candidate's bundle and a note, in a bare folder of recordings.

    Such a folder is too small to prove much, so the candidate is used if it made fewer errors there
    and nothing but too little evidence speaks against it. The guardrail and planted sentences are
    other speech than this folder's: they keep the candidate from promotion, not from transcribing
    the folder.
    """
    if context.source != "recordings":
        return None, ""
    from evaluation.gates.evidence import NOT_REFUSING
    from evaluation.gates.inconclusive import is_inconclusive
    from evaluation.gates.record import read_decision

    decision = read_decision(context.path(artefacts.DECISIONS.of(KIND)) / decided["record"])
    before, after = (
        decision.record[role]["metrics"]["wer"]["value"] for role in ("reference", "candidate")
    )
    against = {check.name: check for check in decision.checks if check.verdict not in NOT_REFUSING}
    elsewhere = [against.pop(name) for name in list(against) if _is_about_others(against[name])]
    if decision.accepted or after >= before or not all(map(is_inconclusive, against.values())):
        return (
            None,
            f"Heard with {decided['reference']['model']}. {decided['summary']} `keepline "
            "decisions` tells more.",
        )
    gate, share = context.params.gates.asr, context.params.splits.test_share
    proof = decision.record.get("proof") or {}
    voices = max(gate.min_clusters, proof.get("clusters_needed", 0))
    bundle = context.path(artefacts.BUNDLE.of(KIND))
    sentences = [
        f"Heard with the candidate: it made fewer errors (WER {before:.1%} → {after:.1%}). It is "
        "not promoted."
    ]
    if against:
        sentences += [
            "The gate found too little to prove it:",
            *(check.sentence for check in against.values()),
        ]
        sentences += [
            f"To prove it, write down the words of about {math.ceil(gate.min_units / share)} "
            f"recordings of {math.ceil(voices / share)} voices and hear again."
        ]
    if elsewhere:
        sentences += ["It is for recordings like these:", *(check.sentence for check in elsewhere)]
    sentences += [f"Until then `keepline transcribe --model {bundle}` hears more of them with it."]
    return bundle, " ".join(sentences)


def _is_about_others(check: Check) -> bool:
    """Returns whether a failed check found losses only on speech that is not the centre's own."""
    from evaluation.gates.checks.critical_words import is_planted

    failed = [row.what for row in check.measurements if row.verdict == "fail"]
    planted = check.name == "critical_words" and bool(failed) and all(map(is_planted, failed))
    return planted or check.name == "guardrail"


def _half(progress: Progress, number: int) -> Progress:
    """Returns the progress of the first (0) or second (1) of two equal parts."""
    return lambda done, total: progress(number * total + done, 2 * total)
