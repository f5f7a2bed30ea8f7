"""What a Prefect server does by itself for all sites: it ends runs that have died, and tells people.

The automations of one site, such as a retraining after drift, are triggers in prefect.yaml.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from prefect.automations import AutomationCore
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from flows.runtime.published import DRIFT, PROMOTION
from flows.runtime.settings import HEARTBEAT_S

SILENCE_S = 3.0 * HEARTBEAT_S  # without a sign of life a run is dead
TAG = "keepline"  # of all our deployments
_ALIVE = "prefect.flow-run.heartbeat"
# After these no sign of life is due. A suspended run has no process.
_ENDS = ("Completed", "Failed", "Cancelled", "Crashed", "Suspended", "Paused", "Skipped")


def zombies(silence_s: float = SILENCE_S, tag: str = TAG) -> AutomationCore:
    """Returns the automation that ends runs as crashed which gave no sign of life for so long.

    It concerns runs with the tag.
    """
    return AutomationCore(
        name=f"{tag}: end runs without a sign of life",
        description=f"A run whose process is gone becomes Crashed after {silence_s:.0f} s.",
        trigger=EventTrigger(
            after={_ALIVE},
            expect={_ALIVE, *(f"prefect.flow-run.{name}" for name in _ENDS)},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification({"prefect.resource.id": [f"prefect.tag.{tag}"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,  # with 0 Prefect 3.8.8 deletes the bucket before it looks at it
            within=timedelta(seconds=silence_s),
        ),
        actions=[
            ChangeFlowRunState(
                name="Crashed",
                force=False,
                state=StateType.CRASHED,
                message=f"No sign of life for {silence_s:.0f} s: its process is gone.",
            )
        ],
    )


def notices(block: UUID) -> AutomationCore:
    """Returns the automation that tells people of promotions and of drift by a notification block."""
    return AutomationCore(
        name="keepline: tell of promotions and drift",
        description="Sends what happened to a champion, or to what a site delivers.",
        trigger=EventTrigger(
            expect={PROMOTION, DRIFT},
            match=ResourceSpecification({"prefect.resource.id": ["keepline.site.*"]}),
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            SendNotification(
                block_document_id=block,
                subject="Keepline: {{ event.event }} at {{ event.payload.site }}",
                body="{{ event.payload }}",
            )
        ],
    )


def register(automation: AutomationCore) -> UUID:
    """Creates an automation, in place of one of the same name; returns its id."""
    with get_client(sync_client=True) as client:
        for before in client.read_automations_by_name(automation.name):
            client.delete_automation(before.id)
        return client.create_automation(automation)


def block_id(slug: str) -> UUID:
    """Returns the id of a notification block as Prefect names it, "slack-webhook/ops".

    Raises ValueError when the server has none of that name.
    """
    block = Block.load(slug)
    identity = getattr(block, "_block_document_id", None)
    if identity is None:
        raise ValueError(f"{slug}: the Prefect server has no such block.")
    return UUID(str(identity))
