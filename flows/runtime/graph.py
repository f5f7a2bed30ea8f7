"""The stages of a run: which artefacts each needs and writes, and the function that runs it.

Prefect's flows, `dvc.yaml` and `docs/store.md` are made from this one table. What code a stage
depends on is not written here: it follows from imports (flows/runtime/code.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from data import artefacts
from data.artefacts import Artefact
from models.kinds import ASR, CHURN, READER, ModelKind, kinds

# The module of the stages that are the same for every kind of model.
CANDIDATE = "flows.stages.candidate"


@dataclass(frozen=True)
class Stage:
    """One stage of a run."""

    name: str
    title: str  # what people read while it runs
    function: str  # "module:function"
    needs: tuple[Artefact, ...] = ()
    makes: tuple[Artefact, ...] = ()
    # What it adds to, run after run. It is state, not a result: DVC never brings an older one back.
    keeps: tuple[Artefact, ...] = ()
    params: tuple[str, ...] = ()  # sections of params.yaml that change its result
    kind: str = ""  # of model; it is handed to the function
    hooks: tuple[str, ...] = ()  # functions of the kind's own stages that it calls
    # Part of dvc.yaml: acts on nothing outside the store and sees no test figure.
    experiment: bool = True
    # "module:function" from a context to what speaks against reusing the result; empty: nothing.
    # It looks at a place outside the store that only this stage has written to.
    confirm: str = ""
    always: bool = False  # looks at something outside the store, so its result is never reused


def stage_module(kind: ModelKind) -> str:
    """The module of a kind's stages."""
    return kind.stages or f"flows.stages.{kind.name}"


def _data() -> Iterator[Stage]:
    prepare = "flows.stages.prepare"
    yield Stage(
        "simulate",
        "simulating a contact centre",
        f"{prepare}:simulate",
        makes=(artefacts.RAW, artefacts.TRUTH),
        params=("simulator",),
    )
    yield Stage(
        "ingest",
        "ingesting the export",
        f"{prepare}:ingest",
        needs=(artefacts.RAW,),
        makes=(artefacts.INGEST, artefacts.TABLES, artefacts.SHARDS),
        params=("sources", "ingest"),
    )
    yield Stage(
        "validate",
        "checking the data contract",
        f"{prepare}:validate",
        needs=(artefacts.TABLES, artefacts.SHARDS),
        makes=(artefacts.CLEAN, artefacts.VALIDATE, artefacts.VALIDATION),
        params=("validation",),
    )
    yield Stage(
        "version",
        "versioning with DVC",
        f"{prepare}:version",
        needs=(artefacts.CLEAN, artefacts.SHARDS),
        makes=(artefacts.VERSION,),
        confirm=f"{prepare}:remote_lacks",
    )
    yield Stage(
        "split",
        "splitting by customer and voice",
        f"{prepare}:split",
        needs=(artefacts.CLEAN, artefacts.SHARDS),
        makes=(artefacts.SPLITS, artefacts.SPLIT),
        keeps=(artefacts.SPLIT_LEDGER, artefacts.VOICES),
        params=("splits", "voices"),
    )
    yield Stage(
        "cut",
        "cutting transcribed speech",
        f"{prepare}:cut",
        needs=(
            artefacts.CLEAN,
            artefacts.SHARDS,
            artefacts.SPLITS,
            artefacts.TABLES,
            artefacts.VALIDATE,
        ),
        makes=(artefacts.CUT, artefacts.HOURS, artefacts.SPEECH),
        params=("hours",),
    )


@dataclass(frozen=True)
class _KindNeeds:
    """What the stages of one kind of model need beside what they need for every kind."""

    train: tuple[Artefact, ...]
    train_params: tuple[str, ...]
    evaluate: tuple[Artefact, ...]
    evaluate_params: tuple[str, ...]
    probe: tuple[Artefact, ...]
    probe_params: tuple[str, ...]
    decide: tuple[Artefact, ...] = ()  # where further test data may come from
    reference: tuple[Artefact, ...] = ()  # more that the reference stage writes


def _model(kind: ModelKind, more: _KindNeeds) -> Iterator[Stage]:
    """Yields the stages of one kind of model, from training to the active model."""
    yield from _training(kind, more)
    yield from _release(kind, more)


