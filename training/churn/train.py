"""Trains the churn network on features of several as-of dates and calibrates it; resumable.

First the additive part is fitted, then the ensemble is trained on top until the valid loss stops
improving. Where the ensemble gains nothing on customers of valid that it was not stopped on, it is
silenced. The result is calibrated on valid, with the temperature that a model of the past needed on
what came after as the prior (training.churn.temporal_calibration). A target without dates has a
network of its own (models.churn.tabular, training.churn.tabular).
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from data.features.features import Feature, describe
from data.progress import Progress
from training.churn.learnable import (
    ChurnTrainingError,
    assert_no_leaks,
    check_outcomes,
    n_churners,
    observed_horizons,
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
from training.churn.passes import train_with_early_stopping
from training.churn.settings import ChurnTraining
from training.run import TrainingRun

if TYPE_CHECKING:
    import torch

    from models.churn.encoding import Encoder
    from models.churn.hazard import ChurnConfig, HazardNetwork
    from models.churn.model import ChurnModel

CHECKPOINT, MODEL = "checkpoint.safetensors", "model"
_ONE_SIDED_95 = 1.645  # standard errors


def train(
    params: ChurnTraining,
    features: pl.DataFrame,
    work_dir: Path,
    *,
    run: TrainingRun,
    progress: Progress = lambda done, total: None,
    declared: Sequence[Feature] | None = None,
    lead_days: int = 0,
) -> dict[str, Any]:
    """Trains on the train split, stops and calibrates on valid, and returns a summary.

    Writes the model to `work_dir`/model. `features` is a feature frame with a column `split`; rows
    without a known outcome are left out. `declared` describes the columns where data.features does
    not (a plain table), `lead_days` is the setting `features.lead_days`. A killed training resumes
    from its checkpoint and ends at the same weights as one that was not.

    Raises ChurnTrainingError when rows, churners or a split are missing, or a feature leaks the
    target.
    """
    import torch

    from models.churn.hazard import HazardNetwork
    from models.churn.model import ChurnModel, make_network
    from models.churn.tabular import TableNetwork
    from training.churn.tabular import blend_with_trees, refit_on_all_rows

    data = _prepare(params, features, declared)
    params, encoded = data.params, data.encoded
    torch.manual_seed(params.seed)
    network = make_network(data.config)

    def initialize() -> None:
        if isinstance(network, HazardNetwork):
            _fit_additive(network, encoded["train"], params)
        run.log_params({"used": data.used_settings()})

    stopping, held_back = _halve_customers(data.parts["valid"]["customer_id"])
    state = train_with_early_stopping(
        network,
        encoded["train"],
        encoded["valid"].take(stopping) if data.dated else encoded["valid"],
        params=params,
        path=work_dir / CHECKPOINT,
        fingerprint=_fingerprint(params, features),
        initialize=initialize,
        log=run.log_metrics,
        progress=progress,
    )
    if isinstance(network, HazardNetwork):
        config, facts = _calibrate_hazards(network, data, held_back, lead_days=lead_days)
    else:
        config, facts = blend_with_trees(network, data.config, encoded, params=params)
    # Before the refit, whose network has seen valid.
    metrics = _valid_metrics(ChurnModel(config, network), data.parts["valid"])
    if isinstance(network, TableNetwork):
        network = refit_on_all_rows(
            network,
            config,
            encoded,
            params=params,
            passes=state["best_epoch"],
            progress=progress,
        )
    ChurnModel(config, network).save(work_dir / MODEL)
    run.log_metrics(
        metrics | {"temperature": config.temperature, "best_valid_loss": state["best_loss"]},
        step=state["epoch"],
    )
    progress(params.epochs, params.epochs)
    return {
        "model": str(work_dir / MODEL),
        "run_id": run.run_id,
        **_summarize_epochs(state),
        **facts,
        **data.summary(),
        "temperature": config.temperature,
        "bias": list(config.bias),
        "valid": metrics,
    }


@dataclass(frozen=True)
class _TrainingData:
    """Rows with known outcomes and all that is derived from them before training."""

    params: ChurnTraining  # sized to the number of customers
    rows: pl.DataFrame
    parts: dict[str, pl.DataFrame]  # train and valid
    encoded: dict[str, Rows]
    names: list[str]  # of all features, including those left out
    config: ChurnConfig
    encoder: Encoder

    @property
    def dated(self) -> bool:
        return bool(self.config.horizons_days)

    def used_settings(self) -> dict[str, Any]:
        """Returns the settings after sizing, and the numbers of rows, inputs and features.

        The run logs them under names of their own: the settings as given are logged already.
        """
        sized = ("bins", "batch_size", "dropout", "weight_decay")
        return {name: getattr(self.params, name) for name in sized} | {
            "rows": self.parts["train"].height,
            "inputs": self.encoder.width,
            "features": len(self.config.columns),
        }

    def summary(self) -> dict[str, Any]:
        """Returns rows, customers and events of each part, and the features and horizons used."""
        kept = {column.name for column in self.config.columns}
        horizons = self.config.horizons_days
        horizons_left_out = sorted(set(self.params.horizons_days) - set(horizons))
        return {
            "rows": {name: part.height for name, part in self.parts.items()},
            "customers": {
                name: part["customer_id"].n_unique() for name, part in self.parts.items()
            },
            "events": {name: n_churners(part) for name, part in self.parts.items()},
            "features": len(self.config.columns),
            "features_left_out": sorted(set(self.names) - kept),
            "horizons_days": list(horizons),
            "horizons_left_out": horizons_left_out if self.dated else [],
        }


def _prepare(
    params: ChurnTraining, features: pl.DataFrame, declared: Sequence[Feature] | None
) -> _TrainingData:
    """Checks the feature frame and returns it encoded, with the network's configuration.

    Raises ChurnTrainingError.
    """
    from models.churn.encoding import Encoder
    from models.churn.model import ChurnConfig, describe_columns, feature_columns

    rows = features.filter(
        pl.col("event").is_not_null() & (pl.col("time_days").is_null() | (pl.col("time_days") > 0))
    )
    parts = {name: rows.filter(pl.col("split") == name) for name in ("train", "valid")}
    dated = check_outcomes(params, parts)
    names = feature_columns(rows)
    assert_no_leaks(parts["train"], names, params.leak_auc)
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
    return _TrainingData(params, rows, parts, encoded, names, config, encoder)


def _fit_additive(network: HazardNetwork, rows: Rows, params: ChurnTraining) -> None:
    from training.churn.additive import fit_additive

    fit_additive(
        network,
        rows,
        ridge=params.ridge,
        mark_cost=params.mark_cost,
        steps=params.additive_steps,
    )


def _calibrate_hazards(
    network: HazardNetwork, data: _TrainingData, held_back: torch.Tensor, *, lead_days: int
) -> tuple[ChurnConfig, dict[str, Any]]:
    """Silences an ensemble that gains nothing and calibrates the network on valid.

    `held_back` are the valid rows that epochs were not stopped on. Returns the configuration with
    temperature and bias, and ensemble, kept_valid_loss and foresight (the temporal calibration).
    """
    from training.churn.temporal_calibration import temporal_calibration

    valid = data.encoded["valid"]
    customers = data.parts["valid"]["customer_id"].gather(held_back.numpy())
    if not _ensemble_gains(network, valid.take(held_back), customers):
        network.zero_ensemble()
    valid_loss = ensemble_loss(network, valid)
    temporal = temporal_calibration(
        data.config,
        data.encoder,
        data.rows.filter(pl.col("split") != "test"),
        fit=lambda network, rows: _fit_additive(network, rows, data.params),
        min_events=data.params.min_events,
        lead_days=lead_days,
    )
    temperature, bias = calibrate(network, valid, temporal.temperature if temporal else 1.0)
    facts = {
        "ensemble": not network.ensemble_is_zero,
        "kept_valid_loss": valid_loss,
        "foresight": temporal and {**asdict(temporal), "day": temporal.day.isoformat()},
    }
    return replace(data.config, temperature=temperature, bias=bias), facts


def _summarize_epochs(state: dict[str, Any]) -> dict[str, Any]:
    return {
        "resumed_from_epoch": state["resumed_from"],
        "epochs": state["epoch"],
        "best_epoch": state["best_epoch"],
        "valid_loss": state["best_loss"],
        "first_valid_loss": state["first_loss"],
    }


def _halve_customers(customer: pl.Series) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the places of the rows of every other customer, and of the rest."""
    import torch

    second = torch.from_numpy((customer.rank("dense") % 2 == 0).to_numpy().copy())
    return torch.nonzero(~second)[:, 0], torch.nonzero(second)[:, 0]


