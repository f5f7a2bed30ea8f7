"""V3 over versions: whoever was once examined is never trained on, however a centre grows, and no
model is examined on what it learned.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from data.speech.voices import SCHEMA, VoiceParams, recognise_voices, voice_groups
from data.split_history import divide
from data.split_ledger import SplitLedger
from data.splits import SplitParams, split
from evaluation.asr import test_sets
from evaluation.asr.scorecard import asr_scorecard
from evaluation.gates.checks import better, unseen
from evaluation.gates.evidence import Evidence, Facts
from evaluation.gates.params import AsrGate
from evaluation.scorecard import Scorecard
from flows.candidate.learned import LeftOut, leave_out_seen
from models.registry.learned import Learned
from tests.data.speech.test_voices import heard
from tests.data.test_splits import a_centre

DELIVERIES = 10


@dataclass
class GrowingCentre:
    """A centre whose source names no voice: 60 calls a delivery, more and more customers.

    One call in ten is by somebody else of the same household, whose voice calls for others too.
    """

    seed: int
    calls: list[tuple[str, str, str | None]] = field(default_factory=list)
    voice: dict[str, int] = field(default_factory=dict)

    def deliver(self, number: int) -> tuple[pl.DataFrame, ...]:
        rng = np.random.default_rng([self.seed, number])
        for n in range(60):
            person = int(rng.integers(0, 40 * (number + 1)))
            contact = f"k{number}-{n}"
            self.calls.append((contact, f"C{person:04d}", None))
            self.voice[contact] = person if rng.random() < 0.9 else int(rng.integers(0, 40))
        return a_centre(self.calls, silent=30)

    def recognise(self, known: pl.DataFrame) -> pl.DataFrame:
        """The voices of all calls, each call's sound standing for its contact."""
        order = [contact for contact, _, _ in self.calls]
        table = pl.DataFrame(
            [call[:2] for call in self.calls],
            schema={"contact_id": pl.String, "customer_id": pl.String},
            orient="row",
        )
        return recognise_voices(
            lambda contact: (np.array([order.index(contact)]), 8000),
            table,
            known,
            embed=lambda sound, _: heard(self.voice[order[int(sound[0])]], int(sound[0])),
            params=VoiceParams(),
        )


@pytest.mark.parametrize("seed", range(2))
def test_V3_ten_deliveries_and_no_test_call_that_an_earlier_champion_trained_on(seed: int) -> None:
    centre, voices, ledger = GrowingCentre(seed), pl.DataFrame(schema=SCHEMA), SplitLedger.empty()
    now = datetime(2026, 1, 5, tzinfo=UTC)
    champions: list[Learned] = []
    leaked, without_ledger, tested = 0, 0, 0
    for number in range(DELIVERIES):
        delivered = centre.deliver(number)
        voices = centre.recognise(voices)
        frame, summary, ledger = divide(
            *delivered,
            params=SplitParams(),
            ledger=ledger,
            now=now + timedelta(weeks=number),
            voice_groups=voice_groups(voices),
        )
        calls = frame.drop_nulls("contact_id").rename({"voice_group": "voice"})
        test = calls.filter(split="test")
        leaked += sum(int(champion.seen(test).sum()) for champion in champions)
        anew = split(*delivered, params=SplitParams(), voice_groups=voice_groups(voices))[0]
        anew = anew.drop_nulls("contact_id").filter(split="test")
        without_ledger += sum(
            int(champion.seen(anew.select("contact_id")).sum()) for champion in champions
        )
        taught = calls.filter(pl.col("split").is_in(["train", "valid"]))
        champions.append(
            Learned.of(
                customers=taught["customer_id"],
                voices=taught["voice"],
                contacts=taught["contact_id"],
            )
        )
        tested = test.height
        assert summary.contacts_aside < 0.15 * calls.height
    assert leaked == 0
    assert without_ledger > 0  # dividing anew does examine on what was learned
    assert tested > 0.1 * 60 * DELIVERIES  # and the test set still grows


# --- a split that somebody moves by hand ---

CUSTOMERS, CALLS = 60, 400
WORDS = [
    "my",
    "bill",
    "is",
    "wrong",
    "please",
    "call",
    "me",
    "back",
    "about",
    "the",
    "contract",
    "today",
]


