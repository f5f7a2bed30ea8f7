"""What both kinds of model share on their way to a release: run, bundle, reference, scorecards, decision, promotion."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.files import file_sha256, read_json, write_json
from flows import approving, marker, reaping
from flows.graph import BY_NAME
from models.registry.bundle import BundleError, verify_bundle, write_bundle
from models.registry.signing import sign_folder

if TYPE_CHECKING:
    from evaluation.scorecard import Scorecard
    from flows.runtime.context import RunContext
    from training.tracking import Run

LICENCE = {
    "asr": "CC-BY-SA-4.0 (base weights) and the terms of your own recordings",
    "churn": "the terms of your own customer data",
    "reader": "the terms of your own customer data",
}


@contextmanager
def training_run(context: RunContext, kind: str, params: Mapping[str, Any]) -> Iterator[Run]:
    """The MLflow run of this training: the same inputs and settings are the same run, also after a kill."""
    from training.tracking import start_or_resume

    version = read_json(context.path("version.json"))
    key = f"{kind} {marker.of_step(context, BY_NAME[f'train_{kind}'])[:12]}"
    tags = {"kind": kind, "git_commit": context.git_commit, "dvc_hash": version["dvc_hash"]}
    settings = context.settings
    run = start_or_resume(
        settings.tracking_uri,
        f"keepline-{kind}",
        key,
        params,
        tags,
        reuse_finished=True,
        artifact_root=settings.artifact_root,
    )
    run.log_input(version, "calls and customers")
    if not run.resumed:
        run.set_tags({"trained_by": context.settings.actor})
    with reaping.living(context.store, "run", run.run_id, key, settings.tracking_uri), run:
        yield run


@contextmanager
def reopened(context: RunContext, kind: str) -> Iterator[Run]:
    """The run that trained the present candidate, to add what its evaluation found."""
    from training.tracking import reopen

    uri, run_id = (
        context.settings.tracking_uri,
        read_json(context.path(f"train_{kind}.json"))["run_id"],
    )
    with (
        reaping.living(context.store, "run", run_id, f"{kind}, judged", uri),
        reopen(uri, run_id) as run,
    ):
        yield run


def leave_bundle(
    context: RunContext, kind: str, files: Mapping[str, Path], run_id: str, found: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes <kind>/bundle with its card and train_<kind>.json. The same training gives the same bundle."""
    from training.tracking import get_run

    run = get_run(context.settings.tracking_uri, run_id)
    version = read_json(context.path("version.json"))
    bundle = write_bundle(
        context.path(kind) / "bundle",
        kind,
        {**files, "card.md": card(kind, run, version, found)},
        data_hash=version["dvc_hash"],
        git_commit=run["tags"].get("git_commit", "unknown"),
        created_at=str(run["start_time"]),
        licence=LICENCE[kind],
        params=run["params"],
    )
    if context.settings.signing_key:
        sign_folder(bundle.path, context.settings.signing_key)
    trained_by = run["tags"].get("trained_by", "")
    summary = {"run_id": run_id, "bundle_sha256": bundle.sha256, "trained_by": trained_by, **found}
    write_json(context.path(f"train_{kind}.json"), summary)
    return summary


def card(
    kind: str, run: Mapping[str, Any], version: Mapping[str, Any], found: Mapping[str, Any]
) -> str:
    """The model card: what it is, what it learned from, what it scored on validation, what it is not for."""
    what = {
        "asr": "A NeMo CTC recogniser for the telephone speech of one contact centre, fine-tuned from a base.",
        "churn": "A discrete-time hazard network: the risk that a customer leaves within each horizon.",
        "reader": "A network over hashed word and letter n-grams: from the words of a contact to its reason, friction, "
        "mood and barrier.",
    }[kind]
    limits = {
        "asr": "English only. Outside the centre it was tuned on, expect more errors. It does not tell voices apart.",
        "churn": "Risks hold for customers like those it learned from. It says who may leave, not whom to call.",
        "reader": "It learned from what labelling rules believe and shares their blind spots. It reads the language it "
        "learned from, and says how familiar a text is.",
    }[kind]
    rows = "".join(f"- {name}: {count} rows\n" for name, count in sorted(version["rows"].items()))
    figures = "".join(
        f"- {name}: {value:.4g}\n"
        for name, value in sorted(found.items())
        if isinstance(value, (int, float))
    )
    return (
        f"# {kind}: {run['name']}\n\n{what}\n\n## Data\n\nDVC version `{version['dvc_hash']}`\n\n{rows}\n"
        f"## Training\n\nMLflow run `{run['run_id']}`, code `{run['tags'].get('git_commit')}`\n\n{figures}\n"
        f"The held-out test is in the decision record, not here: a card is written before the exam.\n\n"
        f"## Licence\n\n{LICENCE[kind]}\n\n## Limits\n\n{limits}\n"
    )


