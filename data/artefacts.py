"""Every file and folder of a store, declared once: where it lies and what it holds.

The stage graph says which stage writes and which stages read an artefact, and `docs/store.md` is made from both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Artefact:
    """A file or folder. `path` is relative to the store, `{kind}` in it stands for a kind of model."""

    path: str
    holds: str  # one clause, for people

    def of(self, kind: str) -> Artefact:
        """The artefact of one kind of model."""
        return replace(self, path=self.path.format(kind=kind), holds=self.holds.format(kind=kind))

    def within(self, *parts: str) -> Artefact:
        """A file or folder inside this one."""
        return replace(self, path="/".join((self.path, *parts)))

    def __str__(self) -> str:
        return self.path


# --- data ---
RAW = Artefact("raw", "the simulator's export, as a contact centre would deliver it")
TRUTH = Artefact("truth", "what the simulator knows and no model may see")
INGEST = Artefact("ingest.json", "rows added by table, what was refused and why")
TABLES = Artefact("tables", "one Parquet file a table, merged over all deliveries")
SHARDS = Artefact("shards", "recordings as delivered, in tar files of many")
QUARANTINE = Artefact("quarantine", "refused rows and recordings, each with its reason")
CLEAN = Artefact("clean", "the tables that kept the data contract")
VALIDATE = Artefact("validate.json", "what the data contract let through and what stopped it")
VALIDATION = Artefact("validation", "results and pages of Great Expectations")
VERSION = Artefact("version.json", "DVC hash, rows and size of this version of the dataset")
VERSIONED = Artefact("versioned", "the DVC repository of the dataset")
SPLITS = Artefact("splits.parquet", "train, valid or test for each customer and contact")
SPLIT = Artefact("split.json", "customers and contacts a split")
SPLIT_LEDGER = Artefact(
    "split_ledger.parquet", "who was ever on which side of the split, since when; only added to"
)
VOICES = Artefact(
    "voices.parquet", "voices recognised where the source names none, with their embeddings"
)
SPEECH = Artefact("speech", "cut utterances and their NeMo manifests, one a split")
CUT = Artefact("cut.json", "utterances and hours a split, and what was refused")
HOURS = Artefact("hours.json", "where every recorded hour went")

# --- recogniser ---
PSEUDO = Artefact("pseudo", "the training manifest with accepted pseudo-transcripts")
PSEUDO_SUMMARY = Artefact("pseudo.json", "how many machine transcripts joined the training")
TRANSCRIPTS = Artefact("transcripts.parquet", "turns of the calls that no person transcribed")
HEARD = Artefact(
    "heard.parquet", "the first machine transcript of each call, with its recogniser and time"
)
CONVERSATION = Artefact("conversation.parquet", "talk, silence, overlap and hold, a row a call")
REVIEW_QUEUE = Artefact("review_queue.parquet", "turns that a person should transcribe next")
PSEUDO_TURNS = Artefact("pseudo.parquet", "machine transcripts that the next training may use")
TRANSCRIBE = Artefact("transcribe.json", "calls and words transcribed, and by which model")

# --- contacts ---
RULES = Artefact("rules.parquet", "labels of the contacts by the labelling rules")
BELIEFS = Artefact("beliefs.parquet", "the label model's probabilities")
LABEL = Artefact("label.json", "coverage, overlap and conflict of the labelling rules")
REVIEWED = Artefact("reviewed.parquet", "labels that people gave, where there are any")
LABELS = Artefact("labels.parquet", "labels by rules and reader together")
READINGS = Artefact(
    "readings.parquet", "what a reader made of each contact when it was first read, and which"
)
READ = Artefact("read.json", "labels that the reader changed")

# --- customers ---
FEATURES = Artefact(
    "features.parquet", "point-in-time features with outcomes, a row a customer and month"
)
CURRENT = Artefact("current.parquet", "features of today, a row an active customer")
FEATURES_SUMMARY = Artefact("features.json", "rows, customers and as-of dates of the features")
SCORES = Artefact("scores.parquet", "risks of every active customer")
REASONS = Artefact("reasons.parquet", "reasons for a risk, with the contact behind each")
SCORE = Artefact("score.json", "customers scored, mean risks, unseen values")
SCORED = Artefact("scored", "earlier scores, to be judged when their horizons have passed")
TREATMENTS = Artefact("treatments.parquet", "whom to treat, with uplift, cost and expected profit")
TREAT = Artefact("treat.json", "how many to treat and what the choice rests on")
TREATMENT = Artefact("treatment", "the uplift model and the decisions it learned from")

# --- a model of one kind ---
WORK = Artefact("{kind}", "checkpoints and the bundle of the last candidate")
BUNDLE = Artefact("{kind}/bundle", "the candidate: weights, configuration, model card, checksums")
TRAIN = Artefact("train_{kind}.json", "run, checksum and validation figures of the last training")
ASSESS = Artefact("assess_{kind}.json", "validation figures of the candidate with intervals")
ASSESSED = Artefact("validation_scorecards/{kind}", "the same figures, unit by unit")
METRICS = Artefact("metrics/{kind}.json", "the validation figure and its interval, for DVC")
FETCHED = Artefact("reference", "bundles that stages fetched from the registry")
REFERENCE = Artefact("reference/{kind}.json", "the model that the candidate has to beat")
TEXT_READERS = Artefact("reference/readers.json", "the champions that read the recogniser's text")
SCORECARDS = Artefact("scorecards/{kind}", "test figures of candidate and reference, unit by unit")
EVALUATE = Artefact(
    "evaluate_{kind}.json", "test figures of candidate and reference with intervals"
)
PROBES = Artefact("probes/{kind}", "behaviour tests and secondary tests of the candidate")
PROBE = Artefact("probe_{kind}.json", "figures of the behaviour tests")
DECISIONS = Artefact("decisions/{kind}", "one decision record and page a candidate")
ALL_DECISIONS = Artefact("decisions", "the decision records of every kind, a folder each")
DECIDE = Artefact("decide_{kind}.json", "the last decision in short")
PROOF = Artefact(
    "proof_{kind}.json", "what a refusal for lack of evidence still needs, and calls to transcribe"
)
RELEASE = Artefact("release_{kind}.json", "registered version, champion, and what was done")
ACTIVE = Artefact(
    "active/{kind}.json", "the model in use: champion, else accepted candidate, else fallback"
)

# --- everything ---
REPORT = Artefact("report", "the page of the last run")
NIGHTLY = Artefact("nightly.json", "the last nightly evaluation of the champions")
NIGHTLY_SCORECARDS = Artefact("nightly", "scorecards of the champions, a folder a day")
MONITORING = Artefact(
    "monitoring", "reference periods, evidence of the nights and what asks for a retraining"
)
TRENDS = Artefact("trends", "figures and events of the nights, a file a day")
WATCH = Artefact("watch.json", "the last comparison of new champions with those before them")
BACKTEST = Artefact("backtest.json", "training on the past, scored on the future")
BACKTEST_ROWS = Artefact("backtest.parquet", "predictions of the backtest")
BACKTEST_WORK = Artefact("backtest", "checkpoints of the models that the backtest trains")
LABEL_ISSUES = Artefact("suspects.parquet", "labels and outcomes that are probably wrong")
SEARCH = Artefact("search", "checkpoints of the trials of a search for training settings")
SEARCH_STUDY = Artefact("search.db", "Optuna's database of those trials")
COMPARISON = Artefact("compare.html", "the page of the last comparison of runs")
REGISTRY = Artefact(
    "registry",
    "the ledgers of promotions and of looks at the test sets, and the decision records behind them",
)
LOOKS = Artefact(
    "registry/looks_{kind}.jsonl", "every look of the gate at the test set, a line a look"
)
MARKERS = Artefact(".markers", "fingerprint and summary of each finished stage")
RUNNING = Artefact(".running", "locks and ids of what runs now")
RETRAININGS = Artefact("retrainings", "which cause has had its retraining on which day")
LEASE = Artefact("lease", "the lock of who works on the store, and the name it goes by")
SITE = Artefact("site.json", "whose store it is, where it was made, and when")
EXPORTS = Artefact(
    "exports", "ONNX exports of recognisers, made on first use, and the stores of given exports"
)
NOTICES = Artefact("notices.jsonl", "what people were told, a line a notice")
APPROVALS = Artefact("approvals", "answers of people to decisions that wait for them")
SERVING = Artefact("serving", "bundles that the service fetched")
SERVICE_LOG = Artefact("service.log", "output of the service that the demo starts")
MLFLOW = Artefact("mlflow.db", "MLflow's database, where no server is set")
MLARTIFACTS = Artefact("mlartifacts", "MLflow's artifacts, where no other place is set")
PREFECT = Artefact("prefect", "Prefect's database, where no server is set")
REMOTE = Artefact("remote", "the DVC remote, where no other is set")
