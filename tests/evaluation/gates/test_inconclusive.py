"""Want of proof is told from evidence against a recogniser."""

import pytest

from evaluation.gates.evidence import Check
from evaluation.gates.inconclusive import is_inconclusive


@pytest.mark.parametrize(
    ("check", "unproven"),
    [
        (Check("better", "fail", "", "wer", 0.07, -0.01, 0.3, 0.0), True),
        (Check("better", "fail", "", "wer", -0.07, -0.3, 0.01, 0.0), False),
        (Check("downstream", "no_evidence", "nobody met with friction"), True),
        (Check("downstream", "fail", "", None, -0.2, -0.3, -0.1, -0.05), False),
        (Check("enough_evidence", "no_evidence", "too few"), True),
        (Check("slices", "fail", "surely worse in one"), False),
        (Check("licence", "no_evidence", ""), False),
    ],
    ids=lambda value: f"{value.name}-{value.verdict}" if isinstance(value, Check) else "",
)
def test_a_small_folder_may_lack_proof_but_not_speak_against_the_candidate(
    check: Check, unproven: bool
) -> None:
    assert is_inconclusive(check) is unproven
