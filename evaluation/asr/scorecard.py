"""The scorecard of a recogniser: WER with intervals, slices and critical words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from evaluation.metrics.critical import CLASSES, critical_words
from evaluation.metrics.english import VARIANTS, comparable
from evaluation.metrics.wer import character_errors, word_errors
from evaluation.scorecard import Ratio, Scorecard, ScorecardError, _refuse_doubles, score_units


def asr_scorecard(
    model: str,
    data_hash: str,
    rows: Sequence[Mapping[str, Any]],
    hypotheses: Sequence[str],
    seed: int,
    created_at: str,
    bundle_sha256: str = "",
    facts: Mapping[str, Any] | None = None,
    classes: Mapping[str, frozenset[str]] = CLASSES,
    variants: Mapping[str, str] = VARIANTS,
) -> Scorecard:
    """Scores transcripts against what people wrote, clustered by voice, both in `comparable` form.

    `rows` are the test manifest's (text, contact_id, role, voice, codec, start_s and, where known, queue, region, load,
    snr_db and condition), `hypotheses` one text for each. A row without a voice is a cluster with the others of its
    contact.

    Metrics: `wer`, `cer`; `substitutions`, `insertions` and `deletions` over reference words; and for each class of
    critical words `critical_<class>` (missed and made up, over said), `recall_<class>` and `precision_<class>`.
    Slices, in wer and cer, are by `role`, `codec`, `queue`, `region`, `load`, `voice`, `snr` (estimated), `length` and
    `condition`, where the rows know them. Units hold the columns of the slices, ref, hyp, and the counts behind the
    metrics.

    Raises ScorecardError when there is not one hypothesis a row, or no reference word at all.
    """
    if len(rows) != len(hypotheses):
        raise ScorecardError(
            f"model {model}: {len(hypotheses)} transcripts for {len(rows)} test rows. Decode again."
        )
    records = [
        _asr_unit(row, comparable(row["text"], variants), comparable(said, variants), classes)
        for row, said in zip(rows, hypotheses, strict=True)
    ]
    counts = [f"{part}_{name}" for name in classes for part in ("said", "written", "hits", "wrong")]
    units = pl.DataFrame(records, schema=_ASR_UNITS | dict.fromkeys(counts, pl.Int64))
    _refuse_doubles(model, units)
    if not units["words"].sum():
        raise ScorecardError(
            f"model {model}: the test set holds no reference word. Add transcripts to it."
        )
    rates = {"wer": Ratio("errors", "words"), "cer": Ratio("letter_errors", "letters")}
    ratios = rates | {
        name: Ratio(name, "words") for name in ("substitutions", "insertions", "deletions")
    }
    for name in classes:
        ratios[f"critical_{name}"] = Ratio(f"wrong_{name}", f"said_{name}")
        ratios[f"recall_{name}"] = Ratio(f"hits_{name}", f"said_{name}", lower_is_better=False)
        ratios[f"precision_{name}"] = Ratio(
            f"hits_{name}", f"written_{name}", lower_is_better=False
        )
    metrics, _ = score_units(units, ratios, (), seed)
    known = [by for by in _ASR_SLICES if units[by].null_count() < units.height]
    _, slices = score_units(units, rates, known, seed)
    return Scorecard(
        kind="asr",
        model=model,
        bundle_sha256=bundle_sha256,
        data_hash=data_hash,
        created_at=created_at,
        metrics=metrics,
        ratios=ratios,
        slices=slices,
        units=units,
        facts=dict(facts or {}),
    )


_ASR_SLICES = ("role", "codec", "queue", "region", "load", "voice", "snr", "length", "condition")


_ASR_UNITS = {
    "unit": pl.String,
    "cluster": pl.String,
    "contact_id": pl.String,
    "start_s": pl.Float64,
    "snr_db": pl.Float64,
    **dict.fromkeys(_ASR_SLICES, pl.String),
    "ref": pl.String,
    "hyp": pl.String,
    **dict.fromkeys(
        ("errors", "words", "letter_errors", "letters", "substitutions", "insertions", "deletions"),
        pl.Int64,
    ),
}


def _asr_unit(
    row: Mapping[str, Any], ref: str, hyp: str, classes: Mapping[str, frozenset[str]]
) -> dict[str, Any]:
    contact = str(row.get("contact_id") or Path(row["audio_filepath"]).stem)
    condition = row.get("condition")
    errors, letters = word_errors(ref, hyp), character_errors(ref, hyp)
    unit = {
        "unit": f"{contact}/{row.get('role') or ''}/{float(row.get('start_s') or 0.0):.2f}"
        + (f"/{condition}" if condition else ""),
        "cluster": str(row.get("voice") or contact),
        "contact_id": contact,
        "start_s": row.get("start_s"),
        "snr_db": row.get("snr_db"),
        **{
            by: row.get(by)
            for by in ("role", "codec", "queue", "region", "load", "voice", "condition")
        },
        "snr": _band(row.get("snr_db"), (10.0, 20.0, 30.0), "dB"),
        "length": _band(errors.reference, (2, 5, 10), "words"),
        "ref": ref,
        "hyp": hyp,
        "errors": errors.total,
        "words": errors.reference,
        "letter_errors": letters.total,
        "letters": letters.reference,
        "substitutions": errors.substitutions,
        "insertions": errors.insertions,
        "deletions": errors.deletions,
    }
    for name, heard in critical_words(ref, hyp, classes).items():
        unit |= {
            f"said_{name}": heard.said,
            f"written_{name}": heard.written,
            f"hits_{name}": heard.hits,
            f"wrong_{name}": heard.said + heard.written - 2 * heard.hits,
        }
    return unit


def _band(value: float | None, edges: Sequence[float], noun: str) -> str | None:
    """The band `value` lies in, in words: under 10 dB, 10 to 20 dB, from 30 dB."""
    if value is None:
        return None
    place = sum(value >= edge for edge in edges)
    if place == 0:
        return f"under {edges[0]:g} {noun}"
    if place == len(edges):
        return f"from {edges[-1]:g} {noun}"
    return f"{edges[place - 1]:g} to {edges[place]:g} {noun}"
