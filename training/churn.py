"""Trains the churn network on features of several as-of dates, calibrates it, and survives being killed.

The likelihood is that of a hazard that is constant within an interval, so a customer who was observed for half an
interval counts for half of it and no censored row is thrown away (Allison, 1982; Gensheimer and Narasimhan, 2019, for
networks). Without dates it is plain logistic loss. What was best on the valid split is kept, and calibrated there.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl

from data.features import describe
from data.store import atomic

if TYPE_CHECKING:
    import torch

    from models.churn import ChurnModel, HazardNetwork

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
    hidden_value_share: float = 0.02  # share of categories shown as unknown, so that the unknown slot learns
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


@dataclass
class _Rows:
    """Encoded rows: numbers, category indices, share of each interval observed, interval of the event or -1."""

    numbers: torch.Tensor
    index: torch.Tensor
    observed: torch.Tensor
    event: torch.Tensor


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

    from models.churn import ChurnConfig, ChurnModel, Encoder, HazardNetwork, describe_columns, feature_columns

    rows = features.filter(pl.col("event").is_not_null() & (pl.col("time_days").is_null() | (pl.col("time_days") > 0)))
    parts = {name: rows.filter(pl.col("split") == name) for name in ("train", "valid")}
    dated = _check(params, parts)
    names = feature_columns(rows)
    _refuse_leaks(parts["train"], names, params.leak_auc)
    params = _sized(params, parts["train"]["customer_id"].n_unique())
    declared = [describe(name, "categorical" if rows.schema[name] == pl.String else "numeric") for name in names]
    columns = describe_columns(parts["train"], declared, params.bins)
    if not columns:
        raise ChurnTrainingError("churn: no feature varies between the training rows. Deliver contacts or attributes.")
    horizons = params.horizons_days if dated else ()
    config = ChurnConfig(
        columns, horizons, params.hidden, params.layers, params.members, params.dropout,
        bias=(0.0,) * max(1, len(horizons)),
    )  # fmt: skip
    encoder = Encoder(columns)
    encoded = {name: _encode(encoder, part, horizons) for name, part in parts.items()}

    torch.manual_seed(params.seed)
    network = HazardNetwork(config)
    _start_at_base_rate(network, encoded["train"], dated)
    optimizer = torch.optim.AdamW(_groups(network, params.weight_decay), lr=params.learning_rate)
    fingerprint = _fingerprint(params, features)
    state = _restore(work_dir / CHECKPOINT, fingerprint, network, optimizer)
    resumed_from = state["epoch"]
    if not resumed_from:
        state["fingerprint"] = fingerprint
        # Under names of their own: whoever opened the run has logged the settings as they were given.
        used = {name: getattr(params, name) for name in ("bins", "batch_size", "dropout", "weight_decay")}
        run.log_params({"used": {**used, "rows": parts["train"].height, "inputs": network.width}})

    best = state.pop("best") or {name: value.clone() for name, value in network.state_dict().items()}
    if state["best_loss"] is None:
        state["best_loss"] = _valid_loss(network, encoded["valid"], dated)
    while state["epoch"] < params.epochs and state["epoch"] - state["best_epoch"] < params.patience:
        train_loss = _one_pass(network, optimizer, encoded["train"], params, state["epoch"], dated)
        state["epoch"] += 1
        loss = _valid_loss(network, encoded["valid"], dated)
        run.log_metrics({"train_loss": train_loss, "valid_loss": loss}, step=state["epoch"])
        if loss < state["best_loss"]:
            state["best_loss"], state["best_epoch"] = loss, state["epoch"]
            best = {name: value.clone() for name, value in network.state_dict().items()}
        if state["epoch"] % params.checkpoint_every == 0:
            _save(work_dir / CHECKPOINT, state, network, best, optimizer)
        progress(state["epoch"], params.epochs)
    network.load_state_dict(best)
    temperature, bias = _calibrate(network, encoded["valid"], dated)
    model = ChurnModel(replace(config, temperature=temperature, bias=bias), network)
    model.save(work_dir / MODEL)
    metrics = _valid_metrics(model, parts["valid"])
    run.log_metrics(metrics | {"temperature": temperature, "best_valid_loss": state["best_loss"]}, step=state["epoch"])
    _save(work_dir / CHECKPOINT, state, network, best, optimizer)
    progress(params.epochs, params.epochs)
    return {
        "model": str(work_dir / MODEL), "run_id": run.run_id, "resumed_from_epoch": resumed_from,
        "epochs": state["epoch"], "best_epoch": state["best_epoch"], "valid_loss": state["best_loss"],
        "rows": {name: part.height for name, part in parts.items()},
        "customers": {name: part["customer_id"].n_unique() for name, part in parts.items()},
        "events": {name: _leavers(part) for name, part in parts.items()},
        "features": len(columns), "features_constant": sorted(set(names) - {column.name for column in columns}),
        "horizons_days": list(horizons), "temperature": temperature, "bias": list(bias), "valid": metrics,
    }  # fmt: skip


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


def _encode(encoder: Any, part: pl.DataFrame, horizons: tuple[int, ...]) -> _Rows:
    import torch

    numbers, index = encoder.frame(part)
    event = torch.from_numpy(part["event"].to_numpy().copy())
    if not horizons:
        return _Rows(numbers, index, torch.ones(len(event), 1), torch.where(event, 0, -1))
    ends = torch.tensor(horizons, dtype=torch.float32)
    starts = torch.cat([torch.zeros(1), ends[:-1]])
    time = torch.from_numpy(part["time_days"].to_numpy().astype(np.float32))[:, None]
    observed = ((time - starts) / (ends - starts)).clamp(0, 1)
    interval = torch.searchsorted(ends, time[:, 0].contiguous())
    return _Rows(numbers, index, observed, torch.where(event & (interval < len(ends)), interval, -1))


def _loss(logits: torch.Tensor, observed: torch.Tensor, event: torch.Tensor, dated: bool) -> torch.Tensor:
    """Mean negative log-likelihood of logits [rows, members, intervals], every member judged by itself."""
    import torch
    from torch.nn import functional

    if not dated:
        target = (event >= 0).to(logits.dtype)[:, None].expand(logits.shape[:2])
        return functional.binary_cross_entropy_with_logits(logits[:, :, 0], target)
    hazard = functional.softplus(logits)
    survived = (hazard * observed[:, None, :]).sum(2)
    chosen = logits.gather(2, event.clamp(min=0)[:, None, None].expand(-1, logits.shape[1], 1))[:, :, 0]
    # log(softplus(x)) is x far below zero, where softplus itself would round to nothing
    log_hazard = torch.where(chosen < -15, chosen, functional.softplus(chosen.clamp(min=-15)).log())
    return (survived - log_hazard * (event >= 0)[:, None]).mean()


def _start_at_base_rate(network: HazardNetwork, rows: _Rows, dated: bool) -> None:
    """Sets the biases so that training begins at the life table: everybody at the average hazard of each interval."""
    import torch

    count = network.level_bias.shape[0]
    events = torch.tensor([float((rows.event == j).sum()) for j in range(count)]) + 0.5
    hazard = events / (rows.observed.sum(0) + 1.0)
    with torch.no_grad():
        rate = hazard if dated else -torch.log1p(-hazard.clamp(max=0.99))
        network.level_bias.copy_(torch.log(torch.expm1(rate)))


def _groups(network: HazardNetwork, weight_decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases and the members' scalings do not."""
    decayed: list[Any] = []
    free: list[Any] = []
    for name, parameter in network.named_parameters():
        (free if "bias" in name or "scale" in name else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def _one_pass(
    network: HazardNetwork,
    optimizer: torch.optim.Optimizer,
    rows: _Rows,
    params: ChurnTraining,
    epoch: int,
    dated: bool,
) -> float:
    """One pass over the rows. Its randomness depends on seed and epoch alone, so a resumed training repeats it."""
    import torch

    torch.manual_seed(params.seed * 1_000_003 + epoch + 1)
    network.train()
    total = 0.0
    order = torch.randperm(len(rows.event))
    for batch in order.split(params.batch_size):
        index = rows.index[batch]
        index = torch.where(torch.rand(index.shape) < params.hidden_value_share, 0, index)
        logits = network(network.embed(rows.numbers[batch], index))
        loss = _loss(logits, rows.observed[batch], rows.event[batch], dated)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        total += loss.item() * len(batch)
    network.eval()
    return total / len(rows.event)


def _mean_logits(network: HazardNetwork, rows: _Rows) -> torch.Tensor:
    import torch

    from models.churn import mean_logits

    network.eval()
    with torch.no_grad():
        return torch.cat(
            [
                mean_logits(network(network.embed(numbers, index)))
                for numbers, index in zip(rows.numbers.split(4096), rows.index.split(4096), strict=True)
            ]
        )


def _valid_loss(network: HazardNetwork, rows: _Rows, dated: bool) -> float:
    return float(_loss(_mean_logits(network, rows)[:, None, :], rows.observed.double(), rows.event, dated))


def _calibrate(network: HazardNetwork, rows: _Rows, dated: bool) -> tuple[float, tuple[float, ...]]:
    """A temperature for all and a bias for each interval by penalised likelihood: few events move them little."""
    import torch

    logits = _mean_logits(network, rows)[:, None, :]
    knobs = torch.zeros(1 + logits.shape[2], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([knobs], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        moved = logits * knobs[0].exp() + knobs[1:]
        loss = _loss(moved, rows.observed.double(), rows.event, dated) * len(rows.event)
        # Gaussian priors: 0.3 on the log temperature; 0.15 on each bias, for the level is known better from train
        loss = loss + knobs[0] ** 2 / (2 * 0.3**2) + (knobs[1:] ** 2).sum() / (2 * 0.15**2)
        loss.backward()
        return loss

    optimizer.step(closure)
    values = knobs.detach()
    return float(values[0].exp()), tuple(values[1:].tolist())


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


def _metadata(path: Path) -> dict[str, Any] | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as found:
            return json.loads(found.metadata()["state"])
    except FileNotFoundError:
        return None
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError):
        return None  # not a checkpoint of ours: train from the start, which overwrites it


def _save(
    path: Path, state: dict[str, Any], network: HazardNetwork, best: dict[str, Any], optimizer: torch.optim.Optimizer
) -> None:
    """One file whole or not at all: weights, best weights and optimizer as tensors, the rest as JSON in its header."""
    from safetensors.torch import save_file

    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in moments.items()}
    with atomic(path) as temporary:
        save_file({name: value.contiguous().clone() for name, value in tensors.items()}, temporary,
                  metadata={"state": json.dumps(state)})  # fmt: skip


def _restore(path: Path, fingerprint: str, network: HazardNetwork, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state of an interrupted training of the same rows and parameters, or that of a new one."""
    from safetensors.torch import load_file

    found = _metadata(path)
    if not found or found["fingerprint"] != fingerprint:
        return {"epoch": 0, "best_epoch": 0, "best_loss": None, "best": None}
    tensors = load_file(path)

    def part(prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    network.load_state_dict(part("network."))
    moments: dict[int, dict[str, Any]] = {}
    for name, value in part("optimizer.").items():
        number, key = name.split(".")
        moments.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return {**found, "best": part("best.")}