def reference(context: RunContext, kind: str, fallback: dict[str, Any]) -> dict[str, Any]:
    """Writes reference/<kind>.json: the champion, or `fallback` before there is one.

    When the candidate is the champion itself, what it was compared with stays: there is nothing new to judge.
    """
    path = context.path(f"reference/{kind}.json")
    candidate = read_json(context.path(f"train_{kind}.json"))["bundle_sha256"]
    office = context.registry()
    version = office.alias(kind, "champion")
    if version is None:
        found = {**fallback, "version": None, "bundle_sha256": ""}
    elif office.version_tags(kind, version).get("bundle_sha256") == candidate and path.exists():
        return read_json(path)
    else:
        bundle = office.fetch(kind, version, context.path("reference"))
        weights = bundle.path / "model.nemo" if kind == "asr" else bundle.path
        found = {
            "model": f"{kind} v{version}",
            "path": str(weights),
            "version": version,
            "bundle_sha256": bundle.sha256,
        }
    if not path.exists() or read_json(path) != found:
        write_json(path, found)
    return found


def name_of(context: RunContext, kind: str, role: str) -> str:
    """What a model is called in scorecards."""
    if role == "reference":
        return str(read_json(context.path(f"reference/{kind}.json"))["model"])
    return f"{kind} candidate {sha_of(context, kind, role)[:8]}"


def sha_of(context: RunContext, kind: str, role: str) -> str:
    """The bundle's checksum; of the base, which is no bundle, that of its file; of a baseline nothing."""
    if role == "candidate":
        return str(read_json(context.path(f"train_{kind}.json"))["bundle_sha256"])
    found = read_json(context.path(f"reference/{kind}.json"))
    if found["bundle_sha256"] or not found["path"]:
        return str(found["bundle_sha256"])
    return file_sha256(Path(found["path"])) if Path(found["path"]).is_file() else ""


def leave_scorecards(
    context: RunContext, kind: str, cards: Mapping[str, Scorecard]
) -> dict[str, Any]:
    """Saves the scorecards, logs them and the test set to the candidate's run and writes evaluate_<kind>.json."""
    from flows import exams

    folder = context.path(f"scorecards/{kind}")
    summary: dict[str, Any] = {"data_hash": cards["candidate"].data_hash}
    for role, one in cards.items():
        one.save(folder / f"{role}.json")
        summary[role] = {
            name: {"value": estimate.value, "low": estimate.low, "high": estimate.high}
            for name, estimate in one.metrics.items()
        }
    exams.keep(context, kind)
    with reopened(context, kind) as run:
        for role, metrics in [("test", summary["candidate"]), ("reference", summary["reference"])]:
            run.log_metrics(
                {
                    f"{role}_{name}{'' if end == 'value' else '_' + end}": figure
                    for name, ends in metrics.items()
                    for end, figure in ends.items()
                    if figure is not None
                }
            )
        run.set_tags({"test_data_hash": summary["data_hash"]})
        run.log_artifact(folder, "scorecards")
    write_json(context.path(f"evaluate_{kind}.json"), summary)
    return summary


def leave_beside(context: RunContext, kind: str, part: str, cards: Mapping[str, Scorecard]) -> None:
    """Saves the scorecards of a second test both models took, as scorecards/<kind>/<part>/<role>.json."""
    for role, one in cards.items():
        one.save(context.path(f"scorecards/{kind}/{part}") / f"{role}.json")


