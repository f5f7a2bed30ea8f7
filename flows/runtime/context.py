"""What every stage is given, as one frozen RunContext.

It holds the settings, the parameters, the code's commit and the store.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from data import artefacts
from data.artefacts import Artefact
from data.audio import read as read_audio
from data.speech.shards import recording_reader
from flows.runtime.params import Params, read_params
from flows.runtime.places import find_place
from flows.runtime.relocation import settle
from flows.runtime.settings import ROOT, Settings, checkout_file, from_environment
from flows.runtime.store_record import read_record

if TYPE_CHECKING:
    from models.registry.registry import Registry


# One of them is there wherever a stage has run.
_LEFT_BY_A_RUN = (artefacts.MARKERS, artefacts.CLEAN, artefacts.FEATURES, artefacts.REGISTRY)
_CHECKOUT = "checkout:"  # begins a path relative to the checkout


@dataclass(frozen=True)
class RunContext:
    """Everything a stage may ask for.

    `export` is the folder that `ingest` reads, None for the simulator's. `source` is the source
    system it comes from. `site` is the name of the contact centre,
    `site_known` whether it is a site's, else it is the store's own.
    """

    settings: Settings
    params: Params
    git_commit: str
    export: Path | None = None
    source: str = "auto"
    site: str = ""
    site_known: bool = False

    def __post_init__(self) -> None:
        """Names a context of a store that is used without a site after the store's folder."""
        if not self.site:
            object.__setattr__(self, "site", self.settings.store.name)

    @property
    def store(self) -> Path:
        """The folder all artefacts lie in."""
        return self.settings.store

    def path(self, place: Artefact | str) -> Path:
        """Returns where an artefact, or a path as `stored` gives it, lies."""
        text = str(place)
        if text.startswith(_CHECKOUT):
            return checkout_file(text.removeprefix(_CHECKOUT))
        return self.store / text

    def stored(self, path: Path) -> str:
        """Returns `path` as artefacts name it, relative to the store or the checkout it lies in.

        So both can move. A path outside of them stays absolute.
        """
        if path.is_relative_to(self.store):
            return path.relative_to(self.store).as_posix()
        return f"{_CHECKOUT}{path.relative_to(ROOT)}" if path.is_relative_to(ROOT) else str(path)

    @property
    def raw(self) -> Path:
        """The export that `ingest` reads."""
        return self.export or self.path(artefacts.RAW)

    def now(self) -> datetime:
        """Returns the present, in UTC. One place, so that tests can fix it."""
        return datetime.now(UTC)

    def original(self, place: Artefact | str) -> Path:
        """Returns where an artefact lies that an experiment only reads: in the store it copies."""
        original = self.settings.original_store / str(place)
        return original if original.exists() else self.path(place)

    def registry(self, *, tells: bool = True) -> Registry:
        """Returns the model registry, with its ledger in the store.

        Whoever moves a champion by it, a flow or a command, people are told, unless it does not
        tell because its caller does. An experiment gets the registry of the store it copies, and
        cannot change it.
        """
        from flows.runtime.notifications import notify_move
        from models.registry.read_only import ReadOnlyRegistry
        from models.registry.registry import Registry

        settings = self.settings
        folder = settings.original_store / artefacts.REGISTRY.path
        if settings.experiment or settings.origin:
            return ReadOnlyRegistry(settings.tracking_uri, folder, public_key=settings.public_key)
        return Registry(
            settings.tracking_uri,
            folder,
            public_key=settings.public_key,
            signing_key=settings.signing_key,
            on_move=lambda entry: notify_move(settings, entry) if tells else None,
        )

    def delivered(self, tables: Artefact = artefacts.CLEAN) -> Callable[[str], bytes]:
        """Returns a function from contact_id to the recording's bytes as delivered.

        `tables` is the folder whose recordings it knows.
        """
        return recording_reader(
            pl.read_parquet(self.path(tables) / "recordings.parquet"), self.path(artefacts.SHARDS)
        )

    def decoded(self) -> Callable[[str], tuple[Any, int]]:
        """Returns a function from contact_id to samples and rate in Hz.

        Samples are float32 [frames, channels].
        """
        content = self.delivered()
        return lambda contact_id: read_audio(content(contact_id), contact_id)

    def customer_channel(self) -> Callable[[str], tuple[Any, int]]:
        """Returns a function from contact_id to the customer's samples [frames] and rate in Hz."""
        decoded = self.decoded()
        recordings = pl.read_parquet(self.path(artefacts.CLEAN) / "recordings.parquet")
        channel = dict(zip(recordings["contact_id"], recordings["customer_channel"], strict=True))

        def customer(contact_id: str) -> tuple[Any, int]:
            samples, rate_hz = decoded(contact_id)
            return samples[:, channel[contact_id]], rate_hz

        return customer


class NoStoreError(FileNotFoundError):
    """There is no store where a command looks for one."""


def existing_context(store: Path | None = None) -> RunContext:
    """Returns the context of a store that a run has made. Creates nothing.

    Raises NoStoreError naming the folder where no run has ever been.
    """
    context = load_context(store)
    if not any(context.path(artefact).exists() for artefact in _LEFT_BY_A_RUN):
        raise NoStoreError(
            f"{context.store}: no run has been here. Run `keepline run EXPORT` or `keepline demo` "
            "first, "
            "or name another store with --store."
        )
    return context


def context_of(site: str, *, export: Path | None = None, words: Path | None = None) -> RunContext:
    """Returns the context of a site, with another delivery than the site's own if `export` is given.

    Raises UnknownSiteError listing the sites there are.
    """
    return load_context(export=export, words=words, site=site)


def load_context(
    store: Path | None = None,
    export: Path | None = None,
    *,
    source: str | None = None,
    params: Path | None = None,
    words: Path | None = None,
    site: str | None = None,
) -> RunContext:
    """Returns the context that the environment, the sites and params.yaml describe.

    Either `site` or `store` says where artefacts go; a site's store is that site. `words` is a file
    of terms to learn from as well. Raises SettingsError, SiteError or ParamsError naming the
    variable, the site or the parameter that is wrong.
    """
    place = find_place(site=site, store=store, export=export, source=source)
    settings = from_environment(store=place.store)
    if chosen := params or place.params:
        settings = replace(settings, params_file=chosen)
    if settings.origin is None:  # an experiment's copy keeps the places of the store it copies
        settle(settings)
    record = read_record(place.store)
    name = place.site or (record.site if record else "")
    parameters = read_params(settings.params_file)
    if place.timezone:
        sources = replace(parameters.sources, timezone=place.timezone)
        parameters = replace(parameters, sources=sources)
    source = place.source
    if source == "recordings":
        # Most are utterances of one voice: the contract for calls would refuse them all.
        validation = replace(parameters.validation, channels=(1, 2), min_duration_s=0.1)
        parameters = replace(parameters, validation=validation)
    if words:
        # Tuned on validation speech, where greedy decoding stays if the words do not help.
        beam = replace(parameters.adaptation.decoding, mode="beam")
        adaptation = replace(parameters.adaptation, terms=str(words.resolve()), decoding=beam)
        parameters = replace(parameters, adaptation=adaptation)
    return RunContext(
        settings, parameters, git_commit(), place.export, source, name, bool(place.site)
    )


def git_commit() -> str:
    """Returns the checkout's commit, with "+changes" when files differ from it.

    Outside a checkout it is "unknown".
    """
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+changes", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return described.stdout.strip() or "unknown"
