"""States what the module of a kind's stages has to offer, and finds it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from models.kinds import kind_of

if TYPE_CHECKING:
    import polars as pl

    from data.progress import Progress
    from evaluation.monitoring.observed import Observed
    from evaluation.scorecard import Scorecard
    from flows.runtime.context import RunContext
    from models.registry.bundle import Bundle
    from training.search import SearchTask


class KindStages(Protocol):
    """The functions of a module such as `flows.stages.churn`.

    The training, the evaluation and the probes are stages of their own.
    """

    def train(self, context: RunContext, progress: Progress) -> dict[str, Any]:
        """Trains a candidate as one MLflow run and writes its bundle."""

    def training_line(self, summary: dict[str, Any]) -> str:
        """Returns what a person watching wants to see of a training's summary."""

    def assess(self, context: RunContext, progress: Progress) -> dict[str, Any]:
        """Scores the candidate on validation data: what experiments see instead of the test set."""

    def search_task(self, context: RunContext, progress: Progress) -> SearchTask:
        """Returns what `keepline search` varies and trains. Reads no test data.

        Raises ValueError where there is nothing yet to train on.
        """

    def evaluate(self, context: RunContext, progress: Progress) -> dict[str, Any]:
        """Scores candidate and reference on the same test set."""

    def probe(self, context: RunContext, progress: Progress) -> dict[str, Any]:
        """Tests the candidate's behaviour for the gate."""

    def baseline(self, context: RunContext) -> dict[str, Any]:
        """Returns `model` and `path` of what a first candidate has to beat.

        `path` is None where nothing has to be loaded.
        """

    def smoke_test(self, context: RunContext, bundle: Path) -> dict[str, Any]:
        """Asks the bundle a sample before a release.

        Returns ok, latency_s, answer and error (see `models.serving.smoke`).
        """

    def fallback(self, context: RunContext, decided: Mapping[str, Any]) -> tuple[Path | None, str]:
        """Returns a refused candidate's bundle to use all the same, and a note for people.

        The bundle is None where a refused candidate is never used.
        """

    def evaluate_new(
        self,
        context: RunContext,
        bundle: Bundle,
        name: str,
        contacts: Sequence[str],
        progress: Progress,
    ) -> Scorecard | None:
        """Returns the scorecard of a registered version on those `contacts` whose truth is known.

        Where truth matures on its own (a horizon passes), the kind says what has. None where there
        is nothing to score.
        """

    def observe(
        self, context: RunContext, bundle: Bundle, contacts: pl.DataFrame, progress: Progress
    ) -> Observed:
        """Returns what is measured of `contacts` (contact_id, customer_id, day) without truth."""

    def restore_test_set(
        self, context: RunContext, rows: pl.DataFrame, dataset: Path, out: Path
    ) -> str:
        """Writes the test set that `rows` and the checked-out `dataset` make; returns its hash."""


def stages_of(kind: str) -> KindStages:
    """Returns the module of a kind's stages. Raises UnknownKindError for a name that is no kind."""
    row = kind_of(kind)
    return cast(KindStages, importlib.import_module(row.stages or f"flows.stages.{row.name}"))
