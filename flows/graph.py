"""Which step needs what and leaves what: the one table that both Prefect's flows and dvc.yaml follow.

Paths are relative to the store, `code` to the checkout, `params` are sections of params.yaml. A test holds dvc.yaml
to this table. Steps that act on the world outside the store (registry, service) are not in dvc.yaml: an experiment
must never promote a model.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One stage of the street. `keeps` are outs that grow from run to run and so outlive a new run of the step."""

    name: str
    title: str
    needs: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    experiment: bool = True  # part of dvc.yaml
    always: bool = False  # looks at something outside the store, so it is never taken as done

    @property
    def outs(self) -> tuple[str, ...]:
        """Everything the step leaves."""
        return self.makes + self.keeps


_CHURN_MODEL = (
    "models/churn.py",
    "models/encoding.py",
    "models/hazard.py",
    "models/tabular.py",
    "models/trees.py",
)

STEPS = (
    Step(
        "simulate",
        "simulating a contact centre",
        makes=("raw", "truth"),
        params=("simulator",),
        code=("data/simulator",),
    ),
    Step(
        "ingest",
        "taking in the export",
        needs=("raw",),
        makes=("ingest.json",),
        keeps=("tables", "shards"),
        params=("sources", "ingest"),
        code=("data/ingest.py", "data/speech/shards.py", "data/sources"),
    ),
    Step(
        "validate",
        "checking the contract",
        needs=("tables", "shards"),
        makes=("clean", "validate.json"),
        keeps=("validation",),
        params=("validation",),
        code=("data/validation",),
    ),
    Step(
        "version",
        "versioning with DVC",
        needs=("clean", "shards"),
        makes=("version.json",),
        code=("data/versioning.py",),
    ),
    Step(
        "split",
        "splitting by customer and voice",
        needs=("clean", "shards"),
        makes=("splits.parquet", "split.json"),
        params=("splits", "voices"),
        code=("data/splits.py", "data/speech/voices.py"),
    ),
    Step(
        "cut",
        "cutting transcribed speech",
        needs=("clean", "shards", "splits.parquet", "tables", "validate.json"),
        makes=("cut.json", "hours.json"),
        keeps=("speech",),
        params=("hours",),
        code=(
            "data/speech/utterances.py",
            "data/text.py",
            "data/hours.py",
            "data/leaks.py",
            "data/contact_load.py",
        ),
    ),
    # Looks at what the champion heard on the last walk, which no step before it makes.
    Step(
        "pseudo",
        "adding what the champion is sure of",
        needs=("clean", "shards", "speech", "splits.parquet"),
        makes=("pseudo.json",),
        keeps=("pseudo",),
        params=("pseudo",),
        code=("data/labelling/pseudo.py",),
        always=True,
    ),
    Step(
        "train_asr",
        "fine-tuning the recogniser",
        needs=(
            "speech",
            "pseudo",
            "clean",
            "shards",
            "splits.parquet",
            "hours.json",
            "pseudo.json",
            "version.json",
        ),
        makes=("train_asr.json",),
        keeps=("asr",),
        params=("asr", "adaptation", "hearing", "hours"),
        code=(
            "training/asr.py",
            "training/batches.py",
            "training/devices.py",
            "training/fit.py",
            "training/layers.py",
            "training/losses.py",
            "training/manifest.py",
            "training/vocabulary.py",
            "training/speech.py",
            "data/speech/telephone.py",
            "models/asr.py",
            "models/base",
            "models/calls.py",
            "models/confidence.py",
            "models/segments.py",
            "training/text_adaptation.py",
            "models/language.py",
            "models/decoding.py",
        ),
    ),
    Step(
        "reference_asr",
        "fetching the model to beat",
        needs=("train_asr.json",),
        makes=("reference/asr.json", "reference/readers.json"),
        always=True,
    ),
    Step(
        "evaluate_asr",
        "scoring both recognisers",
        needs=("speech", "asr/bundle", "reference/asr.json"),
        makes=("scorecards/asr", "evaluate_asr.json"),
        params=("evaluation",),
        code=(
            "models/asr.py",
            "evaluation/scorecard.py",
            "evaluation/metrics",
            "data/speech/telephone.py",
            "data/simulator/general_speech.py",
        ),
    ),
    Step(
        "probe_asr",
        "probing the recogniser",
        needs=(
            "speech",
            "asr/bundle",
            "scorecards/asr",
            "clean",
            "splits.parquet",
            "reference/readers.json",
        ),
        makes=("probes/asr", "probe_asr.json"),
        params=("evaluation", "labelling", "features", "reading"),
        code=(
            "evaluation/behaviour.py",
            "evaluation/reading.py",
            "data/labelling",
            "data/timeline.py",
            "models/asr.py",
        ),
    ),
    Step(
        "decide_asr",
        "judging the recogniser",
        needs=("scorecards/asr", "probes/asr", "asr/bundle"),
        makes=("decide_asr.json",),
        keeps=("decisions/asr",),
        params=("gates",),
        code=("evaluation/gates",),
    ),
    Step(
        "release_asr",
        "releasing the recogniser",
        needs=("decide_asr.json", "asr/bundle"),
        makes=("release_asr.json",),
        experiment=False,
        always=True,
    ),
    Step(
        "office_asr",
        "finding the recogniser in office",
        needs=("decide_asr.json",),
        makes=("office/asr.json",),
        always=True,
    ),
    Step(
        "transcribe",
        "hearing calls nobody transcribed",
        needs=("clean", "shards", "splits.parquet", "office/asr.json"),
        makes=(
            "transcripts.parquet",
            "conversation.parquet",
            "review_queue.parquet",
            "pseudo.parquet",
            "transcribe.json",
        ),
        params=("hearing", "pseudo"),
        code=(
            "models/asr.py",
            "models/calls.py",
            "models/segments.py",
            "models/onnx_network.py",
            "data/labelling/pseudo.py",
            "evaluation/experience/conversation.py",
        ),
    ),
    Step(
        "label",
        "labelling contacts",
        needs=("clean", "transcripts.parquet"),
        makes=("rules.parquet", "beliefs.parquet", "label.json"),
        params=("labelling",),
        code=("data/labelling", "data/timeline.py"),
    ),
    Step(
        "train_reader",
        "training the contact reader",
        needs=("clean", "transcripts.parquet", "beliefs.parquet", "splits.parquet", "version.json"),
        makes=("train_reader.json",),
        keeps=("reader",),
        params=("reader",),
        code=(
            "training/reader.py",
            "models/reader.py",
            "models/reader_network.py",
            "models/ngrams.py",
        ),
    ),
    Step(
        "reference_reader",
        "fetching the model to beat",
        needs=("train_reader.json",),
        makes=("reference/reader.json",),
        always=True,
    ),
    Step(
        "evaluate_reader",
        "scoring contact readers",
        needs=(
            "clean",
            "beliefs.parquet",
            "splits.parquet",
            "reader/bundle",
            "reference/reader.json",
        ),
        makes=("scorecards/reader", "evaluate_reader.json"),
        params=("evaluation", "reading"),
        code=(
            "models/reader.py",
            "models/reader_network.py",
            "models/ngrams.py",
            "evaluation/reader.py",
            "evaluation/scorecard.py",
            "evaluation/metrics",
        ),
    ),
    Step(
        "probe_reader",
        "probing the contact reader",
        needs=("clean", "beliefs.parquet", "splits.parquet", "reader/bundle"),
        makes=("probes/reader", "probe_reader.json"),
        params=("evaluation",),
        code=(
            "evaluation/behaviour.py",
            "models/reader.py",
            "models/reader_network.py",
            "models/ngrams.py",
        ),
    ),
    Step(
        "decide_reader",
        "judging the contact reader",
        needs=("scorecards/reader", "probes/reader", "reader/bundle"),
        makes=("decide_reader.json",),
        keeps=("decisions/reader",),
        params=("gates",),
        code=("evaluation/gates",),
    ),
    Step(
        "release_reader",
        "releasing the contact reader",
        needs=("decide_reader.json", "reader/bundle"),
        makes=("release_reader.json",),
        experiment=False,
        always=True,
    ),
    Step(
        "office_reader",
        "finding the reader in office",
        needs=("decide_reader.json",),
        makes=("office/reader.json",),
        always=True,
    ),
    Step(
        "read",
        "joining rules and reader",
        needs=(
            "clean",
            "transcripts.parquet",
            "rules.parquet",
            "beliefs.parquet",
            "office/reader.json",
        ),
        makes=("labels.parquet", "read.json"),
        params=("reading",),
        code=(
            "models/reader.py",
            "models/reader_network.py",
            "models/ngrams.py",
            "data/labelling/complete.py",
        ),
    ),
    Step(
        "features",
        "building features",
        needs=("clean", "labels.parquet", "splits.parquet"),
        makes=("features.parquet", "current.parquet", "features.json"),
        params=("features",),
        code=("data/features/features.py", "data/features/contact_marks.py"),
    ),
    Step(
        "train_churn",
        "training the churn network",
        needs=("features.parquet", "version.json"),
        makes=("train_churn.json",),
        keeps=("churn",),
        params=("churn",),
        code=(
            "training/churn.py",
            "training/learnable.py",
            "training/additive.py",
            "training/likelihood.py",
            "training/foresight.py",
            "training/passes.py",
            "training/checkpoint.py",
            "training/tabular.py",
            "training/boosting.py",
            *_CHURN_MODEL,
        ),
    ),
    Step(
        "reference_churn",
        "fetching the model to beat",
        needs=("train_churn.json",),
        makes=("reference/churn.json",),
        always=True,
    ),
    Step(
        "evaluate_churn",
        "scoring churn models",
        needs=("features.parquet", "churn/bundle", "reference/churn.json"),
        makes=("scorecards/churn", "evaluate_churn.json"),
        params=("evaluation",),
        code=(*_CHURN_MODEL, "evaluation/scorecard.py", "evaluation/metrics"),
    ),
    Step(
        "probe_churn",
        "probing the churn model",
        needs=("features.parquet", "churn/bundle", "clean", "labels.parquet"),
        makes=("probes/churn", "probe_churn.json"),
        params=("evaluation", "features"),
        code=(
            "evaluation/behaviour.py",
            "data/features/features.py",
            "data/features/contact_marks.py",
            *_CHURN_MODEL,
        ),
    ),
    Step(
        "decide_churn",
        "judging the churn model",
        needs=("scorecards/churn", "probes/churn", "churn/bundle"),
        makes=("decide_churn.json",),
        keeps=("decisions/churn",),
        params=("gates",),
        code=("evaluation/gates",),
    ),
    Step(
        "release_churn",
        "releasing the churn model",
        needs=("decide_churn.json", "churn/bundle"),
        makes=("release_churn.json",),
        experiment=False,
        always=True,
    ),
    Step(
        "office_churn",
        "finding the churn model in office",
        needs=("decide_churn.json",),
        makes=("office/churn.json",),
        always=True,
    ),
    Step(
        "score",
        "scoring every customer",
        needs=(
            "current.parquet",
            "office/churn.json",
            "clean",
            "labels.parquet",
            "transcripts.parquet",
        ),
        makes=("scores.parquet", "reasons.parquet", "score.json"),
        keeps=("scored",),
        params=("features",),
        code=(
            *_CHURN_MODEL,
            "data/features/evidence.py",
            "data/features/contact_marks.py",
            "data/timeline.py",
        ),
    ),
    Step(
        "treat",
        "choosing whom to treat",
        needs=("clean", "labels.parquet", "current.parquet", "office/churn.json"),
        makes=("treatments.parquet", "treat.json", "treatment"),
        params=("treatment", "features"),
        code=(
            "training/uplift.py",
            "models/uplift.py",
            "models/treatment.py",
            "models/encoding.py",
            "evaluation/treatment.py",
            "evaluation/metrics/uplift.py",
            "data/features/features.py",
            "data/features/contact_marks.py",
        ),
    ),
    Step(
        "report",
        "writing the report",
        needs=(
            "ingest.json",
            "validate.json",
            "version.json",
            "label.json",
            "evaluate_asr.json",
            "evaluate_churn.json",
            "scores.parquet",
            "transcripts.parquet",
            "treat.json",
            "treatments.parquet",
        ),
        makes=("report",),
        params=("report",),
        code=("evaluation/report", "evaluation/experience"),
        always=True,
    ),
)
NIGHTLY = Step(
    "nightly",
    "scoring the champions of today",
    makes=("nightly.json",),
    experiment=False,
    always=True,
)
# Trains a model a day it looks back to, so it runs when somebody asks for it.
BACKTEST = Step(
    "backtest",
    "training on the past, scoring on the future",
    needs=("features.parquet", "version.json"),
    makes=("backtest.json", "backtest.parquet"),
    params=("churn", "backtest", "evaluation", "features"),
    code=(
        "training/backtest.py",
        "training/churn.py",
        "training/learnable.py",
        "training/additive.py",
        "training/likelihood.py",
        *_CHURN_MODEL,
        "evaluation/metrics",
    ),
    experiment=False,
)
BY_NAME = {step.name: step for step in (*STEPS, NIGHTLY, BACKTEST)}
