"""Shipments: created, dispatched, delivered. A change of state and its webhooks are committed together."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import Coroutine
from typing import Annotated, Any, Literal

import msgspec

from accord.sandbox import clock
from accord.sandbox.api import RestSystem, decode_body, page_of, whole_number
from accord.sandbox.http_server import Refusal, Request, Response, json_response
from accord.sandbox.store import now_text
from accord.sandbox.system import Config, setting
from accord.sandbox.webhooks import SCHEMA as WEBHOOK_SCHEMA
from accord.sandbox.webhooks import Delivery, Webhooks

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Topic = Literal["shipment.created", "shipment.dispatched", "shipment.delivered"]
MOVED_AT_ONCE_MAX = 500  # shipments moved in one transaction


class Address(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    street: Text
    city: Text
    country: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")]
    postal_code: Annotated[str, msgspec.Meta(max_length=20)] | None = None
    province: Annotated[str, msgspec.Meta(max_length=100)] | None = None


class Parcel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sku: Text
    pieces: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class NewShipment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    reference: Text
    recipient: Text
    address: Address
    parcels: Annotated[tuple[Parcel, ...], msgspec.Meta(min_length=1, max_length=10_000)]
    email: Annotated[str, msgspec.Meta(max_length=320)] | None = None
    phone: Annotated[str, msgspec.Meta(max_length=40)] | None = None
    ship_by: Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = None


class NewWebhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/]+", max_length=2_000)]
    topics: Annotated[tuple[Topic, ...], msgspec.Meta(min_length=1, max_length=10)]


class Shipping(RestSystem):
    OPENAPI = "accord.sandbox.shipping"
    SCHEMA = (
        """
    CREATE TABLE IF NOT EXISTS shipments (
      id INTEGER PRIMARY KEY AUTOINCREMENT, reference TEXT NOT NULL, status TEXT NOT NULL, body BLOB NOT NULL,
      next_at REAL);
    CREATE INDEX IF NOT EXISTS shipments_reference ON shipments (reference);
    CREATE INDEX IF NOT EXISTS shipments_next ON shipments (next_at) WHERE next_at IS NOT NULL;
    """
        + WEBHOOK_SCHEMA
    )
    STATE = {
        "shipments": "SELECT body FROM shipments ORDER BY id",
        "hooks": "SELECT id, topic, url FROM hooks ORDER BY id",
        "deliveries": "SELECT id, topic, event_id, attempts, is_open, last_answer FROM deliveries ORDER BY id",
    }

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.dispatch_after_s = setting(self.settings, "dispatch_after_s", 2.0)
        self.deliver_after_s = setting(self.settings, "deliver_after_s", 5.0)
        self.webhooks = Webhooks(self.store, self.faults, self.sign, self.dice, self.settings)
        self._moved = asyncio.Event()
        self.router.add("POST", "/shipments", self.create)
        self.router.add("GET", "/shipments", self.list_shipments)
        self.router.add("GET", "/shipments/{id}", self.get_shipment)
        self.router.add("POST", "/webhooks", self.create_webhook)
        self.router.add("GET", "/webhooks", self.list_webhooks)
        self.router.add("DELETE", "/webhooks/{id}", self.delete_webhook)

    def authorize(self, request: Request) -> None:
        if request.headers.get("x-api-key") != self.config.credentials["api_key"]:
            raise Refusal(401, "unauthorized", "Send the header X-Api-Key.")

    def background(self) -> list[Coroutine[Any, Any, None]]:
        return [self.webhooks.run(), self._move_parcels()]

    def sign(self, delivery: Delivery) -> dict[str, str]:
        digest = hmac.new(delivery.secret.encode(), delivery.body, hashlib.sha256).hexdigest()
        return {
            "X-Shipping-Signature": f"sha256={digest}",
            "X-Shipping-Event-Id": delivery.event_id,
            "X-Shipping-Topic": delivery.topic,
            "X-Shipping-Attempt": str(delivery.attempts + 1),
        }

    # --- shipments

    def create(self, request: Request) -> Response:
        """201 with the shipment. Two requests without a key make two shipments, as a carrier would."""
        asked = decode_body(request, NewShipment)
        key = "" if self.settings.get("ignore_idempotency") else request.headers.get("idempotency-key", "")
        return self.store.once("shipments", key, request, lambda: self._create(asked))

    def _create(self, asked: NewShipment) -> Response:
        db = self.store.db
        due = clock.time() + self.dispatch_after_s
        sql = "INSERT INTO shipments (reference, status, body, next_at) VALUES (?, 'created', '', ?)"
        number = int(db.execute(sql, (asked.reference, due)).lastrowid or 0)
        shipment = {
            "id": f"SHP-{number:08d}",
            "status": "created",
            "tracking_number": f"ACC{number:09d}{number * 7 % 10}",
            **msgspec.to_builtins(asked),
            "created_at": now_text(),
            "dispatched_at": None,
            "delivered_at": None,
        }
        body = msgspec.json.encode(shipment)
        db.execute("UPDATE shipments SET body = ? WHERE id = ?", (body, number))
        self._emit("shipment.created", shipment)
        self._moved.set()
        return Response(201, body, headers=(("Location", f"/shipments/{shipment['id']}"),))

    def list_shipments(self, request: Request) -> Response:
        query = request.query
        where, values = ("WHERE reference = ?", (query["reference"],)) if "reference" in query else ("", ())
        total = self.store.number(f"SELECT count(*) FROM shipments {where}", *values)  # noqa: S608
        page, per_page = whole_number(query, "page", 1, 1, 1_000_000), whole_number(query, "per_page", 50, 1, 500)
        sql = f"SELECT body FROM shipments {where} ORDER BY id LIMIT ? OFFSET ?"  # noqa: S608
        rows = self.store.all(sql, *values, per_page, (page - 1) * per_page)
        return json_response(page_of("shipments", [msgspec.json.decode(row[0]) for row in rows], page, per_page, total))

    def get_shipment(self, request: Request) -> Response:
        name = request.parameters["id"]
        digits = name.removeprefix("SHP-")
        is_number = digits.isascii() and digits.isdigit() and len(digits) < 16
        row = self.store.one("SELECT body FROM shipments WHERE id = ?", int(digits)) if is_number else None
        if row is None:
            raise Refusal(404, "unknown-shipment", f"There is no shipment {name[:100]!r}.")
        return Response(200, row[0])

    # --- parcels on the road

    def clock_moved(self) -> None:
        self._moved.set()
        self.webhooks.wake()

    async def _move_parcels(self) -> None:
        while True:
            self._moved.clear()
            row = self.store.one("SELECT min(next_at) FROM shipments WHERE next_at IS NOT NULL")
            wait_s = None if row is None or row[0] is None else row[0] - clock.time()
            if wait_s is not None and wait_s <= 0:
                self._move_due()
                await asyncio.sleep(0)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._moved.wait()

    def _move_due(self) -> None:
        now = clock.time()
        with self.store.transaction() as db:
            sql = "SELECT id, status, body FROM shipments WHERE next_at <= ? ORDER BY next_at LIMIT ?"
            for number, status, body in self.store.all(sql, now, MOVED_AT_ONCE_MAX):
                following = "dispatched" if status == "created" else "delivered"
                shipment = msgspec.json.decode(body)
                shipment["status"] = following
                shipment[f"{following}_at"] = now_text()
                next_at = now + self.deliver_after_s if following == "dispatched" else None
                sql = "UPDATE shipments SET status = ?, body = ?, next_at = ? WHERE id = ?"
                db.execute(sql, (following, msgspec.json.encode(shipment), next_at, number))
                self._emit(f"shipment.{following}", shipment)

    def _emit(self, topic: str, shipment: dict[str, Any]) -> None:
        if self.webhooks.is_wanted(topic):
            event = {"topic": topic, "occurred_at": now_text(), "shipment": shipment}
            self.webhooks.emit(topic, msgspec.json.encode(event))

    # --- webhooks

    def create_webhook(self, request: Request) -> Response:
        """One registration for each topic; the signing secret is the account's."""
        asked = decode_body(request, NewWebhook)
        made = self.webhooks.register(asked.topics, asked.url, self.config.credentials["webhook_secret"])
        return json_response({"webhooks": made}, 201)

    def list_webhooks(self, request: Request) -> Response:
        return json_response({"webhooks": self.webhooks.registered()})

    def delete_webhook(self, request: Request) -> Response:
        text = request.parameters["id"]
        is_number = text.isascii() and text.isdigit() and len(text) < 16
        if not is_number or self.store.db.execute("DELETE FROM hooks WHERE id = ?", (int(text),)).rowcount == 0:
            raise Refusal(404, "unknown-webhook", f"There is no webhook {text[:100]!r}.")
        return Response(204)
