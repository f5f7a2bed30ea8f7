"""What a night measures of new calls: how they sound, how sure the recogniser is, word errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from data import artefacts
from data.audio import AudioError
from data.files import read_tables
from data.progress import Progress
from data.records import ORIGIN_PERSON
from data.text import normalise
from evaluation.metrics.wer import alignment, word_errors
from evaluation.monitoring import wer_without_words as without_words
from evaluation.monitoring.observed import Observed
from evaluation.monitoring.sound import sound_measures
from evaluation.monitoring.wer_without_words import HeardCalls, TranscribedCalls, WerEstimate
from flows.stages.transcription import workers
from models.asr.confidence import CalibrationError
from models.kinds import ASR

if TYPE_CHECKING:
    from data.speech.transcripts import TranscriptTurn
    from flows.runtime.context import RunContext
    from models.registry.bundle import Bundle

HEARD_FOLDER = "heard"
_ENOUGH_CALLS = 30  # transcribed in earlier nights; then the validation calls are left out
# A row a call: the customer's side as recognised and, where a person transcribed it, compared.
HEARD: dict[str, Any] = {
    "contact_id": pl.String,
    "cluster": pl.String,
    "scores": pl.List(pl.Float64),
    "right": pl.List(pl.Boolean),
    "substitutions": pl.Int64,
    "insertions": pl.Int64,
    "deletions": pl.Int64,
    "words": pl.Int64,
}


def observe(
    context: RunContext, bundle: Bundle, contacts: pl.DataFrame, progress: Progress
) -> Observed:
    """Returns the sound and confidence of recorded `contacts`, and the estimated word errors."""
    clean = read_tables(context.path(artefacts.CLEAN))
    recordings = clean["recordings"].join(contacts, on="contact_id", how="semi")
    if recordings.is_empty():
        return Observed()
    heard = hear(context, bundle, recordings, clean["turns"], progress)
    sure = heard.select("contact_id", pl.col("scores").list.mean().alias("confidence"))
    table = (
        contacts.join(
            pl.DataFrame(_sounds(context, recordings), infer_schema_length=None), on="contact_id"
        )
        .join(recordings.select("contact_id", "codec"), on="contact_id")
        .join(sure, on="contact_id", how="left")
    )
    found, says = estimates(context, bundle, heard, progress)
    return Observed(table, found, says, {HEARD_FOLDER: heard})


def _sounds(context: RunContext, recordings: pl.DataFrame) -> list[dict[str, Any]]:
    """Returns the sound measures of the customer's channel, a row a call that can be decoded."""
    customer, rows = context.customer_channel(), []
    empty = {"level_dbfs": None, "snr_db": None, "band_hz": None, "silence_share": None}
    for contact_id in recordings["contact_id"].sort():
        try:
            rows.append({"contact_id": contact_id, **sound_measures(*customer(contact_id))})
        except AudioError:
            rows.append({"contact_id": contact_id, **empty})
    return rows


def hear(
    context: RunContext,
    bundle: Bundle,
    recordings: pl.DataFrame,
    turns: pl.DataFrame,
    progress: Progress,
) -> pl.DataFrame:
    """Returns the customer's side of calls as the bundle recognises it (schema HEARD)."""
    config = workers.TranscriberConfig(
        ASR.weights_in(bundle.path), context.path(artefacts.EXPORTS), context.params.hearing
    )
    spoken = workers.transcribe_calls(
        config, recordings, context.path(artefacts.SHARDS), workers.cores(), progress
    )
    typed = (
        turns.filter((pl.col("origin") == ORIGIN_PERSON) & (pl.col("role") == "customer"))
        .sort("turn")
        .group_by("contact_id", maintain_order=True)
        .agg(pl.col("text").fill_null("").str.join(" "))
    )
    texts = dict(typed.iter_rows())
    owners = _owners(context)
    rows = [
        {
            "contact_id": contact_id,
            "cluster": voice or owners.get(contact_id) or contact_id,
            **_compared(spoken[contact_id], texts.get(contact_id)),
        }
        for contact_id, voice in recordings.sort("contact_id")
        .select("contact_id", "voice")
        .iter_rows()
    ]
    return pl.DataFrame(rows, schema=HEARD)


def _owners(context: RunContext) -> dict[str, str]:
    contacts = read_tables(context.path(artefacts.CLEAN))["contacts"]
    return dict(contacts.select("contact_id", "customer_id").iter_rows())


