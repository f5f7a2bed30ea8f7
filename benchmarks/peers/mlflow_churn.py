"""The churn model as an MLflow pyfunc from code, so that nothing is pickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import mlflow.pyfunc
import polars as pl


class Churn(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined]  # untyped base
    """Scores a pandas frame with the bundle's model."""

    def load_context(self, context: Any) -> None:
        from models.churn.model import ChurnModel

        self.model = ChurnModel.load(Path(context.artifacts["bundle"]))

    # Without annotations, since MLflow reads type hints as the schema of the input.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        return self.model.predict(pl.from_pandas(model_input)).to_pandas()


mlflow.models.set_model(Churn())
