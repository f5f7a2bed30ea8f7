"""Report section on recognition: WER before and after, overall, by slice, and by utterance."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from evaluation.report import charts
from evaluation.report.artefacts import ArtefactReader, MissingArtefactError
from evaluation.report.formatting import count, sentence, title, word_differences
from evaluation.scorecard import Scorecard, ScorecardError, gain, load
from models.kinds import ASR

CARDS = ("scorecards/{kind}-{side}.json", "scorecards/{kind}/{side}.json")


def load_side(artefacts: ArtefactReader, kind: str, side: str) -> Scorecard | None:
    """Returns the scorecard of `side` (candidate, reference, …), or None.

    One that cannot be read leaves a note.
    """
    for pattern in CARDS:
        path = artefacts.store / pattern.format(kind=kind, side=side)
        if path.exists():
            try:
                return load(path)
            except ScorecardError as error:
                artefacts.notes.append(str(error))
    return None


def asr_summary(artefacts: ArtefactReader, examples: int, seed: int) -> dict[str, Any]:
    """Returns the figures of both recognisers on the same test set, and `examples` utterances.

    Utterances are those that improved, those that got worse, and a random sample. Raises
    MissingArtefactError without a scorecard of the candidate.
    """
    after = load_side(artefacts, ASR.name, "candidate")
    before = load_side(artefacts, ASR.name, "reference")
    if after is None:
        raise MissingArtefactError(
            "The stage “evaluate_asr” has not run: there is no scorecard of a recogniser in the "
            "store."
        )
    if before is None:
        artefacts.notes.append(
            "There is no scorecard of the recogniser to beat, so hearing has no “before”."
        )
    rows = _rows(before, after)
    transcribed = artefacts.json_or_none("transcribe.json") or {}
    summary: dict[str, Any] = {
        "before_model": before.model if before else None,
        "after_model": after.model,
        "same_data": before is None or before.data_hash == after.data_hash,
        "data_hash": after.data_hash,
        "rows": rows,
        "overall": rows[0],
        "gain": None,
        "examples": [],
        "facts": {
            name: after.facts.get(name) for name in ("parameters", "size_bytes", "times_real_time")
        },
        "transcribed": {
            name: transcribed.get(name) for name in ("calls", "words", "mean_confidence")
        },
        "voices": after.units["voice"].fill_null(after.units["cluster"]).n_unique(),
        "utterances": after.units.height,
        "words": int(after.units["words"].sum()),
        "cer": {"before": _metric(before, "cer"), "after": _metric(after, "cer")},
        "chart": _chart(rows),
    }
    if before is not None:
        try:
            change = gain(after, before, "wer", seed=seed)
            summary["gain"] = {"value": change.value, "low": change.low, "high": change.high}
            summary["examples"] = _examples(before, after, most=examples, seed=seed)
        except ScorecardError as error:
            artefacts.notes.append(str(error))
    return summary


def _rows(before: Scorecard | None, after: Scorecard) -> list[dict[str, Any]]:
    """Returns a row for all test speech, and one for each slice but voices."""
    rows = [_row("All test speech", before, after)]
    # A row a voice is for the scorecard; nobody reads fifty on a page.
    for by in sorted(set(after.slices) - {"voice"}):
        rows += [
            _row(f"{sentence(title(by))}: {title(value)}", before, after, slice_of=(by, value))
            for value in after.slices[by]
        ]
    return rows


def _row(
    name: str,
    before: Scorecard | None,
    after: Scorecard,
    *,
    slice_of: tuple[str, str] | None = None,
) -> dict[str, Any]:
    metric = _metric(after, "wer", slice_of)
    return {
        "name": name,
        "n": (metric or {}).get("n"),
        "before": _metric(before, "wer", slice_of),
        "after": metric,
    }


def _metric(
    scorecard: Scorecard | None, name: str, slice_of: tuple[str, str] | None = None
) -> dict[str, Any] | None:
    """Returns a metric over all units, or within a slice (column, value); None if not measured."""
    if scorecard is None:
        return None
    metrics = scorecard.metrics
    if slice_of:
        by, value = slice_of
        metrics = scorecard.slices.get(by, {}).get(value, {})
    estimate = metrics.get(name)
    if estimate is None:
        return None
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


def _chart(rows: list[dict[str, Any]]) -> str:
    def estimate(metric: dict[str, Any] | None) -> charts.Estimate:
        return (
            charts.Estimate(metric["value"], metric["low"], metric["high"])
            if metric
            else charts.Estimate(None)
        )

    pairs = [
        charts.Pair(row["name"], estimate(row["before"]), estimate(row["after"]), count(row["n"]))
        for row in rows
    ]
    return charts.before_after_chart(
        pairs, "Word error rate before and after by slice; the table below has the same numbers."
    )


def _examples(before: Scorecard, after: Scorecard, *, most: int, seed: int) -> list[dict[str, Any]]:
    """Returns utterances: half improved most, a quarter got worse, the rest a random sample."""
    both = _paired_texts(before, after)
    # Short enough to read at a glance, long enough to mean something.
    readable = both.filter(pl.col("words").is_between(4, 30))
    both = readable if readable.height >= most else both
    improved = (
        both.filter(pl.col("fewer") > 0)
        .sort(["fewer", "unit"], descending=[True, False])
        .head(most // 2)
    )
    worse = (
        both.filter(pl.col("fewer") < 0).sort("fewer", "unit").head((most - improved.height) // 2)
    )
    rest = both.join(
        pl.concat([improved, worse]).select("unit"), on="unit", how="anti", maintain_order="left"
    )
    sampled = np.random.default_rng(seed).permutation(rest.height)[
        : most - improved.height - worse.height
    ]
    chosen = [
        ("improved most", improved),
        ("got worse", worse),
        ("drawn by lot", rest[sorted(sampled.tolist())]),
    ]
    return [
        {
            **row,
            "why": why,
            "words_before": word_differences(row["ref"], row["before"]),
            "words_after": word_differences(row["ref"], row["after"]),
        }
        for why, part in chosen
        for row in part.iter_rows(named=True)
    ]


def _paired_texts(before: Scorecard, after: Scorecard) -> pl.DataFrame:
    """Returns utterances with words, both texts and error counts, and `fewer` errors after."""
    return (
        after.units.select(
            "unit",
            "contact_id",
            "role",
            "start_s",
            "ref",
            "words",
            pl.col("hyp").alias("after"),
            pl.col("errors").alias("errors_after"),
        )
        .join(
            before.units.select(
                "unit", pl.col("hyp").alias("before"), pl.col("errors").alias("errors_before")
            ),
            on="unit",
            how="inner",
        )
        .filter(pl.col("words") > 0)
        .with_columns((pl.col("errors_before") - pl.col("errors_after")).alias("fewer"))
        .sort("unit")
    )
