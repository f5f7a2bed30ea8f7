"""Learns from a log of interventions what an offer does to whom; scores are cross-fitted.

Every score of a customer comes from models of other customers. Who was chosen is used only through
the logged propensities, so a biased choice does no harm as long as everybody had some chance of the
offer and some of none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from data.features.features import KEYS, describe
from evaluation.metrics.churn import outcomes_by_horizon
from evaluation.metrics.uplift import aipw_scores
from models.churn.encoding import Encoder, describe_columns
from models.churn.treatment import TreatmentParams
from models.churn.uplift import UpliftModel, UpliftWeights, risks

LOGGED = ("offered", "propensity", "assigned_by", "left", "weight")
# Refinements kept all the same: they tell whom an offer would remind of leaving.
RECENCY = ("days_since_last_contact", "days_since_last_friction")
# Of the correction's squared weights, in rows; the strongest leaves it nearly 0.
_PENALTIES = (1e6, 1e5, 1e4, 1e3)
_MEAN_EFFECT_SCALE = 4.0  # of the mean effect's prior: it has hardly a penalty


class UpliftError(ValueError):
    """The log of interventions does not tell what an offer does. The message is for people."""


@dataclass(frozen=True)
class Decisions:
    """A log joined to the features on its days: the columns of data.features and `LOGGED`."""

    rows: pl.DataFrame
    kind: str  # of intervention
    left_out: dict[str, int]  # reason → decisions


def usable_decisions(log: pl.DataFrame, params: TreatmentParams) -> tuple[pl.DataFrame, int]:
    """Returns the decisions of one kind with a propensity, and how many of that kind have none.

    Raises UpliftError when there is no log, no such kind, no propensity, or nobody on one of the
    two sides.
    """
    if log.is_empty():
        raise UpliftError(
            "There is no log of interventions, so nobody can tell whom an offer would keep. "
            "Deliver interventions.csv with everyone who was offered something, everyone who could "
            "have been, and the chance each had."
        )
    counts = log["kind"].value_counts().sort(["count", "kind"], descending=[True, False])
    kind = params.kind or str(counts["kind"][0])
    if kind not in counts["kind"]:
        raise UpliftError(
            f"No intervention is called {kind!r}, there is {', '.join(sorted(counts['kind']))}. "
            "Set treatment.kind."
        )
    of_kind = log.filter(pl.col("kind") == kind)
    usable = of_kind.filter(pl.col("propensity").is_not_null())
    if usable.is_empty():
        raise UpliftError(
            f"No decision about a {kind} says how probable the offer was, so the chosen cannot be "
            "told from those who would have fared like them anyway. Log the propensity with each "
            "decision, or draw some by lot."
        )
    if usable["offered"].all():
        raise UpliftError(
            f"Everybody in the log was offered a {kind}, so there is nobody to compare with. "
            "Hold some customers back by lot and log them too."
        )
    if not usable["offered"].any():
        raise UpliftError(
            f"Nobody in the log was offered a {kind}, so there is nothing to learn. Log who was."
        )
    return usable, of_kind.height - usable.height


def join_decisions(log: pl.DataFrame, features: pl.DataFrame, params: TreatmentParams) -> Decisions:
    """Returns the decisions to train on: with a propensity, features, and follow-up.

    `log` is the table of interventions, `features` data.features at its days. A decision needs a
    customer of that day who was followed up to the horizon. Raises UpliftError as
    `usable_decisions` does, and when outcomes have no dates or there are too few decisions, or too
    few churners, on one side.
    """
    usable, n_without_propensity = usable_decisions(log, params)
    kind = str(usable["kind"][0])
    joined = usable.rename({"decided_on": "as_of"}).join(
        features, on=["customer_id", "as_of"], how="inner"
    )
    if joined["time_days"].is_null().all():
        raise UpliftError(
            "No outcome of a customer in the log has a date, so nobody knows who left after an "
            "offer. Deliver outcomes with `on` and `observed_until`."
        )
    left, weight = outcomes_by_horizon(joined, params.horizon_days)
    rows = joined.with_columns(pl.Series("left", left), pl.Series("weight", weight)).filter(
        pl.col("weight") > 0
    )
    for arm, part in (
        ("with", rows.filter("offered")),
        ("without", rows.filter(~pl.col("offered"))),
    ):
        churners = int(part["left"].sum())
        if part.height < params.min_arm or churners < params.min_leavers:
            raise UpliftError(
                f"{part.height} decisions {arm} a {kind}, {churners} of whom left, are too few to "
                f"learn from; {params.min_arm} and {params.min_leavers} are needed. Wait for more, "
                "or lower treatment.min_arm."
            )
    left_out = {
        "no propensity": n_without_propensity,
        "not a customer on that day": usable.height - joined.height,
        f"not yet followed up for {params.horizon_days} days": joined.height - rows.height,
    }
    names = [name for name in (*KEYS, *_feature_names(features), *LOGGED) if name in rows.columns]
    return Decisions(
        rows.select(names), kind, {reason: count for reason, count in left_out.items() if count}
    )


class _Arrays(NamedTuple):
    """The decisions as arrays, float64 unless noted, each with one row a decision."""

    inputs: np.ndarray  # [rows, width], the first column is 1
    offered: np.ndarray  # bool
    left: np.ndarray
    weight: np.ndarray
    propensity: np.ndarray
    fold: np.ndarray  # int
    member: np.ndarray  # int, number of the customer

    def take(self, chosen: np.ndarray) -> _Arrays:
        """Returns the decisions chosen by a mask."""
        return _Arrays(*(array[chosen] for array in self))


def fit_uplift(rows: pl.DataFrame, kind: str, params: TreatmentParams) -> UpliftModel:
    """Returns an uplift model of all `rows` (of `Decisions`).

    The AIPW scores that correct it are cross-fitted by customer.
    """
    declared = [
        describe(name, "categorical" if rows.schema[name] == pl.String else "numeric")
        for name in _feature_names(rows)
    ]
    columns = describe_columns(rows, declared, params.bins)
    raw = Encoder(columns).frame(rows).astype(np.float64)
    mean, scale = raw.mean(axis=0), raw.std(axis=0)
    scale[scale < 1e-9] = 1.0
    arrays = _Arrays(
        inputs=np.column_stack([np.ones(len(raw)), (raw - mean) / scale]),
        offered=rows["offered"].to_numpy(),
        left=rows["left"].to_numpy().astype(np.float64),
        weight=rows["weight"].to_numpy(),
        propensity=np.clip(rows["propensity"].to_numpy(), params.clip, 1 - params.clip),
        fold=assign_folds(rows["customer_id"], params.folds, params.seed),
        member=np.unique(rows["customer_id"].to_numpy().astype(str), return_inverse=True)[1],
    )
    correction, correction_covariance = _fit_correction(arrays, params)
    base, effect = _fit_arms(arrays, params)
    risk_covariance = _risk_covariance(arrays, base, effect, params=params)
    weights = UpliftWeights(
        mean, scale, base, effect, correction, risk_covariance, correction_covariance
    )
    return UpliftModel(columns, weights, kind=kind, horizon_days=params.horizon_days)


def cross_fit(rows: pl.DataFrame, kind: str, params: TreatmentParams) -> pl.DataFrame:
    """Returns for each row the predictions of a model that was not fitted on its customer.

    Columns are the keys of `rows`, LOGGED and those of `UpliftModel.predict`.
    """
    fold = assign_folds(rows["customer_id"], params.folds, params.seed + 1)
    parts = []
    for number in np.unique(fold):
        model = fit_uplift(rows.filter(pl.Series(fold != number)), kind, params)
        held_out = rows.filter(pl.Series(fold == number))
        predictions = model.predict(held_out).drop("customer_id", "as_of")
        logged = held_out.select("customer_id", "as_of", *LOGGED)
        parts.append(pl.concat([logged, predictions], how="horizontal"))
    return pl.concat(parts).sort("as_of", "customer_id")


def assign_folds(customer: pl.Series, count: int, seed: int) -> np.ndarray:
    """Returns the fold of each row, all rows of a customer in the same one: int [rows]."""
    names, member = np.unique(customer.to_numpy().astype(str), return_inverse=True)
    return np.asarray(np.random.default_rng(seed).permutation(len(names))[member] % count)


def summarize_decisions(decisions: Decisions) -> dict[str, Any]:
    """Returns the kind of intervention and the counts of decisions, by arm and by who decided."""
    rows = decisions.rows
    offered = rows.filter("offered")
    return {
        "kind": decisions.kind,
        "decisions": rows.height,
        "customers": rows["customer_id"].n_unique(),
        "offered": offered.height,
        "not_offered": rows.height - offered.height,
        "left": int(rows["left"].sum()),
        "by": dict(rows["assigned_by"].value_counts(sort=True).iter_rows()),
        "left_out": decisions.left_out,
    }


def _feature_names(frame: pl.DataFrame) -> list[str]:
    """Returns the features to train on: those that refine no other one, and `RECENCY`."""
    names = [
        name for name in frame.columns if name not in (*KEYS, *LOGGED, "kind", "cost", "split")
    ]
    return [name for name in names if name in RECENCY or not describe(name).detail]


def _fit_correction(arrays: _Arrays, params: TreatmentParams) -> tuple[np.ndarray, np.ndarray]:
    """Returns weights and covariance of a ridge regression of what the arms' models miss.

    The target is the AIPW score of models that did not see the customer, less their own effect.
    """
    untreated, treated = np.empty(len(arrays.left)), np.empty(len(arrays.left))
    for number in np.unique(arrays.fold):
        held_out = arrays.fold == number
        base, effect = _fit_arms(arrays.take(~held_out), params)
        untreated[held_out], treated[held_out] = risks(arrays.inputs[held_out], base, effect)
    propensity = arrays.propensity
    scores = aipw_scores(
        arrays.offered, propensity, arrays.left, untreated=untreated, treated=treated
    )
    # Scores of whoever was nearly sure to be offered it, or not to, have the largest variance:
    # e(1 - e) goes as its inverse.
    weight = arrays.weight * propensity * (1 - propensity)
    return _fit_ridge(arrays, scores - (untreated - treated), weight)


def _fit_arms(arrays: _Arrays, params: TreatmentParams) -> tuple[np.ndarray, np.ndarray]:
    """Returns `base` and `effect` of UpliftWeights: two logistic models with a common part.

    The difference between the arms is penalised more than the common part (Imai and Ratkovic,
    2013): it is smaller, and each arm alone is too small to estimate it.
    """
    from sklearn.linear_model import LogisticRegression

    inputs, left = arrays.inputs, arrays.left
    if left.min() == left.max():
        rate = (left.sum() + 0.5) / (len(left) + 1)
        zeros = np.zeros(inputs.shape[1])
        return np.concatenate([[np.log(rate / (1 - rate))], zeros[1:]]), zeros
    scale = _prior_scale(inputs.shape[1], params)
    signs = _arm_signs(arrays.offered)[:, None]
    both = np.column_stack([inputs[:, 1:], signs * inputs]) * scale[1:]
    model = LogisticRegression(C=params.risk_c, max_iter=1000).fit(
        both, left, sample_weight=arrays.weight
    )
    weights = np.concatenate([model.intercept_, model.coef_[0] * scale[1:]])
    return weights[: inputs.shape[1]], weights[inputs.shape[1] :]


def _arm_signs(offered: np.ndarray) -> np.ndarray:
    return np.where(offered, 0.5, -0.5)


def _prior_scale(width: int, params: TreatmentParams) -> np.ndarray:
    """Returns factors on (base, effect) that turn one penalty into the right one for each."""
    scale = np.ones(2 * width)
    scale[width:] = (params.effect_c / params.risk_c) ** 0.5
    scale[width] = _MEAN_EFFECT_SCALE
    return scale


def _risk_covariance(
    arrays: _Arrays, base: np.ndarray, effect: np.ndarray, *, params: TreatmentParams
) -> np.ndarray:
    """Returns the covariance of (base, effect), customers as clusters (Liang and Zeger, 1986)."""
    inputs, weight = arrays.inputs, arrays.weight
    untreated, treated = risks(inputs, base, effect)
    risk = np.where(arrays.offered, treated, untreated)
    both = np.column_stack([inputs, _arm_signs(arrays.offered)[:, None] * inputs])
    penalty = 1 / (params.risk_c * _prior_scale(inputs.shape[1], params) ** 2)
    penalty[0] = 0.0
    gram = (both * (weight * risk * (1 - risk))[:, None]).T @ both + np.diag(penalty)
    slopes = both * (weight * (arrays.left - risk))[:, None]
    return _sandwich(gram, slopes, arrays.member)


def _sandwich(gram: np.ndarray, slopes: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Returns the cluster-robust covariance of estimates with these scores [rows, width]."""
    by_cluster = np.zeros((member.max() + 1, slopes.shape[1]))
    np.add.at(by_cluster, member, slopes)
    bread = np.linalg.inv(gram)
    return np.asarray(bread @ (by_cluster.T @ by_cluster) @ bread)


