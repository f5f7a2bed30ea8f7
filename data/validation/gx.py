"""Runs a suite of expectations on a table with Great Expectations and returns broken rows.

No other module imports Great Expectations. Importing this module imports it (5–8 s), so only
functions import this module.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import great_expectations as gx
import polars as pl
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import ColumnMapExpectation
from great_expectations.expectations.metrics.map_metric_provider.column_condition_partial import (
    column_condition_partial,
)
from great_expectations.expectations.metrics.map_metric_provider.column_map_metric_provider import (
    ColumnMapMetricProvider,
)
from great_expectations.expectations.registry import get_expectation_impl

from data.validation.expectations import Expectation


class ColumnValuesFirstOfTheirKind(ColumnMapMetricProvider):
    """Is true for a value that did not occur in an earlier row."""

    condition_metric_name = "column_values.first_of_their_kind"

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: Any, **kwargs: Any) -> Any:  # noqa: N805 (a class method by GX)
        return ~column.duplicated(keep="first")


class ExpectColumnValuesToBeFirstOfTheirKind(ColumnMapExpectation):
    """Like expect_column_values_to_be_unique, but the first of several equals is kept."""

    map_metric = "column_values.first_of_their_kind"


@dataclass
class SuiteAnswer:
    """What Great Expectations answered about one table."""

    suite: str
    answer: dict[str, Any]  # its own JSON
    broken: dict[str, list[int]] = field(default_factory=dict)  # reason → row numbers
    failed: list[str] = field(default_factory=list)  # reasons, in the suite's order

    @property
    def summary(self) -> dict[str, Any]:
        """Success, number of expectations and the failed ones, for validate.json."""
        statistics = self.answer["statistics"]
        return {
            "success": not self.failed,
            "expectations": statistics["evaluated_expectations"],
            "failed": [
                {"reason": reason, "rows": len(self.broken[reason])} for reason in self.failed
            ],
        }


def context() -> Any:
    """Returns an ephemeral context: nothing on disk, no progress bars, no analytics."""
    # GX logs each context variable it cannot save to disk; there is nothing to save in an ephemeral
    # context. One of its modules sets its own level, so it is named too.
    for name in ("great_expectations", "great_expectations.data_context.types.base"):
        logging.getLogger(name).setLevel(logging.WARNING)
    gx_context = gx.get_context(mode="ephemeral")
    gx_context.enable_analytics(False)
    gx_context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return gx_context


def run_suite(
    gx_context: Any, name: str, *, expectations: list[Expectation], frame: pl.DataFrame
) -> SuiteAnswer:
    """Checks every row of `frame` against `expectations` in a GX checkpoint.

    Raises RuntimeError when an expectation itself could not be computed (a mistake of the
    suite, not of the data).
    """
    suite = gx.ExpectationSuite(name)
    for expected in expectations:
        expectation = get_expectation_impl(expected.expectation)
        meta = {"reason": expected.reason, "next_step": expected.next_step, "stops": expected.stops}
        suite.add_expectation(expectation(**expected.kwargs, meta=meta))
    batch = (
        gx_context.data_sources.add_pandas(name)
        .add_dataframe_asset(name)
        .add_batch_definition_whole_dataframe("whole")
    )
    gx_context.suites.add(suite)
    definition = gx_context.validation_definitions.add(
        gx.ValidationDefinition(name=name, data=batch, suite=suite)
    )
    checkpoint = gx_context.checkpoints.add(
        gx.Checkpoint(
            name=name,
            validation_definitions=[definition],
            result_format={"result_format": "COMPLETE"},
        )
    )
    (result,) = checkpoint.run(
        batch_parameters={"dataframe": frame.to_pandas()}
    ).run_results.values()

    broken: dict[str, list[int]] = {}
    for outcome in result.results:
        if outcome.exception_info and outcome.exception_info.get("raised_exception", False):
            raise RuntimeError(
                f"suite {name}: {outcome.expectation_config.type}: "
                f"{outcome.exception_info['exception_message']}"
            )
        if not outcome.success:
            reason = outcome.expectation_config.meta["reason"]
            broken[reason] = [int(row) for row in outcome.result.get("unexpected_index_list") or []]
    failed = [expected.reason for expected in expectations if expected.reason in broken]
    return SuiteAnswer(name, result.to_json_dict(), broken, failed)
