"""Learns from a log of interventions what an offer does to whom; every score of a customer comes from others' data.

Nothing is learned from who was chosen but through the logged propensities, so a biased choice does no harm as long as
everybody had some chance of being offered it and some of not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from data.features.features import KEYS, describe
from evaluation.metrics.churn import outcomes_by_horizon
from evaluation.metrics.uplift import aipw_scores
from models.churn.encoding import Encoder, describe_columns
from models.churn.treatment import TreatmentParams
from models.churn.uplift import UpliftModel, UpliftWeights, risks

LOGGED = ("offered", "propensity", "assigned_by", "left", "weight")
RECENCY = (
    "days_since_last_contact",
    "days_since_last_friction",
)  # refinements that tell who would be woken
_PENALTIES = (
    1e6,
    1e5,
    1e4,
    1e3,
)  # of the correction's squared weights, in rows; the strongest leaves it nearly 0


class UpliftError(ValueError):
    """The log of interventions does not let anybody tell what an offer does. The message is for people."""


@dataclass(frozen=True)
class Decisions:
    """A log joined to the features on its days: `rows` has data.features' columns and those of `LOGGED`."""

    rows: pl.DataFrame
    kind: str
    left_out: dict[str, int]  # reason → decisions


def usable(log: pl.DataFrame, params: TreatmentParams) -> tuple[pl.DataFrame, int]:
    """The decisions of one kind whose propensity is known, and how many of that kind have none.

    Raises UpliftError when there is no log, no such kind, no propensity, or nobody on one of the two sides.
    """
    if log.is_empty():
        raise UpliftError(
            "There is no log of interventions, so nobody can tell whom an offer would keep. Deliver interventions.csv "
            "with everyone who was offered something, everyone who could have been, and the chance each had."
        )
    counts = log["kind"].value_counts().sort(["count", "kind"], descending=[True, False])
    kind = params.kind or str(counts["kind"][0])
    if kind not in counts["kind"]:
        raise UpliftError(
            f"No intervention is called {kind!r}, there is {', '.join(sorted(counts['kind']))}. Set treatment.kind."
        )
    mine = log.filter(pl.col("kind") == kind)
    known = mine.filter(pl.col("propensity").is_not_null())
    if known.is_empty():
        raise UpliftError(
            f"No decision about a {kind} says how probable the offer was, so the chosen cannot be told from those who "
            "would have fared like them anyway. Log the propensity with each decision, or draw some by lot."
        )
    if known["offered"].all():
        raise UpliftError(
            f"Everybody in the log was offered a {kind}, so there is nobody to compare with. "
            "Hold some customers back by lot and log them too."
        )
    if not known["offered"].any():
        raise UpliftError(
            f"Nobody in the log was offered a {kind}, so there is nothing to learn. Log who was."
        )
    return known, mine.height - known.height


def decisions(log: pl.DataFrame, features: pl.DataFrame, params: TreatmentParams) -> Decisions:
    """The decisions one can learn from: with a propensity, about a customer of that day, followed up to the horizon.

    `log` is the table of interventions, `features` data.features at its days. Raises UpliftError as `usable` does, and
    when outcomes have no dates or there are too few decisions, or too few who left, on one side.
    """
    known, without = usable(log, params)
    kind = str(known["kind"][0])
    joined = known.rename({"decided_on": "as_of"}).join(
        features, on=["customer_id", "as_of"], how="inner"
    )
    if joined["time_days"].is_null().all():
        raise UpliftError(
            "No outcome of a customer in the log has a date, so nobody knows who left after an offer. "
            "Deliver outcomes with `on` and `observed_until`."
        )
    left, weight = outcomes_by_horizon(joined, params.horizon_days)
    rows = joined.with_columns(pl.Series("left", left), pl.Series("weight", weight)).filter(
        pl.col("weight") > 0
    )
    for arm, part in (
        ("with", rows.filter("offered")),
        ("without", rows.filter(~pl.col("offered"))),
    ):
        gone = int(part["left"].sum())
        if part.height < params.min_arm or gone < params.min_leavers:
            raise UpliftError(
                f"{part.height} decisions {arm} a {kind}, {gone} of whom left, are too few to learn from; "
                f"{params.min_arm} and {params.min_leavers} are needed. Wait for more, or lower treatment.min_arm."
            )
    left_out = {
        "no propensity": without,
        "not a customer on that day": known.height - joined.height,
        f"not yet followed up for {params.horizon_days} days": joined.height - rows.height,
    }
    keep = [name for name in (*KEYS, *_features(features), *LOGGED) if name in rows.columns]
    return Decisions(
        rows.select(keep), kind, {reason: count for reason, count in left_out.items() if count}
    )


