"""Keeps the journal from growing for ever: settled messages go by age and size, in small parts."""

from __future__ import annotations

import datetime as dt

import msgspec

from accord.engine.clock import Clock
from accord.errors import JournalError
from accord.journal.group import Journal
from accord.journal.operations import Prune

EVERY_S = 30.0
PART = 500  # messages in one commit: a few milliseconds, so that live messages do not wait


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """``done_s``: how long settled messages stay. ``seen_s``: how long event ids are remembered for dedupe (Shopify redelivers
    for up to 48 hours). ``size_bytes_max``: settled messages go earlier when the journal is larger (0: no bound)."""

    done_s: float = 7 * 86_400.0
    seen_s: float = 7 * 86_400.0
    size_bytes_max: int = 10_000_000_000


async def prune_forever(journal: Journal, retention: Retention, clock: Clock) -> None:
    """Until cancelled."""
    while True:
        pruned = PART
        while pruned >= PART:
            now = clock.now()
            prune = Prune(
                before=now - dt.timedelta(seconds=retention.done_s),
                seen_before=now - dt.timedelta(seconds=retention.seen_s),
                limit=PART,
                size_bytes_max=retention.size_bytes_max,
            )
            try:
                pruned = await journal.submit(prune)
            except JournalError:
                break  # a full disk: the next round tries again
            await clock.sleep(0.02)
        await clock.sleep(EVERY_S)
