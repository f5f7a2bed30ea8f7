"""Measures every recording once: codec, rate, channels, length, clipping and silence."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data.audio import AudioError, clipped_share, probe, read, silent_share
from data.files import write_table
from data.progress import Progress

MEASURE = 1  # raise it when a measure below changes its meaning: cached ones are then taken again
MEASURES: dict[str, Any] = {
    "sha256": pl.String,
    "measure": pl.Int32,
    "error": pl.String,
    "content": pl.String,
    "measured_codec": pl.String,
    "measured_rate_hz": pl.Int64,
    "measured_channels": pl.Int64,
    "measured_s": pl.Float64,
    "clipped_share": pl.Float64,
    "silent_shares": pl.List(pl.Float64),
}


def measure(content: bytes, name: str) -> dict[str, object]:
    """Returns one recording's measures.

    `clipped_share` is that of the worst channel, `silent_shares` one a channel. `content` is
    the SHA-256 of the bytes as read; `error` says why nothing else could be measured.
    """
    measures: dict[str, object] = {"content": hashlib.sha256(content).hexdigest()}
    try:
        info = probe(content, name)
        audio, rate = read(content, name)
    except AudioError as error:
        return measures | {"error": str(error)}
    return measures | {
        "measured_codec": info.codec,
        "measured_rate_hz": rate,
        "measured_channels": audio.shape[1],
        "measured_s": len(audio) / rate,
        "clipped_share": float(np.max([clipped_share(channel) for channel in audio.T])),
        "silent_shares": [silent_share(channel, rate) for channel in audio.T],
    }


def measure_recordings(
    recordings: pl.DataFrame,
    read_audio: Callable[[str], bytes],
    cache: Path,
    *,
    progress: Progress = lambda done, total: None,
) -> pl.DataFrame:
    """Adds measures to recordings, and the silent share of each role's own channel.

    Only what `cache` (Parquet, by SHA-256) does not hold is read and measured. A recording that
    cannot be fetched has an `error` of its own and is tried again next time, and hides no other
    recording.
    """
    cached = pl.read_parquet(cache) if cache.exists() else pl.DataFrame(schema=MEASURES)
    if dict(cached.schema) != MEASURES:
        cached = pl.DataFrame(schema=MEASURES)
    cached = cached.filter(pl.col("measure") == MEASURE)
    new = recordings.filter(
        pl.col("sha256").is_not_null() & ~pl.col("sha256").is_in(cached["sha256"].implode())
    )
    # Rows that share one hash claim to be one content: reading the first of them is enough.
    new = new.unique("sha256", keep="first", maintain_order=True)

    rows, unfetched = [], []
    for done, (contact_id, sha256) in enumerate(new.select("contact_id", "sha256").iter_rows()):
        progress(done, len(new))
        row: dict[str, object] = {"sha256": sha256, "measure": MEASURE}
        try:
            rows.append(row | measure(read_audio(contact_id), f"call {contact_id}"))
        except (OSError, KeyError, ValueError) as error:
            unfetched.append(
                row | {"error": f"call {contact_id}: its audio cannot be fetched ({error})."}
            )
    progress(len(new), len(new))

    measured = pl.concat([cached, pl.DataFrame(rows, schema=MEASURES)])
    current = measured.filter(pl.col("sha256").is_in(recordings["sha256"].implode()))
    if rows or len(current) < len(cached):
        write_table(cache, current)
    joined = recordings.join(
        pl.concat([current, pl.DataFrame(unfetched, schema=MEASURES)]),
        on="sha256",
        how="left",
        maintain_order="left",
    )

    def silent(channel: str) -> pl.Expr:
        return pl.col("silent_shares").list.get(pl.col(channel).cast(pl.Int64), null_on_oob=True)

    return joined.with_columns(
        content_matches=pl.col("content") == pl.col("sha256"),
        customer_silent_share=silent("customer_channel"),
        agent_silent_share=silent("agent_channel"),
        same_as=pl.col("contact_id").first().over("content"),
    ).drop("silent_shares")
