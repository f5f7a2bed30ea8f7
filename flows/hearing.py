"""The recogniser's side of the street: scoring a test manifest, hearing calls."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from data.files import atomic
from data.speech.manifests import rows_of
from flows.runtime.settings import ROOT

if TYPE_CHECKING:
    pass


def base_of(name: str, folder: Path) -> Path:
    """The `.nemo` that asr.base names: a file (relative to the checkout), or a hub model, brought once to `folder`."""
    local = ROOT / name
    if local.exists() or name.endswith(".nemo"):
        return local
    keep = folder / f"base-{re.sub('[^a-z0-9]+', '-', name.lower())}.nemo"
    if not keep.exists():
        from models.asr.nemo import fetch

        with atomic(keep) as temporary:
            fetch(name).save_to(str(temporary))
    return keep


def smoke_sample(manifest: Path) -> Path:
    """The longest test cut, for the service to transcribe before a release."""
    return (
        manifest.parent / max(rows_of(manifest), key=lambda row: row["duration"])["audio_filepath"]
    )
