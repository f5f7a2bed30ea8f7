"""Tests that every rule votes as its own examples say."""

from __future__ import annotations

import pytest

from data.labelling.discover import Rule, check_examples, find_rules
from data.labelling.scheme import SCHEME

RULES = find_rules()


@pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
def test_rule_votes_as_its_examples_say(rule: Rule) -> None:
    check_examples(rule)


def test_every_label_has_rules_with_different_ideas() -> None:
    for label in SCHEME:
        assert sum(rule.label == label for rule in RULES) >= 3, label
