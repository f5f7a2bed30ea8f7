"""The commands `keepline site add`, `list`, `show` and `remove`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.runtime import sites, store_record
from flows.runtime.lease import current_holder
from flows.runtime.places import store_of_export
from flows.runtime.settings import from_environment
from flows.runtime.sites import SIMULATOR, Site
from flows.runtime.sites_file import add_site, remove_site


def add(
    console: Console,
    name: str,
    source: str,
    *,
    kind: str,
    store: Path | None,
    params: Path | None,
    timezone: str | None,
) -> None:
    """Adds a site after checking all it names, and prints what to do next.

    `source` is an export's folder, or `simulator`. Raises SiteError naming what is wrong.
    """
    from flows.runtime.params import read_params

    settings = from_environment()
    where = f"site {sites.check_name(name)}"
    export = None if source == SIMULATOR else Path(source).resolve()
    home = (store or sites.default_store(name, settings)).resolve()
    site = Site(
        name=name,
        export=export,
        source=sites.check_source(kind, where),
        store=home,
        params=params.resolve() if params else None,
        timezone="UTC",
    )
    sites.check_places(site, where)
    zone = timezone or read_params(site.params or settings.params_file).sources.timezone
    site = Site(**{**asdict(site), "timezone": sites.check_timezone(zone, where)})
    if export is not None and kind == "auto":
        from data.sources import detect

        detect(export)  # says at once what is wrong with the folder
    _check_source_free(site, settings)
    store_record.check_owner(home, name)
    store_record.check_contacts(home, name, simulated=export is None, export=export)
    add_site(site, settings)
    console.print(f"site {name} added to {settings.sites_file}", highlight=False, soft_wrap=True)
    earlier = store_of_export(export, settings) if export else home
    if earlier != home and earlier.is_dir():
        console.print(
            f"Earlier runs on it are in {earlier}. To go on with them, remove the site and add it "
            f"with --store {earlier}.",
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"Next: keepline run --site {name}", highlight=False)


def _check_source_free(site: Site, settings: Any) -> None:
    """Raises SiteError when the export belongs to another site."""
    for other in sites.read_sites(settings).values():
        if site.export is not None and other.export == site.export:
            raise sites.SiteError(
                f"site {site.name}: {site.export} is the source of site {other.name}. Remove that "
                "first, or use it."
            )


def show_all(console: Console, *, as_json: bool) -> None:
    """Prints all sites, as JSON if asked."""
    rows = [_facts(site) for site in sites.read_sites().values()]
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(box=None)
    columns = ("name", "export", "source", "store", "timezone", "state")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(row[column])) for column in columns))
    console.print(table)


def show(console: Console, name: str) -> None:
    """Prints all that is known of a site. Raises UnknownSiteError."""
    site = sites.site_named(name)
    facts = _facts(site)
    record = store_record.read_record(site.store)
    if record is not None:
        facts |= {"created": record.created, "made_at": record.made_at}
        facts |= {"moves": ", ".join(f"{move['at']} from {move['from']}" for move in record.moves)}
    for key, value in facts.items():
        if value not in (None, ""):
            console.print(f"{key:<10} {value}", highlight=False, soft_wrap=True, markup=False)


def remove(console: Console, name: str) -> None:
    """Takes a site out of the file; its store stays. Raises SiteError."""
    settings = from_environment()
    site = sites.read_sites(settings).get(name)
    remove_site(name, settings)
    console.print(f"site {name} removed from {settings.sites_file}", highlight=False)
    if site is not None and site.store.is_dir():
        console.print(
            f"Its store {site.store} stays, with its models and ledger. `make purge "
            f"STORE={site.store} SITE={site.store.name}` deletes it.",
            highlight=False,
            soft_wrap=True,
        )


def _facts(site: Site) -> dict[str, Any]:
    return {
        "name": site.name,
        "export": str(site.export) if site.export else SIMULATOR,
        "source": site.source,
        "store": str(site.store),
        "params": str(site.params) if site.params else None,
        "timezone": site.timezone,
        "state": _state(site),
    }


def _state(site: Site) -> str:
    """Returns what hinders a run, else who is at work, else whether there was one."""
    try:
        sites.check_places(site, "not to be run")
        store_record.check_owner(site.store, site.name)
        record = store_record.read_record(site.store)
    except sites.SiteError as error:
        return str(error)
    holder = current_holder(site.store)
    if holder is not None:
        return f"at work: {holder}"
    return f"made {record.created[:10]}" if record else "no run yet"
