"""The uplift model: a customer's risk without and with an offer, and the difference.

Two logistic models, one an arm, give the two risks, and their difference an uplift (a T-learner;
Künzel et al., 2019). A correction is added to it which is linear in the features and fitted to
doubly robust scores (a DR-learner; Kennedy, 2023). `training.churn.uplift` fits both. Uplift is the
share of such customers that the offer keeps: positive is good.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import polars as pl

from data.files import atomic, read_json, write_json
from models.churn.encoding import Column, Encoder

WEIGHTS, CONFIG, FORMAT = "weights.safetensors", "config.json", 1
Z95 = 1.959964  # of a two-sided interval of 95 %


class UpliftModelError(ValueError):
    """A folder does not hold an uplift model, or a frame does not fit it."""


@dataclass(frozen=True)
class UpliftWeights:
    """Coefficients over inputs standardised by `mean` and `scale` [inputs]; index 0: constant.

    `base` and `effect` [1 + inputs] give logits of leaving: base − effect/2 untreated, base +
    effect/2 treated. `correction` [1 + inputs] is added to the uplift of those two. The covariances
    are of (base, effect) and of the correction.
    """

    mean: np.ndarray
    scale: np.ndarray
    base: np.ndarray
    effect: np.ndarray
    correction: np.ndarray
    risk_covariance: np.ndarray
    correction_covariance: np.ndarray


class UpliftModel:
    """A fitted model with its encoding, for one intervention (`kind`) and horizon."""

    def __init__(
        self, columns: tuple[Column, ...], weights: UpliftWeights, *, kind: str, horizon_days: int
    ) -> None:
        self.encoder = Encoder(columns)
        self.weights, self.kind, self.horizon_days = weights, kind, horizon_days

    def predict(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Returns risks, uplift and its interval for each row of features.

        Columns are customer_id, as_of, risk_untreated, risk_treated, uplift, uplift_low and
        uplift_high. The interval is of 95 %, from how much the fit would vary from sample to
        sample; the bias of its penalty is not in it. Extra columns are ignored. Raises
        ChurnModelError naming a missing column.
        """
        inputs = standardise(self.encoder, frame, mean=self.weights.mean, scale=self.weights.scale)
        untreated, treated = risks(inputs, self.weights.base, self.weights.effect)
        uplift = untreated - treated + inputs @ self.weights.correction
        error = np.sqrt(self._variance(inputs, untreated, treated))
        keys = [name for name in ("customer_id", "as_of") if name in frame.columns]
        return frame.select(keys).with_columns(
            pl.Series("risk_untreated", untreated),
            pl.Series("risk_treated", treated),
            pl.Series("uplift", np.clip(uplift, -1, 1)),
            pl.Series("uplift_low", np.clip(uplift - Z95 * error, -1, 1)),
            pl.Series("uplift_high", np.clip(uplift + Z95 * error, -1, 1)),
        )

    def _variance(
        self, inputs: np.ndarray, untreated: np.ndarray, treated: np.ndarray
    ) -> np.ndarray:
        """Variance of each row's uplift: by the delta method for the risks, plus the correction's.

        The correction is taken as independent of the risks.
        """
        from_untreated, from_treated = untreated * (1 - untreated), treated * (1 - treated)
        slope = np.column_stack(
            [
                (from_untreated - from_treated)[:, None] * inputs,
                -(from_untreated + from_treated)[:, None] / 2 * inputs,
            ]
        )
        parts = (
            (slope, self.weights.risk_covariance),
            (inputs, self.weights.correction_covariance),
        )
        return np.asarray(
            sum(np.maximum(((rows @ matrix) * rows).sum(axis=1), 0.0) for rows, matrix in parts)
        )

    def save(self, folder: Path) -> None:
        """Writes weights.safetensors and config.json, each whole or not at all."""
        import safetensors.numpy

        with atomic(folder / WEIGHTS) as temporary:
            tensors = {
                name: np.ascontiguousarray(value) for name, value in vars(self.weights).items()
            }
            safetensors.numpy.save_file(tensors, temporary)
        columns = [asdict(column) for column in self.encoder.columns]
        config = {
            "format": FORMAT,
            "kind": self.kind,
            "horizon_days": self.horizon_days,
            "columns": columns,
        }
        write_json(folder / CONFIG, config)

    @classmethod
    def load(cls, folder: Path) -> UpliftModel:
        """Reads what `save` wrote.

        Raises UpliftModelError naming the file that is missing or does not fit.
        """
        import safetensors
        import safetensors.numpy

        for name in (WEIGHTS, CONFIG):
            if not (folder / name).is_file():
                raise UpliftModelError(f"{folder}: no {name}. Run the stage treat again.")
        config = read_json(folder / CONFIG)
        if not isinstance(config, dict) or config.get("format") != FORMAT:
            raise UpliftModelError(
                f"{folder / CONFIG}: not an uplift model of format {FORMAT}. Run treat again."
            )
        try:
            columns = tuple(
                Column(
                    **{**column, "edges": tuple(column["edges"]), "values": tuple(column["values"])}
                )
                for column in config["columns"]
            )
            tensors = safetensors.numpy.load_file(folder / WEIGHTS)
            weights = UpliftWeights(
                **{field.name: tensors[field.name] for field in fields(UpliftWeights)}
            )
            model = cls(columns, weights, kind=config["kind"], horizon_days=config["horizon_days"])
        except (KeyError, TypeError, safetensors.SafetensorError) as error:
            raise UpliftModelError(
                f"{folder}: incomplete or damaged ({error}). Run treat again."
            ) from error
        if weights.mean.shape != (model.encoder.width,):
            raise UpliftModelError(
                f"{folder / WEIGHTS}: does not fit config.json. Run treat again."
            )
        return model


def standardise(
    encoder: Encoder, frame: pl.DataFrame, *, mean: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """Returns float64 [rows, 1 + inputs]: 1, then encoded features with mean 0 and deviation 1."""
    encoded = (encoder.frame(frame).astype(np.float64) - mean) / scale
    return np.column_stack([np.ones(len(encoded)), encoded])


def risks(
    inputs: np.ndarray, base: np.ndarray, effect: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the probability of leaving, untreated and treated: two float64 [rows]."""
    return _sigmoid(inputs @ (base - effect / 2)), _sigmoid(inputs @ (base + effect / 2))


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(logit, -30, 30))))