def fit(rows: pl.DataFrame, kind: str, params: TreatmentParams) -> UpliftModel:
    """An uplift model of all `rows` (of `Decisions`). The scores it is corrected by are cross-fitted by customer."""
    declared = [
        describe(name, "categorical" if rows.schema[name] == pl.String else "numeric")
        for name in _features(rows)
    ]
    columns = describe_columns(rows, declared, params.bins)
    encoder = Encoder(columns)
    raw = encoder.frame(rows).astype(np.float64)
    mean, scale = raw.mean(axis=0), raw.std(axis=0)
    scale[scale < 1e-9] = 1.0
    inputs = np.column_stack([np.ones(len(raw)), (raw - mean) / scale])
    offered, left = rows["offered"].to_numpy(), rows["left"].to_numpy().astype(np.float64)
    weight, fold = rows["weight"].to_numpy(), folds(rows["customer_id"], params.folds, params.seed)
    _, member = np.unique(rows["customer_id"].to_numpy().astype(str), return_inverse=True)

    untreated, treated = np.empty(len(left)), np.empty(len(left))
    for number in np.unique(fold):
        out, rest = fold == number, fold != number
        arms = _arms(inputs[rest], offered[rest], left[rest], weight[rest], params)
        untreated[out], treated[out] = risks(inputs[out], *arms)
    propensity = np.clip(rows["propensity"].to_numpy(), params.clip, 1 - params.clip)
    missed = aipw_scores(offered, propensity, left, untreated=untreated, treated=treated) - (
        untreated - treated
    )
    # Scores of whoever was nearly sure to be offered it, or not to, are the loudest: e(1 - e) goes as 1 / variance.
    correction, correction_covariance = _ridge(
        inputs, missed, weight * propensity * (1 - propensity), fold, member
    )
    base, effect = _arms(inputs, offered, left, weight, params)
    risk_covariance = _risk_covariance(inputs, offered, left, weight, base, effect, member, params)
    weights = UpliftWeights(
        mean, scale, base, effect, correction, risk_covariance, correction_covariance
    )
    return UpliftModel(columns, weights, kind, params.horizon_days)


def cross_fit(rows: pl.DataFrame, kind: str, params: TreatmentParams) -> pl.DataFrame:
    """What models that never saw the customer predict for each row: `rows`' keys and LOGGED beside `predict`'s."""
    fold = folds(rows["customer_id"], params.folds, params.seed + 1)
    parts = []
    for number in np.unique(fold):
        model = fit(rows.filter(pl.Series(fold != number)), kind, params)
        held_out = rows.filter(pl.Series(fold == number))
        said = model.predict(held_out).drop("customer_id", "as_of")
        parts.append(
            pl.concat([held_out.select("customer_id", "as_of", *LOGGED), said], how="horizontal")
        )
    return pl.concat(parts).sort("as_of", "customer_id")


def folds(customer: pl.Series, count: int, seed: int) -> np.ndarray:
    """The fold of each row, all rows of a customer in the same one: int [rows]."""
    names, member = np.unique(customer.to_numpy().astype(str), return_inverse=True)
    return np.asarray(np.random.default_rng(seed).permutation(len(names))[member] % count)


def _features(frame: pl.DataFrame) -> list[str]:
    """The features to learn from: those that no other one stands for, and how long ago things were."""
    names = [
        name for name in frame.columns if name not in (*KEYS, *LOGGED, "kind", "cost", "split")
    ]
    return [name for name in names if name in RECENCY or not describe(name).detail]


