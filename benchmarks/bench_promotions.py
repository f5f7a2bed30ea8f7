"""S1: 20 processes promote at once in 50 rounds: one wins each, and the ledger equals the alias."""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from models.registry.registry import PromotionRefusedError, Registry
from tests.registry_helpers import RegistryFixture, a_decision

PROMOTERS, ROUNDS = (int(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) > 2 else (20, 50)


def promote_orders(uri: str, folder: Path, *, orders: Any, answers: Any) -> None:
    """Promotes each version in `orders` and puts it, or None if refused, in `answers`."""
    registry = Registry(uri, folder, lease_s=600)
    while (order := orders.get()) is not None:
        version, sha, champion, reference = order
        try:
            registry.promote(
                "churn",
                version,
                expected=champion,
                decision=a_decision(sha, reference),
                actor=f"promoter of v{version}",
                now=datetime.now(UTC),
            )
            answers.put(version)
        except PromotionRefusedError:
            answers.put(None)


if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        shop = RegistryFixture(Path(folder))
        versions = [shop.version(f"bundle {n}") for n in range(PROMOTERS)]
        shop.registry._client = None  # each process has a connection of its own
        orders, answers = [context.Queue() for _ in versions], context.Queue()
        promoters = [
            context.Process(
                target=promote_orders,
                args=(shop.uri, Path(folder) / "registry"),
                kwargs={"orders": queue, "answers": answers},
            )
            for queue in orders
        ]
        for process in promoters:
            process.start()
        started, failures, champion, reference = time.monotonic(), 0, None, None
        for number in range(1, ROUNDS + 1):
            # A round's champion does not defend itself: promoting it again would change nothing.
            queues = [
                queue
                for queue, (version, _) in zip(orders, versions, strict=True)
                if version != champion
            ]
            for queue, (version, sha) in zip(orders, versions, strict=True):
                if queue in queues:
                    queue.put((version, sha, champion, reference))
            versions_promoted = [answers.get(timeout=600) for _ in queues]
            winners = [version for version in versions_promoted if version is not None]
            ledger = shop.registry.ledger("churn")
            alias = shop.registry.alias("churn", "champion")
            is_right = (
                len(winners) == 1
                and len(ledger) == number
                and ledger[-1].version == alias == winners[0]
            )
            failures += not is_right
            champion, reference = ledger[-1].version, ledger[-1].bundle_sha256
        seconds = time.monotonic() - started
        for queue in orders:
            queue.put(None)
        for process in promoters:
            process.join(30)
        print(
            json.dumps(
                {
                    "benchmark": "S1 promotions",
                    "promoters": PROMOTERS,
                    "rounds": ROUNDS,
                    "rounds_without_exactly_one_winner_or_with_another_alias": failures,
                    "seconds": round(seconds, 1),
                },
                indent=1,
            )
        )
