"""Trains the churn network on features of several as-of dates, calibrates it, and survives being killed.

First the additive part is fitted whole, then the ensemble learns what it leaves, for as long as that helps on the valid
split; where it never helps, nothing of it is kept. The result is calibrated on valid, too.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from data.features import Feature, describe
from training import checkpoint
from training.likelihood import Rows, calibrate, encode, ensemble_logits, ensemble_loss, loss, row_losses

if TYPE_CHECKING:
    import torch

    from models.churn import ChurnModel
    from models.hazard import HazardNetwork

CHECKPOINT, MODEL = "checkpoint.safetensors", "model"


class ChurnTrainingError(ValueError):
    """There is not enough, or not the right kind of data to learn from."""


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
    horizons_days: tuple[int, ...] = (30, 90, 180, 365)  # ends of the intervals; ignored where outcomes have no dates
    hidden: int = 64  # width of each hidden layer
    layers: int = 2  # hidden layers
    members: int = 8  # ensemble members sharing the weights
    bins: int = 8  # at most so many bins of a number's piecewise-linear encoding
    dropout: float = 0.2  # share of hidden units dropped in training
    ridge: float = 1.0  # holds the additive weights towards nothing: half their inverse variance a priori
    mark_cost: float = 0.5  # holds what a kind of contact weighs towards nothing
    additive_steps: int = 150  # at most so many L-BFGS steps of the additive fit
    leavers_per_feature: int = 20  # with fewer customers who left, features that only refine others are left out
    learning_rate: float = 7e-4  # of AdamW
    weight_decay: float = 0.1  # of AdamW
    batch_size: int = 512  # rows a step, fewer where there are few rows
    epochs: int = 50  # at most so many passes
    patience: int = 6  # passes without a better valid loss before stopping
    checkpoint_every: int = 2  # passes between checkpoints
    min_customers: int = 60  # in train; fewer are refused
    min_events: int = 10  # customers who left, in train; fewer are refused
    leak_auc: float = 0.995  # a single feature that separates this well is taken for a leak of the target

    def __post_init__(self) -> None:
        """Raises ValueError for horizons that are not increasing days."""
        days = self.horizons_days
        if list(days) != sorted(set(days)) or not days or days[0] <= 0:
            raise ValueError(f"churn.horizons_days must be increasing numbers of days, not {list(days)}.")


# For a plain table with a yes/no target, where what the additive part leaves is worth a larger ensemble.
TABLE = ChurnTraining(
    hidden=192, members=16, bins=16, dropout=0.1, learning_rate=1e-3, weight_decay=3e-4, batch_size=128,
    epochs=200, patience=20,
)  # fmt: skip


def train(
    params: ChurnTraining,
    features: pl.DataFrame,
    work_dir: Path,
    run: Run,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Trains on rows whose `split` is train, stops and calibrates on valid, writes `work_dir/model`, returns a summary.

    `features` is what data.features made, with a column `split`; rows without a known outcome are left out. A training
    that was killed goes on from its checkpoint and ends at the same weights as one that was not.
    Raises ChurnTrainingError when rows, customers who left or a split are missing, or a feature gives the target away.
    """
    import torch

    from models.churn import ChurnConfig, ChurnModel, describe_columns, feature_columns
    from models.encoding import Encoder
    from models.hazard import HazardNetwork
    from training.additive import fit_additive

    rows = features.filter(pl.col("event").is_not_null() & (pl.col("time_days").is_null() | (pl.col("time_days") > 0)))
    parts = {name: rows.filter(pl.col("split") == name) for name in ("train", "valid")}
    dated = _check(params, parts)
    names = feature_columns(rows)
    _refuse_leaks(parts["train"], names, params.leak_auc)
    params = _sized(params, parts["train"]["customer_id"].n_unique())
    declared = [describe(name, "categorical" if rows.schema[name] == pl.String else "numeric") for name in names]
    columns = describe_columns(parts["train"], _affordable(declared, _leavers(parts["train"]), params), params.bins)
    if not columns:
        raise ChurnTrainingError("churn: no feature varies between the training rows. Deliver contacts or attributes.")
    horizons = params.horizons_days if dated else ()
    config = ChurnConfig(
        columns, horizons, params.hidden, params.layers, params.members, params.dropout,
        bias=(0.0,) * max(1, len(horizons)),
    )  # fmt: skip
    encoder = Encoder(columns)
    encoded = {name: encode(encoder, part, horizons) for name, part in parts.items()}

    torch.manual_seed(params.seed)
    network = HazardNetwork(config)
    optimizer = torch.optim.AdamW(_groups(network, params.weight_decay), lr=params.learning_rate)
    fingerprint = _fingerprint(params, features)
    state = checkpoint.restore(work_dir / CHECKPOINT, fingerprint, network, optimizer)
    resumed_from = state["epoch"] if state else 0
    if state is None:
        fit_additive(network, encoded["train"], params.ridge, params.mark_cost, params.additive_steps)
        state = {"fingerprint": fingerprint, "epoch": 0, "best_epoch": 0, "best": _copied(network),
                 "additive_loss": ensemble_loss(network, encoded["valid"])}  # fmt: skip
        state["best_loss"] = state["additive_loss"]
        # Under names of their own: whoever opened the run has logged the settings as they were given.
        used = {name: getattr(params, name) for name in ("bins", "batch_size", "dropout", "weight_decay")}
        used |= {"rows": parts["train"].height, "inputs": encoder.width, "features": len(columns)}
        run.log_params({"used": used})

    best = state.pop("best")
    while state["epoch"] < params.epochs and state["epoch"] - state["best_epoch"] < params.patience:
        train_loss = _one_pass(network, optimizer, encoded["train"], params, state["epoch"])
        state["epoch"] += 1
        valid_loss = ensemble_loss(network, encoded["valid"])
        run.log_metrics({"train_loss": train_loss, "valid_loss": valid_loss}, step=state["epoch"])
        if valid_loss < state["best_loss"]:
            state["best_loss"], state["best_epoch"], best = valid_loss, state["epoch"], _copied(network)
        if state["epoch"] % params.checkpoint_every == 0:
            checkpoint.save(work_dir / CHECKPOINT, state, network, best, optimizer)
        progress(state["epoch"], params.epochs)
    network.load_state_dict(best)
    if not _worth_it(network, encoded["valid"], parts["valid"]["customer_id"]):
        network.silence()
        best = _copied(network)
    temperature, bias = calibrate(network, encoded["valid"])
    model = ChurnModel(replace(config, temperature=temperature, bias=bias), network)
    model.save(work_dir / MODEL)
    metrics = _valid_metrics(model, parts["valid"])
    run.log_metrics(metrics | {"temperature": temperature, "best_valid_loss": state["best_loss"]}, step=state["epoch"])
    checkpoint.save(work_dir / CHECKPOINT, state, network, best, optimizer)
    progress(params.epochs, params.epochs)
    kept = {column.name for column in columns}
    return {
        "model": str(work_dir / MODEL), "run_id": run.run_id, "resumed_from_epoch": resumed_from,
        "epochs": state["epoch"], "best_epoch": state["best_epoch"], "valid_loss": state["best_loss"],
        "valid_loss_additive": state["additive_loss"], "ensemble": not network.is_silent,
        "rows": {name: part.height for name, part in parts.items()},
        "customers": {name: part["customer_id"].n_unique() for name, part in parts.items()},
        "events": {name: _leavers(part) for name, part in parts.items()},
        "features": len(columns), "features_left_out": sorted(set(names) - kept),
        "horizons_days": list(horizons), "temperature": temperature, "bias": list(bias), "valid": metrics,
    }  # fmt: skip


