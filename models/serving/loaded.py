"""The models a service holds: fetches, verifies, loads, tries and exchanges them."""

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
from models.serving.rollout import Mode, Rollout, Trial, falls_to_challenger
from models.serving.telemetry import Metrics

log = logging.getLogger(__name__)
LONGEST_PAUSE_S = 300.0  # between two tries to load a version that could not be loaded


class ChurnPredictor(Protocol):
    """What the service needs of a churn model; models.churn.model.ChurnModel is one."""

    config: Any

    def score_rows(self, customers: Sequence[Mapping[str, Any]]) -> np.ndarray: ...


class CallTranscriber(Protocol):
    """What the service needs of a recogniser; models.asr.recognizer.Recognizer is one."""

    def transcribe_file(self, source: Path | bytes, roles: dict[int, str]) -> Sequence[Any]: ...


@dataclass(frozen=True)
class Served:
    """Which version to serve, and its bundle: the folder, or how to fetch it."""

    version: str
    bundle: Path | Callable[[], Path]
    stopped: str | None = None  # why an earlier trial of it ended

    def fetch_bundle(self) -> Path:
        """Returns the bundle's folder, fetched first if need be."""
        return self.bundle() if callable(self.bundle) else self.bundle


# kind → the version to serve, None where there is none. May raise: the registry cannot be asked
# then.
Resolver = Callable[[str], Served | None]
# Called with kind and version of a stopped challenger, and why. May raise: it is called again then.
StopListener = Callable[[str, str, str], None]


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to answer, and the verified bundle it was loaded from."""

    version: str
    bundle: Bundle
    model: Any


@dataclass(frozen=True)
class ModelSlot:
    """The models that answer for a kind at one moment. A request takes one slot and keeps to it."""

    champion: LoadedModel
    challenger: LoadedModel | None = None
    trial: Trial | None = None

    def choose(self, key: str, rollout: Rollout) -> tuple[str, LoadedModel]:
        """Returns role and model for the request of `key`; the same key falls to the same role."""
        canary = self.challenger if self.is_tried("canary", rollout) else None
        if canary and falls_to_challenger(key, canary.bundle.sha256, rollout.share):
            return CHALLENGER, canary
        return CHAMPION, self.champion

    def is_tried(self, mode: Mode, rollout: Rollout) -> bool:
        """Whether there is a healthy challenger and the rollout is in `mode`."""
        return bool(
            rollout.mode == mode and self.challenger and self.trial and not self.trial.stopped
        )


class NotLoadedError(RuntimeError):
    """The service holds no model of a kind. The message says why."""


def from_registry(
    registry: Registry, names: Mapping[str, str], cache: Path, *, alias: str = CHAMPION
) -> Resolver:
    """Returns a resolver of what `alias` names in the registry; it asks without taking a lease.

    `names` maps kind to registered model name; bundles are fetched to `cache`.
    """

    def resolve(kind: str) -> Served | None:
        holder = registry.peek(names[kind], alias)
        if holder is None:
            return None
        version, _ = holder
        stopped = (
            registry.version_tags(names[kind], version).get(STOPPED)
            if alias == CHALLENGER
            else None
        )
        return Served(
            str(version), lambda: registry.fetch(names[kind], version, cache).path, stopped
        )

    return resolve


def load_model(bundle: Bundle, exports: Path | None = None) -> ChurnPredictor | CallTranscriber:
    """Returns the model in a verified bundle.

    It imports torch, and NeMo for a recogniser that has no ONNX export in the folder `exports` yet.
    """
    if bundle.kind == CHURN.name:
        from models.churn.model import ChurnModel

        return ChurnModel.load(bundle.path)
    from models.asr import load

    (archive,) = [name for name in bundle.files if name.endswith(".nemo")]
    return load.load(bundle.path / archive, exports)


def warm_up(loaded: LoadedModel) -> None:
    """Asks the model once, as a request would: one that cannot answer raises here, not later."""
    if loaded.bundle.kind == CHURN.name:
        score_rows(loaded.model, [[None] * len(loaded.model.config.columns)])
    else:
        recording = io.BytesIO()
        soundfile.write(
            recording, np.random.default_rng(0).normal(0, 0.05, 16_000), 16_000, format="WAV"
        )
        loaded.model.transcribe_file(recording.getvalue(), {0: "customer"})


class Models:
    """The models of one service, a slot for each kind.

    `refresh` looks for other champions and challengers and exchanges them while requests go on.
    What cannot be loaded changes nothing: the last good model stays, and `problems` or `warnings`
    say why. With a folder as `memory` that holds after a restart too: while the registry cannot be
    asked, the champion served last is served, verified again.
    """

    def __init__(
        self,
        champions: Resolver,
        kinds: Sequence[str],
        *,
        challengers: Resolver | None = None,
        rollout: Rollout = Rollout(),
        public_key: Path | None = None,
        metrics: Metrics | None = None,
        now_s: Callable[[], float] = time.monotonic,
        exports: Path | None = None,
        memory: Path | None = None,
        stopped: StopListener | None = None,
    ) -> None:
        self.kinds = tuple(kinds)
        self.rollout = rollout
        self.metrics = metrics or Metrics()
        # A recogniser takes the whole machine, so one call is transcribed at a time.
        self.transcribing = threading.Lock()
        self._champions = champions
        self._challengers = challengers if rollout.mode != "off" else None
        self._public_key = public_key
        self._exports = exports
        self._now_s = now_s
        self._memory = memory
        self._stopped = stopped
        self._slots: dict[str, ModelSlot] = {}
        self._refreshing = threading.Lock()
        self._problems: dict[str, str] = dict.fromkeys(kinds, "still loading")  # no model, and why
        self._warnings: dict[str, str] = {}  # a model, but not the one it should be, and why
        # The full texts behind both. They may name places, so only admins get them.
        self._details: dict[str, str] = {}
        self._vacant: set[str] = set()  # kinds nobody has promoted yet
        # (kind, version) → when to try again, pause before that, both in seconds, and the reason
        self._failed: dict[tuple[str, str], tuple[float, float, str]] = {}

    def refresh(self) -> None:
        """Looks at the registry once and exchanges what has changed.

        It raises nothing: what goes wrong with one kind does not stop the others.
        """
        with self._refreshing:
            reached = True
            for kind in self.kinds:
                self._report_stop(kind)
                try:
                    self._refresh_champion(kind)
                except Exception as error:  # whatever it is, the service must go on
                    reached = False
                    self._restore(kind)
                    self._note(kind, "the registry cannot be asked", _short(error))
                    continue
                self._refresh_challenger(kind)
            self.metrics.registry_up.set(reached)
            self.metrics.holds.clear()
            for kind, slot in self._slots.items():
                self.metrics.holds.labels(kind, slot.champion.version, CHAMPION).set(1)
                if slot.challenger:
                    self.metrics.holds.labels(kind, slot.challenger.version, CHALLENGER).set(1)

    def _refresh_champion(self, kind: str) -> None:
        served = self._champions(kind)
        slot = self._slots.get(kind)
        if served is None:
            if slot is None:
                self._vacant.add(kind)
                self._problems[kind] = f"there is no {kind} champion yet. Promote a version."
            else:
                self._warnings[kind] = (
                    f"the registry names no champion any more; v{slot.champion.version} answers"
                )
            return
        self._vacant.discard(kind)
        if slot and slot.champion.version == served.version:
            self._warnings.pop(kind, None)
            self._details.pop(kind, None)
            return
        loaded = self._load(kind, served)
        if isinstance(loaded, str):
            self._note(kind, f"champion v{served.version} cannot be served", loaded)
            return
        if slot:
            log.info("%s: v%s answers instead of v%s", kind, loaded.version, slot.champion.version)
            self.metrics.swaps.labels(kind).inc()
        keeps_challenger = (
            slot is not None
            and slot.challenger is not None
            and slot.challenger.version != loaded.version
        )
        # One assignment: a request has the old slot or the new one.
        self._slots[kind] = (
            replace(slot, champion=loaded) if slot and keeps_challenger else ModelSlot(loaded)
        )
        for notes in (self._problems, self._warnings, self._details):
            notes.pop(kind, None)
        self._remember(kind, loaded)

    def _remember(self, kind: str, loaded: LoadedModel) -> None:
        if self._memory is None:
            return
        path = loaded.bundle.path
        if path.is_relative_to(self._memory):  # so that both can move
            path = path.relative_to(self._memory)
        record = {
            "version": loaded.version,
            "bundle_sha256": loaded.bundle.sha256,
            "path": str(path),
        }
        try:
            write_json(self._memory / f"{kind}.json", record)
        except OSError as error:
            log.warning(
                "%s: v%s would not be remembered after a restart: %s", kind, loaded.version, error
            )

    def _restore(self, kind: str) -> None:
        """Loads the champion that was served before the restart, unless there is one already."""
        if kind in self._slots or self._memory is None:
            return
        path = self._memory / f"{kind}.json"
        if not path.exists():
            # As far as anybody knows: nobody answered before the restart either.
            self._vacant.add(kind)
            return
        try:
            record = read_json(path)
            loaded = self._load(kind, Served(record["version"], self._memory / record["path"]))
            if isinstance(loaded, LoadedModel) and loaded.bundle.sha256 == record["bundle_sha256"]:
                self._slots[kind] = ModelSlot(loaded)
                self._problems.pop(kind, None)
        except (ValueError, KeyError, TypeError, OSError) as error:
            log.error("%s: what was served before cannot be told: %s", path, error)

    def _report_stop(self, kind: str) -> None:
        """Calls the stop listener for a challenger that was stopped, once."""
        slot = self._slots.get(kind)
        if self._stopped is None or slot is None or slot.challenger is None or slot.trial is None:
            return
        if slot.trial.stopped and not slot.trial.reported:
            try:
                self._stopped(kind, slot.challenger.version, slot.trial.stopped)
                slot.trial.reported = True
            except Exception as error:  # at the next look
                log.warning(
                    "%s v%s: nobody knows yet that it was stopped: %s",
                    kind,
                    slot.challenger.version,
                    error,
                )

    def _refresh_challenger(self, kind: str) -> None:
        slot = self._slots.get(kind)
        if slot is None or self._challengers is None:
            return
        subject = f"{kind} challenger"
        try:
            served = self._challengers(kind)
        except Exception as error:
            self._warn(subject, "the registry cannot be asked", _short(error))
            return
        self._warnings.pop(subject, None)
        if served is None or served.version == slot.champion.version:
            self._slots[kind] = replace(slot, challenger=None, trial=None)
        elif slot.challenger is None or slot.challenger.version != served.version:
            loaded = self._load(kind, served)
            if isinstance(loaded, str):
                reason = f"v{served.version} cannot answer and gets no requests"
                self._warn(subject, reason, loaded)
                self.metrics.stopped.labels(kind, served.version).set(1)
                self._slots[kind] = replace(slot, challenger=None, trial=None)
            else:
                self._start_trial(kind, replace(slot, challenger=loaded), served)
        elif (
            slot.trial
            and bool(slot.trial.stopped) != bool(served.stopped)
            and (slot.trial.reported or served.stopped)
        ):
            # It was readmitted, or stopped by another service.
            self._start_trial(kind, slot, served)

    def _start_trial(self, kind: str, slot: ModelSlot, served: Served) -> None:
        self._slots[kind] = replace(slot, trial=Trial(self.rollout, served.stopped))
        self.metrics.stopped.labels(kind, served.version).set(bool(served.stopped))

    def _load(self, kind: str, served: Served) -> LoadedModel | str:
        """Returns the model, verified, loaded and tried once, or the reason why it cannot be.

        After each failure the pause before the next try doubles, up to LONGEST_PAUSE_S.
        """
        slot = self._slots.get(kind)
        if slot and slot.challenger and slot.challenger.version == served.version:
            return slot.challenger
        again_s, pause_s, reason = self._failed.get((kind, served.version), (0.0, 0.5, ""))
        if self._now_s() < again_s:
            return reason
        try:
            bundle = verify_bundle(served.fetch_bundle(), self._public_key)
            if bundle.kind != kind:
                raise NotLoadedError(f"bundle {bundle.path.name} is {bundle.kind}, not {kind}.")
            loaded = LoadedModel(served.version, bundle, load_model(bundle, self._exports))
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

    def _note(self, kind: str, reason: str, detail: str) -> None:
        """Records a warning where a model answers, else a problem."""
        if kind in self._slots:
            self._warn(kind, f"{reason}; v{self._slots[kind].champion.version} answers", detail)
        else:
            self._warn(kind, reason, detail)
            self._problems[kind] = self._warnings.pop(kind)

    def _warn(self, subject: str, reason: str, detail: str) -> None:
        if self._details.get(subject) != detail:
            log.warning("%s: %s: %s", subject, reason, detail)
        self._warnings[subject], self._details[subject] = reason, detail

    def slot(self, kind: str) -> ModelSlot:
        """Returns the models that answer for `kind`; raises NotLoadedError if there are none."""
        slot = self._slots.get(kind)
        if slot is None:
            raise NotLoadedError(f"{kind}: {self._problems.get(kind, 'not served here')}")
        return slot

    def record_failure(self, kind: str, slot: ModelSlot, error: BaseException) -> None:
        """Records that the slot's challenger could not answer; too many of these stop it."""
        if slot.challenger and slot.trial:
            log.error("%s challenger v%s failed", kind, slot.challenger.version, exc_info=error)
            slot.trial.record_error(error)
            self.record_stop(kind, slot)

    def record_stop(self, kind: str, slot: ModelSlot) -> None:
        """Sets the metric of a challenger that has been stopped."""
        if slot.challenger and slot.trial and slot.trial.stopped:
            self.metrics.stopped.labels(kind, slot.challenger.version).set(1)

    @property
    def ready(self) -> bool:
        """Whether every kind with a champion has a model, and there is one."""
        return bool(self._slots) and set(self._problems) <= self._vacant

    @property
    def slots(self) -> dict[str, ModelSlot]:
        """The models that answer, by kind."""
        return dict(self._slots)

    @property
    def problems(self) -> dict[str, str]:
        """Kinds without a model, with the reason."""
        return dict(self._problems)

    @property
    def details(self) -> dict[str, str]:
        """The full texts behind problems and warnings, for admins."""
        return {
            subject: detail
            for subject, detail in self._details.items()
            if subject in {**self._problems, **self._warnings}
        }

    @property
    def warnings(self) -> dict[str, str]:
        """Kinds with another model than they should have, challengers without requests; and why."""
        stopped = {
            f"{kind} challenger": f"v{slot.challenger.version} was stopped: {slot.trial.stopped}"
            for kind, slot in self._slots.items()
            if slot.challenger and slot.trial and slot.trial.stopped
        }
        return {**self._warnings, **stopped}


def _short(error: Exception) -> str:
    """The first line of an error's text, or its type where it has none."""
    return ((str(error).splitlines() or [""])[0] or type(error).__name__)[:200]
