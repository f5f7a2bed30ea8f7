"""Keeps runs in MLflow: one run a key, resumed after a kill, read back for comparisons.

No other module but models.registry imports MLflow.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

KEY_TAG = "keepline.key"
PARENT_TAG = "mlflow.parentRunId"  # MLflow shows a run with this tag below the run it names
_LONGEST_VALUE = 6000  # what MLflow takes as a parameter
_LONGEST_DIGEST = 36


class TrackingError(ValueError):
    """A run cannot be opened or read. The message names the run and says what to do."""


class Run:
    """An MLflow run. As a context manager it ends FINISHED, FAILED on an error, KILLED on Ctrl-C.

    After a kill -9 its status stays RUNNING until the same key resumes it.
    """

    def __init__(self, client: Any, run_id: str, resumed: bool) -> None:
        self.run_id = run_id
        self.resumed = resumed
        self._client = client
        self._logged: dict[str, dict[int, float]] = {}

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error_type is None:
            self.end("FINISHED")
            return
        self.set_tags({"keepline.error": f"{error_type.__name__}: {error}"[:500]})
        self.end("KILLED" if issubclass(error_type, KeyboardInterrupt) else "FAILED")

    def end(self, status: str) -> None:
        """Ends the run with a status: FINISHED, FAILED or KILLED."""
        self._client.set_terminated(self.run_id, status=status)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Logs settings, nested ones under dotted names.

        Raises TrackingError when a resumed run had another value.
        """
        from mlflow.entities import Param

        values = {name: str(value)[:_LONGEST_VALUE] for name, value in _flatten(params)}
        logged = self._client.get_run(self.run_id).data.params
        for name, value in values.items():
            if name in logged and logged[name] != value:
                raise TrackingError(
                    f"run {self.run_id}: began with {name}={logged[name]}, not {value}. "
                    "Changed settings need a new run: change its key."
                )
        fresh = [Param(name, value) for name, value in values.items() if name not in logged]
        for begin in range(0, len(fresh), 100):
            self._client.log_batch(self.run_id, params=fresh[begin : begin + 100])

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Logs metrics of a step; a step that a resumed run repeats is not logged twice."""
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        fresh = []
        for name, number in metrics.items():
            value, logged = float(number), self._logged_before(name)
            if logged.get(step) != value and not (step and step in logged):
                fresh.append(Metric(name, value, now_ms, step))
        if fresh:
            self._client.log_batch(self.run_id, metrics=fresh)

    def log_input(
        self, dataset_version: Mapping[str, Any], name: str, context: str = "training"
    ) -> None:
        """Links the run to a DatasetVersion (as a dict), whose DVC hash becomes MLflow's digest."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = {
            key: dataset_version[key]
            for key in ("dvc_hash", "git_commit")
            if key in dataset_version
        }
        dataset = Dataset(
            name=name,
            digest=str(dataset_version["dvc_hash"])[:_LONGEST_DIGEST],
            source_type="dvc",
            source=json.dumps(source, sort_keys=True),
            profile=json.dumps(dataset_version.get("rows", {}), sort_keys=True),
        )
        tags = [InputTag("mlflow.data.context", context)]
        self._client.log_inputs(self.run_id, [DatasetInput(dataset, tags)])

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Stores a copy of a file, or of a folder with its content, under `folder` or the root."""
        if Path(path).is_dir():
            self._client.log_artifacts(self.run_id, str(path), folder)
        else:
            self._client.log_artifact(self.run_id, str(path), folder)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Sets tags; values become text."""
        for name, value in tags.items():
            self._client.set_tag(self.run_id, name, str(value))

    def _logged_before(self, metric: str) -> dict[int, float]:
        """Returns {step: value} of what earlier processes logged to this run."""
        if not self.resumed:
            return {}
        if metric not in self._logged:
            history = self._client.get_metric_history(self.run_id, metric)
            self._logged[metric] = {entry.step: entry.value for entry in history}
        return self._logged[metric]


def start_or_resume(
    tracking_uri: str,
    experiment: str,
    key: str,
    *,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    reuse_finished: bool = False,
    artifact_root: str | None = None,
) -> Run:
    """Returns the unfinished run of this `key`, or a new one.

    A finished run is resumed only with `reuse_finished`. A new experiment stores its artifacts in a
    folder of its name under `artifact_root` (a folder or a URL such as s3://bucket/path; without
    one `mlartifacts` beside a SQLite database). An MLflow server decides that itself. Raises
    TrackingError when a resumed run had other `params`.
    """
    with _suppress_logs():
        client = _client(tracking_uri)
        existing = client.get_experiment_by_name(experiment)
        if existing is None:
            location = _artifact_location(tracking_uri, artifact_root, experiment)
            experiment_id = client.create_experiment(experiment, artifact_location=location)
        else:
            experiment_id = existing.experiment_id
        quoted = key.replace("'", "_")
        runs = client.search_runs(
            [experiment_id],
            f"tags.`{KEY_TAG}` = '{quoted}'",
            order_by=["attributes.start_time DESC"],
            max_results=20,
        )
        previous = next(
            (run for run in runs if reuse_finished or run.info.status != "FINISHED"), None
        )
        if previous is None:
            created = client.create_run(experiment_id, tags={KEY_TAG: quoted}, run_name=quoted)
            run = Run(client, created.info.run_id, resumed=False)
        else:
            client.update_run(previous.info.run_id, status="RUNNING")
            run = Run(client, previous.info.run_id, resumed=True)
        run.set_tags(tags or {})
        run.log_params(params or {})
    return run


