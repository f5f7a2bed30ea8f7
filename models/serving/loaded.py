"""Which models the service holds: found, verified, loaded, tried and exchanged; or a sentence saying why not."""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile

from data.files import read_json, write_json
from models.kinds import CHURN
from models.registry.bundle import Bundle, verify_bundle
from models.registry.registry import CHALLENGER, CHAMPION, STOPPED, Registry
from models.serving.batching import score_rows
from models.serving.rollout import Rollout, Trial, falls_to_challenger
from models.serving.telemetry import Metrics

log = logging.getLogger(__name__)
LONGEST_PAUSE_S = 300.0  # between two tries to load a version that could not be loaded


class ChurnPredictor(Protocol):
    """What the service needs of a churn model; models.churn.ChurnModel is one."""

    config: Any

    def score_rows(self, customers: Sequence[Mapping[str, Any]]) -> np.ndarray: ...


class CallHearer(Protocol):
    """What the service needs of a recogniser; models.asr.Recognizer is one."""

    def transcribe_file(self, source: Path | bytes, roles: dict[int, str]) -> Sequence[Any]: ...


@dataclass(frozen=True)
class Served:
    """Which version to serve, and its bundle: the folder, or how to fetch it."""

    version: str
    bundle: Path | Callable[[], Path]
    stopped: str | None = None  # why an earlier trial of it ended

    def fetched(self) -> Path:
        """The bundle's folder, fetched first if need be."""
        return self.bundle() if callable(self.bundle) else self.bundle


# kind → the version to serve, None where there is none. May raise: the registry cannot be asked then.
Resolver = Callable[[str], Served | None]
# Is told kind and version of a challenger that was stopped, and why. May raise: it is told again then.
Stopped = Callable[[str, str, str], None]


@dataclass(frozen=True)
class Loaded:
    """A model ready to answer."""

    version: str
    bundle: Bundle
    model: Any


@dataclass(frozen=True)
class ModelSlot:
    """Who answers for a kind at one moment. A request takes one Line and keeps to it."""

    champion: Loaded
    challenger: Loaded | None = None
    trial: Trial | None = None

    def choose(self, key: str, rollout: Rollout) -> tuple[str, Loaded]:
        """The role and the model that answers the request of `key`."""
        trying = self.challenger if self.trying("canary", rollout) else None
        if trying and falls_to_challenger(key, trying.bundle.sha256, rollout.share):
            return CHALLENGER, trying
        return CHAMPION, self.champion

    def trying(self, mode: str, rollout: Rollout) -> bool:
        """Whether there is a healthy challenger, in that mode."""
        return bool(
            rollout.mode == mode and self.challenger and self.trial and not self.trial.stopped
        )


class NotLoadedError(RuntimeError):
    """There is no model of that kind to answer with."""


def from_registry(
    registry: Registry, names: Mapping[str, str], cache: Path, alias: str = CHAMPION
) -> Resolver:
    """A resolver of what `alias` names; `names` maps kind to registered model name. It asks without taking a lease."""

    def resolve(kind: str) -> Served | None:
        held = registry.peek(names[kind], alias)
        if held is None:
            return None
        version, _ = held
        stopped = (
            registry.version_tags(names[kind], version).get(STOPPED)
            if alias == CHALLENGER
            else None
        )
        return Served(
            str(version), lambda: registry.fetch(names[kind], version, cache).path, stopped
        )

    return resolve


def load_model(bundle: Bundle, exports: Path | None = None) -> ChurnPredictor | CallHearer:
    """The model in a verified bundle. Imports torch, and NeMo for a recogniser that has no export in `exports` yet."""
    if bundle.kind == CHURN.name:
        from models.churn.model import ChurnModel

        return ChurnModel.load(bundle.path)
    from models.asr import load

    (archive,) = [name for name in bundle.files if name.endswith(".nemo")]
    return load.load(bundle.path / archive, exports)


def warm_up(loaded: Loaded) -> None:
    """Asks the model once, as a request would: what cannot answer raises here and not before a customer."""
    if loaded.bundle.kind == CHURN.name:
        score_rows(loaded.model, [[None] * len(loaded.model.config.columns)])
    else:
        recording = io.BytesIO()
        soundfile.write(
            recording, np.random.default_rng(0).normal(0, 0.05, 16_000), 16_000, format="WAV"
        )
        loaded.model.transcribe_file(recording.getvalue(), {0: "customer"})