def _training(kind: ModelKind, more: _KindNeeds) -> Iterator[Stage]:
    """Yields the stages that make a candidate and measure it."""
    module, name, title = stage_module(kind), kind.name, kind.title.lower()
    yield Stage(
        f"train_{name}",
        f"training the {title}",
        f"{module}:train",
        needs=(*more.train, artefacts.VERSION),
        makes=(artefacts.TRAIN.of(name), artefacts.WORK.of(name)),
        params=more.train_params,
    )
    yield Stage(
        f"assess_{name}",
        f"scoring the {title} on validation data",
        f"{module}:assess",
        needs=(*more.evaluate, artefacts.BUNDLE.of(name), artefacts.TRAIN.of(name)),
        makes=(artefacts.ASSESS.of(name), artefacts.ASSESSED.of(name), artefacts.METRICS.of(name)),
        params=more.evaluate_params,
    )
    yield Stage(
        f"reference_{name}",
        "fetching the model to beat",
        f"{CANDIDATE}:reference",
        needs=(artefacts.TRAIN.of(name), artefacts.REGISTRY),
        makes=(artefacts.REFERENCE.of(name), *more.reference),
        kind=name,
        hooks=(f"{module}:baseline",),
        experiment=False,
        always=True,
    )
    yield Stage(
        f"evaluate_{name}",
        f"evaluating the {title}",
        f"{module}:evaluate",
        needs=(*more.evaluate, artefacts.BUNDLE.of(name), artefacts.REFERENCE.of(name)),
        makes=(artefacts.SCORECARDS.of(name), artefacts.EVALUATE.of(name)),
        params=more.evaluate_params,
        experiment=False,
    )
    yield Stage(
        f"probe_{name}",
        f"probing the {title}",
        f"{module}:probe",
        needs=(*more.probe, artefacts.BUNDLE.of(name)),
        makes=(artefacts.PROBES.of(name), artefacts.PROBE.of(name)),
        params=more.probe_params,
        experiment=False,
    )


def _release(kind: ModelKind, more: _KindNeeds) -> Iterator[Stage]:
    """Yields the stages that decide on a candidate, release it and name the active model."""
    module, name, title = stage_module(kind), kind.name, kind.title.lower()
    yield Stage(
        f"decide_{name}",
        f"judging the {title}",
        f"{CANDIDATE}:decide",
        needs=(
            artefacts.SCORECARDS.of(name),
            artefacts.PROBES.of(name),
            artefacts.BUNDLE.of(name),
            *more.decide,
        ),
        makes=(artefacts.DECIDE.of(name), artefacts.DECISIONS.of(name), artefacts.PROOF.of(name)),
        params=("gates",),
        kind=name,
        hooks=(f"{module}:smoke_test",),
        experiment=False,
    )
    yield Stage(
        f"release_{name}",
        f"releasing the {title}",
        f"{CANDIDATE}:release",
        needs=(artefacts.DECIDE.of(name), artefacts.BUNDLE.of(name)),
        makes=(artefacts.RELEASE.of(name), artefacts.REGISTRY),
        kind=name,
        experiment=False,
        always=True,
    )
    yield Stage(
        f"active_{name}",
        f"finding the active {title}",
        f"{CANDIDATE}:activate",
        needs=(artefacts.DECIDE.of(name), artefacts.REGISTRY),
        makes=(artefacts.ACTIVE.of(name),),
        kind=name,
        hooks=(f"{module}:fallback", f"{module}:baseline"),
        always=True,
    )


def _asr(kind: ModelKind) -> Iterator[Stage]:
    # Reads what the champion transcribed in the run before, which no stage before it makes.
    yield Stage(
        "pseudo",
        "adding confident machine transcripts",
        "flows.stages.asr:pseudo",
        needs=(artefacts.CLEAN, artefacts.SHARDS, artefacts.SPEECH, artefacts.SPLITS),
        makes=(artefacts.PSEUDO_SUMMARY, artefacts.PSEUDO),
        params=("pseudo",),
        always=True,
    )
    yield from _model(
        kind,
        _KindNeeds(
            train=(
                artefacts.SPEECH,
                artefacts.PSEUDO,
                artefacts.CLEAN,
                artefacts.SHARDS,
                artefacts.SPLITS,
                artefacts.HOURS,
                artefacts.PSEUDO_SUMMARY,
            ),
            train_params=("asr", "adaptation", "hearing", "hours"),
            evaluate=(artefacts.SPEECH, artefacts.SPLITS),
            evaluate_params=("evaluation",),
            probe=(
                artefacts.SPEECH,
                artefacts.SCORECARDS.of(kind.name),
                artefacts.CLEAN,
                artefacts.SPLITS,
                artefacts.TEXT_READERS,
            ),
            probe_params=("evaluation", "labelling", "features", "reading"),
            decide=(artefacts.CLEAN, artefacts.SPEECH, artefacts.SPLITS),
            reference=(artefacts.TEXT_READERS,),
        ),
    )
    yield Stage(
        "transcribe",
        "transcribing the other calls",
        "flows.stages.asr:transcribe",
        needs=(
            artefacts.CLEAN,
            artefacts.SHARDS,
            artefacts.SPLITS,
            artefacts.ACTIVE.of(kind.name),
        ),
        makes=(
            artefacts.TRANSCRIPTS,
            artefacts.HEARD,
            artefacts.CONVERSATION,
            artefacts.REVIEW_QUEUE,
            artefacts.PSEUDO_TURNS,
            artefacts.TRANSCRIBE,
        ),
        params=("hearing", "pseudo"),
    )


