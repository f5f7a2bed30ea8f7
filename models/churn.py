"""The churn network: from a customer's features to one monotone curve of risk, with reasons a person can read.

Time is cut at the horizons; the network gives each interval a cumulative hazard, so the risk by the end of an interval
is 1 − exp(−sum of hazards so far) and never falls. The hazard of an interval is softplus of a logit, which makes a
single interval (a target without dates) exactly logistic. Numbers enter by piecewise-linear encoding (Gorishniy et al.,
2022), and a few ensemble members share all weights but their scalings (BatchEnsemble, Wen et al., 2020, as in TabM,
Gorishniy et al., 2024).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

from data.features import KEYS, Feature
from data.store import atomic, read_json, write_json

WEIGHTS, CONFIG, FORMAT = "weights.safetensors", "config.json", 1
_BATCH = 4096


class ChurnModelError(ValueError):
    """A frame does not fit the model, or a folder does not hold one."""


@dataclass(frozen=True)
class Column:
    """One feature as the model takes it. Numeric: bin edges, mean, std; categorical: values, index 0 is unknown."""

    name: str
    kind: str
    group: str
    meaning: str
    reference: float | str | None
    edges: tuple[float, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    has_missing: bool = False
    values: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class ChurnConfig:
    """All of a model but its weights. No horizons means one target without dates, called `risk`."""

    columns: tuple[Column, ...]
    horizons_days: tuple[int, ...]
    hidden: int = 96
    layers: int = 2
    members: int = 8
    dropout: float = 0.1
    temperature: float = 1.0
    bias: tuple[float, ...] = (0.0,)

    @property
    def risk_names(self) -> tuple[str, ...]:
        """The columns of a prediction: risk_30, risk_90, …, or risk."""
        return tuple(f"risk_{days}" for days in self.horizons_days) or ("risk",)


def describe_columns(frame: pl.DataFrame, features: Sequence[Feature], bins: int) -> tuple[Column, ...]:
    """What the model must know of each feature, out of training rows; a feature that never varies is left out."""
    columns = []
    for feature in features:
        series = frame[feature.name]
        if series.n_unique() < 2:
            continue
        if feature.kind == "categorical":
            counts = series.value_counts(sort=True)
            values = tuple(sorted(counts[feature.name].to_list(), key=lambda value: (value is None, value)))
            common = max(counts.drop_nulls(feature.name).iter_rows(), key=lambda row: (row[1], row[0]))[0]
            columns.append(Column(feature.name, "categorical", feature.group, feature.meaning, common, values=values))
            continue
        known = series.to_numpy().astype(np.float64)
        finite = known[np.isfinite(known)]
        if len(finite) == 0:
            continue
        edges = np.unique(np.quantile(finite, np.linspace(0, 1, bins + 1)))
        if len(edges) < 3:  # nearly constant: the quantiles see one value, so let the rest show at all
            edges = np.unique([finite.min(), *edges, finite.max()])
        columns.append(
            Column(
                feature.name, "numeric", feature.group, feature.meaning, float(np.median(finite)),
                tuple(edges.tolist()), float(finite.mean()), float(finite.std()) or 1.0, len(finite) < len(known),
            )
        )  # fmt: skip
    return tuple(columns)


class Encoder:
    """Turns feature values into the network's inputs: numbers [rows, width] and category indices [rows, columns]."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.numeric = [column for column in columns if column.kind == "numeric"]
        self.categorical = [column for column in columns if column.kind == "categorical"]
        # One entry a bin, side by side: the column it belongs to, where it begins and how wide it is.
        self._owned = np.array([n for n, column in enumerate(self.numeric) for _ in column.edges[1:]], dtype=np.int64)
        self._low = np.array([edge for column in self.numeric for edge in column.edges[:-1]])
        self._width = np.array([width for column in self.numeric for width in np.diff(column.edges)])
        self._mean = np.array([column.mean for column in self.numeric])
        self._std = np.array([column.std for column in self.numeric])
        self._median = np.array([float(column.reference or 0) for column in self.numeric])
        self._flagged = np.array([column.has_missing for column in self.numeric], dtype=bool)
        # 0 is the slot of values never seen; None is a value like any other where training had it.
        self.indices = [{value: n for n, value in enumerate(column.values, start=1)} for column in self.categorical]
        self.owner = self._owned.tolist()
        self.owner += [*range(len(self.numeric)), *np.flatnonzero(self._flagged).tolist()]

    def numbers(self, values: np.ndarray) -> np.ndarray:
        """Bins, standardised values and missing flags of `values` [rows, numeric columns], NaN for missing."""
        values = np.where(np.isfinite(values), values, np.nan)
        missing = np.isnan(values)
        values = np.where(missing & ~self._flagged, self._median, values)
        binned = np.clip((values[:, self._owned] - self._low) / self._width, 0, 1)
        standard = np.clip((values - self._mean) / self._std, -4, 4)
        parts = [np.nan_to_num(binned), np.nan_to_num(standard), missing[:, self._flagged]]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def frame(self, frame: pl.DataFrame) -> tuple[torch.Tensor, torch.Tensor]:
        """Encodes a features frame. Raises ChurnModelError naming a missing or unreadable column."""
        wanted = [column.name for column in (*self.numeric, *self.categorical)]
        missing = [name for name in wanted if name not in frame.columns]
        if missing:
            raise ChurnModelError(_missing(missing))
        values = np.full((frame.height, len(self.numeric)), np.nan)
        for n, column in enumerate(self.numeric):
            try:
                values[:, n] = frame[column.name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
            except pl.exceptions.PolarsError as error:
                raise ChurnModelError(f"churn model: column {column.name} is not numeric ({error}).") from error
        index = np.zeros((frame.height, len(self.categorical)), dtype=np.int64)
        for n, column in enumerate(self.categorical):
            known = self.indices[n]
            index[:, n] = [known.get(value, 0) for value in frame[column.name].cast(pl.String).to_list()]
        return torch.from_numpy(self.numbers(values)), torch.from_numpy(index)

    def row(self, values: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Encodes one customer given as a mapping; None is missing. Raises ChurnModelError as `frame` does."""
        missing = [column.name for column in (*self.numeric, *self.categorical) if column.name not in values]
        if missing:
            raise ChurnModelError(_missing(missing))
        try:
            numbers = [[_number(column.name, values[column.name]) for column in self.numeric]]
        except (TypeError, ValueError) as error:
            raise ChurnModelError(f"churn model: {error}") from error
        index = [
            [known.get(None if value is None else str(value), 0) for known, value in
             zip(self.indices, (values[column.name] for column in self.categorical), strict=True)]
        ]  # fmt: skip
        encoded = self.numbers(np.array(numbers).reshape(1, -1))
        return torch.from_numpy(encoded), torch.tensor(index, dtype=torch.int64).reshape(1, -1)


class _Shared(nn.Module):
    """A linear layer whose members share the weight and differ by scalings of its input and output.

    The first layer leaves the input as it is, so that its large product is done once for all members; the second
    takes random signs instead, and from there on members go their own ways.
    """

    def __init__(self, inputs: int, outputs: int, members: int, place: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs).uniform_(-1, 1) / max(1, inputs) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(members, outputs))
        self.scale_out = nn.Parameter(torch.ones(members, outputs))
        signs = torch.randint(0, 2, (members, inputs)).float() * 2 - 1
        self.scale_in = nn.Parameter(signs if place == 1 else torch.ones(members, inputs)) if place else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x if self.scale_in is None else x * self.scale_in) @ self.weight * self.scale_out + self.bias


class HazardNetwork(nn.Module):
    """Logits of each interval's hazard a member: [rows, members, intervals]. A linear part carries what is additive."""

    def __init__(self, config: ChurnConfig) -> None:
        super().__init__()
        encoder = Encoder(config.columns)
        sizes = [min(8, 2 + len(column.values) // 2) for column in encoder.categorical]
        self.embeddings = nn.ModuleList(
            nn.Embedding(len(column.values) + 1, size) for column, size in zip(encoder.categorical, sizes, strict=True)
        )
        self.width = len(encoder.owner) + sum(sizes)
        self.owner = encoder.owner + [len(encoder.numeric) + n for n, size in enumerate(sizes) for _ in range(size)]
        intervals = max(1, len(config.horizons_days))
        widths = [self.width, *[config.hidden] * config.layers]
        self.hidden = nn.ModuleList(
            _Shared(a, b, config.members, n) for n, (a, b) in enumerate(itertools.pairwise(widths))
        )
        self.dropout = nn.Dropout(config.dropout)
        # A score common to all intervals and departures from it: few events lie in each interval alone.
        self.common = nn.Parameter(torch.empty(config.members, widths[-1], 1).normal_(0, 0.3 / widths[-1] ** 0.5))
        self.departure = nn.Parameter(torch.zeros(config.members, widths[-1], intervals))
        self.linear = nn.Linear(self.width, 1, bias=False)
        nn.init.zeros_(self.linear.weight)
        self.level_bias = nn.Parameter(torch.zeros(intervals))

    def embed(self, numbers: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """Inputs side by side: [rows, width]; `owner` says which column each of them belongs to."""
        return torch.cat([numbers, *(table(index[:, n]) for n, table in enumerate(self.embeddings))], dim=1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        x = inputs[:, None, :]
        for layer in self.hidden:
            x = self.dropout(functional.relu(layer(x)))
        # A sum of products over the last hidden layer, each member with a head of its own.
        deep = torch.einsum("nkh,khj->nkj", x, self.common + self.departure)
        return deep + self.linear(inputs)[:, None, :] + self.level_bias


def mean_logits(logits: torch.Tensor) -> torch.Tensor:
    """Logits [rows, intervals] of the mean survival of the members, from theirs [rows, members, intervals]."""
    log_survival = -torch.cumsum(functional.softplus(logits.double()), dim=2)
    mean = torch.logsumexp(log_survival, dim=1) - np.log(logits.shape[1])
    before = functional.pad(mean[:, :-1], (1, 0))
    hazard = (before - mean).clamp(min=1e-12)
    return torch.where(hazard > 30, hazard, torch.log(torch.expm1(hazard.clamp(max=30))))


def risk_from_logits(logits: torch.Tensor) -> torch.Tensor:
    """Risk by the end of each interval, never falling: [rows, intervals]."""
    return -torch.expm1(-torch.cumsum(functional.softplus(logits), dim=1))


class ChurnModel:
    """A trained network with its encoding and calibration."""

    def __init__(self, config: ChurnConfig, network: HazardNetwork | None = None) -> None:
        self.config = config
        self.encoder = Encoder(config.columns)
        self.network = network or HazardNetwork(config)
        self.network.eval()
        self._bias = torch.tensor(config.bias, dtype=torch.float64)

    def predict(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Risk a row: customer_id, as_of (those that `frame` has), then risk_30, risk_90, … each within [0, 1].

        Extra columns are ignored, unseen categories take a slot of their own, 0 rows give 0 rows.
        Raises ChurnModelError naming a missing column.
        """
        keys = [name for name in ("customer_id", "as_of") if name in frame.columns]
        risks = np.concatenate(
            [self._risk(self._inputs(part)).numpy() for part in frame.iter_slices(_BATCH)]
            or [np.zeros((0, len(self.config.risk_names)))]
        )
        return frame.select(keys).with_columns(
            pl.Series(name, risks[:, n], dtype=pl.Float64) for n, name in enumerate(self.config.risk_names)
        )

    def score_row(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Risk of one customer given as a mapping of features: the quick way, equal to `predict`."""
        with torch.inference_mode():
            risks = self._risk(self.network.embed(*self.encoder.row(values)))[0].tolist()
        return dict(zip(self.config.risk_names, risks, strict=True))

    def reasons(self, frame: pl.DataFrame, top: int = 3) -> pl.DataFrame:
        """Why: the `top` groups of features that move each row's risk most, against a typical customer.

        A group's contribution is exact occlusion: the risk minus the risk with the whole group set to its reference
        (training median or most frequent value). Within the group the feature named is the one whose gradient times
        distance from the reference agrees most. Risk is that of the second horizon, or the only one.
        Returns customer_id, as_of (if there), rank, group, feature, value, contribution, sentence.
        """
        columns = [*self.encoder.numeric, *self.encoder.categorical]
        groups = sorted({column.group for column in columns})
        names = self.config.risk_names
        at = min(1, len(names) - 1)
        horizon = f" within {self.config.horizons_days[at]} days" if self.config.horizons_days else ""
        typical = self._reference()
        owner = np.array(self.network.owner)
        group_of = np.array([groups.index(column.group) for column in columns])
        keys = [name for name in ("customer_id", "as_of") if name in frame.columns]
        rows: list[dict[str, Any]] = []
        for slice_of in frame.iter_slices(_BATCH):
            part = self._inputs(slice_of)
            risk = self._risk(part)[:, at].numpy()
            moved = np.zeros((len(part), len(groups)))
            for g in range(len(groups)):
                mask = torch.from_numpy(group_of[owner] == g)
                moved[:, g] = risk - self._risk(torch.where(mask, typical, part))[:, at].numpy()
            leaning = self._leaning(part, typical, at, owner, len(columns))
            for n in range(len(part)):
                record = slice_of.row(n, named=True)
                for rank, g in enumerate(np.argsort(-np.abs(moved[n]), kind="stable")[:top], start=1):
                    members = np.flatnonzero(group_of == g)
                    best = columns[members[np.argmax(leaning[n, members] * (1 if moved[n, g] >= 0 else -1))]]
                    value = record[best.name]
                    rows.append(
                        {key: record[key] for key in keys}
                        | {"rank": rank, "group": best.group, "feature": best.name, "value": _shown(value),
                           "contribution": float(moved[n, g]), "sentence": _sentence(best, value, moved[n, g], horizon)}
                    )  # fmt: skip
        return pl.DataFrame(rows, schema={**{key: frame.schema[key] for key in keys}, **_REASONS})

    def save(self, folder: Path) -> None:
        """Writes weights.safetensors and config.json, each whole or not at all."""
        with atomic(folder / WEIGHTS) as temporary:
            safetensors.torch.save_file(self.network.state_dict(), temporary)
        write_json(folder / CONFIG, {"format": FORMAT, **asdict(self.config)})

    @classmethod
    def load(cls, folder: Path) -> ChurnModel:
        """Reads what `save` wrote. Raises ChurnModelError naming the file that is missing or does not fit."""
        for name in (WEIGHTS, CONFIG):
            if not (folder / name).is_file():
                raise ChurnModelError(f"{folder}: no {name}. Point at a churn bundle, or train one.")
        found = read_json(folder / CONFIG)
        if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
            raise ChurnModelError(f"{folder / CONFIG}: not a churn model of format {FORMAT}. Train it again.")
        try:
            columns = tuple(
                Column(**{**column, "edges": tuple(column["edges"]), "values": tuple(column["values"])})
                for column in found.pop("columns")
            )
            horizons, bias = tuple(found.pop("horizons_days")), tuple(found.pop("bias"))
            config = ChurnConfig(columns=columns, horizons_days=horizons, bias=bias, **found)
        except (KeyError, TypeError) as error:
            raise ChurnModelError(f"{folder / CONFIG}: incomplete ({error}). Train it again.") from error
        network = HazardNetwork(config)
        try:
            network.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
        except (RuntimeError, safetensors.SafetensorError) as error:
            raise ChurnModelError(f"{folder / WEIGHTS}: does not fit config.json ({error}). Train it again.") from error
        return cls(config, network)

    def _inputs(self, frame: pl.DataFrame) -> torch.Tensor:
        with torch.inference_mode():
            return self.network.embed(*self.encoder.frame(frame))

    def _reference(self) -> torch.Tensor:
        columns = (*self.encoder.numeric, *self.encoder.categorical)
        with torch.inference_mode():
            return self.network.embed(*self.encoder.row({column.name: column.reference for column in columns}))

    def _calibrated(self, inputs: torch.Tensor) -> torch.Tensor:
        logits = mean_logits(self.network(inputs))
        return risk_from_logits(self.config.temperature * logits + self._bias)

    def _risk(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return self._calibrated(inputs)

    def _leaning(
        self, inputs: torch.Tensor, typical: torch.Tensor, at: int, owner: np.ndarray, count: int
    ) -> np.ndarray:
        """Gradient times distance from the reference, summed to columns: [rows, columns]."""
        leaf = inputs.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(self._calibrated(leaf)[:, at].sum(), leaf)
        products = (slope * (inputs - typical)).detach().numpy()
        summed = np.zeros((len(products), count))
        np.add.at(summed.T, owner, products.T)
        return summed


_REASONS = {
    "rank": pl.Int64, "group": pl.String, "feature": pl.String, "value": pl.String,
    "contribution": pl.Float64, "sentence": pl.String,
}  # fmt: skip


def _missing(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"churn model: no column {names[0]}{more}. Compute features with the parameters the model was trained with."


def _number(name: str, value: Any) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, (int, float)):
        return float(value)
    raise TypeError(f"column {name} is not numeric ({value!r}).")


def _shown(value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{round(value, 1):g}" if isinstance(value, float) and abs(value) < 1e6 else str(value)


def _sentence(column: Column, value: Any, contribution: float, horizon: str) -> str:
    verb = "raises" if contribution >= 0 else "lowers"
    return (
        f"{column.meaning[:1].upper()}{column.meaning[1:]}: {_shown(value)} (typical {_shown(column.reference)}); "
        f"{column.group} {verb} the risk{horizon} by {abs(contribution) * 100:.1f} points."
    )


def feature_columns(frame: pl.DataFrame) -> list[str]:
    """The columns of a features frame that are features: all but keys and targets."""
    return [name for name in frame.columns if name not in KEYS]
