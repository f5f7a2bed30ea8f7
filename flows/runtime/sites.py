"""Sites: the contact centres Keepline works for, each with its source, store and parameters."""

from __future__ import annotations

import dataclasses
import re
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data import artefacts
from data.params import ParamsError, read_yaml
from data.sources import source_names
from flows.runtime.settings import Settings, from_environment

DEMO = "demo"  # the simulated contact centre, in the default store
SIMULATOR = "simulator"  # in place of an export's folder
NAME = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")
LONGEST_NAME = 64  # a store's folder and names of flow runs are made of it
_PLACES = ("export", "store", "params")


class SiteError(ValueError):
    """A site, or the file of sites, is not what it should be."""


class UnknownSiteError(SiteError):
    """There is no site of this name."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """One contact centre. All places are absolute."""

    name: str
    export: Path | None  # the folder its source system delivers to, None: the simulator
    source: str = "auto"  # the source system
    store: Path  # the folder of its artefacts, no other site's
    params: Path | None = None  # None: KEEPLINE_PARAMS or params.yaml
    timezone: str = "UTC"  # IANA zone of times that carry no offset of their own


def read_sites(settings: Settings | None = None) -> dict[str, Site]:
    """Returns all sites by name: `demo`, and those of the file KEEPLINE_SITES names.

    Raises SiteError naming the file, the site and what is wrong with it.
    """
    settings = settings or from_environment()
    file = settings.sites_file
    entries = _entries(file) if file.is_file() else {}
    sites = {name: _site(file, name, fields, settings) for name, fields in entries.items()}
    if site_in(settings.store, sites) is None:  # KEEPLINE_STORE may name a site's store
        sites = {DEMO: _demo(settings), **sites}
    _check_apart(sites, file)
    return sites


def site_named(name: str, settings: Settings | None = None) -> Site:
    """Returns the site of this name. Raises UnknownSiteError listing those there are."""
    sites = read_sites(settings)
    if name not in sites:
        raise UnknownSiteError(
            f"{name!r} is no site. Sites: {', '.join(sites)}. "
            f"Add one with `keepline site add NAME SOURCE`."
        )
    return sites[name]


def site_in(store: Path, sites: Mapping[str, Site]) -> Site | None:
    """Returns the site whose store this is, None where it is no site's."""
    place = store.resolve()
    return next((site for site in sites.values() if site.store == place), None)


def default_store(name: str, settings: Settings | None = None) -> Path:
    """Returns where the store of a new site goes: `stores/NAME` beside the default store."""
    return (settings or from_environment()).store.parent / "stores" / name


def check_places(site: Site, where: str) -> None:
    """Raises SiteError, after `where`, when the site's export or parameters are not there.

    Asked when a site is added. Later a source that is away stops only what reads it.
    """
    if site.export is not None and not site.export.is_dir():
        raise SiteError(f"{where}: no folder {site.export}. Give the folder that holds the export.")
    if site.params is not None and not site.params.is_file():
        raise SiteError(f"{where}: no file {site.params}. Put the site's parameters there.")


def check_name(name: str) -> str:
    """Returns the name. Raises SiteError when it is no slug."""
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise SiteError(
            f"{name!r} cannot be the name of a site. Use small letters, digits, - and _, "
            f"at most {LONGEST_NAME}."
        )
    return name


def check_timezone(name: str, where: str) -> str:
    """Returns the name of a time zone. Raises SiteError, after `where`, when there is none such."""
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise SiteError(
            f"{where}: {name!r} is not an IANA time zone. Use one like Europe/Zurich."
        ) from None
    return name


def check_source(name: str, where: str) -> str:
    """Returns the name of a source system. Raises SiteError listing those there are."""
    known = ("auto", *source_names())
    if name not in known:
        raise SiteError(f"{where}: {name!r} is not a source. It can be {', '.join(known)}.")
    return name


def _demo(settings: Settings) -> Site:
    return Site(
        name=DEMO,
        export=None,
        store=settings.store,
        timezone=_timezone_of(settings.params_file),
    )


def _entries(file: Path) -> dict[str, Any]:
    try:
        entries = read_yaml(file)
    except ParamsError as error:
        raise SiteError(str(error)) from error
    return entries


def _site(file: Path, name: str, fields: Any, settings: Settings) -> Site:
    """Returns a checked site. Places are relative to the folder of the file."""
    where = f"{file}: site {name}"
    try:
        check_name(str(name))
    except SiteError as error:
        raise SiteError(f"{file}: {error}") from None
    if name == DEMO:
        raise SiteError(f"{file}: {DEMO} is the simulated contact centre. Give yours another name.")
    if not isinstance(fields, Mapping):
        raise SiteError(f"{where}: must be a mapping with `export` and `store`, not {fields!r}.")
    known = [field.name for field in dataclasses.fields(Site) if field.name != "name"]
    for key, value in fields.items():
        if key not in known:
            raise SiteError(f"{where}: {key} is not a setting. Known: {', '.join(known)}.")
        if not isinstance(value, str) or not value:
            raise SiteError(f"{where}: {key} must be text, not {value!r}.")
    for key in ("export", "store"):
        if key not in fields:
            raise SiteError(f"{where}: {key} is missing.")
    places = {
        key: (file.parent / Path(fields[key]).expanduser()).resolve()
        for key in _PLACES
        if key in fields and not (key == "export" and fields[key] == SIMULATOR)
    }
    return Site(
        name=name,
        export=places.get("export"),
        source=check_source(fields.get("source", "auto"), where),
        store=places["store"],
        params=places.get("params"),
        timezone=check_timezone(
            fields.get("timezone") or _timezone_of(places.get("params", settings.params_file)),
            where,
        ),
    )


def _timezone_of(params: Path) -> str:
    """Returns `sources.timezone` of a file of parameters, UTC where it says nothing."""
    try:
        sections = read_yaml(params)
        return str(sections["sources"]["timezone"])
    except (ParamsError, KeyError, TypeError):  # whoever reads the parameters says what is wrong
        return "UTC"


def _check_apart(sites: Mapping[str, Site], file: Path) -> None:
    """Raises SiteError where two sites have one store, or one's lies inside another's."""
    all_sites = list(sites.values())
    for number, site in enumerate(all_sites):
        for other in all_sites[:number]:
            if site.store == other.store:
                raise SiteError(
                    f"{file}: the sites {other.name} and {site.name} have one store, {site.store}. "
                    "Give each its own."
                )
            for inner, outer in ((site, other), (other, site)):
                # Stores of exports that no site was made for lie in the default store.
                own = outer.name == DEMO and inner.store.is_relative_to(
                    outer.store / artefacts.EXPORTS.path
                )
                if inner.store.is_relative_to(outer.store) and not own:
                    raise SiteError(
                        f"{file}: the store of {inner.name}, {inner.store}, lies inside that of "
                        f"{outer.name}. Give it a folder of its own."
                    )
