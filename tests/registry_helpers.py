"""Small real things the tests of gates and releases share: bundles, decisions, a registry."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from evaluation.gates import examples
from evaluation.gates.decide import decide
from evaluation.gates.evidence import Evidence
from evaluation.gates.params import GateParams
from evaluation.gates.record import Decision
from models.registry.bundle import Bundle, write_bundle
from models.registry.ledger import decision_id
from models.registry.registry import Registry

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def gate_decision(
    evidence: Evidence,
    params: GateParams | None = None,
    *,
    now: datetime = NOW,
    by: str = "nightly evaluation",
) -> Decision:
    """Returns the gate's decision on `evidence`, by its own settings unless `params` are given."""
    limits: dict[str, Any] = {evidence.candidate.kind: evidence.params}
    params = params or GateParams(**limits)
    return decide(
        evidence.candidate,
        evidence.reference,
        params=params,
        facts=evidence.facts,
        now=now,
        decided_by=by,
        secondary=evidence.secondary,
        probes=evidence.probes,
    )


def weights(content: bytes = b"weights") -> bytes:
    """A whole .safetensors file with one tensor of `content`."""
    header = json.dumps(
        {"w": {"dtype": "U8", "shape": [len(content)], "data_offsets": [0, len(content)]}}
    ).encode()
    return len(header).to_bytes(8, "little") + header + content


def with_reference(evidence: Evidence, bundle_sha256: str) -> Evidence:
    """Returns the evidence about a reference with this checksum, in its further tests too."""
    assert evidence.reference is not None
    secondary = {
        name: dataclasses.replace(
            test, reference=dataclasses.replace(test.reference, bundle_sha256=bundle_sha256)
        )
        for name, test in evidence.secondary.items()
    }
    reference = dataclasses.replace(evidence.reference, bundle_sha256=bundle_sha256)
    return dataclasses.replace(evidence, reference=reference, secondary=secondary)


def a_bundle(path: Path, content: str = "one", kind: str = "churn", **changes: Any) -> Bundle:
    """A bundle whose weights say `content`."""
    facts = {
        "data_hash": "d" * 8,
        "git_commit": "c" * 8,
        "created_at": NOW.isoformat(),
        "licence": "Apache-2.0",
    }
    files = {
        "weights.safetensors": weights(content.encode()),
        "config.json": "{}",
        "card.md": "# A card\n",
    }
    return write_bundle(path, kind, **{"files": files, **facts, **changes})


def a_decision(
    bundle: str, reference: str | None = None, verdict: str = "accepted", *, kind: str = "churn"
) -> dict[str, Any]:
    """A whole decision record, as the gate writes it, but about the bundle with checksum `bundle`."""
    record = json.loads(_accepted(kind))
    record["candidate"]["bundle_sha256"] = record["facts"]["bundle_sha256"] = bundle
    record["reference"]["bundle_sha256"] = reference or ""
    record["verdict"], record["kind"] = verdict, kind
    return {**record, "decision_id": decision_id(record)}


@cache
def _accepted(kind: str) -> str:
    """Returns the gate's decision on a candidate it accepts, as JSON."""
    few = {"customers": 200, "horizons": (180,)}  # quicker
    churn = (examples.churn(0.2, **few), examples.churn(2.0, **few)) if kind == "churn" else ()
    decision = gate_decision(examples.evidence(*churn))
    assert decision.accepted
    return json.dumps(decision.record)


@cache
def _empty_store() -> bytes:
    """MLflow's database as it makes it, once a test run: its migrations take seconds."""
    from mlflow.tracking import MlflowClient

    with tempfile.TemporaryDirectory() as folder:
        MlflowClient(
            f"sqlite:///{folder}/mlflow.db", f"sqlite:///{folder}/mlflow.db"
        ).search_experiments()
        return (Path(folder) / "mlflow.db").read_bytes()


class RegistryFixture:
    """A registry on SQLite in a folder, with an MLflow run that its bundles belong to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "mlflow.db").write_bytes(_empty_store())
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.registry = Registry(self.uri, folder / "registry")
        experiment = self.registry.client.create_experiment(
            "pipeline", artifact_location=(folder / "art").as_uri()
        )
        self.run_id = self.registry.client.create_run(experiment).info.run_id

    def version(self, content: str, name: str = "churn") -> tuple[int, str]:
        """Registers a new bundle; its version number and checksum."""
        bundle = a_bundle(self.folder / "built" / content, content, name)
        return self.registry.register(bundle.path, name, self.run_id), bundle.sha256
