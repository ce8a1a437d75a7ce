"""The order as a durable workflow: answered when it is started, delivered in a step with retries, resumed after a crash."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

import aiohttp
import uvicorn
from dbos import DBOS, DBOSConfig, SetWorkflowID
from fastapi import FastAPI, Request, Response
from orders import TARGET, Order, headers_of, is_signed, shipment_of
from pydantic import ValidationError


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    DBOS.launch()
    yield
    DBOS.destroy()


app = FastAPI(lifespan=lifespan)
config: DBOSConfig = {
    "name": "orders",
    "system_database_url": os.environ["DATABASE_URL"],
    "application_version": "1",
    "log_level": "WARNING",
    "run_admin_server": False,
}
DBOS(config=config)
session: list[aiohttp.ClientSession] = []


@DBOS.step(retries_allowed=True, interval_seconds=0.5, backoff_rate=2.0, max_attempts=10)
async def send(body: str) -> None:
    if not session:
        session.append(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)))
    order = Order.model_validate_json(body)
    async with session[0].post(TARGET, data=shipment_of(order), headers=headers_of(order)) as answer:
        answer.raise_for_status()


@DBOS.workflow()
async def deliver(body: str) -> None:
    await send(body)


@app.post("/hooks/shop")
async def order_created(request: Request) -> Response:
    body = await request.body()
    if not is_signed(body, request.headers.get("x-shopify-hmac-sha256", "")):
        return Response(status_code=401)
    try:
        Order.model_validate_json(body)
    except ValidationError:
        return Response(status_code=422)
    with SetWorkflowID(request.headers["x-shopify-webhook-id"]):
        await DBOS.start_workflow_async(deliver, body.decode())
    return Response(status_code=200)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning", access_log=False)
