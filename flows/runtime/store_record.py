"""Each store's site.json: whose it is, where it was made. Keeps two contact centres apart."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from data import artefacts
from data.files import read_json, write_json
from flows.runtime.sites import SiteError


@dataclass(frozen=True)
class StoreRecord:
    """What site.json says of a store."""

    site: str
    declared: bool  # whether the name is a site's; else it is the folder's, and a site may take it
    simulated: bool | None  # whether its contacts are simulated, None where nothing was taken in
    export: str | None  # the export that was taken in first
    made_at: str  # the folder in which its places were last right
    created: str
    moves: tuple[dict[str, str], ...] = ()  # from, to and at of each time it was found elsewhere


def read_record(store: Path) -> StoreRecord | None:
    """Returns the record of a store, None where it has none. Raises SiteError when it is damaged."""
    path = store / artefacts.SITE.path
    if not path.is_file():
        return None
    try:
        values = read_json(path)
        known = {field.name for field in fields(StoreRecord)}
        record = StoreRecord(**{key: value for key, value in values.items() if key in known})
        return replace(record, moves=tuple(record.moves))
    except (ValueError, TypeError, AttributeError) as error:
        raise SiteError(
            f"{path}: does not say whose store this is ({error}). Restore it from a backup, or "
            "delete it if you know."
        ) from error


def write_record(store: Path, record: StoreRecord) -> None:
    """Writes the record of a store."""
    write_json(store / artefacts.SITE.path, asdict(record))


def holds_simulated(store: Path) -> bool | None:
    """Returns whether a store's contacts are simulated, None where it holds none.

    A store of before site.json is told by what stages have left.
    """
    record = read_record(store)
    if record is not None and record.simulated is not None:
        return record.simulated
    left_by_the_simulator = (
        artefacts.RAW.path,
        artefacts.TRUTH.path,
        f"{artefacts.MARKERS.path}/simulate.json",
    )
    if any((store / path).exists() for path in left_by_the_simulator):
        return True
    return False if (store / artefacts.INGEST.path).exists() else None


def check_owner(store: Path, site: str) -> None:
    """Raises SiteError when the store is another site's than `site`."""
    record = read_record(store)
    if record is not None and record.declared and record.site != site:
        raise SiteError(
            f"store {store} is that of site {record.site}, made {record.created[:10]}. Site {site} "
            "needs a store of its own."
        )


def check_contacts(store: Path, site: str, *, simulated: bool, export: Path | None) -> None:
    """Raises SiteError when contacts of another world are about to go into a store."""
    held = holds_simulated(store)
    if held is None or held == simulated:
        return
    if simulated:
        raise SiteError(
            f"store {store} ({site}) holds a contact centre's own contacts. The simulator's do not "
            "go into it: name its export, or another store."
        )
    raise SiteError(
        f"store {store} ({site}) holds simulated contacts. {export} does not go into it: "
        f"`keepline site add NAME {export}` gives it a store of its own."
    )


def claim(store: Path, site: str, *, site_known: bool, export: Path | None, takes_in: bool) -> None:
    """Writes the store's record at its first run, and completes it later.

    `site` and `site_known` are those of RunContext. `takes_in` says that contacts of `export`
    (None: the simulator's) are about to go into the store. Called under the lease. Raises
    SiteError when the store is another site's, or its contacts are of another world.
    """
    if site_known:
        check_owner(store, site)
    if takes_in:
        check_contacts(store, site, simulated=export is None, export=export)
    before = read_record(store)
    record = before or StoreRecord(
        site=site,
        declared=site_known,
        simulated=holds_simulated(store),
        export=None,
        made_at=str(store),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if site_known and not record.declared:
        record = replace(record, site=site, declared=True)
    if takes_in and record.simulated is None:
        record = replace(record, simulated=export is None)
    if takes_in and record.export is None and export is not None:
        record = replace(record, export=str(export))
    if record != before:
        write_record(store, record)
