"""The command `keepline read`: the labels of a message or transcript as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from data import artefacts
from data.labelling.scheme import ABSENT
from data.messages import MessageError, parse
from flows.runtime.context import load_context
from models.kinds import READER

if TYPE_CHECKING:
    import polars as pl

    from flows.runtime.context import RunContext
    from models.reader.model import Reader

STANDARD_INPUT = "-"
_MOST_MB = 64


def read(source: str, model: str | None, *, channel: str, words: bool, store: Path | None) -> None:
    """Prints a JSON object a contact: label → value, probability and words.

    Warns of texts it cannot read. Raises MessageError for what is no text, and ValueError where
    there is no reader to read it.
    """
    from models.reader.model import Reader

    name = "standard input" if source == STANDARD_INPUT else source
    contacts, turns = parse(_content(source), name, channel)
    context = load_context(store)
    reader = Reader.load(_bundle(context, model))
    strange = []
    for answer in answers(
        reader,
        contacts,
        turns,
        min_familiar=context.params.reading.min_familiar,
        words=words,
    ):
        print(json.dumps(answer, ensure_ascii=False))
        strange += [answer["contact_id"]] if not answer["readable"] else []
    if strange:
        more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        Console(stderr=True).print(
            f"{strange[0]}{more}: too few of the words are known from training; the labels are "
            "little more than how "
            "common each is.",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )


def answers(
    reader: Reader,
    contacts: pl.DataFrame,
    turns: pl.DataFrame,
    *,
    min_familiar: float,
    words: bool = True,
) -> list[dict[str, Any]]:
    """Returns the labels with probabilities of each contact, a dict a contact.

    With `words` a label that is there has the words that made it so. A contact is readable when at
    least `min_familiar` of its words are known from training.
    """
    import polars as pl

    from models.reader import occlusion

    probabilities, familiar = reader.probabilities(contacts, turns)
    rows = []
    for row, contact in enumerate(contacts.iter_slices(1)):
        own_turns = turns.filter(pl.col("contact_id") == contact["contact_id"][0])
        why = occlusion.explain(reader, contact, own_turns) if words else {}
        labels: dict[str, Any] = {}
        for name, chances in probabilities.items():
            values = reader.config.labels[name]
            best = int(chances[row].argmax())
            labels[name] = {
                "value": values[best],
                "probability": round(float(chances[row, best]), 4),
                "probabilities": {
                    value: round(float(p), 4) for value, p in zip(values, chances[row], strict=True)
                },
            }
            if words and values[best] not in ABSENT:
                labels[name]["words"] = why[name]
        rows.append(
            {
                "contact_id": contact["contact_id"][0],
                "readable": bool(familiar[row] >= min_familiar),
                "familiar": round(float(familiar[row]), 4),
                "labels": labels,
            }
        )
    return rows


def _content(source: str) -> str:
    if source != STANDARD_INPUT and not Path(source).is_file():
        raise FileNotFoundError(
            f"{source}: no such file. Name a file of text or JSON lines, or - for standard input."
        )
    raw = sys.stdin.buffer.read() if source == STANDARD_INPUT else Path(source).read_bytes()
    if len(raw) > _MOST_MB * 2**20:
        raise MessageError(
            f"{source}: {len(raw) / 2**20:.0f} MiB are more than {_MOST_MB}. Read it in parts."
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MessageError(
            f"{source}: not UTF-8 text (byte {error.start}). Save it as UTF-8."
        ) from error


def _bundle(context: RunContext, which: str | None) -> Path:
    """Returns the bundle's folder: `which` is a folder or an alias (None: champion)."""
    from models.registry.bundle import verify_bundle

    key = context.settings.public_key
    if which and Path(which).is_dir():
        return verify_bundle(Path(which), key).path
    alias = (which or "champion").removeprefix("reader@")
    # Asking a store that never was would make one.
    has_registry = context.path(artefacts.REGISTRY).exists()
    version = context.registry().alias(READER.name, alias) if has_registry else None
    if version is None:
        raise ValueError(
            f"no reader has the alias '{alias}' in {context.store}. Train one with `keepline "
            "run`, or name a bundle's "
            "folder with --model."
        )
    return context.registry().fetch(READER.name, version, context.path(artefacts.FETCHED)).path