def _compared(turns: Sequence[TranscriptTurn], text: str | None) -> dict[str, Any]:
    """Returns the columns of HEARD from `scores` on for one call.

    Whole sides are compared, so words recognised where nobody speaks are insertions.
    """
    words = [word for turn in turns if turn.role == "customer" for word in turn.words]
    plain = [normalise(word.text).split() for word in words]
    scores = [word.confidence for word, parts in zip(words, plain, strict=True) for _ in parts]
    row: dict[str, Any] = {"scores": scores, "right": None}
    if text is None:
        return row
    reference = normalise(text)
    hypothesis = " ".join(part for parts in plain for part in parts)
    errors = word_errors(reference, hypothesis)
    return row | {
        "right": [said == part for said, part in alignment(reference, hypothesis) if part],
        "substitutions": errors.substitutions,
        "insertions": errors.insertions,
        "deletions": errors.deletions,
        "words": errors.reference,
    }


def estimates(
    context: RunContext, bundle: Bundle, heard: pl.DataFrame, progress: Progress
) -> tuple[Mapping[str, WerEstimate], str]:
    """Returns the estimates of the WER on all calls by source, and why one is missing."""
    found: dict[str, WerEstimate | None] = {}
    typed = heard.filter(pl.col("words").is_not_null())
    if typed.height:
        found["truth"] = without_words.transcribed_wer(transcribed_calls(typed))
    says = ""
    try:
        model = without_words.fit_wer_model(
            transcribed_calls(_calibration_calls(context, bundle, heard, progress))
        )
    except CalibrationError as error:
        says = str(error)
    else:
        calls = heard_calls(heard)
        found["confidence"] = without_words.estimate_wer(model, calls)
        if typed.height and context.params.monitoring.random_transcripts:
            chosen = np.flatnonzero(heard["words"].is_not_null().to_numpy())
            found["joined"] = without_words.joined_wer(
                model, calls, chosen, transcribed_calls(typed)
            )
    return {f"wer_calls_{source}": estimate for source, estimate in found.items() if estimate}, says


def _calibration_calls(
    context: RunContext, bundle: Bundle, tonight: pl.DataFrame, progress: Progress
) -> pl.DataFrame:
    """Returns transcribed calls to fit on, none of them tonight's.

    Those of earlier nights are by the same mix of voices as tonight's, known ones among them. Until
    there are enough, validation calls are added, whose voices the version has never heard.
    """
    folder = context.path(artefacts.MONITORING.within(ASR.name, bundle.sha256[:16]))
    files = sorted((folder / HEARD_FOLDER).glob("*.parquet"))
    nights = pl.concat(
        [pl.DataFrame(schema=HEARD), *(pl.read_parquet(file) for file in files)]
    ).filter(pl.col("words").is_not_null())
    nights = nights.unique("contact_id", keep="last", maintain_order=True).join(
        tonight, on="contact_id", how="anti"
    )
    if nights.height >= _ENOUGH_CALLS:
        return nights
    valid = _validation_calls(context, bundle, folder / "valid.parquet", progress)
    return pl.concat([valid.join(tonight, on="contact_id", how="anti"), nights])


def _validation_calls(
    context: RunContext, bundle: Bundle, path: Path, progress: Progress
) -> pl.DataFrame:
    """Returns the transcribed validation calls as the bundle recognises them; kept once heard."""
    from data.files import write_table
    from data.speech.utterances import transcribed_calls as calls_of_side

    if path.exists():
        return pl.read_parquet(path)
    clean = read_tables(context.path(artefacts.CLEAN))
    splits = pl.read_parquet(context.path(artefacts.SPLITS))
    ids = [call["contact_id"] for call in calls_of_side(clean, splits, "valid")]
    recordings = clean["recordings"].filter(pl.col("contact_id").is_in(ids))
    heard = hear(context, bundle, recordings, clean["turns"], progress)
    write_table(path, heard)
    return heard


def heard_calls(heard: pl.DataFrame) -> HeardCalls:
    """Returns rows of HEARD as arrays."""
    return without_words.calls_of(heard["scores"].to_list(), heard["cluster"].to_list())


def transcribed_calls(heard: pl.DataFrame) -> TranscribedCalls:
    """Returns rows of HEARD that people transcribed as arrays."""
    right = [flag for flags in heard["right"].to_list() for flag in flags]
    return TranscribedCalls(
        heard_calls(heard),
        np.array(right, bool),
        *(
            heard[name].to_numpy().astype(float)
            for name in ("substitutions", "insertions", "deletions", "words")
        ),
    )
