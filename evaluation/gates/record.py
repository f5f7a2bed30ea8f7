"""The decision record: its schema, reading and validation."""

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


class DecisionError(ValueError):
    """The question put to the gate makes no sense, or a record is not one."""


@dataclass(frozen=True)
class Decision:
    """A verdict with everything it rests on. `record` is its JSON, as decision.schema.json describes it."""

    record: Mapping[str, Any]

    @property
    def decision_id(self) -> str:
        """16 hex digits over the content, without the time: the same evidence gives the same id."""
        return str(self.record["decision_id"])

    @property
    def accepted(self) -> bool:
        """True only when every check passed, or was skipped for a written reason."""
        return self.record["verdict"] == "accepted"

    @property
    def checks(self) -> list[Check]:
        """Every check with its answer."""
        return [
            Check(**{**check, "looks": tuple(Measurement(**look) for look in check["looks"])})
            for check in self.record["checks"]
        ]


def read_decision(path: Path) -> Decision:
    """Reads a decision's JSON. Raises DecisionError when it is broken, was altered or does not keep the schema."""
    try:
        record = read_json(path)
    except (ValueError, RecursionError) as error:
        raise DecisionError(f"{path}: cannot be read ({error}). Decide again.") from error
    validate_record(record)
    return Decision(record)


def validate_record(record: Any) -> None:
    """Holds a record against the published schema and its id."""
    import jsonschema

    try:
        jsonschema.validate(record, read_json(SCHEMA))
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