def _worth_it(network: HazardNetwork, rows: Rows, customer: pl.Series) -> bool:
    """Whether the ensemble gains on `rows` beyond sampling error (95 %, one-sided), which is clustered by customer.

    The best of many passes looks good by chance where few customers left.
    """
    alone = row_losses(network.additive(rows.inputs)[:, None, :], rows)[:, 0]
    together = row_losses(ensemble_logits(network, rows)[:, None, :], rows)[:, 0]
    gain = pl.DataFrame({"customer": customer, "gain": (alone - together).numpy()})
    by_customer = gain.group_by("customer").agg(pl.col("gain").sum())["gain"].to_numpy()
    return bool(by_customer.sum() > 1.645 * by_customer.std() * len(by_customer) ** 0.5)


def _copied(network: HazardNetwork) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def _affordable(declared: list[Feature], leavers: int, params: ChurnTraining) -> list[Feature]:
    """All features where enough customers left to learn from, else those that no other one stands for.

    The rule of events per variable (Peduzzi et al., 1996), which is generous with 10 and safe with 20.
    """
    if leavers >= params.leavers_per_feature * len(declared):
        return declared
    return [feature for feature in declared if not feature.detail] or declared


def _leavers(part: pl.DataFrame) -> int:
    return part.filter(pl.col("event"))["customer_id"].n_unique()


