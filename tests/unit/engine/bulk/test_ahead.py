"""Items made ahead: never more than asked for, and whoever leaves is not held up by what the maker has still to say."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Generator

import pytest

from accord.engine.bulk.reading import ahead
from accord.sdk.ahead import read_ahead

DEADLINE_S = 20


def test_never_more_are_made_than_asked_for() -> None:
    async def work() -> None:
        made: list[int] = []

        async def numbers() -> AsyncIterator[int]:
            for number in range(10):
                made.append(number)
                yield number

        taken = 0
        async for number in ahead(numbers(), 2):
            assert number == taken
            taken += 1
            while len(made) < min(taken + 2, 10):
                await asyncio.sleep(0)
            assert len(made) <= taken + 2
        assert taken == 10

    asyncio.run(asyncio.wait_for(work(), DEADLINE_S))


def test_who_leaves_does_not_wait_for_a_source_that_fails_as_it_is_closed() -> None:
    async def work() -> None:
        async def numbers() -> AsyncIterator[int]:
            try:
                for number in range(10):
                    yield number
            finally:
                raise ValueError("cannot be closed now")

        found = ahead(numbers(), 1)
        assert await anext(found) == 0
        await asyncio.sleep(0)  # the next one is made, and waits to be taken
        await found.aclose()

    asyncio.run(asyncio.wait_for(work(), DEADLINE_S))


def test_a_source_that_is_cancelled_from_within_is_heard_of() -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1
        raise asyncio.CancelledError

    async def work() -> None:
        found = ahead(numbers(), 1)
        assert await anext(found) == 1
        with pytest.raises(asyncio.CancelledError):
            await anext(found)

    asyncio.run(asyncio.wait_for(work(), DEADLINE_S))


def test_a_blocking_source_is_closed_when_its_thread_has_left_it() -> None:
    is_in, may_go = threading.Event(), threading.Event()
    closed: list[bool] = []

    def numbers() -> Generator[int, None, None]:
        try:
            yield 1
            is_in.set()
            assert may_go.wait(DEADLINE_S)
            yield 2
        finally:
            closed.append(may_go.is_set())

    async def work() -> None:
        found = read_ahead(numbers())
        assert await anext(found) == 1
        taking = asyncio.ensure_future(anext(found))
        assert await asyncio.to_thread(is_in.wait, DEADLINE_S)
        taking.cancel()
        await asyncio.wait([taking], timeout=0.1)
        assert not taking.done()
        may_go.set()
        with pytest.raises(asyncio.CancelledError):
            await taking
        assert closed == [True]

    asyncio.run(asyncio.wait_for(work(), DEADLINE_S))
