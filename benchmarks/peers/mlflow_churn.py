"""The same churn model as MLflow would serve it: a pyfunc from code, so that nothing is pickled."""

from pathlib import Path
from typing import Any

import mlflow
import polars as pl


class Churn(mlflow.pyfunc.PythonModel):
    """Scores a pandas frame with the bundle's model."""

    def load_context(self, context: Any) -> None:
        from models.churn.model import ChurnModel

        self.model = ChurnModel.load(Path(context.artifacts["bundle"]))

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # MLflow reads type hints
        return self.model.predict(pl.from_pandas(model_input)).to_pandas()


mlflow.models.set_model(Churn())
