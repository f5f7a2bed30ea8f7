"""Trains the churn network on features of several as-of dates, calibrates it, and survives being killed.

First the additive part is fitted whole, then the ensemble learns what it leaves, for as long as that helps on the valid
split; where it does not help customers of valid that it was not stopped on, nothing of it is kept. The result is
calibrated on valid, beginning from what a model of the past needed on what came after (training.foresight). A target
without dates gets a network of its own (models.tabular, training.tabular).
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from data.features.features import Feature, describe
from data.progress import Progress
from training.churn.boosting import Boosting
from training.churn.learnable import (
    ChurnTrainingError,
    check,
    n_churners,
    observed_horizons,
    refuse_leaks,
    supported_features,
)
from training.churn.likelihood import (
    Rows,
    calibrate,
    encode,
    ensemble_logits,
    ensemble_loss,
    row_losses,
)
from training.churn.passes import learn

if TYPE_CHECKING:
    import torch

    from models.churn.hazard import HazardNetwork
    from models.churn.model import ChurnModel

CHECKPOINT, MODEL = "checkpoint.safetensors", "model"


class Run(Protocol):
    """Where training writes down what it did; an MLflow run in earnest."""

    @property
    def run_id(self) -> str: ...

    def log_params(self, params: dict[str, Any]) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int) -> None: ...


@dataclass(frozen=True)
class ChurnTraining:
    """How the churn network learns."""

    seed: int = 0  # of the first weights, the order of rows and dropout
    # Ends of the intervals; those nobody in train was followed to are left out, and all where outcomes have no dates.
    horizons_days: tuple[int, ...] = (30, 90, 180, 365)
    hidden: int = 64  # width of each hidden layer
    layers: int = 2  # hidden layers
    members: int = 8  # ensemble members sharing the weights
    bins: int = 8  # at most so many bins of a number's piecewise-linear encoding
    dropout: float = 0.2  # share of hidden units dropped in training
    ridge: float = (
        1.0  # holds the additive weights towards nothing: half their inverse variance a priori
    )
    mark_cost: float = 0.1  # holds what a kind of contact weighs towards nothing
    additive_steps: int = 150  # at most so many L-BFGS steps of the additive fit
    leavers_per_feature: int = (
        180  # with fewer customers who left, features that only refine others are left out
    )
    learning_rate: float = 7e-4  # of AdamW
    weight_decay: float = 0.1  # of AdamW
    batch_size: int = 512  # rows a step, fewer where there are few rows
    epochs: int = 50  # at most so many passes
    patience: int = 6  # passes without a better valid loss before stopping
    boosting: Boosting = field(
        default_factory=Boosting
    )  # of the trees beside the network, where outcomes have no dates
    checkpoint_every: int = 2  # passes between checkpoints
    min_customers: int = 60  # in train; fewer are refused
    min_events: int = 10  # customers who left, in train; fewer are refused
    leak_auc: float = (
        0.995  # a single feature that separates this well is taken for a leak of the target
    )

    def __post_init__(self) -> None:
        """Raises ValueError for horizons that are not increasing days."""
        days = self.horizons_days
        if list(days) != sorted(set(days)) or not days or days[0] <= 0:
            raise ValueError(
                f"churn.horizons_days must be increasing numbers of days, not {list(days)}."
            )


# For a target without dates: a network that may bend more, with boosted trees beside it.
TABLE = ChurnTraining(
    hidden=96,
    members=16,
    bins=48,
    dropout=0.1,
    learning_rate=2e-3,
    weight_decay=3e-4,
    batch_size=256,
    epochs=200,
    patience=16,
)


def train(
    params: ChurnTraining,
    features: pl.DataFrame,
    work_dir: Path,
    run: Run,
    progress: Progress = lambda done, total: None,
    declared: Sequence[Feature] | None = None,
    lead_days: int = 0,
) -> dict[str, Any]:
    """Trains on rows whose `split` is train, stops and calibrates on valid, writes `work_dir/model`, returns a summary.

    `features` is what data.features made, with a column `split`; rows without a known outcome are left out. `declared`
    says what the columns are where data.features does not (a plain table), `lead_days` what `features.lead_days` was. A
    training that was killed goes on from its checkpoint and ends at the same weights as one that was not.
    Raises ChurnTrainingError when rows, customers who left or a split are missing, or a feature gives the target away.
    """
    import torch

    from models.churn.encoding import Encoder
    from models.churn.hazard import HazardNetwork
    from models.churn.model import (
        ChurnConfig,
        ChurnModel,
        describe_columns,
        feature_columns,
        make_network,
    )
    from models.churn.tabular import TableNetwork
    from training.churn.additive import fit_additive
    from training.churn.tabular import blend, refit
    from training.churn.temporal_calibration import temporal_calibration

    rows = features.filter(
        pl.col("event").is_not_null() & (pl.col("time_days").is_null() | (pl.col("time_days") > 0))
    )
    parts = {name: rows.filter(pl.col("split") == name) for name in ("train", "valid")}
    dated = check(params, parts)
    names = feature_columns(rows)
    refuse_leaks(parts["train"], names, params.leak_auc)
    params = _sized(params, parts["train"]["customer_id"].n_unique(), dated)
    declared = declared or [
        describe(name, "categorical" if rows.schema[name] == pl.String else "numeric")
        for name in names
    ]
    declared = supported_features(declared, n_churners(parts["train"]), params.leavers_per_feature)
    columns = describe_columns(parts["train"], declared, params.bins)
    if not columns:
        raise ChurnTrainingError(
            "churn: no feature varies between the training rows. Deliver contacts or attributes."
        )
    horizons = observed_horizons(parts["train"], params.horizons_days) if dated else ()
    config = ChurnConfig(
        columns,
        horizons,
        params.hidden,
        params.layers,
        params.members,
        params.dropout,
        bias=(0.0,) * max(1, len(horizons)),
    )
    encoder = Encoder(columns)
    encoded = {name: encode(encoder, part, horizons) for name, part in parts.items()}
    torch.manual_seed(params.seed)
    network = make_network(config)

    def fit(network: HazardNetwork, rows: Rows) -> None:
        fit_additive(network, rows, params.ridge, params.mark_cost, params.additive_steps)

    def begin() -> None:
        if isinstance(network, HazardNetwork):
            fit(network, encoded["train"])
        # Under names of their own: whoever opened the run has logged the settings as they were given.
        used = {
            name: getattr(params, name)
            for name in ("bins", "batch_size", "dropout", "weight_decay")
        }
        used |= {"rows": parts["train"].height, "inputs": encoder.width, "features": len(columns)}
        run.log_params({"used": used})

    stopping, judging = _halves(parts["valid"]["customer_id"])
    watched = encoded["valid"].take(stopping) if dated else encoded["valid"]
    state = learn(
        network,
        encoded["train"],
        watched,
        params,
        work_dir / CHECKPOINT,
        _fingerprint(params, features),
        begin,
        run.log_metrics,
        progress,
    )
    if isinstance(network, HazardNetwork):
        if not _worth_it(
            network,
            encoded["valid"].take(judging),
            parts["valid"]["customer_id"].gather(judging.numpy()),
        ):
            network.zero_ensemble()
        kept_loss = ensemble_loss(network, encoded["valid"])
        ahead = temporal_calibration(
            config,
            encoder,
            rows.filter(pl.col("split") != "test"),
            fit,
            params.min_events,
            lead_days,
        )
        temperature, bias = calibrate(
            network, encoded["valid"], ahead.temperature if ahead else 1.0
        )
        config = replace(config, temperature=temperature, bias=bias)
        found = {
            "ensemble": not network.ensemble_is_zero,
            "kept_valid_loss": kept_loss,
            "foresight": ahead and {**asdict(ahead), "day": ahead.day.isoformat()},
        }
    else:
        config, found = blend(network, config, encoded, params)
    metrics = _valid_metrics(ChurnModel(config, network), parts["valid"])
    if isinstance(network, TableNetwork):
        network = refit(network, config, encoded, params, state["best_epoch"], progress)
    ChurnModel(config, network).save(work_dir / MODEL)
    run.log_metrics(
        metrics | {"temperature": config.temperature, "best_valid_loss": state["best_loss"]},
        step=state["epoch"],
    )
    progress(params.epochs, params.epochs)
    kept = {column.name for column in columns}
    return {
        "model": str(work_dir / MODEL),
        "run_id": run.run_id,
        "resumed_from_epoch": state["resumed_from"],
        "epochs": state["epoch"],
        "best_epoch": state["best_epoch"],
        "valid_loss": state["best_loss"],
        "first_valid_loss": state["first_loss"],
        **found,
        "rows": {name: part.height for name, part in parts.items()},
        "customers": {name: part["customer_id"].n_unique() for name, part in parts.items()},
        "events": {name: n_churners(part) for name, part in parts.items()},
        "features": len(columns),
        "features_left_out": sorted(set(names) - kept),
        "horizons_days": list(horizons),
        "horizons_left_out": sorted(set(params.horizons_days) - set(horizons)) if dated else [],
        "temperature": config.temperature,
        "bias": list(config.bias),
        "valid": metrics,
    }


def _halves(customer: pl.Series) -> tuple[torch.Tensor, torch.Tensor]:
    """The places of the rows of every other customer, and of the rest."""
    import torch

    second = torch.from_numpy((customer.rank("dense") % 2 == 0).to_numpy().copy())
    return torch.nonzero(~second)[:, 0], torch.nonzero(second)[:, 0]


def _worth_it(network: HazardNetwork, rows: Rows, customer: pl.Series) -> bool:
    """Whether the ensemble gains on `rows` beyond sampling error (95 %, one-sided), which is clustered by customer.

    `rows` are none that passes were stopped on: the best of many passes looks good there by chance.
    """
    alone = row_losses(network.additive(rows.inputs)[:, None, :], rows)[:, 0]
    together = row_losses(ensemble_logits(network, rows)[:, None, :], rows)[:, 0]
    gain = pl.DataFrame({"customer": customer, "gain": (alone - together).numpy()})
    by_customer = gain.group_by("customer").agg(pl.col("gain").sum())["gain"].to_numpy()
    error = by_customer.std() * len(by_customer) ** 0.5 if len(by_customer) else float("inf")
    return bool(by_customer.sum() > 1.645 * error)


def _sized(params: ChurnTraining, customers: int, dated: bool) -> ChurnTraining:
    """Fewer bins, smaller steps and, where outcomes have dates, more restraint where there are few customers."""
    scarcity = min(1.0, customers / 2000) if dated else 1.0
    return replace(
        params,
        bins=max(2, min(params.bins, customers // (60 if dated else 20))),
        batch_size=max(32, min(params.batch_size, customers // (8 if dated else 4))),
        dropout=min(0.5, params.dropout + 0.2 * (1 - scarcity)),
        weight_decay=params.weight_decay * (1 + 9 * (1 - scarcity)),
    )


def _valid_metrics(model: ChurnModel, part: pl.DataFrame) -> dict[str, float]:
    from evaluation.metrics.churn import point_metrics

    risks = model.predict(part).select(model.config.risk_names)
    return point_metrics(
        pl.concat(
            [part.select("customer_id", "as_of", "event", "time_days"), risks], how="horizontal"
        )
    )


def _fingerprint(params: ChurnTraining, features: pl.DataFrame) -> str:
    """Names the rows and parameters of a training; a checkpoint of other ones is not gone on from."""
    content = io.BytesIO()
    features.rechunk().write_ipc(content)
    stated = json.dumps(asdict(params), sort_keys=True)
    return hashlib.sha256(
        stated.encode() + hashlib.sha256(content.getbuffer()).digest()
    ).hexdigest()
