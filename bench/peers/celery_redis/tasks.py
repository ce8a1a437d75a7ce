"""The delivery as a Celery task that is acknowledged late: Redis has it until the target has it."""

from __future__ import annotations

import os

import requests
from celery import Celery
from orders import TARGET, Order, headers_of, shipment_of

app = Celery("orders", broker=os.environ["REDIS_URL"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=4,
    broker_transport_options={"visibility_timeout": 15},  # a task of a killed worker comes back after this
    broker_connection_retry_on_startup=True,
)
http = requests.Session()


@app.task(
    autoretry_for=(requests.RequestException,),
    retry_backoff=1,
    retry_backoff_max=10,
    retry_jitter=True,
    max_retries=None,
)
def deliver(body: str) -> None:
    order = Order.model_validate_json(body)
    http.post(TARGET, data=shipment_of(order).encode(), headers=headers_of(order), timeout=10).raise_for_status()
