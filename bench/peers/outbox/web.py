"""The usual outbox: the webhook is a row in PostgreSQL before it is answered; ``relay.py`` delivers the rows."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

import asyncpg
from fastapi import FastAPI, Request, Response
from orders import Order, is_signed
from pydantic import ValidationError

TABLE = """
CREATE TABLE IF NOT EXISTS outbox (
    id bigserial PRIMARY KEY, event_id text NOT NULL UNIQUE, payload bytea NOT NULL, attempts int NOT NULL DEFAULT 0,
    next_attempt timestamptz NOT NULL DEFAULT now(), delivered_at timestamptz);
CREATE INDEX IF NOT EXISTS outbox_open ON outbox (next_attempt, id) WHERE delivered_at IS NULL"""


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=4, max_size=16) as pool:
        await pool.execute(TABLE)
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/hooks/shop")
async def order_created(request: Request) -> Response:
    body = await request.body()
    if not is_signed(body, request.headers.get("x-shopify-hmac-sha256", "")):
        return Response(status_code=401)
    try:
        Order.model_validate_json(body)
    except ValidationError:
        return Response(status_code=422)
    await request.app.state.pool.execute(
        "INSERT INTO outbox (event_id, payload) VALUES ($1, $2) ON CONFLICT (event_id) DO NOTHING",
        request.headers["x-shopify-webhook-id"],
        body,
    )
    return Response(status_code=200)