def reopen_run(tracking_uri: str, run_id: str) -> Run:
    """Returns an ended run, to log what is measured of its model later.

    It ends again as a context manager does.
    """
    client = _client(tracking_uri)
    client.update_run(run_id, status="RUNNING")
    return Run(client, run_id, resumed=True)


def mark_failed(tracking_uri: str, run_id: str, reason: str) -> bool:
    """Sets a run to FAILED whose process is gone while its status is RUNNING.

    Returns False when it had ended. The run can be resumed.
    """
    from mlflow.exceptions import MlflowException

    client = _client(tracking_uri)
    try:
        if client.get_run(run_id).info.status != "RUNNING":
            return False
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    client.set_tag(run_id, "keepline.error", reason[:500])
    client.set_terminated(run_id, status="FAILED")
    return True


def get_run(tracking_uri: str, run_id: str) -> dict[str, Any]:
    """Returns run_id, name, experiment_id, status, start_time (ms), params, metrics, tags, inputs.

    Raises TrackingError when there is no run of that id.
    """
    from mlflow.exceptions import MlflowException

    with _suppress_logs():
        try:
            return _as_dict(_client(tracking_uri).get_run(run_id))
        except MlflowException as error:
            raise TrackingError(
                f"run {run_id}: MLflow has none of that id. `mlflow ui` lists them."
            ) from error


def fetch_artifact(tracking_uri: str, run_id: str, name: str, *, to_dir: Path) -> Path | None:
    """Downloads a file or folder of a run to `to_dir` and returns its path; None if it has none."""
    client = _client(tracking_uri)
    folder = name.rsplit("/", 1)[0] if "/" in name else None
    if name not in {artifact.path for artifact in client.list_artifacts(run_id, folder)}:
        return None
    to_dir.mkdir(parents=True, exist_ok=True)
    return Path(client.download_artifacts(run_id, name, str(to_dir)))


def metric_histories(tracking_uri: str, run_id: str) -> list[tuple[str, int, float]]:
    """Returns all that a run logged: (metric, step, value)."""
    client = _client(tracking_uri)
    return [
        (name, int(entry.step), float(entry.value))
        for name in client.get_run(run_id).data.metrics
        for entry in client.get_metric_history(run_id, name)
    ]


def list_runs(
    tracking_uri: str, experiment: str | None = None, limit: int = 1000
) -> list[dict[str, Any]]:
    """Returns runs as `get_run` does, the newest first, of one experiment or of all."""
    with _suppress_logs():
        client = _client(tracking_uri)
        experiments = client.search_experiments()
        ids = [each.experiment_id for each in experiments if experiment in (None, each.name)]
        if not ids:
            return []
        runs = client.search_runs(ids, order_by=["attributes.start_time DESC"], max_results=limit)
        return [_as_dict(run) for run in runs]


def _client(tracking_uri: str) -> Any:
    from mlflow.tracking import MlflowClient

    if tracking_uri.startswith("sqlite:///"):
        Path(tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=tracking_uri)


def _artifact_location(tracking_uri: str, artifact_root: str | None, experiment: str) -> str | None:
    """Returns the URI for an experiment's artifacts, None where the server decides."""
    if tracking_uri.startswith("http"):
        return None
    if artifact_root and "://" in artifact_root:
        return f"{artifact_root.rstrip('/')}/{experiment}"
    if artifact_root:
        return (Path(artifact_root).absolute() / experiment).as_uri()
    if tracking_uri.startswith("sqlite:///"):
        folder = Path(tracking_uri.removeprefix("sqlite:///")).absolute().parent
        return (folder / "mlartifacts" / experiment).as_uri()
    return None


def _as_dict(run: Any) -> dict[str, Any]:
    inputs = [_input_as_dict(entry) for entry in (run.inputs.dataset_inputs if run.inputs else [])]
    return {
        "run_id": run.info.run_id,
        "name": run.info.run_name,
        "experiment_id": run.info.experiment_id,
        "status": run.info.status,
        "start_time": run.info.start_time,
        "params": dict(run.data.params),
        "metrics": dict(run.data.metrics),
        "tags": {
            name: value for name, value in run.data.tags.items() if not name.startswith("mlflow.")
        },
        "inputs": inputs,
    }


def _input_as_dict(entry: Any) -> dict[str, Any]:
    dataset = entry.dataset
    is_dvc = dataset.source_type == "dvc"
    contexts = (tag.value for tag in entry.tags if tag.key == "mlflow.data.context")
    return {
        "name": dataset.name,
        "digest": dataset.digest,
        "source": json.loads(dataset.source) if is_dvc else dataset.source,
        "context": next(contexts, None),
    }


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (dotted name, value) of nested settings."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


@contextlib.contextmanager
def _suppress_logs() -> Iterator[None]:
    """Suppresses log messages: a new database announces each of its migrations."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)