def _reader(kind: ModelKind) -> Iterator[Stage]:
    yield Stage(
        "label",
        "labelling contacts",
        "flows.stages.reader:label",
        needs=(artefacts.CLEAN, artefacts.HEARD),
        makes=(artefacts.RULES, artefacts.BELIEFS, artefacts.LABEL),
        params=("labelling",),
    )
    contacts = (artefacts.CLEAN, artefacts.BELIEFS, artefacts.SPLITS)
    yield from _model(
        kind,
        _KindNeeds(
            train=(*contacts, artefacts.HEARD),
            train_params=("reader",),
            evaluate=contacts,
            evaluate_params=("evaluation", "reading"),
            probe=contacts,
            probe_params=("evaluation",),
            decide=(artefacts.CLEAN,),
        ),
    )
    yield Stage(
        "read",
        "joining rules and reader",
        "flows.stages.reader:read",
        needs=(
            artefacts.CLEAN,
            artefacts.HEARD,
            artefacts.RULES,
            artefacts.BELIEFS,
            artefacts.ACTIVE.of(kind.name),
        ),
        makes=(artefacts.LABELS, artefacts.READ, artefacts.READINGS),
        params=("reading",),
    )


def _churn(kind: ModelKind) -> Iterator[Stage]:
    yield Stage(
        "features",
        "building features",
        "flows.stages.churn:features",
        needs=(artefacts.CLEAN, artefacts.LABELS, artefacts.SPLITS),
        makes=(artefacts.FEATURES, artefacts.CURRENT, artefacts.FEATURES_SUMMARY),
        params=("features",),
    )
    yield from _model(
        kind,
        _KindNeeds(
            train=(artefacts.FEATURES,),
            train_params=("churn", "features"),
            evaluate=(artefacts.FEATURES,),
            evaluate_params=("evaluation", "churn", "features", "backtest"),
            probe=(artefacts.FEATURES, artefacts.CLEAN, artefacts.LABELS),
            probe_params=("evaluation", "features"),
        ),
    )
    active = artefacts.ACTIVE.of(kind.name)
    yield Stage(
        "score",
        "scoring every customer",
        "flows.stages.churn:score",
        needs=(
            artefacts.CURRENT,
            active,
            artefacts.CLEAN,
            artefacts.LABELS,
            artefacts.TRANSCRIPTS,
        ),
        makes=(artefacts.SCORES, artefacts.REASONS, artefacts.SCORE, artefacts.SCORED),
        params=("features",),
    )
    yield Stage(
        "treat",
        "choosing whom to treat",
        "flows.stages.treatment:treat",
        needs=(artefacts.CLEAN, artefacts.LABELS, artefacts.CURRENT, active),
        makes=(artefacts.TREATMENTS, artefacts.TREAT, artefacts.TREATMENT),
        params=("treatment", "features"),
    )


def _stages() -> Iterator[Stage]:
    own = {ASR.name: _asr, READER.name: _reader, CHURN.name: _churn}
    yield from _data()
    for kind in kinds():
        yield from own[kind.name](kind)
    yield Stage(
        "report",
        "writing the report",
        "flows.stages.reporting:report",
        needs=(
            artefacts.INGEST,
            artefacts.VALIDATE,
            artefacts.VERSION,
            artefacts.LABEL,
            *(artefacts.EVALUATE.of(kind.name) for kind in kinds()),
            artefacts.SCORES,
            artefacts.TRANSCRIPTS,
            artefacts.TREAT,
            artefacts.TREATMENTS,
        ),
        makes=(artefacts.REPORT,),
        params=("report",),
        experiment=False,
        always=True,
    )


STAGES = tuple(_stages())  # of one run, in order
NIGHTLY = Stage(
    "nightly",
    "evaluating the champions",
    "flows.stages.nightly:nightly",
    makes=(artefacts.NIGHTLY,),
    experiment=False,
    always=True,
)
WATCH = Stage(
    "watch",
    "watching new champions",
    "flows.stages.watch:watch",
    makes=(artefacts.WATCH,),
    experiment=False,
    always=True,
)
# Trains a model a day that it looks back to, so it runs when somebody asks for it.
BACKTEST = Stage(
    "backtest",
    "training on the past, scoring on the future",
    "flows.stages.backtest:backtest",
    needs=(artefacts.FEATURES, artefacts.VERSION),
    makes=(artefacts.BACKTEST, artefacts.BACKTEST_ROWS),
    params=("churn", "backtest", "evaluation", "features"),
    experiment=False,
)
BY_NAME = {stage.name: stage for stage in (*STAGES, NIGHTLY, WATCH, BACKTEST)}
# Stages of one night, in order. The first take in what is new at the source, the others need the
# models of an earlier run. None trains.
INTAKE = ("ingest", "validate", "version", "split", "cut")
NIGHT = (
    "active_asr",
    "transcribe",
    "label",
    "active_reader",
    "read",
    "features",
    "active_churn",
    "score",
    "nightly",
    "watch",
)
