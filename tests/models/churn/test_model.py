"""The churn model gives one curve of risk a customer, clear refusals, and reasons that add up."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from data.features.features import describe
from models.churn.encoding import Encoder
from models.churn.hazard import HazardNetwork
from models.churn.model import ChurnConfig, ChurnModel, ChurnModelError, describe_columns
from models.churn.tabular import TableNetwork

NAMES = {
    "contacts_30d": "numeric",
    "friction_30d": "numeric",
    "longest_wait_s": "numeric",
    "plan": "categorical",
}


def a_frame(rows: int = 200, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    waits = rng.exponential(100, rows)
    return pl.DataFrame(
        {
            "customer_id": [f"C{n}" for n in range(rows)],
            "as_of": [date(2026, 6, 1)] * rows,
            "contacts_30d": rng.poisson(2, rows).astype(float),
            "friction_30d": rng.poisson(0.6, rows).astype(float),
            "longest_wait_s": [None if n % 5 == 0 else wait for n, wait in enumerate(waits)],
            "plan": rng.choice(["flex", "plus", "max"], rows),
        }
    )


def a_model(horizons: tuple[int, ...] = (30, 90, 180, 365), seed: int = 0) -> ChurnModel:
    """Untrained, yet with weights large enough for every feature to matter."""
    torch.manual_seed(seed)
    columns = describe_columns(
        a_frame(), [describe(name, kind) for name, kind in NAMES.items()], bins=6
    )
    config = ChurnConfig(
        columns,
        horizons,
        hidden=16,
        members=4,
        trees=0 if horizons else 3,
        bias=(-2.0,) * max(1, len(horizons)),
    )
    model = ChurnModel(config)
    network = model.network
    if isinstance(network, TableNetwork):
        trees = network.trees
        trees.asked.random_(network.tree_inputs, model.encoder.width)
        trees.values.normal_(0, 0.5)
        network.share.fill_(0.5)
        return model
    with torch.no_grad():
        network.common.normal_(0, 0.3)
        network.departure.normal_(0, 0.3)
        network.linear.normal_(0, 0.5)
    return model


def test_risk_never_falls_with_time_and_stays_within_0_and_1() -> None:
    risks = a_model().predict(a_frame()).select(pl.selectors.starts_with("risk_")).to_numpy()
    assert risks.shape == (200, 4)
    assert (np.diff(risks, axis=1) >= 0).all()
    assert risks.min() >= 0
    assert risks.max() <= 1
    assert risks[:, 1].std() > 0.02


def test_without_horizons_there_is_one_risk() -> None:
    assert a_model(()).predict(a_frame()).columns == ["customer_id", "as_of", "risk"]


def test_one_customer_scores_as_in_a_frame() -> None:
    model, frame = a_model(), a_frame()
    together = model.predict(frame)
    for n in (0, 1, 17):
        alone = model.score_rows([frame.row(n, named=True)])[0]
        assert alone == pytest.approx(
            [together[name][n] for name in model.config.risk_names], abs=1e-6
        )


def test_rows_do_not_depend_on_their_neighbours() -> None:
    model, frame = a_model(), a_frame(5000)
    turned = model.predict(frame.reverse()).reverse()
    assert np.allclose(turned["risk_90"], model.predict(frame)["risk_90"], atol=1e-9)


def test_no_rows_give_no_risks_and_no_reasons() -> None:
    empty = a_frame().clear()
    assert a_model().predict(empty).schema == a_model().predict(a_frame()).schema
    assert a_model().reasons(empty).is_empty()


def test_a_missing_column_is_named() -> None:
    model, frame = a_model(), a_frame().drop("friction_30d")
    with pytest.raises(ChurnModelError, match="no column friction_30d"):
        model.predict(frame)
    with pytest.raises(ChurnModelError, match="no column friction_30d"):
        model.score_rows([frame.row(0, named=True)])


def test_text_where_a_number_belongs_is_named() -> None:
    words = a_frame().with_columns(pl.lit("many").alias("contacts_30d"))
    with pytest.raises(ChurnModelError, match="contacts_30d is not numeric"):
        a_model().predict(words)
    with pytest.raises(ChurnModelError, match="contacts_30d is not numeric"):
        a_model().score_rows([words.row(0, named=True)])


def test_an_unseen_category_takes_a_slot_of_its_own() -> None:
    model, frame = a_model(), a_frame()
    unseen = [
        model.predict(frame.with_columns(pl.lit(plan).alias("plan")))["risk_90"]
        for plan in ("new", "newer", "flex")
    ]
    assert unseen[0].equals(unseen[1])
    assert not unseen[0].equals(unseen[2])


def test_missing_and_endless_numbers_are_scored_as_missing() -> None:
    model, frame = a_model(), a_frame()
    missing = model.predict(frame.with_columns(pl.lit(None, pl.Float64).alias("longest_wait_s")))[
        "risk_90"
    ]
    for odd in (float("nan"), float("inf")):
        assert model.predict(frame.with_columns(pl.lit(odd).alias("longest_wait_s")))[
            "risk_90"
        ].equals(missing)
    assert not missing.equals(
        model.predict(frame.with_columns(pl.lit(50.0).alias("longest_wait_s")))["risk_90"]
    )


@pytest.mark.parametrize("horizons", [(30, 90, 180, 365), ()])
def test_a_saved_model_predicts_the_same(tmp_path: Path, horizons: tuple[int, ...]) -> None:
    model = a_model(horizons)
    model.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "weights.safetensors",
    ]
    again = ChurnModel.load(tmp_path)
    assert again.config == model.config
    assert again.predict(a_frame()).equals(model.predict(a_frame()))


def test_a_folder_that_is_not_a_model_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ChurnModelError, match=r"no weights\.safetensors"):
        ChurnModel.load(tmp_path)
    a_model().save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for broken, message in (
        ({**config, "format": 99}, "not a churn model of format"),
        ({**config, "hidden": 32}, "does not fit config.json"),
        ({name: value for name, value in config.items() if name != "columns"}, "incomplete"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(broken))
        with pytest.raises(ChurnModelError, match=message):
            ChurnModel.load(tmp_path)


def test_a_reason_is_what_the_risk_loses_without_its_group() -> None:
    model, frame = a_model(), a_frame(30)
    reasons = model.reasons(frame, top=4)
    typical = {column.name: column.reference for column in model.config.columns}
    plain = frame.with_columns(pl.lit(typical["plan"]).alias("plan"))
    lost = model.predict(frame)["risk_90"] - model.predict(plain)["risk_90"]
    reasons_of_plan = reasons.filter(group="plan and region").sort("customer_id")
    expected = pl.DataFrame({"customer_id": frame["customer_id"], "lost": lost}).sort("customer_id")
    assert np.allclose(reasons_of_plan["contribution"], expected["lost"], atol=1e-9)
    assert np.abs(reasons_of_plan["contribution"].to_numpy()).max() > 0.01


def test_reasons_see_through_trees_and_network_where_there_are_no_dates() -> None:
    model, frame = a_model(()), a_frame(30)
    plain = frame.with_columns(pl.lit(model.encoder.categorical[0].reference).alias("plan"))
    lost = model.predict(frame)["risk"] - model.predict(plain)["risk"]
    reasons_of_plan = frame.select("customer_id").join(
        model.reasons(frame, top=4).filter(group="plan and region"), on="customer_id"
    )
    assert np.allclose(reasons_of_plan["contribution"], lost, atol=1e-6)
    assert np.abs(reasons_of_plan["contribution"].to_numpy()).max() > 0.005
    assert "the risk by" in reasons_of_plan["sentence"][0]


def test_reasons_come_strongest_first_in_sentences() -> None:
    reasons = a_model().reasons(a_frame(20), top=2)
    assert reasons["rank"].to_list() == [1, 2] * 20
    for first, second in zip(
        reasons.filter(rank=1).iter_rows(named=True),
        reasons.filter(rank=2).iter_rows(named=True),
        strict=True,
    ):
        assert abs(first["contribution"]) >= abs(second["contribution"])
        verb = "raises" if first["contribution"] >= 0 else "lowers"
        assert (
            f"{verb} the risk within 90 days by {abs(first['contribution']) * 100:.1f} points"
            in first["sentence"]
        )


def test_a_feature_that_never_varies_is_not_a_column() -> None:
    frame = a_frame().with_columns(pl.lit(1.0).alias("contacts_30d"))
    columns = describe_columns(
        frame, [describe(name, kind) for name, kind in NAMES.items()], bins=6
    )
    assert [column.name for column in columns] == ["friction_30d", "longest_wait_s", "plan"]


def test_calibration_moves_every_curve_and_keeps_it_monotone() -> None:
    model = a_model()
    shifted = ChurnModel(
        replace(model.config, temperature=0.5, bias=(1.0, -4.0, 0.0, 0.0)), model.network
    )
    before, after = (
        m.predict(a_frame()).select(pl.selectors.starts_with("risk_")).to_numpy()
        for m in (model, shifted)
    )
    assert (after[:, 0] > before[:, 0]).mean() > 0.9
    assert (np.diff(after, axis=1) >= 0).all()


def test_C2_days_as_a_customer_go_on_through_the_intervals_and_unknown_ones_stay_unknown() -> None:
    days = [None, *np.linspace(1, 3000, 199).tolist()]
    frame = a_frame().with_columns(pl.Series("tenure_days", days))
    columns = describe_columns(frame, [describe("tenure_days"), describe("friction_30d")], bins=6)
    network = ChurnModel(
        ChurnConfig(columns, (30, 365), hidden=4, members=2, bias=(0.0, 0.0))
    ).network
    assert isinstance(network, HazardNetwork)
    encoder = Encoder(columns)
    now = torch.from_numpy(encoder.frame(frame))
    change_ahead = network.change_ahead(now)
    assert {columns[encoder.owner[place]].name for place in network.advancing} == {"tenure_days"}
    for interval, (begin, end) in enumerate(((0, 30), (30, 365))):
        later = [begin + (end - begin) * share for share in (0.125, 0.375, 0.625, 0.875)]
        will_be = np.mean(
            [encoder.frame(frame.with_columns(pl.col("tenure_days") + day)) for day in later],
            axis=0,
        )
        change = (will_be - now.numpy())[:, network.advancing]
        assert change_ahead[:, interval].numpy() == pytest.approx(change, abs=1e-4)
    assert not change_ahead[0].any()
    assert change_ahead[1:150].abs().amax(dim=(1, 2)).min() > 0