def _ensemble_gains(network: HazardNetwork, rows: Rows, customer: pl.Series) -> bool:
    """Returns whether the ensemble gains on `rows` beyond sampling error (95 %, one-sided).

    The error is clustered by customer. `rows` must be none that epochs were stopped on: the best of
    many epochs looks good there by chance.
    """
    additive = row_losses(network.additive(rows.inputs)[:, None, :], rows)[:, 0]
    together = row_losses(ensemble_logits(network, rows)[:, None, :], rows)[:, 0]
    gain = pl.DataFrame({"customer": customer, "gain": (additive - together).numpy()})
    by_customer = gain.group_by("customer").agg(pl.col("gain").sum())["gain"].to_numpy()
    error = by_customer.std() * len(by_customer) ** 0.5 if len(by_customer) else float("inf")
    return bool(by_customer.sum() > _ONE_SIDED_95 * error)


def _sized(params: ChurnTraining, customers: int, dated: bool) -> ChurnTraining:
    """Returns settings for so many customers.

    Few customers mean fewer bins and smaller steps and, where outcomes have dates, more dropout and
    weight decay.
    """
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
    """Returns a SHA-256 of rows and settings; a checkpoint of other ones is not resumed."""
    content = io.BytesIO()
    features.rechunk().write_ipc(content)
    settings = json.dumps(asdict(params), sort_keys=True)
    return hashlib.sha256(
        settings.encode() + hashlib.sha256(content.getbuffer()).digest()
    ).hexdigest()
