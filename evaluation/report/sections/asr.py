"""How well calls are heard: word error rate before and after, overall, by slice, and sentence by sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from evaluation.report import charts
from evaluation.report.artefacts import ArtefactReader, MissingArtefactError
from evaluation.report.formatting import count, differences, sentence, title
from evaluation.scorecard import Scorecard, ScorecardError, gain, load

CARDS = ("scorecards/{kind}-{side}.json", "scorecards/{kind}/{side}.json")


def card(shelf: ArtefactReader, kind: str, side: str) -> Scorecard | None:
    """The scorecard of `side` (candidate, reference, …), or None."""
    for pattern in CARDS:
        path = shelf.store / pattern.format(kind=kind, side=side)
        if path.exists():
            try:
                return load(path)
            except ScorecardError as error:
                shelf.notes.append(str(error))
    return None


def asr(shelf: ArtefactReader, examples: int, seed: int) -> dict[str, Any]:
    """Both recognisers on the same test set. `examples` utterances are shown: improved, worsened, and by lot."""
    after, before = card(shelf, "asr", "candidate"), card(shelf, "asr", "reference")
    if after is None:
        raise MissingArtefactError(
            "The step “evaluate_asr” has not run: there is no scorecard of a recogniser in the store."
        )
    if before is None:
        shelf.notes.append(
            "There is no scorecard of the recogniser to beat, so hearing has no “before”."
        )
    rows = [_row("All test speech", before, after)]
    for by in sorted(
        set(after.slices) - {"voice"}
    ):  # a row a voice is for the scorecard; nobody reads fifty here
        rows += [
            _row(f"{sentence(title(by))}: {title(value)}", before, after, by, value)
            for value in after.slices[by]
        ]
    heard = shelf.json_or_none("transcribe.json") or {}
    found: dict[str, Any] = {
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
        "heard": {name: heard.get(name) for name in ("calls", "words", "mean_confidence")},
        "voices": after.units["cluster"].n_unique(),
        "utterances": after.units.height,
        "words": int(after.units["words"].sum()),
        "cer": {"before": _metric(before, "cer"), "after": _metric(after, "cer")},
    }
    found["chart"] = _chart(rows)
    if before is not None:
        try:
            change = gain(after, before, "wer", seed)
            found["gain"] = {"value": change.value, "low": change.low, "high": change.high}
            found["examples"] = _examples(before, after, examples, seed)
        except ScorecardError as error:
            shelf.notes.append(str(error))
    return found


def _row(
    name: str, before: Scorecard | None, after: Scorecard, by: str = "", value: str = ""
) -> dict[str, Any]:
    return {
        "name": name,
        "n": (_metric(after, "wer", by, value) or {}).get("n"),
        "before": _metric(before, "wer", by, value),
        "after": _metric(after, "wer", by, value),
    }


def _metric(
    scorecard: Scorecard | None, name: str, by: str = "", value: str = ""
) -> dict[str, Any] | None:
    if scorecard is None:
        return None
    metrics = scorecard.slices.get(by, {}).get(value, {}) if by else scorecard.metrics
    estimate = metrics.get(name)
    if estimate is None:
        return None
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


def _chart(rows: list[dict[str, Any]]) -> str:
    def estimate(found: dict[str, Any] | None) -> charts.Estimate:
        return (
            charts.Estimate(found["value"], found["low"], found["high"])
            if found
            else charts.Estimate(None)
        )

    drawn = [
        charts.Pair(row["name"], estimate(row["before"]), estimate(row["after"]), count(row["n"]))
        for row in rows
    ]
    return charts.pairs(
        drawn, "Word error rate before and after by slice; the table below has the same numbers."
    )


def _examples(before: Scorecard, after: Scorecard, most: int, seed: int) -> list[dict[str, Any]]:
    """Half of them those that improved most, then the worst regressions, and at least one drawn by lot."""
    both = (
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
    lot = np.random.default_rng(seed).permutation(rest.height)[
        : most - improved.height - worse.height
    ]
    chosen = [
        ("improved most", improved),
        ("got worse", worse),
        ("drawn by lot", rest[sorted(lot.tolist())]),
    ]
    return [
        {
            **row,
            "why": why,
            "words_before": differences(row["ref"], row["before"]),
            "words_after": differences(row["ref"], row["after"]),
        }
        for why, part in chosen
        for row in part.iter_rows(named=True)
    ]
