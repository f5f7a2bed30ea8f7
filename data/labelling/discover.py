"""Finds the labelling rules in a package and checks each against its own examples."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from data.labelling import rules as our_rules
from data.labelling.scheme import SCHEME
from data.labelling.view import ContactView, a_contact


@dataclass(frozen=True)
class Rule:
    """One labelling function."""

    name: str  # its file's name
    label: str
    vote: Callable[[ContactView], str | None]
    examples: Sequence[tuple[dict[str, Any], str | None]]
    about: str  # the first line of its file

    @property
    def values(self) -> frozenset[str]:
        """The values its examples show it voting for."""
        return frozenset(vote for _, vote in self.examples if vote is not None)


class RuleError(ValueError):
    """A rule is incomplete, votes for an unknown value, or fails one of its examples."""


def find_rules(package: ModuleType = our_rules) -> list[Rule]:
    """Returns every rule in `package` by name. Raises RuleError naming a file and what it lacks."""
    rules = []
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        lacks = [name for name in ("LABEL", "EXAMPLES", "vote") if not hasattr(module, name)]
        if lacks or not module.__doc__:
            raise RuleError(
                f"rule {info.name}: it has no {(lacks or ['first line saying what it is for'])[0]}."
            )
        if module.LABEL not in SCHEME:
            raise RuleError(
                f"rule {info.name}: label {module.LABEL!r} is not one of {', '.join(SCHEME)}."
            )
        about = module.__doc__.strip().splitlines()[0]
        rules.append(Rule(info.name, module.LABEL, module.vote, module.EXAMPLES, about))
    return rules


def check_examples(rule: Rule) -> None:
    """Runs the rule's own examples, of which one must vote and one must not.

    Raises RuleError with the first example that fails.
    """
    votes = [expected for _, expected in rule.examples]
    if None not in votes or all(expected is None for expected in votes):
        raise RuleError(
            f"rule {rule.name}: EXAMPLES need a contact that gets a vote and one that gets none."
        )
    for fields, expected in rule.examples:
        got = cast_vote(rule, a_contact(**fields))
        if got != expected:
            raise RuleError(
                f"rule {rule.name}: {fields} got {got!r}, its example says {expected!r}."
            )


def cast_vote(rule: Rule, contact: ContactView) -> str | None:
    """Returns the rule's vote. Raises RuleError when it is not a value of its label."""
    value = rule.vote(contact)
    if value is not None and value not in SCHEME[rule.label]:
        raise RuleError(
            f"rule {rule.name}: {value!r} is not a {rule.label}. Known: "
            f"{', '.join(SCHEME[rule.label])}."
        )
    return value
