"""Recognises the customer's voice where the source names none, by comparing speaker embeddings.

A new call joins the voice it is closest to, if that is close enough, or opens a voice. Voices are
kept: a call that has one keeps it, a voice is named by a hash of its first contact, and its centroid
is frozen after a few calls. The more voices are known, the closer a call has to be, so that the
chance to be taken for somebody else does not grow with the centre. A voice guards against leaks
between customers; customers themselves are known to the source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from data.progress import Progress

ReadCustomer = Callable[[str], tuple[np.ndarray, int]]
Embed = Callable[[np.ndarray, int], np.ndarray | None]

# `voice` is null for a call with too little speech. `embedding` is kept of the calls that make the
# voice's centroid: it is biometric data of a person, and leaves the store in no other file.
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "contact_id": pl.String,
    "customer_id": pl.String,
    "voice": pl.String,
    "similarity": pl.Float32,  # cosine to the centroid it joined; null for the first of a voice
    "embedding": pl.List(pl.Float32),
}
# Cosine that one in a hundred pairs of different voices exceeds, and what ten times fewer add to it
# (benchmarks/bench_voices.py, calls of 7 to 12 s through µ-law).
_ONE_IN_HUNDRED = 0.595
_DECADE = 0.085


@dataclass(frozen=True)
class VoiceParams:
    """How close two calls have to be for one voice; section `voices` of params.yaml."""

    # expected share of new voices that are taken for a known one
    false_joins: float = 0.05
    # cosine from which a call has a voice that this customer was heard with before
    same_customer: float = 0.5
    centroid_calls: int = 5  # calls whose mean is the voice; after them it is frozen

    def __post_init__(self) -> None:
        """Raises ValueError for shares and cosines outside 0 to 1 and a centroid of no call."""
        if not 0 < self.false_joins < 1 or not 0 < self.same_customer < 1:
            raise ValueError("voices: false_joins and same_customer must lie between 0 and 1.")
        if self.centroid_calls < 1:
            raise ValueError(
                f"voices: centroid_calls is {self.centroid_calls}; it must be 1 or more."
            )

    def threshold(self, voices: int) -> float:
        """Returns the cosine from which a call joins one of `voices` voices of other customers."""
        decades = np.log10(0.01 * max(1, voices) / self.false_joins)
        return float(min(0.999, max(self.same_customer, _ONE_IN_HUNDRED + _DECADE * decades)))


@dataclass
class _Voices:
    """The voices so far: a centroid each, as the sum of the embeddings it is made of."""

    names: list[str] = field(default_factory=list)
    sums: list[np.ndarray] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    of_customer: dict[str, set[int]] = field(default_factory=dict)

    def add(self, voice: int | None, contact_id: str, customer_id: str | None) -> int:
        """Returns the number of `voice`, or of a new one that `contact_id` opens."""
        if voice is None:
            voice = len(self.names)
            self.names.append(voice_name(contact_id))
            self.sums.append(np.zeros(0, np.float32))
            self.calls.append(0)
        if customer_id is not None:
            self.of_customer.setdefault(customer_id, set()).add(voice)
        return voice

    def teach(self, voice: int, vector: np.ndarray) -> None:
        """Adds an embedding to the centroid of a voice."""
        known = self.sums[voice]
        self.sums[voice] = vector if not known.size else known + vector
        self.calls[voice] += 1

    def similarities(self, vector: np.ndarray) -> np.ndarray:
        """Returns the cosine to each voice."""
        sums = np.array(self.sums)
        cosines: np.ndarray = sums @ vector / np.linalg.norm(sums, axis=1)
        return cosines


def voice_name(contact_id: str) -> str:
    """Returns the name of the voice that is first heard in a contact."""
    return f"heard-{hashlib.sha256(contact_id.encode()).hexdigest()[:12]}"


def recognise_voices(
    read_customer: ReadCustomer,
    calls: pl.DataFrame,
    known: pl.DataFrame,
    *,
    embed: Embed,
    params: VoiceParams,
    progress: Progress = lambda done, total: None,
) -> pl.DataFrame:
    """Returns the table `known` (of `SCHEMA`) with a row for each of the `calls` it lacked.

    `calls` has contact_id and customer_id, earliest first. `read_customer` takes a contact_id and
    returns the customer's channel, float samples of shape [frames] within [-1, 1], and its rate in
    Hz; it is asked for new calls only. `embed` takes these and returns a unit vector, or None where
    there is too little speech. What is known does not change, whatever comes.
    """
    voices = _known_voices(known)
    new = calls.join(known, on="contact_id", how="anti", maintain_order="left")
    rows = []
    for done, (contact_id, customer_id) in enumerate(
        new.select("contact_id", "customer_id").iter_rows(), start=1
    ):
        vector = embed(*read_customer(contact_id))
        rows.append(_placed(voices, contact_id, customer_id, vector, params))
        progress(done, new.height)
    return pl.concat([known, pl.DataFrame(rows, schema=SCHEMA, orient="row")])


def read_voices(path: Path) -> pl.DataFrame:
    """Returns the table of recognised voices at `path`, an empty one where there is no file.

    Raises ValueError naming a file that is damaged.
    """
    if not path.exists():
        return pl.DataFrame(schema=SCHEMA)
    try:
        voices = pl.read_parquet(path, glob=False)
        if dict(voices.schema) != SCHEMA:
            raise ValueError(f"columns are {', '.join(voices.columns)}")
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise ValueError(
            f"{path}: is no table of voices ({error}). Restore it from a backup of the store. "
            "Without it every unnamed voice gets a new name, and calls that then join two sides "
            "are set aside."
        ) from error
    return voices


def voice_groups(voices: pl.DataFrame) -> pl.DataFrame:
    """Returns (contact_id, voice_group) of the calls with a voice, as `data.splits` takes it."""
    return voices.drop_nulls("voice").select("contact_id", pl.col("voice").alias("voice_group"))


def _known_voices(known: pl.DataFrame) -> _Voices:
    """The voices of a table, in the order they were first heard."""
    voices = _Voices()
    number: dict[str, int] = {}
    rows = known.drop_nulls("voice").select("contact_id", "customer_id", "voice", "embedding")
    for contact_id, customer_id, name, embedding in rows.iter_rows():
        voice = number[name] = voices.add(number.get(name), contact_id, customer_id)
        voices.names[voice] = name  # also where its first contact was erased
        if embedding is not None:
            voices.teach(voice, np.array(embedding, np.float32))
    return voices


def _placed(
    voices: _Voices,
    contact_id: str,
    customer_id: str | None,
    vector: np.ndarray | None,
    params: VoiceParams,
) -> tuple[str, str | None, str | None, float | None, list[float] | None]:
    """The row of a new call, once its voice is found or opened."""
    if vector is None:
        return contact_id, customer_id, None, None, None
    found, similarity = None, None
    if voices.names:
        cosines = voices.similarities(vector)
        own = sorted(voices.of_customer.get(customer_id or "", ()))
        best = int(cosines.argmax())
        best_own = max(own, key=lambda voice: cosines[voice]) if own else None
        if best_own is not None and cosines[best_own] >= params.same_customer:
            found = best_own
        elif cosines[best] >= params.threshold(len(voices.names)):
            found = best
        similarity = None if found is None else float(cosines[found])
    voice = voices.add(found, contact_id, customer_id)
    teaches = voices.calls[voice] < params.centroid_calls
    if teaches:
        voices.teach(voice, vector)
    return (
        contact_id,
        customer_id,
        voices.names[voice],
        similarity,
        vector.tolist() if teaches else None,
    )
