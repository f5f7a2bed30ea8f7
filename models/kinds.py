"""The kinds of model Keepline trains, one row each.

A kind has a package of its name under `models`, `training` and `evaluation`, and a module of stages that trains,
evaluates and probes it. What all kinds share, from the gate to the registry and the pages, asks the row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKS = (  # what the gate asks of every kind
    "behaviour",
    "better",
    "card_and_licence",
    "data_contract",
    "enough_evidence",
    "floor",
    "same_bundle",
    "same_data",
    "size_and_latency",
    "slices",
    "unseen",
)


@dataclass(frozen=True, kw_only=True)
class ModelKind:
    """What tells one kind of model from the others."""

    name: str  # in commands, stages, MLflow and file names
    title: str  # in pages and on the terminal
    description: str  # for the model card
    limits: str  # for the model card: what the model is not for
    licence: str  # of the weights
    primary_metric: (
        str  # decides whether a candidate is better, and what the nightly evaluation watches
    )
    metric: str  # the metric people are shown
    metric_title: str
    metric_format: str  # of that metric, as in str.format
    unit: str  # column of a scorecard's units that names what is resampled together in comparisons
    unit_title: str  # what such a unit is called
    cluster_title: str  # plural: what confidence intervals are clustered by
    stages: str = ""  # the module of its stages; empty: the one of its name in flows.stages
    weights: str = ""  # the file in a bundle that is the model; empty: the bundle's folder itself
    checks: tuple[str, ...] = ()  # what the gate asks of this kind alone
    reads_text_of: str = ""  # the kind whose output this one reads
    served: bool = False  # has an endpoint in the HTTP service
    lower_is_better: bool = True

    @property
    def all_checks(self) -> tuple[str, ...]:
        """Every check that a decision record of this kind has to name."""
        return (*CHECKS, *self.checks)

    def weights_in(self, bundle: Path) -> Path:
        """What a loader of this kind is given: the file of weights in `bundle`, or the folder."""
        return bundle / self.weights if self.weights else bundle


ASR = ModelKind(
    name="asr",
    title="Recogniser",
    description="A NeMo CTC recogniser for the telephone speech of one contact centre, fine-tuned from a base.",
    limits="English only. Outside the centre it was tuned on, expect more errors. It does not tell voices apart.",
    licence="CC-BY-SA-4.0 (base weights) and the terms of your own recordings",
    primary_metric="wer",
    metric="wer",
    metric_title="WER",
    metric_format="{:.1%}",
    unit="contact_id",
    unit_title="call",
    cluster_title="customers or voices",
    weights="model.nemo",
    checks=("critical_words", "downstream", "guardrail"),
    served=True,
)
READER = ModelKind(
    name="reader",
    title="Contact reader",
    description="A network over hashed word and letter n-grams: from the words of a contact to its reason, friction, "
    "mood and barrier.",
    limits="It learned from what labelling rules believe and shares their blind spots. It reads the language it "
    "learned from, and says how familiar a text is.",
    licence="the terms of your own customer data",
    primary_metric="log_loss",
    metric="label_errors",
    metric_title="label errors",
    metric_format="{:.1%}",
    unit="contact_id",
    unit_title="contact",
    cluster_title="customers",
    reads_text_of="asr",
)
CHURN = ModelKind(
    name="churn",
    title="Churn network",
    description="A discrete-time hazard network: the risk that a customer leaves within each horizon.",
    limits="Risks hold for customers like those it learned from. It says who may leave, not whom an offer would keep.",
    licence="the terms of your own customer data",
    primary_metric="brier",
    metric="brier",
    metric_title="Brier score",
    metric_format="{:.4f}",
    unit="customer_id",
    unit_title="customer",
    cluster_title="customers",
    checks=("calibration", "long_horizon", "next_quarter", "simple_models"),
    reads_text_of="asr",
    served=True,
)

_KINDS: dict[str, ModelKind] = {kind.name: kind for kind in (ASR, READER, CHURN)}


class UnknownKindError(ValueError):
    """A name that no kind of model has. The message lists those there are."""


def kind_of(name: str) -> ModelKind:
    """The kind of that name. Raises UnknownKindError naming the known ones."""
    try:
        return _KINDS[name]
    except KeyError:
        raise UnknownKindError(
            f"{name!r} is no kind of model. Known: {', '.join(_KINDS)}."
        ) from None


def kinds() -> Iterator[ModelKind]:
    """All kinds, in the order in which a run trains them."""
    yield from _KINDS.values()


def kind_names() -> tuple[str, ...]:
    """The names of all kinds, in the order in which a run trains them."""
    return tuple(_KINDS)


def register(kind: ModelKind) -> None:
    """Adds a kind from outside this file, for plugins and tests. Raises ValueError when its name is taken."""
    if kind.name in _KINDS:
        raise ValueError(f"kind {kind.name!r} exists already. Choose another name.")
    _KINDS[kind.name] = kind


def unregister(name: str) -> None:
    """Takes a kind away that `register` added."""
    if name in (ASR.name, READER.name, CHURN.name):
        raise ValueError(f"kind {name!r} is built in.")
    _KINDS.pop(name, None)