def decide_on(context: RunContext, kind: str, sample: Any) -> dict[str, Any]:
    """Smoke-tests the candidate in the service, asks every gate, writes the record and decide_<kind>.json."""
    from evaluation.gates.decide import decide
    from evaluation.gates.evidence import Facts
    from evaluation.report.decision import write_decision
    from evaluation.scorecard import load
    from flows.probing import beside_and_probes, readers, shas
    from models.serving.smoke import smoke_test

    folder = context.path(f"scorecards/{kind}")
    contract = read_json(context.path("validate.json"))
    beaten = read_json(context.path(f"reference/{kind}.json"))
    probed = read_json(context.path(f"probe_{kind}.json"))
    beside, probes, probed_sha256 = beside_and_probes(context, kind)
    facts = Facts(
        reference_is_champion=beaten["version"] is not None,
        contract_ok=contract["stopped"] is None,
        contract_says=contract["stopped"]
        or f"{contract['rejected']} rows in quarantine, the rest kept the contract",
        read_by=probed.get("read_by"),
        readers_now=shas(readers(context)) if kind == "asr" else None,
        probed_sha256=probed_sha256,
        trained_by=read_json(context.path(f"train_{kind}.json")).get("trained_by", ""),
    )
    try:
        bundle = verify_bundle(context.path(kind) / "bundle", context.settings.public_key)
    except BundleError as error:  # a refusal to be written down, not an accident
        facts = replace(facts, bundle_says=str(error))
    else:
        smoke = smoke_test(bundle.path, kind, sample)
        facts = replace(
            facts,
            card=(bundle.path / "card.md").read_text(encoding="utf-8"),
            licence=bundle.licence,
            size_bytes=bundle.size_bytes,
            bundle_sha256=bundle.sha256,
            smoke_ok=smoke["ok"],
            latency_s=smoke["latency_s"],
        )
    candidate = load(folder / "candidate.json")
    decision = decide(
        candidate,
        load(folder / "reference.json"),
        context.params.gates,
        facts,
        context.now(),
        f"gate, for {context.settings.actor}",
        beside,
        probes,
    )
    record, page = write_decision(decision, context.path(f"decisions/{kind}"))
    with reopened(context, kind) as run:
        run.set_tags({"decision": decision.decision_id, "verdict": decision.record["verdict"]})
        run.log_artifact(record, "decision")
        run.log_artifact(page, "decision")
    summary = {
        "decision_id": decision.decision_id,
        "verdict": decision.record["verdict"],
        "summary": decision.record["summary"],
        "record": record.name,
        "approval": context.params.gates.of(kind).approval,
        "candidate": candidate.bundle_sha256,
        "reference": beaten,
    }
    write_json(context.path(f"decide_{kind}.json"), summary)
    return summary


def release(context: RunContext, kind: str) -> dict[str, Any]:
    """Registers the candidate and moves the champion alias if its decision was accepted; writes release_<kind>.json.

    Where the decision waits for a person, the candidate becomes challenger until there is an answer. A version that a
    person rolled back is not promoted again by a schedule. `waits` in the summary is the decision nobody has answered.
    """
    from flows.probing import readers, shas
    from models.registry.registry import STOPPED

    decided = read_json(context.path(f"decide_{kind}.json"))
    record = read_json(context.path(f"decisions/{kind}") / decided["record"])
    office, actor, now = context.registry(), context.settings.actor, context.now()
    run_id = read_json(context.path(f"train_{kind}.json"))["run_id"]
    try:
        version = office.register(context.path(kind) / "bundle", kind, run_id)
    except (
        BundleError
    ) as error:  # the gate has refused it for that already, unless it was changed since
        if decided["verdict"] == "accepted":
            raise
        return _released(context, kind, None, decided, f"is not registered: {error}")
    told = {"verdict": decided["verdict"], "decision_id": decided["decision_id"]}
    office.annotate(
        kind, version, {**told, "decision": f"runs:/{run_id}/decision/{decided['record']}"}
    )
    champion = office.alias(kind, "champion")
    rolled_back = any(e.action == "rollback" and e.previous == version for e in office.ledger(kind))
    stopped = office.version_tags(kind, version).get(STOPPED)
    approval = approving.of(context, decided["decision_id"])
    answer = (
        "approved"
        if record["params"]["approval"] == "none"
        else approval["answer"]
        if approval
        else None
    )
    waits = None
    if decided["verdict"] != "accepted":
        says = "refused by the gate; the champion stays"
    elif champion == version:
        says = "is the champion"
    elif rolled_back:
        says = "was rolled back by a person and is not promoted again; train another"
    elif stopped:
        says = f"was stopped by the service ({stopped}) and is not promoted; keepline readmit lifts that"
    elif kind == "asr" and record["facts"].get("readers_now") != shas(readers(context)):
        says = (
            "is not promoted: another champion reads its text now than when it was judged. "
            "Run again to judge it anew"
        )
    elif answer == "approved":
        entry = office.promote(kind, version, champion, record, actor, now, approval)
        says = f"promoted, approved by {entry.approved_by}" if entry.approved_by else "promoted"
    elif answer == "refused" and approval:
        says = f"was refused by {approval['by']}; the champion stays"
    else:
        waits = decided["decision_id"]
        office.challenge(kind, version, record, actor, now)
        says = f"waits for approval: keepline approve {waits} --by NAME"
    if waits is None and office.alias(kind, "challenger") is not None:
        office.withdraw(
            kind, actor, now
        )  # a newer candidate was decided on, or this one was answered
    if approval:
        with reopened(context, kind) as run:
            run.set_tags({"approval": approval["answer"], "approval_by": approval["by"]})
            run.log_artifact(
                context.path(approving.FOLDER) / f"{decided['decision_id']}.json", "decision"
            )
        office.annotate(
            kind, version, {"approval": approval["answer"], "approval_by": approval["by"]}
        )
    return _released(context, kind, version, decided, says, waits)