class Models:
    """The models of one service.

    `refresh` looks for other champions and challengers and exchanges them while requests go on. What cannot be loaded
    changes nothing: the last good model stays, and `problems` or `warnings` say why. With a folder as `memory` that
    holds after a restart too: while the registry cannot be asked, the champion served last is served, verified again.
    """

    def __init__(
        self,
        champions: Resolver,
        kinds: Sequence[str],
        challengers: Resolver | None = None,
        rollout: Rollout = Rollout(),
        public_key: Path | None = None,
        metrics: Metrics | None = None,
        now_s: Callable[[], float] = time.monotonic,
        exports: Path | None = None,
        memory: Path | None = None,
        stopped: Stopped | None = None,
    ) -> None:
        self.kinds = tuple(kinds)
        self.rollout = rollout
        self.metrics = metrics or Metrics()
        self.listening = (
            threading.Lock()
        )  # a recogniser takes the whole machine; one call at a time
        self._champions = champions
        self._challengers = challengers if rollout.mode != "off" else None
        self._public_key = public_key
        self._exports = exports
        self._now_s = now_s
        self._memory = memory
        self._tell = stopped
        self._lines: dict[str, ModelSlot] = {}
        self._refreshing = threading.Lock()
        self._problems: dict[str, str] = dict.fromkeys(kinds, "still loading")  # no model, and why
        self._warnings: dict[str, str] = {}  # a model, but not the one it should be, and why
        self._details: dict[
            str, str
        ] = {}  # what was said about them: may name places, so it is not for everybody
        self._vacant: set[str] = set()  # kinds nobody has promoted yet
        self._failed: dict[
            tuple[str, str], tuple[float, float, str]
        ] = {}  # version → next try, pause, reason

    def refresh(self) -> None:
        """One look at the registry. Raises nothing: what goes wrong with one kind does not stop the others."""
        with self._refreshing:
            reached = True
            for kind in self.kinds:
                self._tell_stopped(kind)
                try:
                    self._refresh_champion(kind)
                except Exception as error:  # whatever it is, the service must live to tell
                    reached = False
                    self._recall(kind)
                    self._note(kind, "the registry cannot be asked", _short(error))
                    continue
                self._refresh_challenger(kind)
            self.metrics.registry_up.set(reached)
            self.metrics.holds.clear()
            for kind, line in self._lines.items():
                self.metrics.holds.labels(kind, line.champion.version, CHAMPION).set(1)
                if line.challenger:
                    self.metrics.holds.labels(kind, line.challenger.version, CHALLENGER).set(1)

    def _refresh_champion(self, kind: str) -> None:
        served = self._champions(kind)
        line = self._lines.get(kind)
        if served is None:
            if line is None:
                self._vacant.add(kind)
                self._problems[kind] = f"there is no {kind} champion yet. Promote a version."
            else:
                self._warnings[kind] = (
                    f"the registry names no champion any more; v{line.champion.version} answers"
                )
            return
        self._vacant.discard(kind)
        if line and line.champion.version == served.version:
            self._warnings.pop(kind, None)
            self._details.pop(kind, None)
            return
        found = self._load(kind, served)
        if isinstance(found, str):
            self._note(kind, f"champion v{served.version} cannot be served", found)
            return
        if line:
            log.info("%s: v%s answers instead of v%s", kind, found.version, line.champion.version)
            self.metrics.swaps.labels(kind).inc()
        kept = (
            line if line and line.challenger and line.challenger.version != found.version else None
        )
        # One assignment: a request has the old line or the new one.
        self._lines[kind] = replace(kept, champion=found) if kept else ModelSlot(found)
        for told in (self._problems, self._warnings, self._details):
            told.pop(kind, None)
        self._remember(kind, found)

    def _remember(self, kind: str, loaded: Loaded) -> None:
        if self._memory is None:
            return
        known = {
            "version": loaded.version,
            "bundle_sha256": loaded.bundle.sha256,
            "path": str(loaded.bundle.path),
        }
        try:
            write_json(self._memory / f"{kind}.json", known)
        except OSError as error:
            log.warning(
                "%s: v%s would not be remembered after a restart: %s", kind, loaded.version, error
            )

    def _recall(self, kind: str) -> None:
        """Takes up the champion that was served before the restart, unless there is one already."""
        if kind in self._lines or self._memory is None:
            return
        path = self._memory / f"{kind}.json"
        if not path.exists():
            self._vacant.add(
                kind
            )  # as far as anybody knows: nobody answered before the restart either
            return
        try:
            known = read_json(path)
            found = self._load(kind, Served(known["version"], Path(known["path"])))
            if isinstance(found, Loaded) and found.bundle.sha256 == known["bundle_sha256"]:
                self._lines[kind] = ModelSlot(found)
                self._problems.pop(kind, None)
        except (ValueError, KeyError, TypeError, OSError) as error:
            log.error("%s: what was served before cannot be told: %s", path, error)

    def _tell_stopped(self, kind: str) -> None:
        line = self._lines.get(kind)
        if self._tell is None or line is None or line.challenger is None or line.trial is None:
            return
        if line.trial.stopped and not line.trial.told:
            try:
                self._tell(kind, line.challenger.version, line.trial.stopped)
                line.trial.told = True
            except Exception as error:  # at the next look
                log.warning(
                    "%s v%s: nobody knows yet that it was stopped: %s",
                    kind,
                    line.challenger.version,
                    error,
                )

    def _refresh_challenger(self, kind: str) -> None:
        line = self._lines.get(kind)
        if line is None or self._challengers is None:
            return
        try:
            served = self._challengers(kind)
        except Exception as error:
            self._warn(f"{kind} challenger", "the registry cannot be asked", _short(error))
            return
        self._warnings.pop(f"{kind} challenger", None)
        if served is None or served.version == line.champion.version:
            self._lines[kind] = replace(line, challenger=None, trial=None)
        elif line.challenger is None or line.challenger.version != served.version:
            found = self._load(kind, served)
            if isinstance(found, str):
                self._warn(
                    f"{kind} challenger",
                    f"v{served.version} cannot answer and gets no requests",
                    found,
                )
                self.metrics.stopped.labels(kind, served.version).set(1)
                self._lines[kind] = replace(line, challenger=None, trial=None)
            else:
                self._try(kind, replace(line, challenger=found), served)
        elif (
            line.trial
            and bool(line.trial.stopped) != bool(served.stopped)
            and (line.trial.told or served.stopped)
        ):
            self._try(kind, line, served)  # readmitted, or stopped by another service

    def _try(self, kind: str, line: ModelSlot, served: Served) -> None:
        self._lines[kind] = replace(line, trial=Trial(self.rollout, served.stopped))
        self.metrics.stopped.labels(kind, served.version).set(bool(served.stopped))

    def _load(self, kind: str, served: Served) -> Loaded | str:
        """The model, verified, loaded and tried once; or why not. What failed rests ever longer between tries."""
        held = self._lines.get(kind)
        if held and held.challenger and held.challenger.version == served.version:
            return held.challenger
        again_s, pause_s, reason = self._failed.get((kind, served.version), (0.0, 0.5, ""))
        if self._now_s() < again_s:
            return reason
        try:
            bundle = verify_bundle(served.fetched(), self._public_key)
            if bundle.kind != kind:
                raise NotLoadedError(f"bundle {bundle.path.name} is {bundle.kind}, not {kind}.")
            loaded = Loaded(served.version, bundle, load_model(bundle, self._exports))
            warm_up(loaded)
        except Exception as error:
            log.error(
                "%s v%s cannot be served: %s",
                kind,
                served.version,
                type(error).__name__,
                exc_info=error,
            )
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            reason = str(error) or type(error).__name__
            self._failed[kind, served.version] = (self._now_s() + pause_s, pause_s, reason)
            return reason
        self._failed.pop((kind, served.version), None)
        return loaded

    def _note(self, kind: str, reason: str, said: str) -> None:
        if kind in self._lines:
            self._warn(kind, f"{reason}; v{self._lines[kind].champion.version} answers", said)
        else:
            self._warn(kind, reason, said)
            self._problems[kind] = self._warnings.pop(kind)

    def _warn(self, about: str, reason: str, said: str) -> None:
        if self._details.get(about) != said:
            log.warning("%s: %s: %s", about, reason, said)
        self._warnings[about], self._details[about] = reason, said

    def line(self, kind: str) -> ModelSlot:
        """Who answers for `kind` now. Raises NotLoadedError saying why nobody does."""
        line = self._lines.get(kind)
        if line is None:
            raise NotLoadedError(f"{kind}: {self._problems.get(kind, 'not served here')}")
        return line

    def failed(self, kind: str, line: ModelSlot, error: BaseException) -> None:
        """Notes that the line's challenger could not answer; stops it when that has happened too often."""
        if line.challenger and line.trial:
            log.error("%s challenger v%s failed", kind, line.challenger.version, exc_info=error)
            line.trial.failed(error)
            self.judge(kind, line)

    def judge(self, kind: str, line: ModelSlot) -> None:
        """Says so when a challenger has been stopped."""
        if line.challenger and line.trial and line.trial.stopped:
            self.metrics.stopped.labels(kind, line.challenger.version).set(1)

    @property
    def ready(self) -> bool:
        """Whether everything that has been promoted has a model, and that is something. A vacancy is no fault."""
        return bool(self._lines) and set(self._problems) <= self._vacant

    @property
    def lines(self) -> dict[str, ModelSlot]:
        """Who answers, by kind."""
        return dict(self._lines)

    @property
    def problems(self) -> dict[str, str]:
        """Kinds without a model, with the reason."""
        return dict(self._problems)

    @property
    def details(self) -> dict[str, str]:
        """What exactly was said about problems and warnings; for the service's keepers."""
        return {
            about: said
            for about, said in self._details.items()
            if about in {**self._problems, **self._warnings}
        }

    @property
    def warnings(self) -> dict[str, str]:
        """Kinds whose model is not the one it should be, and challengers that get no requests, with the reason."""
        stopped = {
            f"{kind} challenger": f"v{line.challenger.version} was stopped: {line.trial.stopped}"
            for kind, line in self._lines.items()
            if line.challenger and line.trial and line.trial.stopped
        }
        return {**self._warnings, **stopped}


def _short(error: Exception) -> str:
    return ((str(error).splitlines() or [""])[0] or type(error).__name__)[:200]
