"""Gate check: enough test units, from enough different voices or customers, for a verdict."""

import polars as pl

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence
from evaluation.gates.looks import percent
from evaluation.metrics.power import least_clusters
from models.kinds import kind_of

NAME = "enough_evidence"
PROMISE = (
    "The test set has as many test units, and as many voices or customers, as a verdict is set to "
    "need."
)


def applies(kind: str) -> bool:
    """Returns True: every kind of model is checked."""
    return True


def check(evidence: Evidence) -> Check:
    """Counts the test units with a weight in the gate's metric, and the clusters they are from.

    There have to be as many clusters as a gain needs to reach the level of this look.
    """
    card, params = evidence.candidate, evidence.params
    ratio = card.ratios.get(params.metric)
    if ratio is None:
        return Check(
            NAME,
            "no_evidence",
            f"{params.metric} was not measured a unit. Evaluate again.",
            params.metric,
        )
    weighted = card.units.filter(pl.col(ratio.denominator) > 0)
    units, clusters = weighted.height, weighted["cluster"].n_unique()
    noun = kind_of(card.kind).cluster_title
    enough = units >= params.min_units and clusters >= params.min_clusters
    sentence = (
        f"{units} test units (at least {params.min_units}) of {clusters} {noun} (at least "
        f"{params.min_clusters})."
    )
    # Where params allow a loss, no gain has to be proven.
    if params.min_gain >= 0 and clusters < (least := least_clusters(evidence.look_level)):
        enough = False
        sentence += (
            f" {clusters} {noun} can prove nothing at this level (at best p = "
            f"{percent(0.5**clusters)}; {percent(evidence.look_level)} are allowed); {least} can."
        )
    return Check(
        NAME,
        "pass" if enough else "no_evidence",
        sentence,
        None,
        float(units),
        threshold=params.min_units,
    )


ACCEPTS = (
    examples.evidence,
    lambda: examples.evidence(candidate=examples.churn(0.2)),
)
REFUSES = (
    lambda: examples.evidence(candidate=examples.churn(0.2, customers=40, dates=4)),
    lambda: examples.evidence(candidate=examples.asr(0.1, voices=4, utterances=40)),
    lambda: examples.evidence(candidate=examples.asr(0.1, voices=12, utterances=8)),
    lambda: examples.evidence(metric="unheard"),
    lambda: examples.evidence(
        candidate=examples.asr(0.1, voices=5),
        min_clusters=5,
        relaxation_reason="shows that five voices prove nothing",
    ),
)
