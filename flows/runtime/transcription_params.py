"""The section `hearing` of params.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field

from evaluation.experience.conversation import ConversationParams
from models.asr.segments import Segmentation


@dataclass(frozen=True)
class HearingParams:
    """How calls are taken apart and what is measured of them."""

    segmentation: Segmentation = field(
        default_factory=Segmentation
    )  # how speech is told from the rest
    conversation: ConversationParams = field(
        default_factory=ConversationParams
    )  # what counts as hold, interruption …
