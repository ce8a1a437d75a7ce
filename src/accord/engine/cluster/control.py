"""An operator's commands on many members: what is asked of one is answered for all, and done by whom it concerns."""

from __future__ import annotations

import asyncio
import datetime as dt
import urllib.parse
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from accord.engine.cluster.frames import Ask, Told
from accord.engine.cluster.handover import Links
from accord.engine.cluster.link import LinkLost
from accord.engine.cluster.table import PartTable
from accord.engine.control import Control
from accord.engine.control_views import ControlError
from accord.engine.history import Kind, Span
from accord.engine.operators.audit import AuditEntry
from accord.engine.probe import TROUBLES_MAX, Trouble
from accord.engine.steering import Steered
from accord.engine.telling import MessageTrace
from accord.journal.shared import Member, part_of
from accord.observe.metrics import MetricsView, added_up
from accord.record import Message
from accord.sdk.http import decode_json

TRIES = 20  # of finding a message's owner, while its part moves
TRY_S = 0.25
ASK_S = 5.0  # for another member's own figures; then they are missing
MOVED = "engine.moved"


class AloneControl(Control):
    """Of one member: works on messages of its own parts only."""

    table: PartTable

    def claim(self, message: Message) -> None:
        if part_of(message.flow, message.key) not in self.table.accepting:
            raise ControlError(
                "The message belongs to another member now.", mend="Try again: it has just moved.", code=MOVED
            )


