"""Notifies people: a line in the store's notices.jsonl, and messages to KEEPLINE_NOTIFY."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from data import artefacts

if TYPE_CHECKING:
    from flows.runtime.settings import Settings
    from models.registry.ledger import Entry

log = logging.getLogger(__name__)
FILE = artefacts.NOTICES.path


def notify(settings: Settings, title: str, body: str, now: datetime | None = None) -> bool:
    """Stores the notice and sends it to every address; returns False when one is not reached.

    Raises nothing for that: a notice is about a failure already, and must not cause another.
    """
    at = (now or datetime.now(UTC)).isoformat(timespec="seconds")
    settings.store.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"at": at, "title": title, "body": body}, ensure_ascii=False) + "\n"
    # One short write, so that lines of several processes do not mix.
    with (settings.store / FILE).open("a", encoding="utf-8") as notices:
        notices.write(line)
    if not settings.notify:
        return True
    try:
        from apprise import Apprise

        addresses = Apprise()
        accepted = [addresses.add(address) for address in settings.notify]
        delivered = bool(addresses.notify(title=f"Keepline: {title}", body=body)) and all(accepted)
    except Exception as error:
        # Whatever a plug-in raises. Its message is left out: an address may hold a password.
        log.error("nobody was told '%s': %s", title, type(error).__name__)
        return False
    if not delivered:
        log.error("not everybody could be told '%s'. Look at KEEPLINE_NOTIFY.", title)
    return delivered


def notify_move(settings: Settings, entry: Entry) -> None:
    """Tells people that a champion was promoted or rolled back, as the ledger's `entry` says."""
    before = "nobody" if entry.previous is None else f"v{entry.previous}"
    approved = f", approved by {entry.approved_by}" if entry.approved_by else ""
    promoted, back = f"v{entry.version} promoted", f"rolled back to v{entry.version}"
    notify(
        settings,
        f"{entry.name}: {promoted if entry.action == 'promote' else back}",
        f"The champion was {before} and is v{entry.version} since {entry.at}. Moved by "
        f"{entry.actor}{approved}, decision {entry.decision_id}. `keepline ledger` tells all.",
    )