def _fit_ridge(
    arrays: _Arrays, target: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns weights of a ridge regression and their covariance.

    The penalty is chosen by held-out error over the folds. Of the penalties that do not differ
    beyond one standard error the strongest is taken: what single inputs say of an effect is mostly
    noise.
    """
    weight = weight / weight.mean()
    inputs, fold, member = arrays.inputs, arrays.fold, arrays.member

    def solve(part: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        gram = (inputs[part] * weight[part, None]).T @ inputs[part] + penalty * np.eye(
            inputs.shape[1]
        )
        return np.linalg.solve(gram, inputs[part].T @ (weight[part] * target[part])), gram

    errors = np.empty((len(_PENALTIES), len(inputs)))
    for number in np.unique(fold):
        held_out = fold == number
        for place, penalty in enumerate(_PENALTIES):
            coefficients, _ = solve(~held_out, penalty)
            errors[place, held_out] = (
                weight[held_out] * (target[held_out] - inputs[held_out] @ coefficients) ** 2
            )
    penalty = _PENALTIES[_strongest_penalty(errors, member)]
    coefficients, gram = solve(np.ones(len(inputs), dtype=bool), penalty)
    slopes = inputs * (weight * (target - inputs @ coefficients))[:, None]
    return coefficients, _sandwich(gram, slopes, member)


def _strongest_penalty(errors: np.ndarray, member: np.ndarray) -> int:
    """Returns the first row of `errors` [penalties, decisions] within one error of the best."""
    best = int(errors.sum(axis=1).argmin())
    for place, row in enumerate(errors):
        excess = np.bincount(member, row - errors[best])
        if excess.sum() <= excess.std() * len(excess) ** 0.5:
            return place
    return best