class SharedControl(AloneControl):
    """Of all members."""

    alone: AloneControl
    links: Links

    async def status(self) -> dict[str, Any]:
        """With ``members``; figures that members keep for themselves are put together."""
        others = self.table.others()
        own = await self.alone.status()
        told = await asyncio.gather(*map(self._status_of, others))
        running = {self.table.me: _running(own)} | {m.id: _running(one) for m, one in zip(others, told, strict=True)}
        own["members"] = [self._member_view(m, running.get(id)) for id, m in sorted(self.table.members.items())]
        _merge(own, [one for one in told if one is not None])
        return own

    async def metrics(self) -> MetricsView:
        told = await asyncio.gather(*(self._ask(one, "GET", "/api/metrics", {}, b"") for one in self.table.others()))
        others = [
            msgspec.json.decode(one.body, type=MetricsView) for one in told if one is not None and one.status == 200
        ]
        return added_up([await self.alone.metrics(), *others])

    def _member_view(self, member: Member, running: int | None) -> dict[str, Any]:
        return {
            "id": member.id,
            "name": member.name,
            "address": member.address,
            "parts": sum(owner == member.id for owner in self.table.owners.values()),
            "running": running or 0,
            "is_leaving": member.is_leaving,
            "answers": running is not None,
        }

    async def audit_by_store(
        self, *, before: float = 0.0, actor: str = "", action: str = "", limit: int = 100
    ) -> dict[str, Sequence[AuditEntry]]:
        """Members on one machine share a file."""
        found = await self.alone.audit_by_store(before=before, actor=actor, action=action, limit=limit)
        since = dt.datetime.fromtimestamp(before, dt.UTC).isoformat() if before else ""
        query: dict[str, str | int] = {"before": since, "actor": actor, "action": action, "limit": limit, "by_store": 1}
        for told in await self._ask_all("/api/audit", query):
            found |= msgspec.convert(told, dict[str, list[AuditEntry]])
        return found

    async def history_by_store(self, kind: Kind, name: str, since_s: int) -> dict[str, list[Span]]:
        """Members on one machine share a file."""
        found = await self.alone.history_by_store(kind, name, since_s)
        query: dict[str, str | int] = {"kind": kind, "name": name, "since_s": since_s, "by_store": 1}
        for told in await self._ask_all("/api/history", query):
            found |= msgspec.convert(told, dict[str, list[Span]], strict=False)
        return found

    async def troubles(self, name: str) -> list[Trouble]:
        found = await self.alone.troubles(name)
        for told in await self._ask_all(f"/api/systems/{urllib.parse.quote(name, safe='')}/troubles", {}):
            found += msgspec.convert(told, list[Trouble])
        return sorted(found, key=lambda one: one.at, reverse=True)[:TROUBLES_MAX]

    async def _ask_all(self, path: str, query: Mapping[str, str | int]) -> list[Any]:
        """What the other members answer; who does not answer in time is left out."""
        told = await asyncio.gather(*(self._ask(member, "GET", path, query, b"") for member in self.table.others()))
        return [decode_json(one.body) for one in told if one is not None and one.status == 200]

    async def trace(self, seq: int) -> MessageTrace:
        """The owner's, which has the newest attempts in memory; while it does not answer, what the journal has."""
        row = await self.row(seq)
        owner = self.table.owner(part_of(row.message.flow, row.message.key)) if row is not None else None
        if owner is not None and owner.id != self.table.me:
            told = await self._ask(owner, "GET", f"/api/messages/{seq}/trace", {}, b"")
            if told is not None and told.status == 200:
                return msgspec.convert(decode_json(told.body), MessageTrace)
        return await self.alone.trace(seq)

    async def replay(self, seq: int, *, body: bytes | None = None, from_start: bool = False) -> None:
        query = {"from_start": int(from_start)}
        await self._by_owner(
            seq,
            lambda: self.alone.replay(seq, body=body, from_start=from_start),
            f"/api/dead-letters/{seq}/replay",
            query,
            body or b"",
        )

    async def discard(self, seq: int, reason: str) -> None:
        path = f"/api/dead-letters/{seq}/discard"
        await self._by_owner(seq, lambda: self.alone.discard(seq, reason), path, {"reason": reason})

    async def steer(self, word: str, seq: int, *, reason: str = "", undo: bool = False, force: bool = False) -> Steered:
        query: dict[str, str | int] = {"reason": reason, "undo": int(undo), "force": int(force)}
        found = await self._by_owner(
            seq,
            lambda: self.alone.steer(word, seq, reason=reason, undo=undo, force=force),
            f"/api/messages/{seq}/{word}",
            query,
        )
        return found if isinstance(found, Steered) else msgspec.convert(found, Steered)

    async def _by_owner(
        self,
        seq: int,
        here: Callable[[], Awaitable[Any]],
        path: str,
        query: Mapping[str, str | int],
        body: bytes = b"",
    ) -> Any:
        """Raises ControlError, also for what the owner says against it."""
        row = await self.row(seq)
        if row is None:
            return await here()  # which says so
        part = part_of(row.message.flow, row.message.key)
        for _ in range(TRIES):
            if part in self.table.accepting:
                return await here()
            owner = self.table.owner(part)
            told = await self._ask(owner, "POST", path, query, body) if owner and owner.id != self.table.me else None
            if told is not None:
                answer = decode_json(told.body)
                if told.status == 200:
                    return answer
                if answer["code"] != MOVED:
                    raise ControlError(answer["detail"].removesuffix(f" [{answer['code']}]"), code=answer["code"])
            self.links.on_silent()
            await self.table.wait_change(TRY_S)
        raise ControlError(
            f"The owner of message {seq} does not answer.", mend="`accord status` shows the members.", code=MOVED
        )

    async def _status_of(self, member: Member) -> dict[str, Any] | None:
        told = await self._ask(member, "GET", "/api/status", {}, b"")
        found: dict[str, Any] | None = decode_json(told.body) if told is not None and told.status == 200 else None
        return found

    async def _ask(
        self, member: Member, method: str, path: str, query: Mapping[str, str | int], body: bytes
    ) -> Told | None:
        """None when the member does not answer."""
        encoded = urllib.parse.urlencode(query)
        try:
            async with asyncio.timeout(None if method == "POST" else ASK_S):
                reply = await self.links.ask(member, lambda number: Ask(number, method, path, encoded, body))
        except (LinkLost, TimeoutError):
            return None
        return reply if isinstance(reply, Told) else None


def _merge(own: dict[str, Any], others: list[dict[str, Any]]) -> None:
    for flow in own["flows"]:
        flow["running"] += sum(found["running"] for found in _named(flow["name"], others, "flows"))
    for system in own["systems"]:
        for found in _named(system["name"], others, "systems"):
            for name in ("held", "in_flight", "waiting", "concurrency_limit"):
                system[name] += found[name]
            system["wait_s"] = max(system["wait_s"], found["wait_s"])
            if found["pause_s"] > system["pause_s"]:
                system.update(pause_s=found["pause_s"], throttled_since=found["throttled_since"])
            if system["is_well"] and not found["is_well"]:
                system.update(is_well=False, reason=found["reason"])
    own["paused_messages"] += sum(one["paused_messages"] for one in others)
    counters = own["counters"]
    for one in others:
        for name, count in one["counters"].items():
            counters[name] = counters.get(name, 0) + count


def _named(name: str, told: Iterable[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [one for status in told for one in status[kind] if one["name"] == name]


def _running(status: dict[str, Any] | None) -> int | None:
    return None if status is None else sum(flow["running"] for flow in status["flows"])
