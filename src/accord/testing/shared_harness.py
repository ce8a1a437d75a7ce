"""What the suite of shared stores needs of a store's author, and how it speaks to members."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from accord.errors import JournalError
from accord.journal.operations import Accept
from accord.journal.shared import PARTS, Member, SharedStore, part_of
from accord.record import Message
from accord.testing.journal_suite import message

FINAL_WAIT_S = 20.0
EVERY_PART = range(PARTS)
GONE_CODES = {"journal.fenced", "journal.unavailable", "journal.closed"}


class SharedHarness(Protocol):
    """How the suite makes members and lets them die. All of one test share one storage; every member is a process of its own, as
    far as the store can tell."""

    async def start(self) -> None:
        """Fresh, empty storage."""
        ...

    def member(self) -> SharedStore:
        """The store of one more process, not opened yet. A member that was killed is gone at the next census of another."""
        ...

    async def kill(self, store: SharedStore) -> None:
        """Its process dies at this moment: whatever it held open is closed, nothing is tidied up."""
        ...

    async def silence(self, store: SharedStore, seconds: float) -> None:
        """As though the member had not been heard of for so long, while its process and connections live on."""
        ...

    def violations(self) -> list[str]:
        """What an invariant checker finds wrong with the storage; empty when there is no checker."""
        ...

    async def stop(self) -> None: ...


def key_of(part: int, flow: str = "f") -> str:
    """A key of that part."""
    return next(key for key in (f"k{n}" for n in range(100_000)) if part_of(flow, key) == part)


def in_part(number: int, part: int, **values: Any) -> Message:
    return message(number, key=key_of(part), **values)


async def code_of(work: Awaitable[Any]) -> str:
    """The code of the JournalError it raises; empty when it raises none."""
    try:
        await work
    except JournalError as error:
        return error.code
    return ""


async def final_code(work: Callable[[], Awaitable[Any]]) -> str:
    """As ``code_of``, once the store knows what has become of it (until then it may say ``journal.unavailable``)."""
    async with asyncio.timeout(FINAL_WAIT_S):
        while (code := await code_of(work())) == "journal.unavailable":  # noqa: ASYNC110 (a store tells by its next answer)
            await asyncio.sleep(0.01)
    return code


class Company:
    """The members of one test, for closing them all."""

    def __init__(self, harness: SharedHarness) -> None:
        self.harness = harness
        self.stores: list[SharedStore] = []

    async def join(self, name: str = "") -> tuple[SharedStore, Member]:
        store = self.harness.member()
        await store.open()
        self.stores.append(store)
        number = len(self.stores)
        return store, await store.join(name or f"node {number}", f"127.0.0.1:{8000 + number}")

    async def two(self) -> tuple[SharedStore, SharedStore]:
        """The first has the even parts, the second the odd ones."""
        (first, _), (second, _) = await self.join(), await self.join()
        await first.take(range(0, PARTS, 2))
        await second.take(range(1, PARTS, 2))
        return first, second

    async def succeed(self, store: SharedStore, other: SharedStore, parts: Sequence[int] = EVERY_PART) -> None:
        """The process of one dies, another takes its parts."""
        await self.harness.kill(store)
        self.stores.remove(store)
        await other.census()
        await other.take(parts)


async def accept(store: SharedStore, *messages: Message) -> list[int]:
    (accepted,) = await store.commit([Accept(tuple(messages))])
    return [one.seq for one in accepted.messages]
