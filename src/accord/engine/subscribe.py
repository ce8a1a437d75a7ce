"""Asks systems to send their webhooks here, until they have agreed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence

from accord.engine.clock import Clock
from accord.observe import Observer
from accord.observe.events import SubscriptionFailed
from accord.record import Done
from accord.sdk.connector import Connection

FIRST_S = 0.5
LONGEST_S = 60.0


async def subscribe_forever(
    system: str, connection: Connection, address: str, topics: Sequence[str], clock: Clock, observer: Observer
) -> None:
    """Ends when the system has agreed."""
    wait_s = FIRST_S
    while True:
        try:
            outcome = await connection.subscribe(address, topics)
        except Exception as error:  # noqa: BLE001 (a connector's defect is reported; webhooks may be set up by hand)
            reason = f"the connector failed unexpectedly: {type(error).__name__}: {error}"
        else:
            if isinstance(outcome, Done):
                return
            reason = str(getattr(outcome, "reason", outcome))
        observer.emit(SubscriptionFailed(system=system, reason=reason))
        await clock.sleep(wait_s * random.uniform(0.5, 1.0))
        wait_s = min(LONGEST_S, wait_s * 2)


def topics_wanted(system: str, entities: Mapping[str, str], triggers: Iterable[tuple[str, Iterable[str]]]) -> list[str]:
    """The topics that flows want from a system; all topics of an entity where a trigger names none. ``entities``: by topic, those of the
    system; ``triggers``: entity with its system, and topics."""
    of_entity: dict[str, set[str]] = {}
    for topic, entity in entities.items():
        of_entity.setdefault(f"{system}.{entity}", set()).add(topic)
    wanted: set[str] = set()
    for entity, topics in triggers:
        if entity.partition(".")[0] == system:
            wanted |= set(topics) or of_entity.get(entity, set())
    return sorted(wanted)
