"""The decision record: its schema, reading, validation, and the upgrade of records of format 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.files import read_json
from evaluation.gates.evidence import Check, Measurement
from models.kinds import kind_names
from models.registry.ledger import decision_id

SCHEMA = Path(__file__).with_name("decision.schema.json")
FORMAT = 3
# What format 3 renamed: in the record itself, in each of its checks, and in its params.
_RECORD_NAMES = {"beside": "secondary"}
_CHECK_NAMES = {"looks": "measurements"}
_PARAM_NAMES = {"loosened": "relaxation_reason", "looser": "relaxed_limits"}


class DecisionError(ValueError):
    """The gate cannot decide on what it was given, or a record is not a decision record."""


@dataclass(frozen=True)
class Decision:
    """A verdict with everything it rests on. `record` is its JSON, as decision.schema.json has it.

    `record` is always in the names of the current format. A record of an older format keeps the
    decision_id it was made with, since ledger, approvals and file names refer to it.
    """

    record: Mapping[str, Any]

    @property
    def decision_id(self) -> str:
        """16 hex digits over the content, without the time: equal evidence gives the same id."""
        return str(self.record["decision_id"])

    @property
    def accepted(self) -> bool:
        """True only when every check passed, or was skipped for a written reason."""
        return bool(self.record["verdict"] == "accepted")

    @property
    def checks(self) -> list[Check]:
        """Every check with its verdict, sentence and figures."""
        return [
            Check(
                **{
                    **check,
                    "measurements": tuple(Measurement(**row) for row in check["measurements"]),
                    "unproven": tuple(check.get("unproven", ())),
                }
            )
            for check in self.record["checks"]
        ]


def read_decision(path: Path) -> Decision:
    """Reads a decision's JSON, upgraded to the current format.

    Raises DecisionError when it cannot be parsed, was altered, or does not keep the schema.
    """
    try:
        record = read_json(path)
    except (ValueError, RecursionError) as error:
        raise DecisionError(f"{path}: cannot be read ({error}). Decide again.") from error
    return validate_record(record)


def validate_record(record: Any) -> Decision:
    """Validates a stored record and returns its decision, in the names of the current format.

    The id is checked over the record as it is stored, the schema over its upgraded form.
    Raises DecisionError when either does not hold.
    """
    import jsonschema

    current = upgraded(record)
    try:
        jsonschema.validate(current, read_json(SCHEMA))
    except jsonschema.ValidationError as error:
        raise DecisionError(
            f"decision record: {error.json_path}: {error.message}. Decide again."
        ) from error
    if record["kind"] not in kind_names():
        raise DecisionError(
            f"decision record: $.kind: {record['kind']!r} is no kind of model. Decide again."
        )
    if record["decision_id"] != decision_id(record):
        raise DecisionError(
            f"decision {record['decision_id']}: altered since it was made. Decide again."
        )
    return Decision(current)


def upgraded(record: Any) -> Any:
    """Returns a record of format 2 in the names of format 3, and anything else unchanged.

    Only names change. The decision_id stays that of the stored record, so `validate_record` checks
    it before the upgrade; pass the stored record, not the upgraded one, to the registry.
    """
    if not isinstance(record, Mapping) or record.get("format") != 2:
        return record
    current = {**_renamed(record, _RECORD_NAMES), "format": FORMAT}
    if isinstance(checks := current.get("checks"), list):
        current["checks"] = [_renamed(check, _CHECK_NAMES) for check in checks]
    if "params" in current:
        current["params"] = _renamed(current["params"], _PARAM_NAMES)
    return current


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """`value` with its keys renamed where it is a mapping; otherwise for the schema to refuse."""
    if not isinstance(value, Mapping):
        return value
    return {names.get(key, key): item for key, item in value.items()}
