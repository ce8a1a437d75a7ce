"""The source of one pass as chunks mapped and made ready: read by this engine or by processes of a cluster, from the checkpoint on."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec

from accord.engine.bulk.begun import Ready, rejects_and_sums
from accord.engine.bulk.book import Book
from accord.engine.bulk.mapping import Mapped, Mapper
from accord.engine.bulk.notes import Notes
from accord.engine.bulk.overlap import Seen
from accord.engine.bulk.reading import Read, ahead, chunks_of, closing, with_nulls
from accord.engine.bulk.state import typed
from accord.engine.bulk.targets import Targets
from accord.engine.bulk.writing import in_gate
from accord.engine.delivery import Port
from accord.engine.fair import Lane
from accord.flow.bulk.compile import BulkFlow
from accord.record import Entity
from accord.record.batch import Batch
from accord.sdk.bulk import BulkRead
from accord.sdk.connector import Capabilities
from accord.sdk.spread import SpreadSource

if TYPE_CHECKING:
    from accord.engine.bulk.spark.feed import SparkFeed

AHEAD = 2  # chunks that are read or wait for the mapping; one more is mapped and one made ready: more only take memory


class Feed:
    """``pause(seconds, why)``: while the source makes ready what it was asked for."""

    def __init__(
        self,
        flow: BulkFlow,
        port: Port,
        can: Capabilities,
        lane: Lane,
        book: Book,
        notes: Notes,
        pause: Callable[[float, str], Awaitable[None]],
    ) -> None:
        self._flow = flow
        self._port = port
        self._can = can
        self._lane = lane
        self._book = book
        self._notes = notes
        self._pause = pause

    def here(self, mapper: Mapper, known: Seen) -> AsyncGenerator[Ready, None]:
        """``known``: a copy of its own; it runs ahead of what is written. Raises ReadFailed, BulkFault, Stopped."""
        return self._made_ready(mapper, ahead(self._mapped(mapper, ahead(self._read(), AHEAD), known), 1))

    def spread(self, spark: SparkFeed, targets: Targets, mapper: Mapper) -> AsyncGenerator[Ready, None]:
        """The same chunks, read, mapped and, where a target can take that, written beside it by the processes of a cluster."""
        return self._made_ready(mapper, ahead(self._from_spark(spark, targets), 1))

    def _made_ready(self, mapper: Mapper, chunks: AsyncGenerator[Mapped, None]) -> AsyncGenerator[Ready, None]:
        async def each() -> AsyncIterator[Ready]:
            async with closing(chunks):
                async for mapped in chunks:
                    noted = asyncio.to_thread(rejects_and_sums, mapper, mapped)
                    profile, (rejects, sums) = await asyncio.gather(self._notes.count(mapped.read), noted)
                    yield Ready(mapped, rejects, sums, profile)

        return ahead(each(), 1)

    async def settle_files(self) -> None:
        """Files whose rows are all in targets or rejects may go; once more, where a run was cut off before."""
        run = self._book.run
        while run.settling:
            await self._port.connection.settled(self._flow.source, run.settling[0], rejected=False)
            del run.settling[0]

    async def _mapped(self, mapper: Mapper, reads: AsyncIterator[Read], known: Seen) -> AsyncIterator[Mapped]:
        async with closing(reads):
            async for read in reads:
                mapped = await mapper.map(read, known.known(read))
                known.add(known.part_of(read))
                yield mapped

    async def _read(self) -> AsyncIterator[Read]:
        run = self._book.run
        source, nulls = await self._as_it_is_now()
        chunks = chunks_of(self._port.connection, source, self._can, self._request(source), run.rows + 1)
        end = object()
        has_given = False
        async with closing(chunks):
            while True:
                read = await in_gate(self._port, self._lane, lambda: anext(chunks, end))
                if read is end:
                    return
                if read.batch.after_s:
                    await self._wait(read.batch, is_first=not has_given)
                    continue
                has_given = True
                if read.rows or self._book.is_begun:
                    yield with_nulls(read, self._flow.source, nulls)
                else:
                    await self._without_rows(read)

    async def _from_spark(self, spark: SparkFeed, targets: Targets) -> AsyncIterator[Mapped]:
        run = self._book.run
        source, nulls = await self._as_it_is_now()
        connection: SpreadSource = self._port.connection  # type: ignore[assignment]
        request = self._request(source)
        async with AsyncExitStack() as stack:
            begin = functools.partial(stack.enter_async_context, connection.parts(source, request))
            parts = await in_gate(self._port, self._lane, begin)
            chunks = spark.mapped(
                self._flow.name,
                run.id,
                run.started,
                connection,
                parts,
                nulls,
                await targets.stagers() if parts else (),
                at_once=request.partitions,
            )
            stack.push_async_callback(chunks.aclose)
            async for mapped in chunks:
                if mapped.rows or self._book.is_begun:
                    yield mapped
                else:
                    await self._without_rows(mapped.read)

    async def _without_rows(self, read: Read) -> None:
        """Files that hold nothing do not begin a run."""
        self._book.run.settling += read.ended
        await self.settle_files()

    async def _as_it_is_now(self) -> tuple[Entity, frozenset[str]]:
        """The source without the fields that it has no more and that are read as null. Raises BulkFault when no row may move."""
        source = self._flow.source
        look = functools.partial(self._notes.look, self._book.run, self._port.connection, self._book.journal)
        nulls: frozenset[str] = await in_gate(self._port, self._lane, look)
        left = {name: field for name, field in source.fields.items() if name not in nulls}
        return (msgspec.structs.replace(source, fields=left) if nulls else source), nulls

    def _request(self, source: Entity) -> BulkRead:
        run, spec = self._book.run, self._flow.spec.read
        return BulkRead(
            position=run.position,
            rows=spec.chunk,
            cursor=spec.cursor,
            since=typed(run.since, source, spec.cursor) if spec.cursor else None,
            as_written=self._flow.as_written(),
            partitions=spec.partitions,
        )

    async def _wait(self, batch: Batch, *, is_first: bool) -> None:
        """It makes ready elsewhere what it was asked for. Where, is kept: a run that is cut off asks there again. Behind rows that are
        still on their way to the targets it is not."""
        if is_first and batch.position != self._book.run.position:
            self._book.run.position = batch.position
            await self._book.save()
        await self._pause(batch.after_s, f"{self._flow.source.name} is being made ready by its system")
