"""Behaviour tests of a reader: capitals, order and company change nothing, anger shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import polars as pl

from evaluation.behaviour import ROWS_SCORED_ALONE, Probe
from evaluation.metrics.bootstrap import Interval, ratio_of_sums

_ANGER = "this is ridiculous, i am really angry and fed up with you"

ReadContacts = Callable[[pl.DataFrame, pl.DataFrame], Mapping[str, np.ndarray]]


def reader_probes(
    read: ReadContacts,
    *,
    labels: Mapping[str, Sequence[str]],
    contacts: pl.DataFrame,
    turns: pl.DataFrame,
    seed: int,
) -> list[Probe]:
    """Runs the behaviour tests of a contact reader.

    On `contacts` (contact_id, customer_id, channel) and their `turns`; `read` gives each label's
    probabilities, [contacts, values of `labels`].
    """
    before = read(contacts, turns)
    loud = pl.format("  {}!! ", pl.col("text").str.to_uppercase().str.replace_all(" ", "  "))
    louder = read(contacts, turns.with_columns(loud.alias("text")))
    alone = [read(contact, turns) for contact in contacts.head(ROWS_SCORED_ALONE).iter_slices(1)]
    rise = _rise_after_anger(read, labels, contacts, turns, seed=seed)
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
                float(np.abs(probabilities[name][0] - before[name][n]).max())
                for n, probabilities in enumerate(alone)
                for name in probabilities
            ),
        ),
        Probe(
            "anger_added",
            "direction",
            "Words of anger at the end do not lower the mean probability of a bad mood.",
            rise.value,
            rise.low,
            rise.high,
            rise.clusters,
        ),
    ]


def _rise_after_anger(
    read: ReadContacts,
    labels: Mapping[str, Sequence[str]],
    contacts: pl.DataFrame,
    turns: pl.DataFrame,
    *,
    seed: int,
) -> Interval:
    """Returns the mean rise in the probability of negative sentiment after words of anger."""
    last = pl.col("turn") == pl.col("turn").max().over("contact_id")
    words = pl.when(last).then(pl.lit(_ANGER)).otherwise(pl.lit(""))
    customer_turns = turns.filter(pl.col("role") == "customer")
    other_turns = turns.filter(pl.col("role") != "customer")
    spoken = contacts.join(customer_turns, on="contact_id", how="semi")
    angry = customer_turns.with_columns(pl.concat_str("text", words, separator=" ").alias("text"))
    negative = list(labels["sentiment"]).index("negative")
    calm = read(spoken, turns)["sentiment"][:, negative]
    rise = read(spoken, pl.concat([angry, other_turns]))["sentiment"][:, negative] - calm
    return ratio_of_sums(rise, np.ones(len(rise)), spoken["customer_id"].to_numpy(), seed=seed)
