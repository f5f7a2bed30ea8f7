"""The scorecard of a recogniser: WER with intervals, slices and critical words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from evaluation.metrics.critical import CLASSES, critical_words
from evaluation.metrics.english import VARIANTS, comparable
from evaluation.metrics.wer import character_errors, word_errors
from evaluation.scorecard import (
    Ratio,
    Scorecard,
    ScorecardError,
    refuse_duplicate_units,
    score_units,
)

_SLICES = ("role", "codec", "queue", "region", "load", "voice", "snr", "length", "condition")
_UNITS = {
    "unit": pl.String,
    "cluster": pl.String,
    "contact_id": pl.String,
    "start_s": pl.Float64,
    "snr_db": pl.Float64,
    **dict.fromkeys(_SLICES, pl.String),
    "ref": pl.String,
    "hyp": pl.String,
    **dict.fromkeys(
        ("errors", "words", "letter_errors", "letters", "substitutions", "insertions", "deletions"),
        pl.Int64,
    ),
}
_RATES = {"wer": Ratio("errors", "words"), "cer": Ratio("letter_errors", "letters")}


def asr_scorecard(
    rows: Sequence[Mapping[str, Any]],
    hypotheses: Sequence[str],
    *,
    model: str,
    data_hash: str,
    seed: int,
    created_at: str,
    bundle_sha256: str = "",
    facts: Mapping[str, Any] | None = None,
    classes: Mapping[str, frozenset[str]] = CLASSES,
    variants: Mapping[str, str] = VARIANTS,
) -> Scorecard:
    """Scores transcripts against reference texts, both in `comparable` form.

    `rows` are the test manifest's (text, contact_id, role, voice, codec, start_s and, where known,
    customer, queue, region, load, snr_db and condition), `hypotheses` one text for each. A cluster
    is a customer, where that is known, else a voice, else a contact.

    Metrics: `wer`, `cer`; `substitutions`, `insertions` and `deletions` over reference words; and
    for each class of critical words `critical_<class>` (missed and inserted, over spoken),
    `recall_<class>` and `precision_<class>`. Slices, in wer and cer, are by `role`, `codec`,
    `queue`, `region`, `load`, `voice`, `snr` (estimated), `length` and `condition`, where the rows
    have them. Units hold the columns of the slices, ref, hyp, and the counts behind the metrics.

    Raises ScorecardError when there is not one hypothesis a row, or no reference word at all.
    """
    if len(rows) != len(hypotheses):
        raise ScorecardError(
            f"model {model}: {len(hypotheses)} transcripts for {len(rows)} test rows. Decode again."
        )
    records = [
        _unit(row, comparable(row["text"], variants), comparable(hypothesis, variants), classes)
        for row, hypothesis in zip(rows, hypotheses, strict=True)
    ]
    counts = [f"{part}_{name}" for name in classes for part in ("said", "written", "hits", "wrong")]
    units = pl.DataFrame(records, schema=_UNITS | dict.fromkeys(counts, pl.Int64))
    refuse_duplicate_units(model, units)
    if not units["words"].sum():
        raise ScorecardError(
            f"model {model}: the test set holds no reference word. Add transcripts to it."
        )
    ratios = _ratios(classes)
    metrics, _ = score_units(units, ratios, (), seed=seed)
    slice_by = [by for by in _SLICES if units[by].null_count() < units.height]
    _, slices = score_units(units, _RATES, slice_by, seed=seed)
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


def _ratios(classes: Iterable[str]) -> dict[str, Ratio]:
    """Returns every metric as a ratio of two columns of the units."""
    ratios = _RATES | {
        name: Ratio(name, "words") for name in ("substitutions", "insertions", "deletions")
    }
    for name in classes:
        ratios[f"critical_{name}"] = Ratio(f"wrong_{name}", f"said_{name}")
        ratios[f"recall_{name}"] = Ratio(f"hits_{name}", f"said_{name}", lower_is_better=False)
        ratios[f"precision_{name}"] = Ratio(
            f"hits_{name}", f"written_{name}", lower_is_better=False
        )
    return ratios


def _unit(
    row: Mapping[str, Any], ref: str, hyp: str, classes: Mapping[str, frozenset[str]]
) -> dict[str, Any]:
    """Returns the unit of one utterance; `ref` and `hyp` are in comparable form."""
    contact = str(row.get("contact_id") or Path(row["audio_filepath"]).stem)
    condition = row.get("condition")
    errors, letters = word_errors(ref, hyp), character_errors(ref, hyp)
    unit = {
        "unit": f"{contact}/{row.get('role') or ''}/{float(row.get('start_s') or 0.0):.2f}"
        + (f"/{condition}" if condition else ""),
        "cluster": str(row.get("customer") or row.get("voice") or contact),
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
    for name, counts in critical_words(ref, hyp, classes).items():
        unit |= {
            f"said_{name}": counts.spoken,
            f"written_{name}": counts.written,
            f"hits_{name}": counts.hits,
            f"wrong_{name}": counts.spoken + counts.written - 2 * counts.hits,
        }
    return unit


def _band(value: float | None, edges: Sequence[float], noun: str) -> str | None:
    """Returns the band that `value` lies in, in words: under 10 dB, 10 to 20 dB, from 30 dB."""
    if value is None:
        return None
    place = sum(value >= edge for edge in edges)
    if place == 0:
        return f"under {edges[0]:g} {noun}"
    if place == len(edges):
        return f"from {edges[-1]:g} {noun}"
    return f"{edges[place - 1]:g} to {edges[place]:g} {noun}"
