"""The section `hearing` of params.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field

from evaluation.experience.conversation import ConversationParams
from models.asr.segments import Segmentation


@dataclass(frozen=True)
class HearingParams:
    """How calls are taken apart and what is measured of them."""

    # how speech is separated from the rest
    segmentation: Segmentation = field(default_factory=Segmentation)
    # what counts as hold, interruption …
    conversation: ConversationParams = field(default_factory=ConversationParams)
