"""Gate check: a better recogniser does not hurt what is derived from its text."""

from functools import partial

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence, Facts, Measurement, SecondaryTest
from evaluation.gates.non_inferiority import all_non_inferior, non_inferiority
from models.kinds import CHURN, READER, kind_of

NAME = "downstream"
PROMISE = (
    "What is derived from the text (labels, frictions, churn risk) is no worse by more than a "
    "limit than with the reference's text."
)


def applies(kind: str) -> bool:
    """Returns whether the kind names this check."""
    return NAME in kind_of(kind).checks


def check(evidence: Evidence) -> Check:
    """Requires each loss on the text surely below its limit.

    Tested are wrong labels and wrong friction flags, and where there are such champions the churn
    model's Brier score and the contact reader's wrong labels. No evidence where another champion
    reads the text now than when it was tested.
    """
    reading = evidence.secondary_test(
        "reading", "Nobody let the rules read the text of both recognisers.", same_test=True
    )
    read_by = evidence.facts.read_by or {}
    if unknown := _unknown_readers(evidence.facts):
        return Check(NAME, "no_evidence", unknown)
    if "friction_errors" not in reading.candidate.metrics:
        return Check(
            NAME,
            "no_evidence",
            "In no test call is there a friction to miss. Transcribe more calls.",
        )
    params = evidence.asr
    measurements = [
        _loss(evidence, reading, "reading_errors", params.max_reading_loss),
        _loss(evidence, reading, "friction_errors", params.max_friction_loss),
    ]
    remark = "No churn model is active yet, so only labels were read."
    if read_by[CHURN.name]:
        churn = evidence.secondary_test(
            "churn_on_text",
            "Nobody let the active churn model score the text of both.",
            same_test=True,
        )
        measurements.append(
            _loss(evidence, churn, "brier", params.max_brier_loss, what="Brier score of churn")
        )
        remark = ""
    if read_by[READER.name]:
        reader = evidence.secondary_test(
            "reader_on_text",
            "Nobody let the active contact reader read the text of both.",
            same_test=True,
        )
        measurements.append(
            _loss(
                evidence,
                reader,
                "reading_errors",
                params.max_reading_loss,
                what="errors of the contact reader",
            )
        )
    return all_non_inferior(NAME, measurements, params.level, remark=remark)


def _unknown_readers(facts: Facts) -> str:
    """Returns why it is not known which champions read the text; empty where it is known."""
    read_by, readers_now = facts.read_by, facts.readers_now
    if not read_by or not readers_now:
        return "Nobody looked whether a churn model or a contact reader reads this text."
    changed = sorted(
        kind for kind in {*read_by, *readers_now} if read_by.get(kind) != readers_now.get(kind)
    )
    if not changed:
        return ""
    return (
        f"Another {' and '.join(changed)} champion reads the text now than when it was tested. "
        "Probe again."
    )


def _loss(
    evidence: Evidence, test: SecondaryTest, metric: str, margin: float, *, what: str = ""
) -> Measurement:
    """Returns whether the loss in `metric` on a secondary test is surely below `margin`."""
    return non_inferiority(
        test.candidate,
        test.reference,
        metric,
        margin=margin,
        seed=evidence.seed,
        level=evidence.params.level,
        what=what or metric.replace("_", " "),
    )


ACCEPTS = (
    examples.evidence,
    lambda: examples.evidence(facts=examples.readers(churn=""), churn_on_text=None),
    lambda: examples.evidence(facts=examples.readers(reader=""), reader_on_text=None),
)
REFUSES = (
    # Fewer word errors, and the words that tell of friction among them.
    lambda: examples.evidence(reading=(0.3, 0.1)),
    lambda: examples.evidence(churn_on_text=(2.0, 0.2)),
    lambda: examples.evidence(reading=None),
    lambda: examples.evidence(churn_on_text=None),
    lambda: examples.evidence(reader_on_text=(0.3, 0.1)),
    lambda: examples.evidence(reader_on_text=None),
    lambda: examples.evidence(facts={"read_by": None}),
    lambda: examples.evidence(facts={"readers_now": None}),
    # Another champion came after the text was read, or the first one did.
    lambda: examples.evidence(facts={"read_by": {CHURN.name: "d" * 64, READER.name: "e" * 64}}),
    lambda: examples.evidence(facts={"readers_now": {CHURN.name: "c" * 64, READER.name: "d" * 64}}),
    lambda: examples.evidence(
        facts={"read_by": {CHURN.name: "", READER.name: "e" * 64}}, churn_on_text=None
    ),
    lambda: examples.without_frictions(examples.evidence()),
    # Made for other bundles, or on other data.
    *(
        partial(examples.evidence, foreign_bundle=name)
        for name in ("reading", "churn_on_text", "reader_on_text")
    ),
    *(
        partial(examples.evidence, foreign_data=name)
        for name in ("reading", "churn_on_text", "reader_on_text")
    ),
    lambda: examples.evidence(examples.asr(0.1, data_hash="d2"), examples.asr(0.3, data_hash="d2")),
)