def _check(params: ChurnTraining, parts: dict[str, pl.DataFrame]) -> bool:
    """Whether targets have dates; raises ChurnTrainingError when there is too little of anything."""
    for name, part in parts.items():
        if part.is_empty():
            raise ChurnTrainingError(
                f"churn: no customer with a known outcome is in {name}. Raise splits.{name}_share."
            )
    part = parts["train"]
    customers, left = part["customer_id"].n_unique(), _leavers(part)
    if left == 0 or part["event"].all():
        every = "nobody" if left == 0 else "everybody"
        raise ChurnTrainingError(f"churn: {every} among {customers} customers left, so there is nothing to tell apart.")
    for what, found, least in (("customers", customers, params.min_customers), ("leavers", left, params.min_events)):
        if found < least:
            raise ChurnTrainingError(
                f"churn: {found} {what} to learn from, {least} needed. Deliver more customers with outcomes, or lower "
                f"churn.min_{'customers' if what == 'customers' else 'events'}."
            )
    dated = parts["train"]["time_days"].is_not_null()
    if dated.any() != dated.all():
        raise ChurnTrainingError("churn: some targets have dates and some have none. Compute the features again.")
    return bool(dated.any())


def _refuse_leaks(part: pl.DataFrame, names: list[str], limit: float) -> None:
    """Raises ChurnTrainingError naming a feature that by itself tells who left almost without error."""
    target = part["event"].to_numpy()
    for name in names:
        series = part[name]
        if series.dtype == pl.String:
            series = part.select(pl.col("event").cast(pl.Float64).mean().over(name)).to_series()
        # Nulls rank lowest: a column that is filled only for those who left is a leak, too.
        ranks = series.fill_null(float("-inf")).rank("average").to_numpy()
        left = int(target.sum())
        auc = (ranks[target].sum() - left * (left + 1) / 2) / (left * (len(target) - left))
        if max(auc, 1 - auc) > limit:
            raise ChurnTrainingError(
                f"churn: feature {name} alone separates who left (AUC {max(auc, 1 - auc):.3f}), which only knowing the "
                f"outcome can do. Put {name.removeprefix('attr_')!r} in features.exclude, or raise churn.leak_auc."
            )


def _sized(params: ChurnTraining, customers: int) -> ChurnTraining:
    """Fewer bins, smaller steps and more restraint where there are few customers."""
    scarcity = min(1.0, customers / 2000)
    return replace(
        params,
        bins=max(2, min(params.bins, customers // 60)),
        batch_size=max(32, min(params.batch_size, customers // 8)),
        dropout=min(0.5, params.dropout + 0.2 * (1 - scarcity)),
        weight_decay=params.weight_decay * (1 + 9 * (1 - scarcity)),
    )


def _groups(network: HazardNetwork, weight_decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases and the members' scalings do not."""
    decayed: list[Any] = []
    free: list[Any] = []
    for name, parameter in network.named_parameters():
        (free if "bias" in name or "scale" in name else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def _one_pass(
    network: HazardNetwork, optimizer: torch.optim.Optimizer, rows: Rows, params: ChurnTraining, epoch: int
) -> float:
    """One pass over the rows. Its randomness depends on seed and epoch alone, so a resumed training repeats it."""
    import torch

    torch.manual_seed(params.seed * 1_000_003 + epoch + 1)
    network.train()
    total = 0.0
    for places in torch.randperm(len(rows)).split(params.batch_size):
        batch = rows.take(places)
        found = loss(network(batch.inputs), batch)
        optimizer.zero_grad()
        found.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        total += found.item() * len(batch)
    network.eval()
    return total / len(rows)


def _valid_metrics(model: ChurnModel, part: pl.DataFrame) -> dict[str, float]:
    from evaluation.metrics.churn import point_metrics

    risks = model.predict(part).select(model.config.risk_names)
    return point_metrics(
        pl.concat([part.select("customer_id", "as_of", "event", "time_days"), risks], how="horizontal")
    )


def _fingerprint(params: ChurnTraining, features: pl.DataFrame) -> str:
    """Names the rows and parameters of a training; a checkpoint of other ones is not gone on from."""
    content = io.BytesIO()
    features.rechunk().write_ipc(content)
    stated = json.dumps(asdict(params), sort_keys=True)
    return hashlib.sha256(stated.encode() + hashlib.sha256(content.getbuffer()).digest()).hexdigest()
