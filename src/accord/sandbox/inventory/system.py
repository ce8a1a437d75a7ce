"""Items and their movements. A movement and its Idempotency-Key are committed together."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from accord.sandbox.api import RestSystem, decode_body, page_of, whole_number
from accord.sandbox.catalogue import SHOP_CURRENCY, variants
from accord.sandbox.http_server import Refusal, Request, Response, json_response
from accord.sandbox.store import now_text
from accord.sandbox.system import Config

QUANTITY_MAX = 1_000_000_000


class Decrease(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    by: Annotated[int, msgspec.Meta(ge=1, le=QUANTITY_MAX)]
    reference: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Inventory(RestSystem):
    OPENAPI = "accord.sandbox.inventory"
    SCHEMA = """
    CREATE TABLE IF NOT EXISTS items (
      sku TEXT PRIMARY KEY, name TEXT NOT NULL, on_hand INTEGER NOT NULL CHECK (on_hand >= 0), unit_cost TEXT NOT NULL,
      currency TEXT NOT NULL, updated_at TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS items_updated ON items (updated_at, sku);
    CREATE TABLE IF NOT EXISTS movements (
      id INTEGER PRIMARY KEY AUTOINCREMENT, sku TEXT NOT NULL, by INTEGER NOT NULL, reference TEXT NOT NULL,
      on_hand_after INTEGER NOT NULL, created_at TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS movements_reference ON movements (reference);
    """
    STATE = {
        "items": "SELECT sku, name, on_hand, unit_cost, currency, updated_at FROM items ORDER BY sku",
        "movements": "SELECT id, sku, by, reference, on_hand_after, created_at FROM movements ORDER BY id",
    }

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.is_key_ignored = bool(self.settings.get("ignore_idempotency", False))
        self.router.add("GET", "/items", self.list_items)
        self.router.add("GET", "/items/{sku}", self.get_item)
        self.router.add("POST", "/items/{sku}/decrease", self.decrease)
        self.router.add("GET", "/movements", self.list_movements)

    def authorize(self, request: Request) -> None:
        if request.headers.get("authorization") != f"Bearer {self.config.credentials['token']}":
            challenge = (("WWW-Authenticate", 'Bearer realm="inventory"'),)
            raise Refusal(401, "unauthorized", "Send the header Authorization: Bearer <token>.", headers=challenge)

    def seed(self) -> None:
        stock, now = int(self.settings.get("stock", 1_000_000)), now_text()
        rows = [
            (v.sku, f"{v.sku} {v.title}", stock, str(v.price / 2), SHOP_CURRENCY, now)
            for v in variants(self.config.seed)
        ]
        self.store.db.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?)", rows)

    def list_items(self, request: Request) -> Response:
        query = request.query
        since = query.get("updated_since")
        if since is not None:
            since = _time(since)
        where, values = ("WHERE updated_at >= ?", (since,)) if since else ("", ())
        total = self.store.number(f"SELECT count(*) FROM items {where}", *values)  # noqa: S608
        page, per_page = whole_number(query, "page", 1, 1, 1_000_000), whole_number(query, "per_page", 50, 1, 500)
        sql = f"SELECT sku, name, on_hand, unit_cost, currency, updated_at FROM items {where} ORDER BY updated_at, sku LIMIT ? OFFSET ?"  # noqa: S608
        rows = self.store.all(sql, *values, per_page, (page - 1) * per_page)
        return json_response(page_of("items", [_item(row) for row in rows], page, per_page, total))

    def get_item(self, request: Request) -> Response:
        return json_response(self._find(request.parameters["sku"]))

    def _find(self, sku: str) -> dict[str, Any]:
        row = self.store.one("SELECT sku, name, on_hand, unit_cost, currency, updated_at FROM items WHERE sku = ?", sku)
        if row is None:
            raise Refusal(404, "unknown-item", f"There is no item {sku[:100]!r}.")
        return _item(row)

    def decrease(self, request: Request) -> Response:
        """Takes pieces out of stock: 201 with the movement, 409 when there are not enough."""
        asked = decode_body(request, Decrease)
        sku = request.parameters["sku"]
        key = "" if self.is_key_ignored else request.headers.get("idempotency-key", "")
        return self.store.once("decrease", key, request, lambda: self._take(sku, asked))

    def _take(self, sku: str, asked: Decrease) -> Response:
        left = self._find(sku)["on_hand"] - asked.by
        if left < 0:
            message = f"Only {left + asked.by} pieces of {sku!r} are on hand, {asked.by} were asked for."
            raise Refusal(409, "out-of-stock", message)
        now = now_text()
        db = self.store.db
        db.execute("UPDATE items SET on_hand = ?, updated_at = ? WHERE sku = ?", (left, now, sku))
        sql = "INSERT INTO movements (sku, by, reference, on_hand_after, created_at) VALUES (?, ?, ?, ?, ?)"
        number = db.execute(sql, (sku, asked.by, asked.reference, left, now)).lastrowid
        return json_response(_movement((number, sku, asked.by, asked.reference, left, now)), 201)

    def list_movements(self, request: Request) -> Response:
        query = request.query
        where, values = ("WHERE reference = ?", (query["reference"],)) if "reference" in query else ("", ())
        total = self.store.number(f"SELECT count(*) FROM movements {where}", *values)  # noqa: S608
        page, per_page = whole_number(query, "page", 1, 1, 1_000_000), whole_number(query, "per_page", 50, 1, 500)
        sql = f"SELECT id, sku, by, reference, on_hand_after, created_at FROM movements {where} ORDER BY id LIMIT ? OFFSET ?"  # noqa: S608
        rows = self.store.all(sql, *values, per_page, (page - 1) * per_page)
        return json_response(page_of("movements", [_movement(row) for row in rows], page, per_page, total))


def _time(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00").replace(" ", "+"))
        if moment.tzinfo is None:
            raise ValueError("it has no zone")
        in_utc = moment.astimezone(UTC)
    except (ValueError, OverflowError) as fault:
        message = f"updated_since must be a time with zone like 2026-01-31T00:00:00Z: {fault}."
        raise Refusal(400, "bad-query", message) from fault
    return in_utc.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _item(row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(("sku", "name", "on_hand", "unit_cost", "currency", "updated_at"), row, strict=True))


def _movement(row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(("id", "sku", "by", "reference", "on_hand_after", "created_at"), row, strict=True))
