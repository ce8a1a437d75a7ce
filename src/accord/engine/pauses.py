"""Flows and systems an operator has paused. Kept in the journal, so a restart changes nothing about it.

A paused flow's messages are accepted and wait on disk; those that run finish their attempt. A paused system is asked nothing: messages
that need it are held, and it is not polled.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import msgspec

from accord.engine.clock import Clock
from accord.engine.dispatch import FlowQueue
from accord.engine.gate import Gate
from accord.journal.group import Journal
from accord.journal.operations import SaveCursors
from accord.record import Cursor

REFRESH_S = 1.0  # how soon an engine hears what another engine on the same journal was told


class Pause(msgspec.Struct, frozen=True):
    """Since when, and why ('' if nobody said)."""

    at: dt.datetime
    reason: str = ""


class Pauses:
    """``flows`` and ``systems`` by name: those that are paused."""

    def __init__(
        self, queues: Mapping[str, FlowQueue], gates: Mapping[str, Gate], journal: Journal, clock: Clock
    ) -> None:
        self.flows: dict[str, Pause] = {}
        self.systems: dict[str, Pause] = {}
        self._queues = queues
        self._gates = gates
        self._journal = journal
        self._clock = clock

    async def load(self) -> None:
        """Reads what is paused, and makes it so."""
        for kind, names, known in (("flow", self._queues, self.flows), ("system", self._gates, self.systems)):
            for name in names:
                raw = await self._journal.reads.cursor(_cursor_name(kind, name))
                found = msgspec.json.decode(raw, type=Pause) if raw else None
                if found != known.get(name):
                    self._apply(kind, name, found)

    async def watch(self) -> None:
        """For a journal that other engines write too: until cancelled."""
        while True:
            await self._clock.sleep(REFRESH_S)
            await self.load()

    async def pause(self, kind: str, name: str, reason: str) -> bool:
        """``kind``: flow or system. True when it was not paused before; the reason is the new one either way."""
        known = self._known(kind).get(name)
        await self._change(kind, name, Pause(known.at if known else self._clock.now(), reason))
        return known is None

    async def resume(self, kind: str, name: str) -> bool:
        """True when it was paused."""
        if name not in self._known(kind):
            return False
        await self._change(kind, name, None)
        return True

    async def _change(self, kind: str, name: str, pause: Pause | None) -> None:
        """Carried out once it is on disk."""
        position = b"" if pause is None else msgspec.json.encode(pause)
        await self._journal.submit(SaveCursors((Cursor(_cursor_name(kind, name), position),)))
        self._apply(kind, name, pause)

    def _apply(self, kind: str, name: str, pause: Pause | None) -> None:
        known = self._known(kind)
        if pause is None:
            known.pop(name, None)
        else:
            known[name] = pause
        if kind == "system":
            self._gates[name].is_paused = pause is not None
        elif pause is None:
            self._queues[name].resume()
        else:
            self._queues[name].pause()

    def _known(self, kind: str) -> dict[str, Pause]:
        return self.flows if kind == "flow" else self.systems


def _cursor_name(kind: str, name: str) -> str:
    return f"paused:{kind}:{name}"
