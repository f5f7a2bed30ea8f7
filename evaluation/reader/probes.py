"""Behaviour tests of a reader: capitals, order and courtesies change nothing, anger shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import polars as pl

from evaluation.behaviour import _ALONE, Probe
from evaluation.metrics.bootstrap import ratio_of_sums

_ANGER = "this is ridiculous, i am really angry and fed up with you"


def reader_probes(
    read: Callable[[pl.DataFrame, pl.DataFrame], Mapping[str, np.ndarray]],
    labels: Mapping[str, Sequence[str]],
    contacts: pl.DataFrame,
    turns: pl.DataFrame,
    seed: int,
) -> list[Probe]:
    """Tests of a contact reader on `contacts` (contact_id, customer_id, channel) and their `turns`.

    `read` gives each label's probabilities, [contacts, values of `labels`].
    """
    before = read(contacts, turns)
    loud = pl.format("  {}!! ", pl.col("text").str.to_uppercase().str.replace_all(" ", "  "))
    louder = read(contacts, turns.with_columns(loud.alias("text")))
    alone = [read(one, turns) for one in contacts.head(_ALONE).iter_slices(1)]
    last = pl.col("turn") == pl.col("turn").max().over("contact_id")
    words = pl.when(last).then(pl.lit(_ANGER)).otherwise(pl.lit(""))
    said = turns.filter(pl.col("role") == "customer")
    those = contacts.join(said, on="contact_id", how="semi")
    angry = said.with_columns(pl.concat_str("text", words, separator=" ").alias("text"))
    others = turns.filter(pl.col("role") != "customer")
    at = list(labels["sentiment"]).index("negative")
    calm = read(those, turns)["sentiment"][:, at]
    rise = read(those, pl.concat([angry, others]))["sentiment"][:, at] - calm
    found = ratio_of_sums(rise, np.ones(len(rise)), those["customer_id"].to_numpy(), seed)
    return [
        Probe(
            "written_loudly",
            "invariance",
            "Capitals, exclamation marks and more blanks change no probability.",
            max(float(np.abs(louder[name] - before[name]).max()) for name in before),
        ),
        Probe(
            "read_alone",
            "invariance",
            "A contact read alone has the labels of one read among others.",
            max(
                float(np.abs(one[name][0] - before[name][n]).max())
                for n, one in enumerate(alone)
                for name in one
            ),
        ),
        Probe(
            "anger_added",
            "direction",
            "Words of anger at the end do not lower the mean probability of a bad mood.",
            found.value,
            found.low,
            found.high,
            found.clusters,
        ),
    ]
