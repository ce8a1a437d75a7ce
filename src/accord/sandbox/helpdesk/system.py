"""Tickets and their replies. A change and its webhooks are committed together.

The answer to a ``ticket.created`` webhook, when it is a JSON object, becomes the ticket's ``context``: what the agent sees beside it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Coroutine
from typing import Annotated, Any, Literal

import msgspec

from accord.sandbox.api import RestSystem, decode_body, page_of, whole_number
from accord.sandbox.http_server import Refusal, Request, Response, json_response
from accord.sandbox.store import now_text
from accord.sandbox.system import Config
from accord.sandbox.webhooks import SCHEMA as WEBHOOK_SCHEMA
from accord.sandbox.webhooks import Delivery, Webhooks

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=10_000)]
Topic = Literal["ticket.created", "ticket.updated"]
Status = Literal["open", "pending", "solved"]


class Requester(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    email: Annotated[str, msgspec.Meta(pattern=r"^[^@\s]+@[^@\s]+$", max_length=320)]
    name: Annotated[str, msgspec.Meta(max_length=200)] | None = None


class NewTicket(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    subject: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    description: Text
    requester: Requester
    priority: Literal["low", "normal", "high"] = "normal"


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    status: Status | None = None
    priority: Literal["low", "normal", "high"] | None = None


class NewReply(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    text: Text
    author: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    is_public: bool = True


class NewWebhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/]+", max_length=2_000)]
    topics: Annotated[tuple[Topic, ...], msgspec.Meta(min_length=1, max_length=10)]


class Helpdesk(RestSystem):
    OPENAPI = "accord.sandbox.helpdesk"
    SCHEMA = (
        """
    CREATE TABLE IF NOT EXISTS tickets (id INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT NOT NULL, body BLOB NOT NULL);
    CREATE INDEX IF NOT EXISTS tickets_email ON tickets (email);
    """
        + WEBHOOK_SCHEMA
    )
    STATE = {
        "tickets": "SELECT body FROM tickets ORDER BY id",
        "hooks": "SELECT id, topic, url FROM hooks ORDER BY id",
        "deliveries": "SELECT id, topic, event_id, attempts, is_open, last_answer FROM deliveries ORDER BY id",
    }

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.webhooks = Webhooks(self.store, self.faults, self.sign, self.dice, self.settings, self.on_answer)
        self.router.add("POST", "/tickets", self.create)
        self.router.add("GET", "/tickets", self.list_tickets)
        self.router.add("GET", "/tickets/{id}", self.get_ticket)
        self.router.add("PATCH", "/tickets/{id}", self.change)
        self.router.add("POST", "/tickets/{id}/replies", self.reply)
        self.router.add("POST", "/webhooks", self.create_webhook)
        self.router.add("GET", "/webhooks", self.list_webhooks)

    def authorize(self, request: Request) -> None:
        if request.headers.get("x-api-key") != self.config.credentials["api_key"]:
            raise Refusal(401, "unauthorized", "Send the header X-Api-Key.")

    def clock_moved(self) -> None:
        self.webhooks.wake()

    def background(self) -> list[Coroutine[Any, Any, None]]:
        return [self.webhooks.run()]

    def sign(self, delivery: Delivery) -> dict[str, str]:
        digest = hmac.new(delivery.secret.encode(), delivery.body, hashlib.sha256).hexdigest()
        return {
            "X-Helpdesk-Signature": f"sha256={digest}",
            "X-Helpdesk-Event-Id": delivery.event_id,
            "X-Helpdesk-Topic": delivery.topic,
        }

    def on_answer(self, delivery: Delivery, body: bytes) -> None:
        if delivery.topic != "ticket.created":
            return
        try:
            context = msgspec.json.decode(body)
        except msgspec.DecodeError:
            return  # an acknowledgement without content
        if isinstance(context, dict):
            with self.store.transaction():
                ticket = self._ticket(str(msgspec.json.decode(delivery.body)["ticket"]["id"]))
                self._keep({**ticket, "context": context})

    # --- tickets

    def create(self, request: Request) -> Response:
        asked = decode_body(request, NewTicket)
        return self.store.once(
            "tickets", request.headers.get("idempotency-key", ""), request, lambda: self._create(asked)
        )

    def _create(self, asked: NewTicket) -> Response:
        sql = "INSERT INTO tickets (email, body) VALUES (?, '')"
        number = int(self.store.db.execute(sql, (asked.requester.email,)).lastrowid or 0)
        now = now_text()
        ticket = {
            "id": number, "priority": "normal", **msgspec.to_builtins(asked), "status": "open", "replies": [], "context": None,
            "created_at": now, "updated_at": now,
        }  # fmt: skip
        ticket["requester"] = {"name": None, **ticket["requester"]}
        self._keep(ticket)
        self._emit("ticket.created", ticket)
        return json_response(ticket, 201)

    def change(self, request: Request) -> Response:
        asked = decode_body(request, Change)
        given = {name: value for name, value in msgspec.to_builtins(asked).items() if value is not None}
        with self.store.transaction():
            ticket = self._found(request) | given | {"updated_at": now_text()}
            self._keep(ticket)
            self._emit("ticket.updated", ticket)
        return json_response(ticket)

    def reply(self, request: Request) -> Response:
        """201 with the ticket. The same Idempotency-Key again adds nothing."""
        asked = decode_body(request, NewReply)
        self._found(request)
        return self.store.once(
            "replies", request.headers.get("idempotency-key", ""), request, lambda: self._reply(request, asked)
        )

    def _reply(self, request: Request, asked: NewReply) -> Response:
        ticket, now = self._found(request), now_text()
        made = {"text": asked.text, "author": asked.author, "is_public": asked.is_public, "created_at": now}
        ticket |= {"replies": [*ticket["replies"], made], "updated_at": now}
        self._keep(ticket)
        self._emit("ticket.updated", ticket)
        return json_response(ticket, 201)

    def get_ticket(self, request: Request) -> Response:
        return json_response(self._found(request))

    def list_tickets(self, request: Request) -> Response:
        query = request.query
        where, values = ("WHERE email = ?", (query["email"],)) if "email" in query else ("", ())
        total = self.store.number(f"SELECT count(*) FROM tickets {where}", *values)  # noqa: S608
        page, per_page = whole_number(query, "page", 1, 1, 1_000_000), whole_number(query, "per_page", 50, 1, 500)
        sql = f"SELECT body FROM tickets {where} ORDER BY id LIMIT ? OFFSET ?"  # noqa: S608
        rows = self.store.all(sql, *values, per_page, (page - 1) * per_page)
        return json_response(page_of("tickets", [msgspec.json.decode(row[0]) for row in rows], page, per_page, total))

    def _found(self, request: Request) -> dict[str, Any]:
        return self._ticket(request.parameters["id"])

    def _ticket(self, text: str) -> dict[str, Any]:
        is_number = text.isascii() and text.isdigit() and len(text) < 16
        row = self.store.one("SELECT body FROM tickets WHERE id = ?", int(text)) if is_number else None
        if row is None:
            raise Refusal(404, "unknown-ticket", f"There is no ticket {text[:100]!r}.")
        found: dict[str, Any] = msgspec.json.decode(row[0])
        return found

    def _keep(self, ticket: dict[str, Any]) -> None:
        self.store.db.execute("UPDATE tickets SET body = ? WHERE id = ?", (msgspec.json.encode(ticket), ticket["id"]))

    def _emit(self, topic: str, ticket: dict[str, Any]) -> None:
        if self.webhooks.is_wanted(topic):
            told = {name: value for name, value in ticket.items() if name != "context"}
            self.webhooks.emit(topic, msgspec.json.encode({"topic": topic, "ticket": told}))

    # --- webhooks

    def create_webhook(self, request: Request) -> Response:
        asked = decode_body(request, NewWebhook)
        made = self.webhooks.register(asked.topics, asked.url, self.config.credentials["webhook_secret"])
        return json_response({"webhooks": made}, 201)

    def list_webhooks(self, request: Request) -> Response:
        return json_response({"webhooks": self.webhooks.registered()})
