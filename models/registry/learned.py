"""What a version learned from: hashes of its customers, voices and calls, in its bundle.

Whoever is in it must not examine the version. The hashes are plain, so they tell who has the id
whether it was learned from; they do not give ids away to who does not.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data.files import read_json
from models.registry.bundle import BundleError

FILE = "learned.json"
GROUPS = ("customers", "voices", "contacts")
_FORMAT = 1
_HASH = "sha256, first 8 bytes"


@dataclass(frozen=True)
class Learned:
    """The hashes, uint64, sorted and unique, of each group of ids."""

    hashes: Mapping[str, np.ndarray]

    @classmethod
    def of(
        cls,
        *,
        customers: Iterable[str | None] = (),
        voices: Iterable[str | None] = (),
        contacts: Iterable[str | None] = (),
    ) -> Learned:
        """Returns the hashes of ids; null stands for nobody and is left out."""
        groups = {"customers": customers, "voices": voices, "contacts": contacts}
        return cls(
            {
                group: np.unique(
                    np.array(
                        [_hash(group, name) for name in set(ids) if name is not None], np.uint64
                    )
                )
                for group, ids in groups.items()
            }
        )

    @property
    def counts(self) -> dict[str, int]:
        """The number of customers, voices and contacts."""
        return {group: len(self.hashes[group]) for group in GROUPS}

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over all hashes: equal where the same was learned from."""
        digest = hashlib.sha256()
        for group in GROUPS:
            digest.update(f"{group}:{len(self.hashes[group])}:".encode())
            digest.update(self.hashes[group].astype(">u8").tobytes())
        return digest.hexdigest()

    def to_json(self) -> str:
        """Returns the content of `learned.json`."""
        groups = {
            group: {
                "count": len(self.hashes[group]),
                "hashes": base64.b64encode(self.hashes[group].astype(">u8").tobytes()).decode(),
            }
            for group in GROUPS
        }
        record = {"format": _FORMAT, "hash": _HASH, "digest": self.digest, **groups}
        return json.dumps(record, indent=1, sort_keys=True) + "\n"

    def seen(self, units: pl.DataFrame) -> pl.Series:
        """Returns for each row of `units` whether its customer, voice or contact was learned from.

        Rows have customer_id, voice and contact_id, or some of these columns.
        """
        seen = np.zeros(units.height, bool)
        columns = {"customers": "customer_id", "voices": "voice", "contacts": "contact_id"}
        for group, column in columns.items():
            if column in units.columns and len(self.hashes[group]):
                hashes = np.array(
                    [0 if name is None else _hash(group, str(name)) for name in units[column]],
                    np.uint64,
                )
                seen |= np.isin(hashes, self.hashes[group])
        return pl.Series("seen", seen, dtype=pl.Boolean)


def read_learned(bundle: Path) -> Learned | None:
    """Returns what the version in the folder `bundle` learned from; None where it does not say.

    Raises BundleError where the record is not what `Learned.to_json` writes.
    """
    path = bundle / FILE
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = read_json(path)
        if record["format"] != _FORMAT or record["hash"] != _HASH:
            raise ValueError(f"format {record['format']}, hash {record['hash']}")
        learned = Learned(
            {
                group: np.frombuffer(base64.b64decode(record[group]["hashes"]), ">u8").astype(
                    np.uint64
                )
                for group in GROUPS
            }
        )
        if learned.digest != record["digest"]:
            raise ValueError("its hashes are not those of its digest")
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"bundle {bundle.name}: {FILE} cannot be read ({error}). Fetch the model again."
        ) from error
    return learned


def _hash(group: str, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{group}:{name}".encode()).digest()[:8], "big")
