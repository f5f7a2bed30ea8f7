"""What a network for a target without dates gets after its passes: trees beside it, their share, and all the rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from data.progress import Progress
from training.churn.boosting import Boosting, GrownTrees, grow_trees
from training.churn.likelihood import Rows, calibrate, ensemble_loss
from training.churn.passes import TrainingSettings, train_passes

if TYPE_CHECKING:
    from models.churn.hazard import ChurnConfig
    from models.churn.tabular import TableNetwork
    from models.churn.trees import ObliviousTrees

_SHARE_SPREAD = 0.15  # of the trees' share around one half, a priori: a few hundred valid rows cannot tell it well


class TableLearning(TrainingSettings, Protocol):
    """The settings of churn training that matter here."""

    @property
    def boosting(self) -> Boosting: ...


def blend_with_trees(
    network: TableNetwork, config: ChurnConfig, parts: dict[str, Rows], *, params: TableLearning
) -> tuple[ChurnConfig, dict[str, Any]]:
    """Gives `network` trees grown on train beside it; how much they count and the calibration are found on valid."""
    train, valid = parts["train"], parts["valid"]
    if params.boosting.rounds:
        begin = network.tree_inputs
        held = (_answers(valid, begin), _left(valid))
        grown = grow_trees(
            _answers(train, begin),
            _left(train),
            valid=held,
            params=params.boosting,
            seed=params.seed,
        )
        config = replace(config, trees=len(grown.values), tree_depth=params.boosting.depth)
        network.trees = _trees(grown, begin)
        network.share.fill_(_best_share(network, valid))
    temperature, bias = calibrate(network, valid)
    kept = {
        "kept_valid_loss": ensemble_loss(network, valid),
        "trees": config.trees,
        "tree_share": float(network.share),
    }
    return replace(config, temperature=temperature, bias=bias), kept


def refit_on_all_rows(
    network: TableNetwork,
    config: ChurnConfig,
    parts: dict[str, Rows],
    *,
    params: TableLearning,
    passes: int,
    progress: Progress,
) -> TableNetwork:
    """A network like `network`, but of all rows: as many passes and trees as were best, the same share of trees."""
    import torch

    from models.churn.tabular import TableNetwork

    both = parts["train"], parts["valid"]
    rows = Rows(
        torch.cat([part.inputs for part in both]),
        torch.cat([part.observed for part in both]),
        torch.cat([part.event for part in both]),
        dated=False,
    )
    torch.manual_seed(params.seed)
    fuller = TableNetwork(replace(config, trees=0))
    train_passes(fuller, rows, params, passes=passes, progress=progress)
    if config.trees:
        boosting = replace(params.boosting, rounds=config.trees)
        grown = grow_trees(
            _answers(rows, network.tree_inputs),
            _left(rows),
            valid=None,
            params=boosting,
            seed=params.seed,
        )
        fuller.trees = _trees(grown, network.tree_inputs)
        fuller.share.copy_(network.share)
    return fuller.eval()


def _trees(grown: GrownTrees, begin: int) -> ObliviousTrees:
    import torch

    from models.churn.trees import ObliviousTrees

    trees = ObliviousTrees(*grown.asked.shape)
    trees.asked.copy_(torch.from_numpy(grown.asked + begin))
    trees.threshold.copy_(torch.from_numpy(grown.threshold))
    trees.values.copy_(torch.from_numpy(grown.values))
    return trees


def _best_share(network: TableNetwork, valid: Rows) -> float:
    """The share of the trees that valid likes best, held near one half by a Gaussian prior.

    Never all of it: which feature of a group a reason names follows the network's slope, and trees have none.
    """
    shares = np.linspace(0, 0.95, 20)
    costs = []
    for share in shares:
        network.share.fill_(share)
        costs.append(
            ensemble_loss(network, valid) * len(valid) + (share - 0.5) ** 2 / (2 * _SHARE_SPREAD**2)
        )
    return float(shares[int(np.argmin(costs))])


def _answers(rows: Rows, begin: int) -> np.ndarray:
    return rows.inputs[:, begin:].numpy()


def _left(rows: Rows) -> np.ndarray:
    return (rows.event >= 0).numpy()