def _released(
    context: RunContext,
    kind: str,
    version: int | None,
    decided: Mapping[str, Any],
    says: str,
    waits: str | None = None,
) -> dict[str, Any]:
    champion = context.registry().alias(kind, "champion")
    summary = {
        "version": version,
        "champion": champion,
        "verdict": decided["verdict"],
        "says": says,
        "waits": waits,
    }
    write_json(context.path(f"release_{kind}.json"), summary)
    return summary


def leave_office(context: RunContext, kind: str) -> dict[str, Any]:
    """Writes office/<kind>.json: the model that hears or scores until further notice, at its path.

    That is the champion, so that a rollback is felt by the next run. Before there is one, it is the candidate if the
    gate accepted it and nobody has to approve, else what the candidate failed to beat (no path: nothing). A bare folder
    of recordings is too small to prove much: there, a candidate that is better as far as can be told hears it.
    """
    decided = read_json(context.path(f"decide_{kind}.json"))
    version = context.registry().alias(kind, "champion")
    folder: Path | None
    says = ""
    if version is not None:
        folder = context.registry().fetch(kind, version, context.path("reference")).path
    elif decided["verdict"] == "accepted" and decided["approval"] == "none":
        folder = context.path(kind) / "bundle"
    elif kind == "asr" and context.source == "recordings":
        folder, says = _for_its_own_folder(context, decided)
    else:
        folder = None
    if folder is None:
        found = {
            "model": decided["reference"]["model"],
            "version": None,
            "path": decided["reference"]["path"],
        }
    else:
        weights = folder / "model.nemo" if kind == "asr" else folder
        model = f"{kind} v{version}" if version else "the candidate"
        found = {"model": model, "version": version, "path": str(weights)}
        if version is None:  # its path stays the same when it is trained again
            found["bundle_sha256"] = decided["candidate"]
    if says:
        found["says"] = says
    path = context.path(f"office/{kind}.json")
    if not path.exists() or read_json(path) != found:
        write_json(path, found)
    return found


def _for_its_own_folder(context: RunContext, decided: Mapping[str, Any]) -> tuple[Path | None, str]:
    """The candidate, if it made fewer errors here and nothing but too little proof is held against that; and why.

    The guardrail is about other speech than this folder's: it keeps from promotion, not from hearing the folder.
    """
    from evaluation.gates.record import read_decision
    from evaluation.gates.unproven import lacks_proof

    decision = read_decision(context.path("decisions/asr") / decided["record"])
    before, after = (
        decision.record[role]["metrics"]["wer"]["value"] for role in ("reference", "candidate")
    )
    against = {
        check.name: check for check in decision.checks if check.verdict not in ("pass", "skipped")
    }
    elsewhere = against.pop("guardrail", None)
    if decision.accepted or after >= before or not all(map(lacks_proof, against.values())):
        return (
            None,
            f"Heard with {decided['reference']['model']}. {decided['summary']} `keepline decisions` tells more.",
        )
    gate, share, bundle = (
        context.params.gates.asr,
        context.params.splits.test_share,
        context.path("asr") / "bundle",
    )
    said = [
        f"Heard with the candidate: it made fewer errors (WER {before:.1%} → {after:.1%}). It is not promoted."
    ]
    if against:
        said += [
            "The gate found too little to prove it:",
            *(check.sentence for check in against.values()),
        ]
        said += [
            f"To prove it, write down the words of about {math.ceil(gate.min_units / share)} recordings of "
            f"{math.ceil(gate.min_clusters / share)} voices and hear again."
        ]
    if elsewhere:
        said += ["It is for recordings like these:", elsewhere.sentence]
    said += [f"Until then `keepline transcribe --model {bundle}` hears more of them with it."]
    return bundle, " ".join(said)


def in_office(context: RunContext, kind: str) -> str | None:
    """Where the model in office lies: for asr a `.nemo`, for churn a bundle folder; None when there is none."""
    path = read_json(context.path(f"office/{kind}.json"))["path"]
    return None if path is None else str(path)