def _arms(
    inputs: np.ndarray,
    offered: np.ndarray,
    left: np.ndarray,
    weight: np.ndarray,
    params: TreatmentParams,
) -> tuple[np.ndarray, np.ndarray]:
    """`base` and `effect` of UpliftWeights: two logistic models that share what the arms have in common.

    The difference between the arms is held back more than what they share (Imai and Ratkovic, 2013): it is smaller,
    and each arm alone is too small to tell it.
    """
    from sklearn.linear_model import LogisticRegression

    if left.min() == left.max():
        rate = (left.sum() + 0.5) / (len(left) + 1)
        nothing = np.zeros(inputs.shape[1])
        return np.concatenate([[np.log(rate / (1 - rate))], nothing[1:]]), nothing
    shrink = _shrinkage(inputs.shape[1], params)
    both = np.column_stack([inputs[:, 1:], _sides(offered)[:, None] * inputs]) * shrink[1:]
    found = LogisticRegression(C=params.risk_c, max_iter=1000).fit(both, left, sample_weight=weight)
    whole = np.concatenate([found.intercept_, found.coef_[0] * shrink[1:]])
    return whole[: inputs.shape[1]], whole[inputs.shape[1] :]


def _sides(offered: np.ndarray) -> np.ndarray:
    return np.where(offered, 0.5, -0.5)


def _shrinkage(width: int, params: TreatmentParams) -> np.ndarray:
    """Factors on (base, effect) under which one penalty holds each back as much as it should be."""
    shrink = np.ones(2 * width)
    shrink[width:] = (params.effect_c / params.risk_c) ** 0.5
    shrink[width] = 4.0  # the mean effect is hardly held back at all
    return shrink


def _risk_covariance(
    inputs: np.ndarray,
    offered: np.ndarray,
    left: np.ndarray,
    weight: np.ndarray,
    base: np.ndarray,
    effect: np.ndarray,
    member: np.ndarray,
    params: TreatmentParams,
) -> np.ndarray:
    """Of (base, effect), customers as clusters (Liang and Zeger, 1986)."""
    untreated, treated = risks(inputs, base, effect)
    risk = np.where(offered, treated, untreated)
    both = np.column_stack([inputs, _sides(offered)[:, None] * inputs])
    held = 1 / (params.risk_c * _shrinkage(inputs.shape[1], params) ** 2)
    held[0] = 0.0
    gram = (both * (weight * risk * (1 - risk))[:, None]).T @ both + np.diag(held)
    return _sandwich(gram, both * (weight * (left - risk))[:, None], member)


def _sandwich(gram: np.ndarray, slopes: np.ndarray, member: np.ndarray) -> np.ndarray:
    by_cluster = np.zeros((member.max() + 1, slopes.shape[1]))
    np.add.at(by_cluster, member, slopes)
    bread = np.linalg.inv(gram)
    return np.asarray(bread @ (by_cluster.T @ by_cluster) @ bread)


def _ridge(
    inputs: np.ndarray, target: np.ndarray, weight: np.ndarray, fold: np.ndarray, member: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of a ridge regression and their covariance, the penalty chosen by held-out error over `fold`.

    Of the penalties that do not differ beyond one standard error the strongest is taken: what single inputs say of an
    effect is mostly noise.
    """
    weight = weight / weight.mean()

    def solve(part: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        gram = (inputs[part] * weight[part, None]).T @ inputs[part] + penalty * np.eye(
            inputs.shape[1]
        )
        return np.linalg.solve(gram, inputs[part].T @ (weight[part] * target[part])), gram

    errors = np.empty((len(_PENALTIES), len(inputs)))
    for number in np.unique(fold):
        out = fold == number
        for place, penalty in enumerate(_PENALTIES):
            errors[place, out] = (
                weight[out] * (target[out] - inputs[out] @ solve(~out, penalty)[0]) ** 2
            )
    found, gram = solve(np.ones(len(inputs), dtype=bool), _PENALTIES[_strongest(errors, member)])
    return found, _sandwich(gram, inputs * (weight * (target - inputs @ found))[:, None], member)


def _strongest(errors: np.ndarray, member: np.ndarray) -> int:
    """The first row of `errors` [penalties, decisions] that is worse than the best by one standard error at most."""
    best = int(errors.sum(axis=1).argmin())
    for place, found in enumerate(errors):
        lost = np.bincount(member, found - errors[best])
        if lost.sum() <= lost.std() * len(lost) ** 0.5:
            return place
    return best


def summary(found: Decisions) -> dict[str, Any]:
    """What there was to learn from."""
    rows = found.rows
    offered = rows.filter("offered")
    return {
        "kind": found.kind,
        "decisions": rows.height,
        "customers": rows["customer_id"].n_unique(),
        "offered": offered.height,
        "not_offered": rows.height - offered.height,
        "left": int(rows["left"].sum()),
        "by": dict(rows["assigned_by"].value_counts(sort=True).iter_rows()),
        "left_out": found.left_out,
    }
