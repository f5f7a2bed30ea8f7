"""Decides which store a run works in, and refuses to mix what is two contact centres'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data import artefacts
from flows.runtime.settings import Settings, from_environment
from flows.runtime.sites import DEMO, Site, SiteError, read_sites, site_in, site_named
from flows.runtime.store_record import check_contacts, check_owner, holds_simulated, read_record


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run works and what it reads."""

    site: str  # "" where no site is known: the store's folder names it
    store: Path
    export: Path | None
    source: str
    params: Path | None = None
    timezone: str = ""  # "" leaves it to the parameters


def find_place(
    *,
    site: str | None = None,
    store: Path | None = None,
    export: Path | None = None,
    source: str | None = None,
) -> Place:
    """Returns where a run works. Creates nothing.

    A site has its store. An export without site or store has the store of its name below the
    default store, never the simulator's. Raises SiteError when site and store are not one.
    """
    settings = from_environment()
    export = export.resolve() if export else None
    sites = read_sites(settings)
    known: Site | None
    if site:
        known = site_named(site, settings)
        if store is not None and store.resolve() != known.store:
            raise SiteError(
                f"--store {store} is not the store of site {site}, which is {known.store}. "
                "Give one of the two."
            )
    elif store is None and export is not None:
        known = source_of(export, sites)
        if known is None:
            return _of_export(export, source, settings)
    else:
        home = (store or settings.store).resolve()
        known = site_in(home, sites)
        if known is None or (known.name == DEMO and _not_the_demo(home, export)):
            return _without_site(home, export, source, sites)
    return _of_site(known, export, source, sites)


def source_of(export: Path, sites: Mapping[str, Site]) -> Site | None:
    """Returns the site whose source a folder is, or lies in."""
    owners = [
        site
        for site in sites.values()
        if site.export is not None and export.is_relative_to(site.export)
    ]
    return max(owners, key=lambda site: len(site.export.parts) if site.export else 0, default=None)


def store_of_export(export: Path, settings: Settings) -> Path:
    """Returns the store of an export that no site was made for."""
    return settings.store / artefacts.EXPORTS.path / export.name


def _not_the_demo(store: Path, export: Path | None) -> bool:
    """Returns whether a default store is a contact centre's own, named by KEEPLINE_STORE alone."""
    return export is not None or holds_simulated(store) is False


def _of_export(export: Path, source: str | None, settings: Settings) -> Place:
    store = store_of_export(export, settings)
    record = read_record(store)
    if record is not None and record.export not in (None, str(export)):
        raise SiteError(
            f"store {store} holds {record.export}. {export} has the same name: give it a site "
            f"(`keepline site add NAME {export}`), or name its store with --store."
        )
    return Place(site="", store=store, export=export, source=source or "auto")


def _without_site(
    store: Path, export: Path | None, source: str | None, sites: Mapping[str, Site]
) -> Place:
    if export is not None:
        _check_source(store, store.name, export, source_of(export, sites))
    return Place(site="", store=store, export=export, source=source or "auto")


def _of_site(
    site: Site, export: Path | None, source: str | None, sites: Mapping[str, Site]
) -> Place:
    check_owner(site.store, site.name)
    if export is not None and site.export is None:
        raise SiteError(
            f"site {site.name} is a simulated contact centre. Its store {site.store} takes no "
            f"export. `keepline site add NAME {export}` gives it a store of its own."
        )
    if export is not None:
        owner = source_of(export, sites)
        _check_source(site.store, site.name, export, owner if owner != site else None)
    return Place(
        site=site.name,
        store=site.store,
        export=export or site.export,
        source=source if source not in (None, "auto") else site.source,
        params=site.params,
        timezone="" if site.name == DEMO else site.timezone,
    )


def _check_source(store: Path, name: str, export: Path, owner: Site | None) -> None:
    """Raises SiteError when an export is another site's source, or the store is a simulator's."""
    if owner is not None:
        raise SiteError(
            f"{export} is the source of site {owner.name}. It does not go into {store} ({name}): "
            f"use --site {owner.name}."
        )
    check_contacts(store, name, simulated=False, export=export)
