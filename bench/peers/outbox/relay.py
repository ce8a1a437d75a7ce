"""Delivers what is in the outbox: a batch of rows is locked, sent side by side, and marked, in one transaction."""

from __future__ import annotations

import asyncio
import os

import aiohttp
import asyncpg
import uvloop
from orders import TARGET, Order, headers_of, shipment_of

BATCH = 100
POLL_S = 0.05
TAKE = """SELECT id, payload FROM outbox WHERE delivered_at IS NULL AND next_attempt <= now()
    ORDER BY next_attempt, id LIMIT $1 FOR UPDATE SKIP LOCKED"""
LATER = """UPDATE outbox SET attempts = attempts + 1,
    next_attempt = now() + least(power(2, attempts) * 0.2, 10) * interval '1 second' WHERE id = ANY($1)"""


async def deliver(http: aiohttp.ClientSession, payload: bytes) -> bool:
    order = Order.model_validate_json(payload)
    try:
        async with http.post(TARGET, data=shipment_of(order), headers=headers_of(order)) as answer:
            return answer.status < 300
    except (aiohttp.ClientError, TimeoutError):
        return False


async def one_batch(pool: asyncpg.Pool, http: aiohttp.ClientSession) -> int:
    async with pool.acquire() as db, db.transaction():
        rows = await db.fetch(TAKE, BATCH)
        outcomes = await asyncio.gather(*(deliver(http, row["payload"]) for row in rows))
        done = [row["id"] for row, is_done in zip(rows, outcomes, strict=True) if is_done]
        failed = [row["id"] for row, is_done in zip(rows, outcomes, strict=True) if not is_done]
        if done:
            await db.execute("UPDATE outbox SET delivered_at = now() WHERE id = ANY($1)", done)
        if failed:
            await db.execute(LATER, failed)
    return len(rows)


async def main() -> None:
    timeout = aiohttp.ClientTimeout(total=10)
    async with (
        asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, max_size=4) as pool,
        aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=BATCH)) as http,
    ):
        while True:
            try:
                taken = await one_batch(pool, http)
            except asyncpg.UndefinedTableError:  # the web process makes it
                taken = 0
            if taken == 0:
                await asyncio.sleep(POLL_S)


if __name__ == "__main__":
    uvloop.run(main())
