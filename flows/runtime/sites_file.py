"""Writes the file of sites: adds and removes one, and leaves the rest of it as people wrote it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from data.files import write_text
from data.params import read_yaml
from flows.runtime.settings import Settings
from flows.runtime.sites import SIMULATOR, Site, SiteError, read_sites

_HEADER = """\
# The contact centres Keepline works for. `keepline site add NAME SOURCE` adds one. Relative paths
# start at this file's folder.
"""
_BUSY_S = 10.0


def add_site(site: Site, settings: Settings) -> None:
    """Writes a site into the file of sites.

    Raises SiteError when there is one of its name, or its store is not its own.
    """
    if site.name in read_sites(settings):
        raise SiteError(
            f"there is a site {site.name} already. `keepline site remove {site.name}` takes it out."
        )
    folder = settings.sites_file.parent
    entry = {
        "export": _relative(site.export, folder) if site.export else SIMULATOR,
        "source": site.source,
        "store": _relative(site.store, folder),
        **({"params": _relative(site.params, folder)} if site.params else {}),
        "timezone": site.timezone,
    }
    block = yaml.safe_dump({site.name: entry}, sort_keys=False, allow_unicode=True)
    _edit(settings, lambda text: f"{(text or _HEADER).rstrip()}\n\n{block}")


def remove_site(name: str, settings: Settings) -> None:
    """Takes a site out of the file of sites; its store stays. Raises SiteError when it is not there."""
    entries = read_yaml(settings.sites_file) if settings.sites_file.is_file() else {}
    if name not in entries:
        raise SiteError(
            f"{settings.sites_file}: no site {name}. It holds {', '.join(entries) or 'none'}."
        )
    _edit(settings, lambda text: _without(text, name))


def _edit(settings: Settings, change: Callable[[str], str]) -> None:
    """Changes the file, one process at a time, unless the changed one would not be read."""
    file = settings.sites_file
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(f".{file.name}.lock"), timeout=_BUSY_S):
        before = file.read_text(encoding="utf-8") if file.is_file() else ""
        write_text(file, change(before))
        try:
            read_sites(settings)
        except SiteError:
            write_text(file, before) if before else file.unlink()
            raise


def _without(text: str, name: str) -> str:
    """Returns the YAML without an entry. Comments before the next entry stay."""
    node: Any = yaml.compose(text)
    keys = [key for key, _ in node.value]
    number = next(index for index, key in enumerate(keys) if key.value == name)
    lines = text.splitlines(keepends=True)
    begin = keys[number].start_mark.line
    end = keys[number + 1].start_mark.line if number + 1 < len(keys) else len(lines)
    if node.flow_style or end <= begin:
        entries = yaml.safe_load(text)
        del entries[name]
        return f"{_HEADER}{yaml.safe_dump(entries, sort_keys=False) if entries else ''}"
    while end > begin + 1 and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
        end -= 1
    return "".join([*lines[:begin], *lines[end:]])


def _relative(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)
