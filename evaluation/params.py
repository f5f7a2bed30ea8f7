"""How models are scored: the `evaluation` section of params.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field

from data.speech.telephone import effect
from evaluation.metrics.churn_profit import Campaign


@dataclass(frozen=True)
class EvaluationParams:
    """What models are examined in beside the test set itself, and what they are held against."""

    seed: int = 7  # of the bootstrap and of the telephone effects
    conditions: tuple[str, ...] = (
        "as_delivered",
        "mulaw",
        "alaw",
        "gsm",
        "amr_nb",
        "packet_loss_10pct",
        "noise_10db",
        "music_10db",
        "crosstalk_10db",
        "room",
        "speed_110pct",
    )  # telephone effects (data.telephone.EFFECTS) that a sample of the test audio is sent through
    condition_s: float = 60.0  # seconds of test audio in that sample, shared out among the voices
    noise_dir: str = ""  # recorded noise for conditions named noise…; synthetic where empty
    music_dir: str = ""  # hold music for conditions named music…; synthetic where empty
    guardrail: tuple[
        str, ...
    ] = ()  # manifests of general speech no model trained on; none: simulated sentences
    guardrail_s: float = 120.0  # seconds of general speech, shared out among the voices
    critical: dict[str, list[str]] = field(
        default_factory=dict
    )  # class of critical words → further words of it
    spellings: dict[str, str] = field(
        default_factory=dict
    )  # ways of writing the same words: "key note" → "keynote"

    campaign: Campaign = field(
        default_factory=Campaign
    )  # the retention campaign that EMPC counts the profit of

    def __post_init__(self) -> None:
        """Raises ValueError for a condition that is no telephone effect."""
        for name in self.conditions:
            effect(name)
