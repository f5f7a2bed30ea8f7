"""How models are scored: the `evaluation` section of params.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field

from data.speech.telephone import effect
from evaluation.metrics.churn_profit import Campaign


@dataclass(frozen=True)
class EvaluationParams:
    """What models are scored on besides the test set, and how."""

    seed: int = 7  # of the bootstrap and of the telephone effects
    # Telephone effects (data.speech.telephone.EFFECTS) that a sample of the test audio is sent
    # through.
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
    )
    condition_s: float = 60.0  # seconds of test audio in that sample, shared out among the voices
    noise_dir: str = ""  # recorded noise for conditions named noise…; synthetic where empty
    music_dir: str = ""  # hold music for conditions named music…; synthetic where empty
    # Manifests of general speech that no model trained on. None: simulated sentences.
    guardrail: tuple[str, ...] = ()
    guardrail_s: float = 120.0  # seconds of general speech, shared out among the voices
    # Class of critical words → further words of it.
    critical: dict[str, list[str]] = field(default_factory=dict)
    # Words of each class of critical words in planted sentences; 0: no such test.
    critical_sentence_words: int = 60
    # Ways of writing the same words: "key note" → "keynote".
    spellings: dict[str, str] = field(default_factory=dict)
    # The retention campaign that EMPC counts the profit of.
    campaign: Campaign = field(default_factory=Campaign)

    def __post_init__(self) -> None:
        """Raises ValueError for a condition that is no telephone effect."""
        for name in self.conditions:
            effect(name)
