"""Places and secrets: the only reader of the environment. Every variable is listed in `.env.example`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Settings:
    """Where things lie and where the servers are. Built by `from_environment`; tests build their own."""

    store: Path
    tracking_uri: str
    artifact_root: str
    dvc_remote: str
    params_file: Path
    real_data: Path
    serve_host: str
    serve_port: int
    actor: str


def from_environment(environment: Mapping[str, str] | None = None, store: Path | None = None) -> Settings:
    """Reads the settings, by default from the process environment; `store` overrides KEEPLINE_STORE.

    Without any variable set everything lies under `data/store`: SQLite, local folders, no server.
    """
    env = os.environ if environment is None else environment
    home = (store or Path(env.get("KEEPLINE_STORE", ROOT / "data" / "store"))).resolve()
    return Settings(
        store=home,
        tracking_uri=env.get("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow.db'}"),
        artifact_root=env.get("KEEPLINE_ARTIFACTS", str(home / "mlartifacts")),
        dvc_remote=env.get("KEEPLINE_DVC_REMOTE", str(home / "remote")),
        params_file=Path(env.get("KEEPLINE_PARAMS", ROOT / "params.yaml")),
        real_data=Path(env.get("KEEPLINE_REAL_DATA", ROOT.parent / "shared" / "data")),
        serve_host=env.get("KEEPLINE_HOST", "127.0.0.1"),
        serve_port=int(env.get("KEEPLINE_PORT", "8080")),
        actor=env.get("KEEPLINE_ACTOR", env.get("USER", "keepline")),
    )


def quiet_vendors() -> None:
    """Sets what the vendors read from the environment themselves, where the user has not set it.

    Clients give up on a dead MLflow server within seconds, nothing phones home, logs stay readable under a
    progress bar, and loading a pickled model is off.
    """
    defaults = {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "GX_ANALYTICS_ENABLED": "false",
        "DVC_NO_ANALYTICS": "true",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "GIT_PYTHON_REFRESH": "quiet",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
