"""The churn model: from a customer's features to a monotone curve of risk, with reasons in words.

Time is cut at the horizons. The network gives each interval a hazard, so the risk by the end of an
interval is 1 − exp(−sum of hazards so far) and never falls. `models.churn.hazard` is the network,
`models.churn.tabular` the one for targets without dates, `models.churn.encoding` makes their
inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import safetensors.torch
import torch

from data.features.features import KEYS
from data.files import atomic, read_json, write_json
from models.churn.encoding import ChurnModelError, Column, Encoder, describe_columns
from models.churn.hazard import ChurnConfig, HazardNetwork, mean_logits, risk_from_logits
from models.churn.tabular import TableNetwork

__all__ = [
    "ChurnConfig",
    "ChurnModel",
    "ChurnModelError",
    "describe_columns",
    "feature_columns",
    "make_network",
]

WEIGHTS, CONFIG, FORMAT = "weights.safetensors", "config.json", 2
_BATCH = 4096


def make_network(config: ChurnConfig) -> HazardNetwork | TableNetwork:
    """Returns an untrained network for targets with or without dates."""
    return HazardNetwork(config) if config.horizons_days else TableNetwork(config)


class ChurnModel:
    """A trained network with its encoding and calibration."""

    def __init__(
        self, config: ChurnConfig, network: HazardNetwork | TableNetwork | None = None
    ) -> None:
        self.config = config
        self.encoder = Encoder(config.columns)
        self.network = network or make_network(config)
        self.network.eval()
        self._bias = torch.tensor(config.bias, dtype=torch.float64)

    def predict(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Returns customer_id, as_of (those that `frame` has) and risk_30, risk_90, … for each row.

        Risks are within [0, 1]. Extra columns are ignored, unseen categories count as unknown, 0
        rows give 0 rows. Raises ChurnModelError naming a missing column.
        """
        keys = [name for name in ("customer_id", "as_of") if name in frame.columns]
        risks = np.concatenate(
            [self._risk(self._inputs(part)).numpy() for part in frame.iter_slices(_BATCH)]
            or [np.zeros((0, len(self.config.risk_names)))]
        )
        return frame.select(keys).with_columns(
            pl.Series(name, risks[:, n], dtype=pl.Float64)
            for n, name in enumerate(self.config.risk_names)
        )

    def score_rows(self, customers: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Returns float64 [customers, horizons] for mappings of features, equal to `predict`.

        It is the quick way for a few customers.
        """
        with torch.inference_mode():
            return self._risk(torch.from_numpy(self.encoder.rows(customers))).numpy()

    def reasons(self, frame: pl.DataFrame, top: int = 3) -> pl.DataFrame:
        """Returns the `top` groups of features that move each row's risk most from a typical one.

        A group's contribution is exact occlusion: the risk minus the risk with the whole group set
        to its reference (training median or most frequent value). The feature named for a group is
        the one whose gradient times distance from the reference agrees most. Risk is that of the
        second horizon, or the only one. Columns are customer_id, as_of (if `frame` has them), rank,
        group, feature, value, contribution, sentence.
        """
        columns = self.encoder.columns
        groups = sorted({column.group for column in columns})
        names = self.config.risk_names
        at = min(1, len(names) - 1)
        horizon = (
            f" within {self.config.horizons_days[at]} days" if self.config.horizons_days else ""
        )
        typical = self._reference()
        owner = self.encoder.owner
        group_of = np.array([groups.index(column.group) for column in columns])
        keys = [name for name in ("customer_id", "as_of") if name in frame.columns]
        rows: list[dict[str, Any]] = []
        for batch in frame.iter_slices(_BATCH):
            part = self._inputs(batch)
            risk = self._risk(part)[:, at].numpy()
            moved = np.zeros((len(part), len(groups)))
            for g in range(len(groups)):
                mask = torch.from_numpy(group_of[owner] == g)
                moved[:, g] = risk - self._risk(torch.where(mask, typical, part))[:, at].numpy()
            leaning = self._gradient_contributions(part, typical, at)
            for n in range(len(part)):
                record = batch.row(n, named=True)
                for rank, g in enumerate(
                    np.argsort(-np.abs(moved[n]), kind="stable")[:top], start=1
                ):
                    members = np.flatnonzero(group_of == g)
                    best = columns[
                        members[np.argmax(leaning[n, members] * (1 if moved[n, g] >= 0 else -1))]
                    ]
                    value = record[best.name]
                    rows.append(
                        {key: record[key] for key in keys}
                        | {
                            "rank": rank,
                            "group": best.group,
                            "feature": best.name,
                            "value": _format(value),
                            "contribution": float(moved[n, g]),
                            "sentence": _sentence(
                                best, value, contribution=moved[n, g], horizon=horizon
                            ),
                        }
                    )
        return pl.DataFrame(rows, schema={**{key: frame.schema[key] for key in keys}, **_REASONS})

    def save(self, folder: Path) -> None:
        """Writes weights.safetensors and config.json, each whole or not at all."""
        with atomic(folder / WEIGHTS) as temporary:
            safetensors.torch.save_file(self.network.state_dict(), temporary)
        write_json(folder / CONFIG, {"format": FORMAT, **asdict(self.config)})

    @classmethod
    def load(cls, folder: Path) -> ChurnModel:
        """Reads what `save` wrote.

        Raises ChurnModelError naming the file that is missing or does not fit.
        """
        for name in (WEIGHTS, CONFIG):
            if not (folder / name).is_file():
                raise ChurnModelError(
                    f"{folder}: no {name}. Point at a churn bundle, or train one."
                )
        fields = read_json(folder / CONFIG)
        if not isinstance(fields, dict) or fields.pop("format", None) != FORMAT:
            raise ChurnModelError(
                f"{folder / CONFIG}: not a churn model of format {FORMAT}. Train it again."
            )
        try:
            columns = tuple(
                Column(
                    **{**column, "edges": tuple(column["edges"]), "values": tuple(column["values"])}
                )
                for column in fields.pop("columns")
            )
            horizons, bias = tuple(fields.pop("horizons_days")), tuple(fields.pop("bias"))
            config = ChurnConfig(columns=columns, horizons_days=horizons, bias=bias, **fields)
        except (KeyError, TypeError) as error:
            raise ChurnModelError(
                f"{folder / CONFIG}: incomplete ({error}). Train it again."
            ) from error
        network = make_network(config)
        try:
            network.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
        except (RuntimeError, safetensors.SafetensorError) as error:
            raise ChurnModelError(
                f"{folder / WEIGHTS}: does not fit config.json ({error}). Train it again."
            ) from error
        return cls(config, network)

    def _inputs(self, frame: pl.DataFrame) -> torch.Tensor:
        return torch.from_numpy(self.encoder.frame(frame))

    def _reference(self) -> torch.Tensor:
        return torch.from_numpy(
            self.encoder.rows([{column.name: column.reference for column in self.encoder.columns}])
        )

    def _calibrated(self, inputs: torch.Tensor) -> torch.Tensor:
        logits = mean_logits(self.network(inputs))
        return risk_from_logits(self.config.temperature * logits + self._bias)

    def _risk(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return self._calibrated(inputs)

    def _gradient_contributions(
        self, inputs: torch.Tensor, typical: torch.Tensor, at: int
    ) -> np.ndarray:
        """Gradient of the risk `at` a horizon times distance from typical: [rows, columns]."""
        leaf = inputs.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(self._calibrated(leaf)[:, at].sum(), leaf)
        products = (slope * (inputs - typical)).detach().numpy()
        summed = np.zeros((len(products), len(self.encoder.columns)))
        np.add.at(summed.T, self.encoder.owner, products.T)
        return summed


_REASONS = {
    "rank": pl.Int64,
    "group": pl.String,
    "feature": pl.String,
    "value": pl.String,
    "contribution": pl.Float64,
    "sentence": pl.String,
}


def _format(value: Any) -> str:
    """A feature's value as a person reads it."""
    if value is None:
        return "unknown"
    return f"{round(value, 1):g}" if isinstance(value, float) and abs(value) < 1e6 else str(value)


def _sentence(column: Column, value: Any, *, contribution: float, horizon: str) -> str:
    verb = "raises" if contribution >= 0 else "lowers"
    return (
        f"{column.meaning[:1].upper()}{column.meaning[1:]}: {_format(value)} "
        f"(typical {_format(column.reference)}); "
        f"{column.group} {verb} the risk{horizon} by {abs(contribution) * 100:.1f} points."
    )


def feature_columns(frame: pl.DataFrame) -> list[str]:
    """Returns the columns of a features frame that are features: all but keys and targets."""
    return [name for name in frame.columns if name not in KEYS]
