"""Declares the settings of churn training, and those that suit a target without dates."""

from __future__ import annotations

from dataclasses import dataclass, field

from training.churn.boosting import Boosting


@dataclass(frozen=True)
class ChurnTraining:
    """Settings of training the churn network."""

    seed: int = 0  # of the initial weights, the order of rows and dropout
    # Ends of the intervals; those that no outcome in train reaches are left out, and all where
    # outcomes have no dates.
    horizons_days: tuple[int, ...] = (30, 90, 180, 365)
    hidden: int = 64  # width of each hidden layer
    layers: int = 2  # hidden layers
    members: int = 8  # ensemble members sharing the weights
    bins: int = 8  # at most so many bins of a number's piecewise-linear encoding
    dropout: float = 0.2  # share of hidden units dropped in training
    # Ridge penalty on the additive weights: half their inverse variance a priori.
    ridge: float = 1.0
    mark_cost: float = 0.1  # penalty on the weight of a kind of contact
    additive_steps: int = 150  # at most so many L-BFGS steps of the additive fit
    # With fewer customers who left for each feature, features that only refine others are left out.
    leavers_per_feature: int = 180
    learning_rate: float = 7e-4  # of AdamW
    weight_decay: float = 0.1  # of AdamW
    batch_size: int = 512  # rows a step, fewer where there are few rows
    epochs: int = 50  # at most so many
    patience: int = 6  # epochs without a better valid loss before stopping
    # Of the trees beside the network, where outcomes have no dates.
    boosting: Boosting = field(default_factory=Boosting)
    checkpoint_every: int = 2  # epochs between checkpoints
    min_customers: int = 60  # in train; fewer are refused
    min_events: int = 10  # customers who left, in train; fewer are refused
    # A single feature with a higher AUC is taken for a leak of the target.
    leak_auc: float = 0.995

    def __post_init__(self) -> None:
        """Raises ValueError for horizons that are not increasing days."""
        days = self.horizons_days
        if list(days) != sorted(set(days)) or not days or days[0] <= 0:
            raise ValueError(
                f"churn.horizons_days must be increasing numbers of days, not {list(days)}."
            )


# For a target without dates: a more flexible network, with boosted trees beside it.
TABLE = ChurnTraining(
    hidden=96,
    members=16,
    bins=48,
    dropout=0.1,
    learning_rate=2e-3,
    weight_decay=3e-4,
    batch_size=256,
    epochs=200,
    patience=16,
)
