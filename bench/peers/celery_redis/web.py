"""Answers when Redis, which syncs every write, has the task."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from orders import Order, is_signed
from pydantic import ValidationError
from tasks import deliver

app = FastAPI()


@app.post("/hooks/shop")
async def order_created(request: Request) -> Response:
    body = await request.body()
    if not is_signed(body, request.headers.get("x-shopify-hmac-sha256", "")):
        return Response(status_code=401)
    try:
        Order.model_validate_json(body)
    except ValidationError:
        return Response(status_code=422)
    await run_in_threadpool(deliver.delay, body.decode())
    return Response(status_code=200)
