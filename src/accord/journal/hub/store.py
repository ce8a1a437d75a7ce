"""The journal as a worker process has it: a SharedStore whose hub is at the other end of a socket pair.

When the hub is gone, so is this process's right to work: ``on_lost`` is called, and what waited for an answer waits for ever, because
whether it was committed is not known here. The process must end; the journal tells its successor.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import msgspec

from accord.errors import JournalError, JournalFull
from accord.journal.faults import closed, operation_fault
from accord.journal.hub.frames import (
    RESULTS,
    SOCKET_BUFFER_BYTES,
    Ask,
    Commit,
    Failed,
    Frames,
    decode_answer,
    decode_raws,
    encode,
    fenced,
    outcome_of,
)
from accord.journal.operations import DeadLetterRow, Lease, MessageRow, Operation
from accord.journal.search import ANY, InDoubt, MessageQuery
from accord.journal.shared import Census, Member


class HubStore:
    """A member. ``end``: this process's end of the socket pair."""

    is_async: ClassVar[Literal[True]] = True
    is_shared: ClassVar[Literal[True]] = True

    def __init__(self, end: socket.socket, *, on_lost: Callable[[], None] = lambda: None) -> None:
        self._end = end
        self._on_lost = on_lost
        self._frames: Frames | None = None
        self._gone: JournalError | None = None
        self._is_closing = False
        self._number = 0
        self._waiting: dict[int, tuple[Callable[[msgspec.Raw], Any], asyncio.Future[Any]]] = {}

    def unavailable(self) -> JournalError | None:
        return self._gone

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            self._end.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
        _, self._frames = await loop.create_unix_connection(lambda: Frames(self._received, self._lost), sock=self._end)

    async def close(self) -> None:
        self._is_closing = True
        self._gone = self._gone or closed()
        if self._frames is not None:
            await self._frames.close()

    async def commit(self, operations: Sequence[Operation]) -> list[Any]:
        def results(raw: msgspec.Raw) -> list[Any]:
            return [outcome_of(operation, one) for operation, one in zip(operations, decode_raws(raw), strict=True)]

        committed: list[Any] = await self._send(results, lambda number: Commit(number, list(operations)))
        return committed

    async def join(self, name: str, address: str) -> Member:
        member: Member = await self._ask("join", name, address, os.getpid())
        return member

    async def census(self) -> Census:
        census: Census = await self._ask("census")
        return census

    async def take(self, parts: Sequence[int]) -> frozenset[int]:
        taken: frozenset[int] = await self._ask("take", list(parts))
        return taken

    async def give(self, parts: Sequence[int], to: int) -> None:
        await self._ask("give", list(parts), to)

    async def leave(self) -> None:
        await self._ask("leave")

    async def open_counts(self, parts: Sequence[int]) -> dict[str, int]:
        counts: dict[str, int] = await self._ask("open_counts", list(parts))
        return counts

    async def lease(self, flow: str, after_seq: int, limit: int) -> list[Lease]:
        leases: list[Lease] = await self._ask("lease", flow, after_seq, limit)
        return leases

    async def next_of_keys(self, flow: str, keys: Sequence[str]) -> list[Lease | None]:
        leases: list[Lease | None] = await self._ask("next_of_keys", flow, list(keys))
        return leases

    async def counts(self) -> dict[tuple[str, str], int]:
        return {(flow, state): count for flow, state, count in await self._ask("counts")}

    async def held(self) -> dict[str, int]:
        held: dict[str, int] = await self._ask("held")
        return held

    async def next_due(self) -> dt.datetime | None:
        due: dt.datetime | None = await self._ask("next_due")
        return due

    async def cursor(self, name: str) -> bytes | None:
        position: bytes | None = await self._ask("cursor", name)
        return position

    async def references(self, queries: Sequence[tuple[str, str, str]]) -> list[str | None]:
        keys: list[str | None] = await self._ask("references", list(queries))
        return keys

    async def dead_letters(self, *, flow: str = "", after_seq: int = 0, limit: int = 100) -> list[DeadLetterRow]:
        rows: list[DeadLetterRow] = await self._ask("dead_letters", flow, after_seq, limit)
        return rows

    async def messages(self, query: MessageQuery = ANY) -> list[MessageRow]:
        rows: list[MessageRow] = await self._ask("messages", query)
        return rows

    async def in_doubt(self) -> list[InDoubt]:
        found: list[InDoubt] = await self._ask("in_doubt")
        return found

    async def size_bytes(self) -> int:
        size: int = await self._ask("size_bytes")
        return size

    async def _ask(self, method: str, *values: Any) -> Any:
        return await self._send(RESULTS[method], lambda number: Ask(number, method, msgspec.Raw(encode(values))))

    def _send(
        self, decode: Callable[[msgspec.Raw], Any], request: Callable[[int], msgspec.Struct]
    ) -> asyncio.Future[Any]:
        if self._gone is not None:
            raise self._gone
        if self._frames is None:
            raise closed()
        self._number += 1
        try:
            self._frames.send(request(self._number))
        except (TypeError, ValueError, OverflowError) as error:
            raise operation_fault(error) from error
        future = asyncio.get_running_loop().create_future()
        self._waiting[self._number] = (decode, future)
        return future

    def _received(self, frame: bytes) -> None:
        answer = decode_answer(frame)
        decode, future = self._waiting.pop(answer.number)
        if type(answer) is Failed:
            error = _error_of(answer)
            if answer.code == "journal.fenced":
                self._gone = error
            if not future.done():
                future.set_exception(error)
        elif not future.done():
            future.set_result(decode(answer.value))

    def _lost(self) -> None:
        if self._is_closing:
            return
        self._gone = fenced("the process that writes the journal has ended")
        self._on_lost()


def _error_of(failed: Failed) -> JournalError:
    kind = JournalFull if failed.code == JournalFull.code else JournalError
    return kind(failed.what, mend=failed.mend, code=failed.code)
