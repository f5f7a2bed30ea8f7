"""What the service is asked and what it answers, as its OpenAPI page shows it."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_ROWS = 1000
Number = Annotated[float, Field(allow_inf_nan=False)]
Risk = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1)]
Id = Annotated[str, Field(min_length=1, max_length=200)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ChurnRow(_Request):
    """One customer's features, named as in the features table; null is unknown, more than the model uses is ignored."""

    customer_id: Id
    as_of: date | None = None
    features: dict[str, bool | Number | str | None]


class ChurnRequest(_Request):
    """Either rows of features, or ids of customers in the service's features table."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {
                    "required": ["rows"],
                    "properties": {"rows": {"minItems": 1}, "customer_ids": {"maxItems": 0}},
                },
                {
                    "required": ["customer_ids"],
                    "properties": {"customer_ids": {"minItems": 1}, "rows": {"maxItems": 0}},
                },
            ]
        }
    )

    rows: Annotated[list[ChurnRow], Field(max_length=MAX_ROWS)] = []
    customer_ids: Annotated[list[Id], Field(max_length=MAX_ROWS)] = []

    @model_validator(mode="after")
    def _either_rows_or_ids(self) -> ChurnRequest:
        if bool(self.rows) == bool(self.customer_ids):
            raise ValueError("send either rows or customer_ids, and at least one of them")
        return self


class Version(BaseModel):
    """Which model answered."""

    kind: str
    version: str
    bundle_sha256: str
    data_hash: str = Field(description="the data it was trained on")


class ChurnScore(BaseModel):
    """One customer's risk of leaving within each horizon: risk_30, risk_90, … within [0, 1], never falling."""

    customer_id: str
    as_of: date | None
    risks: dict[str, Risk]


class ChurnAnswer(BaseModel):
    """Scores in the order they were asked for."""

    model: Version
    scores: list[ChurnScore]


class HeardWord(BaseModel):
    """One word, in seconds from the start of the recording."""

    text: str
    start_s: Number
    end_s: Number
    confidence: Number


class TranscriptTurn(BaseModel):
    """What one side said without a longer pause."""

    role: str
    start_s: Number
    end_s: Number
    text: str
    confidence: Number
    words: list[HeardWord]


class TranscribeAnswer(BaseModel):
    """A recording as turns, in order of their start."""

    model: Version
    duration_s: Number
    channels: int
    turns: list[TranscriptTurn]


class Readiness(BaseModel):
    """Which champions answer, what keeps others from it, and where an older one answers than should."""

    ready: bool
    models: dict[str, Version]
    problems: dict[str, str]
    warnings: dict[str, str] = Field(
        default={}, description="answers are given, but look into this"
    )


class Challenger(BaseModel):
    """A version on trial beside the champion."""

    version: Version
    stopped: str | None = Field(description="why it gets no more requests")


class State(Readiness):
    """All there is to know about the models of this service."""

    rollout: Literal["off", "shadow", "canary"]
    canary_share: float
    challengers: dict[str, Challenger]
    details: dict[str, str] = Field(description="what exactly was said about a problem or warning")


class Detail(BaseModel):
    """One thing that is wrong with a request, and where in it."""

    where: str
    message: str


class Problem(BaseModel):
    """Why there is no answer."""

    error: str
    details: list[Detail] = []