def scored(
    name: str, rows: list[dict[str, object]], wrong: tuple[int, ...], known: Learned
) -> Scorecard:
    """The scorecard of a recogniser that gets `wrong` words of a call wrong, in turn, of twelve.

    It gets none wrong of a call that it knows.
    """
    hypotheses = []
    for n, seen in enumerate(known.seen(pl.DataFrame(rows).select("contact_id"))):
        errors = 0 if seen else wrong[n % len(wrong)]
        hypotheses.append(" ".join(["mumble"] * errors + WORDS[errors:]))
    return asr_scorecard(
        rows,
        hypotheses,
        model=name,
        data_hash="test set",
        seed=0,
        created_at="2026-01-05T00:00:00+00:00",
        bundle_sha256=name,
    )


def test_V3_a_champion_that_memorised_a_moved_tenth_wins_only_without_the_rule() -> None:
    rows = [
        {
            "text": " ".join(WORDS),
            "contact_id": f"k{n}",
            "customer": f"C{n % CUSTOMERS}",
            "customer_id": f"C{n % CUSTOMERS}",
            "role": "customer",
            "codec": "ULAW",
            "start_s": 0.0,
        }
        for n in range(CALLS)
    ]
    # By hand, a tenth of what the champion was trained on was moved to test.
    champion = Learned.of(contacts=[f"k{n}" for n in range(0, CALLS, 10)])
    candidate = Learned.of(contacts=["another"])
    learned = {"candidate": candidate, "reference": champion}

    def judged(rows: list[dict[str, object]], left_out: LeftOut | None) -> tuple[str, str, float]:
        cards = {
            "candidate": scored("candidate", rows, (3,), candidate),
            "reference": scored("champion", rows, (4, 3, 3, 3), champion),
        }
        named = cards["candidate"].units.select("contact_id", customer_id="cluster")
        facts = Facts(
            reference_is_champion=True,
            seen_units={role: int(one.seen(named).sum()) for role, one in learned.items()},
            left_out=left_out.as_facts() if left_out else None,
        )
        evidence = Evidence(cards["candidate"], cards["reference"], facts, AsrGate())
        gain = cards["reference"].metrics["wer"].value - cards["candidate"].metrics["wer"].value
        return better.check(evidence).verdict, unseen.check(evidence).verdict, gain

    *_, gain = without = judged(rows, None)
    assert gain < 0  # the champion seems to make fewer errors
    assert without[:2] == ("fail", "fail")

    units, left_out = leave_out_seen(
        pl.DataFrame(rows).select("contact_id", "customer_id"), learned
    )
    kept = set(units["contact_id"])
    with_rule = judged([row for row in rows if row["contact_id"] in kept], left_out)
    assert with_rule[:2] == ("pass", "pass")
    assert (left_out.units, left_out.of, left_out.by_role) == (
        40,
        400,
        {"candidate": 0, "reference": 40},
    )


def test_V3_clusters_are_customers_where_the_source_names_no_voice() -> None:
    rows = [
        {"text": "yes please", "contact_id": f"k{n}", "voice": f"heard-{n % 3}", "role": "customer"}
        for n in range(60)
    ]
    customers = {f"k{n}": f"C{n % 25}" for n in range(60)}
    pairs = [(row, np.zeros(10, np.float32)) for row in rows]
    named, unnamed = test_sets._test_set(pairs, customers), test_sets._test_set(pairs)
    assert named.data_hash == unnamed.data_hash  # who called is no part of what is said

    def clusters(rows: list[dict[str, object]]) -> int:
        card = asr_scorecard(
            rows,
            ["yes please"] * len(rows),
            model="m",
            data_hash="d",
            seed=0,
            created_at="2026-01-05T00:00:00+00:00",
        )
        return card.units["cluster"].n_unique()

    assert (clusters(named.rows), clusters(unnamed.rows)) == (25, 3)


def test_V3_the_record_says_what_share_was_left_out() -> None:
    left_out = LeftOut(12, 120, {"candidate": 0, "reference": 12})
    facts = Facts(seen_units={"candidate": 0, "reference": 0}, left_out=left_out.as_facts())
    rows = [
        {"text": "yes", "contact_id": f"k{n}", "role": "customer", "start_s": 0.0} for n in range(3)
    ]
    card = asr_scorecard(
        rows, ["yes"] * 3, model="m", data_hash="d", seed=0, created_at="2026-01-05T00:00:00+00:00"
    )
    answer = unseen.check(Evidence(card, card, facts))
    assert answer.verdict == "pass"
    assert "12 of 120 (10.0%) were left out" in answer.sentence
    unknown = replace(facts, seen_units={"candidate": 0, "reference": None})
    assert (
        "does not say what it learned from" in unseen.check(Evidence(card, card, unknown)).sentence
    )
