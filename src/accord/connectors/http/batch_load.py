"""Loading in batches: many records in one request, and what the API says of each.

A batch has a name made of load, chunk and rows, so what is sent again is the same request with the same idempotency key. What became
of a batch is noted in the state folder before the next is sent: a chunk that comes again sends only what has no note.

A batch that is refused as a whole is sent again by halves until the records at fault stand alone; each half has its own name, and the
same batch is always halved in the same way.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from accord.connectors.http.batch_plan import Answers, AnswersOdd, BatchPlan, One, batch_settings
from accord.connectors.http.bulk import Pace
from accord.connectors.http.requests import Base
from accord.connectors.http.settings import HttpEntity, HttpSettings
from accord.connectors.http.transport import Transport, decoded
from accord.record import Done, Entity, Outcome, Reconnect, Reject, Retry
from accord.sdk.bulk import Chunk, Loaded, LoadMode, LoadSpec, RowReject, Written
from accord.sdk.connector import Context, LoadFailed
from accord.sdk.http import HttpResponse
from accord.sdk.load_notes import LoadNotes
from accord.sdk.records import records_of
from accord.sdk.turns import turns

if TYPE_CHECKING:
    import polars as pl

BATCHES_AT_ONCE = 4  # requests on their way; fewer where the system's `concurrent` is lower
THROTTLED_TRIES = 5  # of one batch, while the API says how long to wait; then the engine takes over
THROTTLED_WAIT_S_MAX = 60.0  # a longer wait is the engine's
BEGUN = "begun"  # noted of a chunk before its first batch is sent
TOO_LARGE = 413
CONFLICT = 409  # also said of a key whose first request is still under way
NOT_SENT = 0
# the request is refused, whatever is in it
NOT_OF_RECORDS = frozenset({NOT_SENT, 401, 403, 404, 405, 406, 407, 410, 411, 415, 421, 426, 451})


class _Part(msgspec.Struct, frozen=True):
    """What is noted of a batch: the rows it settled, which of them were refused, and the smaller batches that follow for the others."""

    rows: tuple[int, ...] = ()
    rejects: tuple[RowReject, ...] = ()
    then: tuple[tuple[int, ...], ...] = ()


class _Search(msgspec.Struct):
    """Requests left that look for the refused records of one batch."""

    left: int


class BatchLoad:
    """See ``accord.sdk.bulk.Load``."""

    tells = False
    at_once = 1  # rows of one record may be in several chunks, and the last one wins

    def __init__(
        self, transport: Transport, base: Base, entity: Entity, spec: LoadSpec, settings: HttpSettings, context: Context
    ) -> None:
        extra = entity.extra if isinstance(entity.extra, HttpEntity) else HttpEntity()
        batch = batch_settings(extra, spec.mode)
        assert batch is not None, "capabilities offer declared modes only"
        self._transport, self._entity, self._batch = transport, entity, batch
        self._plan = BatchPlan(base, batch)
        self._answers = Answers(batch.answers, entity, transport.rules.clean) if batch.answers else None
        self._load = spec.digest_of(entity)
        self._key = spec.key if spec.mode is LoadMode.UPSERT else ()
        self._pace = Pace(settings)
        self._at_once = asyncio.Semaphore(min(BATCHES_AT_ONCE, settings.rate_limit.concurrent))
        self._notes = LoadNotes(context.state_folder / f"load-{self._load}.json")
        self._noting = asyncio.Lock()
        self._has_key = bool(base.key_header)
        self._is_in_doubt = False

    async def begin(self) -> None:
        await asyncio.to_thread(self._notes.read)

    async def write(self, chunk: Chunk) -> Written:
        near = (f"{chunk.number}/", f"{chunk.number - 1}/")
        self._notes.narrow(lambda note: note.startswith(near))
        settled = self._settled(chunk.number)
        was_there = len(settled) == chunk.frame.height > 0
        if not was_there:
            begun = f"{chunk.number}/{BEGUN}"
            self._is_in_doubt = begun in self._notes
            await asyncio.to_thread(self._notes.keep, begun, BEGUN)
            for turn in self._turns(chunk.frame):
                await self._send_all(chunk, turn, settled)
            settled = self._settled(chunk.number)
        rejects = sorted((one for one in settled.values() if one is not None), key=lambda one: one.row)
        return Written(chunk.frame.height - len(rejects), tuple(rejects), was_there)

    async def known(self, number: int) -> Written | None:
        return None

    async def finish(self) -> Loaded:
        await asyncio.to_thread(self._notes.forget)
        return Loaded()

    async def abandon(self) -> None:
        await asyncio.to_thread(self._notes.forget)

    async def leave(self) -> None:
        return None

    def _settled(self, chunk: int) -> dict[int, RowReject | None]:
        """Rows of the chunk that are written (None) or refused."""
        found: dict[int, RowReject | None] = {}
        for note, value in self._notes.values().items():
            if note.startswith(f"{chunk}/") and value != BEGUN:
                part = msgspec.json.decode(value, type=_Part)
                found |= dict.fromkeys(part.rows)
                found |= {one.row: one for one in part.rejects}
        return found

    def _turns(self, frame: pl.DataFrame) -> list[list[int]]:
        if not self._key:
            return [list(range(frame.height))]
        return turns([(named, row) for row, named in enumerate(frame.select(self._key).iter_rows())])

    async def _send_all(self, chunk: Chunk, rows: Sequence[int], settled: Container[int]) -> None:
        """A batch that has a note goes on from there; of the others, what is settled was sent in batches of another ``size``."""
        size = self._batch.size
        batches = [tuple(rows[start : start + size]) for start in range(0, len(rows), size)]
        whole = [batch if self._note(chunk, batch) in self._notes else _without(settled, batch) for batch in batches]
        left = [batch for batch in whole if batch]
        ends = await asyncio.gather(*(self._send_batch(chunk, part) for part in left), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def _send_batch(self, chunk: Chunk, rows: tuple[int, ...]) -> None:
        async with self._at_once:
            await self._part(chunk, rows, _Search(self._batch.splits_max))

    async def _part(self, chunk: Chunk, rows: tuple[int, ...], search: _Search) -> None:
        """Settles these rows, in as many requests as it takes. Raises LoadFailed."""
        if noted := self._notes.get(self._note(chunk, rows)):
            for part in msgspec.json.decode(noted, type=_Part).then:
                await self._part(chunk, part, search)
            return
        records = await asyncio.to_thread(lambda: records_of(chunk.frame[list(rows)], self._entity.fields))
        response, outcome = await self._ask(records, self._name(chunk, rows))
        if isinstance(outcome, Retry | Reconnect):
            raise LoadFailed(outcome)
        status = NOT_SENT if response is None else response.status
        ones = self._read(response, records)
        if ones is None:
            if isinstance(outcome, Reject):
                await self._refused(chunk, rows, outcome, status, search)
            else:
                await self._keep(chunk, rows, _Part(rows))
        elif isinstance(outcome, Reject) and all(isinstance(one, Done) for one in ones):  # no record is named
            await self._refused(chunk, rows, outcome, status, search)
        else:
            is_whole = isinstance(outcome, Reject) or self._batch.all_or_nothing
            await self._answered(chunk, rows, ones, is_whole, search)

    async def _ask(self, records: list[dict[str, Any]], name: str) -> tuple[HttpResponse | None, Outcome | None]:
        request = await asyncio.to_thread(self._plan.build, records, name)
        for attempt in range(1, THROTTLED_TRIES + 1):
            await self._pace.wait()
            response, outcome = await self._transport.answer(request, changes=True)
            is_throttled = isinstance(outcome, Retry) and outcome.throttled
            wait_s = (outcome.after_s or 0.0) if isinstance(outcome, Retry) else 0.0
            if not is_throttled or attempt == THROTTLED_TRIES or wait_s > THROTTLED_WAIT_S_MAX:
                break
            await asyncio.sleep(wait_s)
        return response, outcome

    def _read(self, response: HttpResponse | None, records: list[dict[str, Any]]) -> list[One] | None:
        """What the answer says of each record; None where it says nothing. Raises LoadFailed."""
        if self._answers is None or response is None:
            return None
        body, odd = decoded(response, changes=True)
        is_success = 200 <= response.status < 300
        if odd is not None:
            if is_success:
                raise LoadFailed(odd)
            return None
        listed = self._answers.listed(body)
        if listed is None and not is_success:
            return None
        try:
            if listed is None:
                if self._batch.answers is not None and self._batch.answers.only_refused:
                    return None
                raise AnswersOdd("the answer has no list where `answers.at` says")
            return self._answers.read(listed, records)
        except AnswersOdd as error:
            if not is_success:
                return None
            raise LoadFailed(Reject(f"{error}: correct `bulk…answers`", code="connector.batch-answers")) from error

    async def _answered(
        self, chunk: Chunk, rows: tuple[int, ...], ones: list[One], is_whole: bool, search: _Search
    ) -> None:
        """``is_whole``: when one record is refused, nothing was written."""
        refused = tuple(
            RowReject(row, one.reason, one.path, one.code)
            for row, one in zip(rows, ones, strict=True)
            if isinstance(one, Reject)
        )
        later = [(row, one) for row, one in zip(rows, ones, strict=True) if isinstance(one, Retry)]
        good = tuple(row for row, one in zip(rows, ones, strict=True) if isinstance(one, Done))
        spoiled = good if is_whole and (refused or later) else ()
        settled = (*(() if spoiled else good), *(one.row for one in refused))
        then = tuple(part for part in (spoiled, tuple(row for row, _ in later)) if part)
        if settled:
            await self._keep(chunk, rows, _Part(settled, refused, then))
        if later:
            raise LoadFailed(later[0][1])
        if spoiled:
            await self._again(chunk, spoiled, search, "the batch was refused for other records")

    async def _refused(
        self, chunk: Chunk, rows: tuple[int, ...], refusal: Reject, status: int, search: _Search
    ) -> None:
        """A batch that was refused as a whole: by halves, until the records at fault stand alone."""
        if status in NOT_OF_RECORDS:
            raise LoadFailed(refusal)
        if status == CONFLICT and self._has_key and self._is_in_doubt:
            raise LoadFailed(Retry(f"perhaps it is still at work on the same batch: {refusal.reason}", in_doubt=True))
        if len(rows) == 1:
            reject = RowReject(rows[0], refusal.reason, refusal.path, refusal.code)
            await self._keep(chunk, rows, _Part(rows, (reject,)))
            return
        middle = len(rows) // 2
        halves = (rows[:middle], rows[middle:])
        await self._keep(chunk, rows, _Part(then=halves))
        for half in halves:
            if status == TOO_LARGE:
                await self._part(chunk, half, search)
            else:
                await self._again(chunk, half, search, refusal.reason)

    async def _again(self, chunk: Chunk, rows: tuple[int, ...], search: _Search, reason: str) -> None:
        if search.left > 0:
            search.left -= 1
            await self._part(chunk, rows, search)
            return
        told = f"refused together with {len(rows) - 1} others, which were not tried one by one (`splits_max`): {reason}"
        await self._keep(
            chunk, rows, _Part(rows, tuple(RowReject(row, told, "", "connector.batch-refused") for row in rows))
        )

    def _name(self, chunk: Chunk, rows: Sequence[int]) -> str:
        named = f"{self._load}/{chunk.number}/{','.join(map(str, rows))}"
        return hashlib.blake2b(named.encode(), digest_size=16).hexdigest()

    def _note(self, chunk: Chunk, rows: Sequence[int]) -> str:
        return f"{chunk.number}/{self._name(chunk, rows)}"

    async def _keep(self, chunk: Chunk, rows: Sequence[int], part: _Part) -> None:
        value = msgspec.json.encode(part).decode()
        async with self._noting:
            await asyncio.to_thread(self._notes.keep, self._note(chunk, rows), value)


def _without(settled: Container[int], rows: Sequence[int]) -> tuple[int, ...]:
    return tuple(row for row in rows if row not in settled)
