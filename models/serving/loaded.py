"""Which models the service holds: resolved, verified and loaded once, or a sentence saying why not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl

from models.bundle import Bundle, verify_bundle
from models.registry import CHAMPION, Registry

log = logging.getLogger(__name__)


class ChurnPredictor(Protocol):
    """What the service needs of a churn model; models.churn.ChurnModel is one."""

    config: Any

    def predict(self, frame: pl.DataFrame) -> pl.DataFrame: ...


class CallHearer(Protocol):
    """What the service needs of a recogniser; models.asr.Recognizer is one."""

    def transcribe_call(self, samples: np.ndarray, sample_rate_hz: int, roles: dict[int, str]) -> Sequence[Any]: ...


@dataclass(frozen=True)
class Served:
    """Where a resolver found a bundle, and which version it is."""

    version: str
    path: Path


# kind → the bundle to serve, None where there is no champion yet. May raise; the service then says so and is not ready.
Resolver = Callable[[str], Served | None]


@dataclass(frozen=True)
class Loaded:
    """A model ready to answer."""

    version: str
    bundle: Bundle
    model: Any


class NotLoadedError(RuntimeError):
    """There is no model of that kind to answer with."""


class NoChampionError(NotLoadedError):
    """Nothing of that kind has been promoted yet."""


def champions(registry: Registry, names: Mapping[str, str], cache: Path) -> Resolver:
    """A resolver that fetches what the alias champion names; `names` maps kind to registered model name."""

    def resolve(kind: str) -> Served | None:
        version = registry.alias(names[kind], CHAMPION)
        if version is None:
            return None
        return Served(str(version), registry.fetch(names[kind], version, cache).path)

    return resolve


def load_model(bundle: Bundle) -> ChurnPredictor | CallHearer:
    """The model in a verified bundle. Imports torch, and NeMo for a recogniser."""
    if bundle.kind == "churn":
        from models.churn import ChurnModel

        return ChurnModel.load(bundle.path)
    from models import asr

    (archive,) = [name for name in bundle.files if name.endswith(".nemo")]
    return asr.load(bundle.path / archive)


class Models:
    """The models of one service. `load` may run beside requests: until it is done they are told to come back."""

    def __init__(self, resolver: Resolver, kinds: Sequence[str]) -> None:
        self.kinds = tuple(kinds)
        self.listening = threading.Lock()  # a recogniser takes the whole machine; one call at a time
        self._resolver = resolver
        self._loaded: dict[str, Loaded] = {}
        self._problems = dict.fromkeys(kinds, "still loading")
        self._vacant: set[str] = set()  # kinds nobody has promoted yet

    def load(self) -> None:
        """Loads every kind; what goes wrong with one is kept for `problems` and does not stop the others."""
        for kind in self.kinds:
            try:
                self._loaded[kind] = self._load(kind)
                del self._problems[kind]
            except NoChampionError as error:
                self._problems[kind] = str(error)
                self._vacant.add(kind)
            except Exception as error:  # whatever it is, the service must live to tell
                log.error("%s cannot be served: %s", kind, error)
                self._problems[kind] = str(error)

    def _load(self, kind: str) -> Loaded:
        served = self._resolver(kind)
        if served is None:
            raise NoChampionError(f"there is no {kind} champion yet. Promote a version.")
        bundle = verify_bundle(served.path)
        if bundle.kind != kind:
            raise NotLoadedError(f"bundle {served.path.name} is {bundle.kind}, not {kind}.")
        return Loaded(served.version, bundle, load_model(bundle))

    def get(self, kind: str) -> Loaded:
        """The model of `kind`. Raises NotLoadedError saying why there is none."""
        if kind not in self._loaded:
            raise NotLoadedError(f"{kind}: {self._problems.get(kind, 'not served here')}")
        return self._loaded[kind]

    @property
    def ready(self) -> bool:
        """Whether everything that has been promoted is loaded, and that is something. A vacancy is no fault."""
        return bool(self._loaded) and set(self._problems) <= self._vacant

    @property
    def loaded(self) -> dict[str, Loaded]:
        """What is loaded, by kind."""
        return dict(self._loaded)

    @property
    def problems(self) -> dict[str, str]:
        """What is not loaded, with the reason."""
        return dict(self._problems)
