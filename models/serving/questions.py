"""Checks requests and turns them into a model's input; raises 4xx naming what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from fastapi import HTTPException

from data import audio as audio_files
from models.serving.schemas import ChurnRow

RATES_HZ = (4_000, 192_000)  # of recordings; memory grows with the rate


def feature_values(
    rows: Sequence[ChurnRow], table: pl.DataFrame | None, columns: Sequence[Any]
) -> list[Sequence[Any]]:
    """Returns values [rows][columns] of a model, out of the rows sent or the table looked up.

    Raises HTTPException: 422 names the row and the feature that is missing or of the wrong type,
    503 the feature that the table lacks.
    """
    if table is not None:
        missing = [column.name for column in columns if column.name not in table.columns]
        if missing:
            raise HTTPException(
                503, f"the features table lacks {missing[0]}. Build it with the model's parameters."
            )
        dtypes = [pl.String if column.kind == "categorical" else pl.Float64 for column in columns]
        cast = [
            table[column.name].cast(dtype).to_list()
            for column, dtype in zip(columns, dtypes, strict=True)
        ]
        return list(zip(*cast, strict=True))
    return [_row(number, row.features, columns) for number, row in enumerate(rows)]


def _row(number: int, features: dict[str, Any], columns: Sequence[Any]) -> list[Any]:
    values: list[Any] = []
    for column in columns:
        name = column.name
        if name not in features:
            where = f"rows.{number}.features.{name}"
            raise HTTPException(
                422, f"{where}: missing. Send every feature of the model, null where unknown."
            )
        value = features[name]
        if value is None:
            pass
        elif column.kind != "categorical":
            if isinstance(value, str):
                raise HTTPException(422, f"rows.{number}.features.{name}: must be a number.")
            value = float(value)
        elif isinstance(value, bool):
            # As polars writes it, and so as the model has seen it in training.
            value = str(value).lower()
        elif isinstance(value, float):
            value = f"{value:g}"
        values.append(value)
    return values


def look_up_features(customer_ids: Sequence[str], features: Path | None) -> pl.DataFrame:
    """Returns each customer's latest row of the features table, in the order of `customer_ids`.

    Raises HTTPException (404) without a table, or naming customers that are not in it.
    """
    if features is None or not features.exists():
        raise HTTPException(404, "customer_ids: this service has no features table. Send rows.")
    latest = (
        pl.scan_parquet(features)
        .filter(pl.col("customer_id").is_in(list(customer_ids)))
        .sort("as_of")
        .unique("customer_id", keep="last", maintain_order=True)
        .collect()
    )
    unknown = sorted(set(customer_ids) - set(latest["customer_id"].to_list()))
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise HTTPException(
            404, f"customer_ids: not in the features table: {', '.join(unknown[:5])}{more}."
        )
    ordered = pl.DataFrame({"customer_id": pl.Series(customer_ids, dtype=pl.String)})
    return ordered.join(latest, on="customer_id", how="left", maintain_order="left")


def check_recording(content: bytes, name: str | None, max_audio_s: float) -> audio_files.AudioInfo:
    """Returns channels, rate and length of a recording that can be transcribed.

    Samples are checked block by block: a few kilobytes of FLAC can hold gigabytes of silence.
    Raises HTTPException (422) naming the recording and why it cannot be transcribed.
    """
    name = name or "recording"
    try:
        info = audio_files.probe(content, name)
        if info.channels > 2:
            raise HTTPException(
                422, f"{name}: {info.channels} channels; one or two can be told apart."
            )
        if not RATES_HZ[0] <= info.sample_rate_hz <= RATES_HZ[1]:
            allowed = f"{RATES_HZ[0]} to {RATES_HZ[1]}"
            raise HTTPException(
                422, f"{name}: {info.sample_rate_hz} samples a second; {allowed} are taken."
            )
        if info.duration_s > max_audio_s:
            raise HTTPException(
                422, f"{name}: {info.duration_s:.0f} s long; at most {max_audio_s:.0f} s are taken."
            )
        if not all(np.isfinite(block).all() for block in audio_files.blocks(content, name)):
            raise HTTPException(422, f"{name}: a sample is not a number. Export it again.")
    except audio_files.AudioError as error:
        raise HTTPException(422, str(error)) from error
    return info
