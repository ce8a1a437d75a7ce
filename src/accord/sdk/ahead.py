"""Reading ahead: the next item of a blocking generator is made on a thread while the last one is worked on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, TypeVar

T = TypeVar("T")


async def read_ahead(
    source: Generator[T, None, None], run: Callable[..., Awaitable[Any]] = asyncio.to_thread
) -> AsyncGenerator[T, None]:
    """The items of ``source``, one made ahead. ``run`` runs a function on a thread. ``source`` is closed at the end, on a thread, when no
    other is in it any more: who takes the items may be cancelled while one is made."""
    ahead: asyncio.Future[T | None] = asyncio.ensure_future(run(next, source, None))
    try:
        while (item := await asyncio.shield(ahead)) is not None:
            ahead = asyncio.ensure_future(run(next, source, None))
            yield item
    finally:
        await asyncio.wait([ahead])
        if not ahead.cancelled():
            ahead.exception()  # asked, so that it is not told as never retrieved
        await asyncio.shield(asyncio.ensure_future(run(source.close)))
