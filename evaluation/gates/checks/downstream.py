"""A better recogniser may not hurt what reads its text."""

from functools import partial

from evaluation.gates import examples
from evaluation.gates.evidence import Check, Evidence
from evaluation.gates.non_inferiority import non_inferiority, together
from models.kinds import CHURN, READER, kind_of

NAME = "downstream"
PROMISE = "What reads the text (labels, frictions, churn risk) reads it no worse than the reference's text."


def applies(kind: str) -> bool:
    """For the kinds that name this check."""
    return NAME in kind_of(kind).checks


def check(evidence: Evidence) -> Check:
    """Wrong labels, wrong friction flags, the churn model's Brier score and the contact reader's errors: each loss
    surely below its limit."""
    params = evidence.asr
    reading = evidence.second(
        "reading", "Nobody let the rules read the text of both recognisers.", same_test=True
    )
    read_by, now = evidence.facts.read_by, evidence.facts.readers_now
    if not read_by or not now:
        return Check(
            NAME,
            "no_evidence",
            "Nobody looked whether a churn model or a contact reader reads this text.",
        )
    if changed := sorted(kind for kind in {*read_by, *now} if read_by.get(kind) != now.get(kind)):
        said = f"Another {' and '.join(changed)} champion reads the text now than when it was tested. Probe again."
        return Check(NAME, "no_evidence", said)
    if "friction_errors" not in reading.candidate.metrics:
        return Check(
            NAME,
            "no_evidence",
            "In no test call is there a friction to miss. Transcribe more calls.",
        )
    pairs = [
        (reading, "reading_errors", params.max_reading_loss),
        (reading, "friction_errors", params.max_friction_loss),
    ]
    said = "No churn model is in office yet, so only labels were read."
    if read_by[CHURN.name]:
        unasked = "Nobody let the churn model in office score the text of both."
        churn = evidence.second("churn_on_text", unasked, same_test=True)
        pairs.append((churn, "brier", params.max_brier_loss))
        said = ""
    names = {"brier": "Brier score of churn"}
    looks = [
        non_inferiority(
            two.candidate,
            two.reference,
            name,
            limit,
            evidence.seed,
            params.level,
            names.get(name, name.replace("_", " ")),
        )
        for two, name, limit in pairs
    ]
    if read_by[READER.name]:
        reader = evidence.second(
            "reader_on_text",
            "Nobody let the contact reader in office read the text of both.",
            same_test=True,
        )
        looks.append(
            non_inferiority(
                reader.candidate,
                reader.reference,
                "reading_errors",
                params.max_reading_loss,
                evidence.seed,
                params.level,
                "errors of the contact reader",
            )
        )
    return together(NAME, looks, params.level, said)


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
        partial(examples.evidence, stranger=name)
        for name in ("reading", "churn_on_text", "reader_on_text")
    ),
    *(
        partial(examples.evidence, elsewhere=name)
        for name in ("reading", "churn_on_text", "reader_on_text")
    ),
    lambda: examples.evidence(examples.asr(0.1, data_hash="d2"), examples.asr(0.3, data_hash="d2")),
)
