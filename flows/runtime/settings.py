"""Places and secrets: the only reader of the environment.

Every variable is listed in `.env.example`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data import artefacts

ROOT = Path(__file__).resolve().parents[2]
HEARTBEAT_S = 30  # between two signs of life of a flow on a Prefect server; 30 is Prefect's least
# Below the checkout: where DVC's queue makes a temporary copy of it for each experiment.
_COPIES = (".dvc", "tmp", "exps")


def original_checkout(root: Path) -> Path:
    """Returns the checkout that `root` is a copy of for an experiment; else `root` itself."""
    parts = root.parts
    for end in range(len(parts) - len(_COPIES), 0, -1):
        if parts[end : end + len(_COPIES)] == _COPIES:
            return Path(*parts[:end])
    return root


CHECKOUT = original_checkout(ROOT)


def checkout_file(name: str) -> Path:
    """Returns the place of a file or folder that parameters name relative to the checkout.

    A copy for an experiment holds only what git tracks; the rest is where it was copied from.
    """
    here = ROOT / name
    return here if here.exists() else CHECKOUT / name


@dataclass(frozen=True)
class ServeSettings:
    """How the HTTP service is reached, whom it lets in and how it takes up new models."""

    host: str = "127.0.0.1"
    port: int = 8080
    api_keys: Path | None = None  # who may ask what; needed to listen on anything but loopback
    poll_s: float = 10.0  # between two looks for another champion or challenger
    # what a challenger gets: off, shadow (a copy of the requests) or canary (a share of them)
    rollout: str = "off"
    canary_share: float = 0.1  # of the requests, by customer
    max_body_mb: float = 256.0
    max_audio_s: float = 4 * 3600.0
    rate_per_s: float = 5000.0  # requests a second of one key (or address), on average
    drain_s: float = 30.0  # for answers under way when the service has to stop


@dataclass(frozen=True)
class Settings:
    """Where things lie and where the servers are.

    Built by `from_environment`; tests build their own.
    """

    store: Path
    tracking_uri: str
    artifact_root: str
    dvc_remote: str
    params_file: Path
    real_data: Path
    actor: str
    # who the contact centres are (flows/runtime/sites.py)
    sites_file: Path = ROOT / "sites.yaml"
    # Of whose runs, registry and DVC remote the store makes use: in an experiment's copy of the
    # checkout, the store that was copied. None: its own.
    origin: Path | None = None
    experiment: str = ""  # the name that DVC has given the experiment; empty outside of one
    # PEM; bundles made here are signed with it
    signing_key: Path | None = None
    # PEM; without its owner's signature no bundle is taken, given out or served
    public_key: Path | None = None
    # addresses of people to notify, as Apprise writes them (mailto://, slack://, json://)
    notify: tuple[str, ...] = ()
    # what runs (or waits for approval) longer hangs, and is stopped
    longest_run_s: float = 2 * 86400.0
    serve: ServeSettings = ServeSettings()

    @property
    def original_store(self) -> Path:
        """The store that keeps runs, registry and remote."""
        return self.origin or self.store


class SettingsError(ValueError):
    """A variable of the environment cannot be what it says."""


def from_environment(
    environment: Mapping[str, str] | None = None, store: Path | None = None
) -> Settings:
    """Returns the settings that the environment (default: the process's) describes.

    `store` overrides KEEPLINE_STORE. Without any variable set everything lies under `data/store`:
    SQLite, local folders, no server. Raises SettingsError naming the variable that is wrong.
    """
    env = os.environ if environment is None else environment
    place = (store or Path(env.get("KEEPLINE_STORE", ROOT / "data" / "store"))).resolve()
    copied = CHECKOUT != ROOT and place.is_relative_to(ROOT)
    home = CHECKOUT / place.relative_to(ROOT) if copied else place
    return Settings(
        store=place,
        origin=home if copied else None,
        experiment=env.get("DVC_EXP_NAME", ""),
        tracking_uri=env.get("MLFLOW_TRACKING_URI", f"sqlite:///{home / artefacts.MLFLOW.path}"),
        artifact_root=env.get("KEEPLINE_ARTIFACTS", str(home / artefacts.MLARTIFACTS.path)),
        dvc_remote=env.get("KEEPLINE_DVC_REMOTE", str(home / artefacts.REMOTE.path)),
        params_file=Path(env.get("KEEPLINE_PARAMS", ROOT / "params.yaml")),
        real_data=Path(env.get("KEEPLINE_REAL_DATA", CHECKOUT.parent / "shared" / "data")),
        actor=env.get("KEEPLINE_ACTOR", env.get("USER", "keepline")),
        sites_file=_path(env, "KEEPLINE_SITES") or Settings.sites_file,
        signing_key=_path(env, "KEEPLINE_SIGNING_KEY"),
        public_key=_path(env, "KEEPLINE_PUBLIC_KEY"),
        notify=tuple(env.get("KEEPLINE_NOTIFY", "").split()),
        longest_run_s=_number(env, "KEEPLINE_LONGEST_RUN_S", Settings.longest_run_s, 1),
        serve=_serve(env),
    )


def _serve(env: Mapping[str, str]) -> ServeSettings:
    standard = ServeSettings()
    settings = ServeSettings(
        host=env.get("KEEPLINE_HOST", standard.host),
        port=int(_number(env, "KEEPLINE_PORT", standard.port, 0, 65535)),
        api_keys=_path(env, "KEEPLINE_API_KEYS"),
        poll_s=_number(env, "KEEPLINE_POLL_S", standard.poll_s, 0.05),
        rollout=env.get("KEEPLINE_ROLLOUT", standard.rollout),
        canary_share=_number(env, "KEEPLINE_CANARY_SHARE", standard.canary_share, 0, 1),
        max_body_mb=_number(env, "KEEPLINE_MAX_BODY_MB", standard.max_body_mb, 0.001),
        max_audio_s=_number(env, "KEEPLINE_MAX_AUDIO_S", standard.max_audio_s, 1),
        rate_per_s=_number(env, "KEEPLINE_RATE_PER_S", standard.rate_per_s, 0.01),
        drain_s=_number(env, "KEEPLINE_DRAIN_S", standard.drain_s, 0),
    )
    if settings.rollout not in ("off", "shadow", "canary"):
        raise SettingsError(
            f"KEEPLINE_ROLLOUT is {settings.rollout!r}; it can be off, shadow or canary."
        )
    return settings


def _path(env: Mapping[str, str], name: str) -> Path | None:
    return Path(env[name]).resolve() if env.get(name) else None


def _number(
    env: Mapping[str, str], name: str, standard: float, low: float, high: float = float("inf")
) -> float:
    try:
        value = float(env.get(name) or standard)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise SettingsError(
            f"{name} is {env[name]!r}; it must be a number from {low:g} to {high:g}."
        )
    return value


def prepare() -> None:
    """Reads `.env` and then sets the rules it cannot undo; every entry point calls this first.

    Raises SettingsError naming the line of `.env` that is none.
    """
    try:
        read_env_file(original_checkout(ROOT) / ".env")
    finally:
        quiet_vendors()


def use_prefect_home(store: Path) -> None:
    """Keeps Prefect's database in the store, unless PREFECT_HOME names another place.

    A flow run by hand has a server of its own for as long as it runs. What it writes stays there
    for the next server on the same place.
    """
    os.environ.setdefault("PREFECT_HOME", str(store / artefacts.PREFECT.path))


def read_env_file(path: Path) -> None:
    """Takes NAME=value lines of a file (.env) into the environment.

    What the environment sets already stays. Raises SettingsError naming the line that is none.
    """
    if not path.is_file():
        return
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.split(" #")[0].strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals or not name.strip().isidentifier():
            raise SettingsError(f"{path}, line {number}: not NAME=value.")
        os.environ.setdefault(name.strip(), value.strip().strip("\"'"))


def quiet_vendors() -> None:
    """Sets what the vendors read from the environment, where the user has not set it.

    Clients give up on a dead MLflow server within seconds, nothing sends usage data, and logs stay
    readable under a progress bar. That nothing pickled is loaded is no default but a rule: it holds
    whatever the user has set.
    """
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
    defaults = {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "GX_ANALYTICS_ENABLED": "false",
        "DVC_NO_ANALYTICS": "true",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        # Prefect reads a prefect.toml from the current folder only, so what it needs is said here.
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "GIT_PYTHON_REFRESH": "quiet",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
