"""Decides which store a run works in, and refuses to mix what is two contact centres'."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from data import artefacts
from flows.runtime.settings import from_environment
from flows.runtime.sites import Site, SiteError, read_sites, site_in, site_named


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
    if site:
        known = site_named(site, settings)
        if store is not None and store.resolve() != known.store:
            raise SiteError(
                f"--store {store} is not the store of site {site}, which is {known.store}. "
                "Give one of the two."
            )
        return _of_site(known, export, source)
    if store is None and export is not None:
        owner = next((each for each in sites.values() if each.export == export), None)
        if owner is not None:
            return _of_site(owner, export, source)
        store = settings.store / artefacts.EXPORTS.path / export.name
    store = (store or settings.store).resolve()
    known_store = site_in(store, sites)
    if known_store is not None:
        return _of_site(known_store, export, source)
    return Place(site="", store=store, export=export, source=source or "auto")


def _of_site(site: Site, export: Path | None, source: str | None) -> Place:
    if export is not None and site.export is None:
        raise SiteError(
            f"site {site.name} is a simulated contact centre. Its store {site.store} takes no "
            f"export. Add a site for {export}: `keepline site add NAME {export}`."
        )
    fields = {field.name: getattr(site, field.name) for field in dataclasses.fields(site)}
    name = fields.pop("name")
    fields["export"] = export or site.export
    fields["source"] = source if source not in (None, "auto") else site.source
    return Place(site=name, **fields)
