"""Tells people what they have to know: a line in the store's notices.jsonl, and a message where they asked for one."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from data import artefacts

if TYPE_CHECKING:
    from flows.runtime.settings import Settings

log = logging.getLogger(__name__)
FILE = artefacts.NOTICES.path


def notify(settings: Settings, title: str, body: str, now: datetime | None = None) -> bool:
    """Writes the notice down and sends it to every address of KEEPLINE_NOTIFY; False when one could not be reached.

    Raises nothing for that: what people are told about has gone wrong already, and must not go wrong once more.
    """
    at = (now or datetime.now(UTC)).isoformat(timespec="seconds")
    settings.store.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"at": at, "title": title, "body": body}, ensure_ascii=False) + "\n"
    with (settings.store / FILE).open(
        "a", encoding="utf-8"
    ) as notices:  # one short write: lines do not mix
        notices.write(line)
    if not settings.notify:
        return True
    try:
        from apprise import Apprise

        addresses = Apprise()
        accepted = [addresses.add(address) for address in settings.notify]
        delivered = bool(addresses.notify(title=f"Keepline: {title}", body=body)) and all(accepted)
    except Exception as error:  # whatever a plug-in raises
        log.error(
            "nobody was told '%s': %s", title, type(error).__name__
        )  # an address may hold a password
        return False
    if not delivered:
        log.error("not everybody could be told '%s'. Look at KEEPLINE_NOTIFY.", title)
    return delivered
