"""Which messages of a flow have not reached an entity that another flow writes to, by cross-references.

Messages are followed in the order of the journal, once they are old enough: what has arrived is passed over for good, what has not is
remembered and looked for again. A record is there when a reference leads to the entity from it, from a record the flow itself wrote of it,
or from a record of the other flow's source with the same key as the message.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import msgspec

from accord.engine.alerts.state import Late, LateMessage, Memory
from accord.flow.flow import Flow
from accord.flow.keys import key_text
from accord.journal.operations import MessageRow, State
from accord.journal.reads import JournalReads
from accord.journal.search import MessageQuery
from accord.record import Entity
from accord.settings.alert_spec import AlertSpec

PAGE = 500  # messages read at once
PAGES_MAX = 10  # in one look: 500 messages a second are followed; a faster flow is told of later
LATE_MAX = 200  # remembered of one alert; it says "at least" then, and follows no more until some have arrived
FIRST_BACK = dt.timedelta(days=1)  # a new alert begins so far back
KEPT = dt.timedelta(days=1)  # somebody was told for so long; what never arrives is no news any more

_Place = tuple[str, str]  # an entity and a key


class Arrivals:
    def __init__(
        self, flows: Mapping[str, Flow], entities: Mapping[str, Entity], memory: Memory, reads: JournalReads
    ) -> None:
        self._flows = flows
        self._entities = entities
        self._memory = memory
        self._reads = reads

    async def missing(self, spec: AlertSpec, now: dt.datetime) -> tuple[int, bool]:
        """How many are missing now, and whether there may be more. Raises JournalError."""
        assert spec.within is not None
        late = self._memory.late.setdefault(f"{spec.alert}/{spec.flow}/{spec.reaches}", Late())
        late.messages = await self._still_missing(spec, late.messages, now - spec.within - KEPT)
        due = now - spec.within
        since = due - FIRST_BACK if late.seq == 0 else None
        for _ in range(PAGES_MAX):
            if len(late.messages) >= LATE_MAX:
                break
            query = MessageQuery(flow=spec.flow, after_seq=late.seq, since=since, limit=PAGE)
            rows = await self._reads.messages(query)
            found = await self._late(spec, [row for row in rows if row.message.time <= due])
            if any(row.message.time > due for row in rows):
                first = next(row.seq for row in rows if row.message.time > due)
                found = [one for one in found if one.seq < first]  # clocks differ: nothing is passed over
                rows = [row for row in rows if row.seq < first]
            room = LATE_MAX - len(late.messages)
            if len(found) > room:
                rows = [row for row in rows if row.seq < found[room].seq]
                found = found[:room]
            late.messages += found
            late.seq = rows[-1].seq if rows else late.seq
            if len(rows) < PAGE:
                break
        return len(late.messages), len(late.messages) >= LATE_MAX

    async def _late(self, spec: AlertSpec, rows: Sequence[MessageRow]) -> list[LateMessage]:
        wanted = [row for row in rows if not _need_not(row)]
        found = [
            LateMessage(
                seq=row.seq,
                key=row.message.key,
                record_key=self._record_key(row),
                at=row.message.time,
                is_open=row.state is not State.DONE,
            )
            for row in wanted
        ]
        return await self._not_there(spec, found)

    async def _still_missing(
        self, spec: AlertSpec, messages: Sequence[LateMessage], since: dt.datetime
    ) -> list[LateMessage]:
        kept: list[LateMessage] = []
        for one in await self._not_there(spec, [one for one in messages if one.at >= since]):
            if one.is_open:  # a filter may have stopped it since
                rows = await self._reads.messages(MessageQuery(after_seq=one.seq - 1, limit=1))
                if not rows or rows[0].seq != one.seq or _need_not(rows[0]):
                    continue
                one = msgspec.structs.replace(one, is_open=rows[0].state is not State.DONE)
            kept.append(one)
        return kept

    async def _not_there(self, spec: AlertSpec, messages: Sequence[LateMessage]) -> list[LateMessage]:
        source = self._flows[spec.flow].source
        others = [flow.source for flow in self._flows.values() if flow.source and _writes(flow, spec.reaches)]
        direct = [[(source, one.record_key), *((other, one.key) for other in others)] for one in messages]
        there = await self._lead_to(spec.reaches, direct)
        left = [one for one, is_there in zip(messages, there, strict=True) if not is_there]
        written = sorted({effect.target for effect in self._flows[spec.flow].effects if effect.step == "write"})
        asked = [(source, one.record_key, entity) for one in left for entity in written]
        keys = await self._reads.references(asked) if asked else []
        places = [(entity, key) for (_, _, entity), key in zip(asked, keys, strict=True)]
        each = len(written)
        steps = [
            [(entity, key) for entity, key in places[at * each : (at + 1) * each] if key is not None]
            for at in range(len(left))
        ]
        return [
            one for one, is_there in zip(left, await self._lead_to(spec.reaches, steps), strict=True) if not is_there
        ]

    async def _lead_to(self, wanted: str, places: Sequence[Sequence[_Place]]) -> list[bool]:
        """Whether any of each one's places has a reference to the entity."""
        asked = [(at, place) for at, ones in enumerate(places) for place in ones]
        queries = [(*place, wanted) for _, place in asked]
        keys = await self._reads.references(queries) if queries else []
        there = {at for (at, _), key in zip(asked, keys, strict=True) if key is not None}
        return [at in there for at in range(len(places))]

    def _record_key(self, row: MessageRow) -> str:
        entity = self._entities.get(row.message.source)
        try:
            record = msgspec.json.decode(row.message.body)
        except msgspec.DecodeError:
            return row.message.key
        return (key_text(record, entity.key) if entity is not None else "") or row.message.key


def _writes(flow: Flow, entity: str) -> bool:
    return any(effect.target == entity for effect in flow.effects)


def _need_not(row: MessageRow) -> bool:
    """A filter or an operator ended it."""
    return row.state is State.DONE and bool(row.reason)
