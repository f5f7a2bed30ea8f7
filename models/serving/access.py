"""Access to the service: API keys with roles, stored as hashes, and request rates."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import math
import re
import secrets
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from data.files import write_json

log = logging.getLogger(__name__)
# What a role opens. `admin` opens everything.
ROLES = ("score", "transcribe", "metrics", "admin")


class AccessError(ValueError):
    """A file of keys is not one. The message names the file, the entry and what to do."""


@dataclass(frozen=True)
class Caller:
    """The owner of a key."""

    name: str
    roles: frozenset[str]

    def has_role(self, role: str) -> bool:
        """Whether one of the caller's roles opens what `role` opens."""
        return role in self.roles or "admin" in self.roles


@dataclass(frozen=True)
class _Key:
    sha256: str
    caller: Caller


class Access:
    """The keys of a file `{"keys": [{"name", "sha256", "roles"}]}`; `refresh` reads changes."""

    def __init__(self, path: Path) -> None:
        """Raises AccessError when the file is missing or damaged."""
        self._path = path
        self._version = self._file_version()
        self._keys = _read(path)

    def caller_of(self, key: str) -> Caller | None:
        """Returns whose key this is, or None.

        Every stored key is compared, in constant time, so that the time taken says nothing about
        how close a guess is.
        """
        sha256 = _sha256(key)
        caller = None
        for stored in self._keys:
            if hmac.compare_digest(stored.sha256, sha256):
                caller = stored.caller
        return caller

    def refresh(self) -> None:
        """Reads the file again if it has changed; a damaged one changes nothing and is logged."""
        try:
            version = self._file_version()
            if version != self._version:
                self._keys, self._version = _read(self._path), version
                log.info("%s: %d keys", self._path, len(self._keys))
        except (AccessError, OSError) as error:
            log.error("the keys stay as they were: %s", error)

    def _file_version(self) -> tuple[int, int]:
        try:
            stat = self._path.stat()
        except OSError as error:
            raise AccessError(
                f"{self._path}: no such file of keys. Make one with `keepline key NAME ROLE`."
            ) from error
        return stat.st_mtime_ns, stat.st_size


def add_key(path: Path, name: str, roles: Iterable[str]) -> str:
    """Makes a key for `name`, writes its hash to the file and returns the key: it is shown once.

    An earlier key of that name is replaced. Raises AccessError on an unknown role or a damaged
    file.
    """
    roles = sorted(set(roles))
    unknown = [role for role in roles if role not in ROLES]
    if unknown or not roles:
        raise AccessError(
            f"key {name}: {unknown[0] if unknown else 'nothing'} is not a role. "
            f"Roles: {', '.join(ROLES)}."
        )
    entries = _entries(path) if path.exists() else []
    key = f"kl_{secrets.token_urlsafe(32)}"
    added = {"name": name, "roles": roles, "sha256": _sha256(key)}
    others = (entry for entry in entries if entry.get("name") != name)
    write_json(path, {"keys": [*others, added]})
    path.chmod(0o600)
    return key


def _sha256(key: str) -> str:
    # Keys are 256 random bits, so a plain hash cannot be searched; it need not be slow.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _entries(path: Path) -> list[dict[str, object]]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["keys"]
        if isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries):
            return entries
    except (ValueError, KeyError, TypeError):
        pass
    raise AccessError(
        f'{path}: must hold {{"keys": [{{"name", "sha256", "roles"}}]}}. '
        "Make it with `keepline key`."
    )


def _read(path: Path) -> tuple[_Key, ...]:
    keys = []
    for entry in _entries(path):
        name, sha256, roles = (entry.get(part) for part in ("name", "sha256", "roles"))
        where = f"{path}: key {name!r}"
        if not isinstance(name, str) or not re.fullmatch(r"[\w.-]{1,64}", name):
            raise AccessError(f"{where} needs a name of letters, digits, '.', '_' or '-'.")
        if not isinstance(sha256, str) or not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise AccessError(
                f"{where} has no SHA-256 of a key. Keys themselves do not belong in the file."
            )
        if not isinstance(roles, list) or not roles or any(role not in ROLES for role in roles):
            raise AccessError(f"{where} needs roles out of {', '.join(ROLES)}.")
        keys.append(_Key(sha256, Caller(name, frozenset(roles))))
    return tuple(keys)


class RateLimiter:
    """A token bucket for each caller, filled at `per_s` up to two seconds' worth of requests."""

    MOST_CALLERS = 10_000

    def __init__(self, per_s: float) -> None:
        self.per_s = per_s
        self._full = max(1.0, 2 * per_s)
        # caller → (requests left, at which time in seconds)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, caller: str, now_s: float) -> int:
        """Returns 0 if the caller may ask now, else in how many seconds (rounded up); counts it."""
        left, at = self._buckets.pop(caller, (self._full, now_s))
        left = min(self._full, left + (now_s - at) * self.per_s)
        allowed = left >= 1
        self._buckets[caller] = (left - 1 if allowed else left, now_s)
        if len(self._buckets) > self.MOST_CALLERS:
            # The caller silent for longest has a full bucket by now, so nothing is lost.
            self._buckets.popitem(last=False)
        return 0 if allowed else max(1, math.ceil((1 - left) / self.per_s))
