"""Completes a network for a target without dates: boosted trees beside it, then all rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from data.progress import Progress
from training.churn.boosting import GrownTrees, grow_trees
from training.churn.likelihood import Rows, calibrate, ensemble_loss
from training.churn.passes import train_passes
from training.churn.settings import ChurnTraining

if TYPE_CHECKING:
    from models.churn.hazard import ChurnConfig
    from models.churn.tabular import TableNetwork
    from models.churn.trees import ObliviousTrees

# A priori, of the trees' share around one half: a few hundred valid rows cannot tell it well.
_SHARE_STD = 0.15


def blend_with_trees(
    network: TableNetwork, config: ChurnConfig, parts: dict[str, Rows], *, params: ChurnTraining
) -> tuple[ChurnConfig, dict[str, Any]]:
    """Grows trees on train beside `network`; finds their share and the calibration on valid.

    Returns the configuration with trees, temperature and bias, and kept_valid_loss, trees and
    tree_share.
    """
    train, valid = parts["train"], parts["valid"]
    if params.boosting.rounds:
        begin = network.tree_inputs
        grown = grow_trees(
            _tree_inputs(train, begin),
            _targets(train),
            valid=(_tree_inputs(valid, begin), _targets(valid)),
            params=params.boosting,
            seed=params.seed,
        )
        config = replace(config, trees=len(grown.values), tree_depth=params.boosting.depth)
        network.trees = _to_module(grown, begin)
        network.share.fill_(_best_share(network, valid))
    temperature, bias = calibrate(network, valid)
    facts = {
        "kept_valid_loss": ensemble_loss(network, valid),
        "trees": config.trees,
        "tree_share": float(network.share),
    }
    return replace(config, temperature=temperature, bias=bias), facts


def refit_on_all_rows(
    network: TableNetwork,
    config: ChurnConfig,
    parts: dict[str, Rows],
    *,
    params: ChurnTraining,
    passes: int,
    progress: Progress,
) -> TableNetwork:
    """Returns a network trained on train and valid together.

    It has as many epochs and trees as were best in `network`, and the same share of trees.
    """
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
    refitted = TableNetwork(replace(config, trees=0))
    train_passes(refitted, rows, params, passes=passes, progress=progress)
    if config.trees:
        grown = grow_trees(
            _tree_inputs(rows, network.tree_inputs),
            _targets(rows),
            valid=None,
            params=replace(params.boosting, rounds=config.trees),
            seed=params.seed,
        )
        refitted.trees = _to_module(grown, network.tree_inputs)
        refitted.share.copy_(network.share)
    return refitted.eval()


def _to_module(grown: GrownTrees, begin: int) -> ObliviousTrees:
    """Returns the trees as a module on a network's inputs, of which theirs `begin` at a column."""
    import torch

    from models.churn.trees import ObliviousTrees

    trees = ObliviousTrees(*grown.asked.shape)
    trees.asked.copy_(torch.from_numpy(grown.asked + begin))
    trees.threshold.copy_(torch.from_numpy(grown.threshold))
    trees.values.copy_(torch.from_numpy(grown.values))
    return trees


def _best_share(network: TableNetwork, valid: Rows) -> float:
    """Returns the trees' share with the lowest loss on valid under a Gaussian prior around 1/2.

    Never 1: which feature of a group a reason names follows the network's slope, and trees have
    none.
    """
    shares = np.linspace(0, 0.95, 20)
    costs = []
    for share in shares:
        network.share.fill_(share)
        costs.append(
            ensemble_loss(network, valid) * len(valid) + (share - 0.5) ** 2 / (2 * _SHARE_STD**2)
        )
    return float(shares[int(np.argmin(costs))])


def _tree_inputs(rows: Rows, begin: int) -> np.ndarray:
    inputs: np.ndarray = rows.inputs[:, begin:].numpy()
    return inputs


def _targets(rows: Rows) -> np.ndarray:
    targets: np.ndarray = (rows.event >= 0).numpy()
    return targets
