"""The shop's tables, the numbering of its ids, and what it says when something cannot be kept."""

from __future__ import annotations

import msgspec

from accord.sandbox.shop.wire import Document
from accord.sandbox.store import Store
from accord.sandbox.webhooks import Webhooks

SCHEMA = """
CREATE TABLE IF NOT EXISTS counters (kind TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS products (
  id INTEGER PRIMARY KEY, handle TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL, body BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS products_handle ON products (handle);
CREATE INDEX IF NOT EXISTS products_updated ON products (updated_at, id);
CREATE TABLE IF NOT EXISTS variants (
  id INTEGER PRIMARY KEY, product INTEGER NOT NULL, item INTEGER NOT NULL, sku TEXT, title TEXT, position INTEGER NOT NULL,
  barcode TEXT);
CREATE INDEX IF NOT EXISTS variants_sku ON variants (sku);
CREATE INDEX IF NOT EXISTS variants_product ON variants (product);
CREATE TABLE IF NOT EXISTS levels (
  item INTEGER PRIMARY KEY, variant INTEGER NOT NULL, available INTEGER NOT NULL, committed INTEGER NOT NULL,
  created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS levels_updated ON levels (updated_at, item);
CREATE TABLE IF NOT EXISTS customers (
  id INTEGER PRIMARY KEY, email TEXT, phone TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL, body BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS customers_email ON customers (email) WHERE email IS NOT NULL;
CREATE INDEX IF NOT EXISTS customers_updated ON customers (updated_at, id);
CREATE TABLE IF NOT EXISTS orders (
  id INTEGER PRIMARY KEY, number INTEGER NOT NULL, name TEXT NOT NULL, customer INTEGER, email TEXT, status TEXT NOT NULL,
  financial_status TEXT NOT NULL, fulfillment_status TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
  processed_at TEXT NOT NULL, source_identifier TEXT, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS orders_updated ON orders (updated_at, id);
CREATE INDEX IF NOT EXISTS orders_processed ON orders (processed_at, id);
CREATE INDEX IF NOT EXISTS orders_customer ON orders (customer);
CREATE INDEX IF NOT EXISTS orders_name ON orders (name);
CREATE INDEX IF NOT EXISTS orders_source ON orders (source_identifier);
CREATE TABLE IF NOT EXISTS fulfillments (id INTEGER PRIMARY KEY, parent INTEGER NOT NULL);
"""
FIRST_IDS = {
    "Product": 7_000_000_000_000, "ProductVariant": 41_000_000_000_000, "InventoryItem": 43_000_000_000_000,
    "Customer": 6_000_000_000_000, "MailingAddress": 8_000_000_000_000, "Order": 5_000_000_000_000,
    "LineItem": 13_000_000_000_000, "ShippingLine": 4_000_000_000_000, "Fulfillment": 3_000_000_000_000,
    "InventoryAdjustmentGroup": 2_000_000_000_000, "order number": 0,
}  # fmt: skip


class Invalid(Exception):
    """What was asked cannot be kept: field to reasons."""

    def __init__(self, field: str, reason: str, code: str | None = None) -> None:
        self.field, self.reason, self.code = field, reason, code
        super().__init__(f"{field} {reason}")


class Memory:
    def __init__(self, store: Store, webhooks: Webhooks) -> None:
        self.store, self.webhooks = store, webhooks

    def next_id(self, kind: str) -> int:
        sql = "INSERT INTO counters VALUES (?, ?) ON CONFLICT (kind) DO UPDATE SET value = value + 1 RETURNING value"
        row = self.store.one(sql, kind, FIRST_IDS[kind] + 1)
        return int(row[0]) if row else 0

    def find(self, table: str, number: int) -> Document | None:
        row = self.store.one(f"SELECT body FROM {table} WHERE id = ?", number)  # noqa: S608 - a table of ours
        return msgspec.json.decode(row[0]) if row else None

    def emit(self, topic: str, document: Document) -> None:
        """Writes the webhooks of a change; call inside its transaction."""
        if self.webhooks.is_wanted(topic):
            self.webhooks.emit(topic, msgspec.json.encode(document))


def lower(text: str | None) -> str | None:
    return text.lower() if text else None
