"""The shop's memory: documents in REST shape, changed in transactions that also write the webhooks of the change."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from accord.sandbox.catalogue import Product
from accord.sandbox.shop.orders import Draft, build_order
from accord.sandbox.shop.wire import LOCATION_ID, Document, gid, now_utc, tag_text, utc, zoned
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


class ShopData:
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

    # --- products

    def new_product(self, made: Product, stock: int) -> Document:
        """A product of the catalogue."""
        variants = [
            {"sku": v.sku, "title": v.title, "price": str(v.price), "grams": v.weight_g, "option1": v.title}
            for v in made.variants
        ]
        given = {
            "title": made.title,
            "handle": made.handle,
            "vendor": made.vendor,
            "product_type": made.kind,
            "variants": variants,
        }
        return self.save_product(given, stock=stock)

    def save_product(self, given: Document, stock: int = 0) -> Document:
        """Makes a product, or changes the one whose ``id`` is given: only the named fields; ``variants`` replaces the list."""
        now = now_utc()
        with self.store.transaction() as db:
            known = self.find("products", given["id"]) if given.get("id") else None
            product = known or self._bare_product(now)
            is_new = known is None
            for name in (
                "title",
                "body_html",
                "vendor",
                "product_type",
                "status",
                "handle",
                "template_suffix",
                "published_at",
            ):
                if name in given:
                    product[name] = given[name]
            if "tags" in given:
                product["tags"] = tag_text(given["tags"])
            if not (product["title"] or "").strip():
                raise Invalid("title", "can't be blank")
            product["handle"] = self._free_handle(product)
            if "variants" in given or is_new:
                wanted = given.get("variants") or [{"title": "Default Title", "price": "0.00"}]
                product["variants"] = self._save_variants(product, wanted, now, stock)
            product["updated_at"] = zoned(now)
            body = msgspec.json.encode(product)
            sql = "INSERT OR REPLACE INTO products VALUES (?, ?, ?, ?, ?)"
            created = (
                now if is_new else self.store.all("SELECT created_at FROM products WHERE id = ?", product["id"])[0][0]
            )
            db.execute(sql, (product["id"], product["handle"], created, now, body))
            self.emit("products/create" if is_new else "products/update", product)
        return product

    def _bare_product(self, now: str) -> Document:
        number = self.next_id("Product")
        return {
            "id": number, "admin_graphql_api_id": gid("Product", number), "title": "", "body_html": "", "vendor": "Accord Sandbox",
            "product_type": "", "handle": "", "status": "active", "tags": "", "template_suffix": None, "created_at": zoned(now),
            "updated_at": zoned(now), "published_at": zoned(now), "published_scope": "global", "image": None, "images": [],
            "options": [], "media": [], "category": None, "variants": [],
            "variant_gids": [], "has_variants_that_requires_components": False,
        }  # fmt: skip

    def _free_handle(self, product: Document) -> str:
        wanted = product["handle"] or "-".join(
            "".join(c if c.isalnum() else " " for c in product["title"].lower()).split()
        )
        handle, number = wanted or "product", 1
        while True:
            row = self.store.one("SELECT id FROM products WHERE handle = ?", handle)
            if row is None or row[0] == product["id"]:
                return handle
            handle, number = f"{wanted}-{number}", number + 1

    def _save_variants(self, product: Document, wanted: list[Document], now: str, stock: int) -> list[Document]:
        known = {variant["id"]: variant for variant in product["variants"]}
        by_sku = {variant["sku"]: variant for variant in product["variants"] if variant.get("sku")}
        kept = []
        for position, given in enumerate(wanted, 1):
            variant = (
                known.get(given.get("id", 0)) or by_sku.get(given.get("sku")) or self._bare_variant(product["id"], now)
            )
            variant |= {
                k: v for k, v in given.items() if k in variant and k not in ("id", "product_id", "inventory_item_id")
            }
            variant |= {"position": position, "updated_at": zoned(now)}
            variant["title"] = given.get("title") or given.get("option1") or variant["title"]
            variant["price"] = f"{_decimal(variant['price'], 'price'):.2f}"
            kept.append(variant)
            row = (
                variant["id"],
                product["id"],
                variant["inventory_item_id"],
                variant["sku"],
                variant["title"],
                position,
                variant["barcode"],
            )
            self.store.db.execute("INSERT OR REPLACE INTO variants VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            sql = "INSERT INTO levels VALUES (?, ?, ?, 0, ?, ?) ON CONFLICT (item) DO NOTHING"
            self.store.db.execute(sql, (variant["inventory_item_id"], variant["id"], stock, now, now))
        for gone in set(known) - {variant["id"] for variant in kept}:
            self.store.db.execute("DELETE FROM levels WHERE variant = ?", (gone,))
            self.store.db.execute("DELETE FROM variants WHERE id = ?", (gone,))
        product["options"] = [
            {"product_id": product["id"], "name": "Title", "position": 1, "values": [v["title"] for v in kept]}
        ]
        return kept

    def _bare_variant(self, product_id: int, now: str) -> Document:
        number, item = self.next_id("ProductVariant"), self.next_id("InventoryItem")
        return {
            "id": number, "admin_graphql_api_id": gid("ProductVariant", number), "product_id": product_id, "inventory_item_id": item,
            "title": "Default Title", "price": "0.00", "compare_at_price": None, "sku": "", "barcode": None, "position": 1,
            "option1": None, "option2": None, "option3": None, "grams": 0, "weight": 0.0, "weight_unit": "kg", "taxable": True,
            "inventory_policy": "deny", "inventory_management": "shopify", "fulfillment_service": "manual", "image_id": None,
            "requires_shipping": True, "created_at": zoned(now), "updated_at": zoned(now),
        }  # fmt: skip

    def delete_product(self, number: int) -> bool:
        with self.store.transaction() as db:
            if self.find("products", number) is None:
                return False
            db.execute("DELETE FROM levels WHERE variant IN (SELECT id FROM variants WHERE product = ?)", (number,))
            db.execute("DELETE FROM variants WHERE product = ?", (number,))
            db.execute("DELETE FROM products WHERE id = ?", (number,))
            self.emit("products/delete", {"id": number})
        return True

    def variant(self, number: int) -> tuple[Document, Document] | None:
        """The variant and its product."""
        row = self.store.one("SELECT product FROM variants WHERE id = ?", number)
        product = self.find("products", row[0]) if row else None
        if product is None:
            return None
        return next((variant, product) for variant in product["variants"] if variant["id"] == number)

    # --- inventory

    def level(self, item: int) -> Document | None:
        row = self.store.one(
            "SELECT item, variant, available, committed, created_at, updated_at FROM levels WHERE item = ?", item
        )
        names = ("inventory_item_id", "variant_id", "available", "committed", "created_at", "updated_at")
        return dict(zip(names, row, strict=True)) if row else None

    def change_level(self, item: int, *, available: int = 0, committed: int = 0) -> Document:
        """Adds to the quantities; raises Invalid for an unknown item."""
        with self.store.transaction() as db:
            now = now_utc()
            sql = (
                "UPDATE levels SET available = available + ?, committed = committed + ?, updated_at = ? WHERE item = ?"
            )
            if db.execute(sql, (available, committed, now, item)).rowcount == 0:
                raise Invalid("inventory_item_id", "is not an inventory item of this shop", "INVALID_INVENTORY_ITEM")
            level = self.level(item) or {}
            self.emit("inventory_levels/update", rest_level(level))
        return level

    # --- customers

    def save_customer(self, given: Document) -> Document:
        """Makes a customer, or changes the one whose ``id`` is given: only the named fields."""
        now = now_utc()
        with self.store.transaction() as db:
            known = self.find("customers", given["id"]) if given.get("id") else None
            customer = known or self._bare_customer(now)
            is_new = known is None
            for name in (
                "first_name",
                "last_name",
                "email",
                "phone",
                "note",
                "tax_exempt",
                "verified_email",
                "currency",
                "state",
            ):
                if name in given:
                    customer[name] = given[name]
            if "tags" in given:
                customer["tags"] = tag_text(given["tags"])
            if not any(customer[name] for name in ("email", "phone", "first_name", "last_name")):
                raise Invalid("email", "or phone or a name must be given")
            self._check_email(customer)
            if given.get("addresses") or given.get("default_address"):
                self._set_address(customer, given.get("default_address") or given["addresses"][0])
            customer["updated_at"] = zoned(now)
            body = msgspec.json.encode(customer)
            created = (
                now if is_new else self.store.all("SELECT created_at FROM customers WHERE id = ?", customer["id"])[0][0]
            )
            row = (customer["id"], _lower(customer["email"]), customer["phone"], created, now, body)
            db.execute("INSERT OR REPLACE INTO customers VALUES (?, ?, ?, ?, ?, ?)", row)
            self.emit("customers/create" if is_new else "customers/update", customer)
        return customer

    def _bare_customer(self, now: str) -> Document:
        number = self.next_id("Customer")
        return {
            "id": number, "admin_graphql_api_id": gid("Customer", number), "email": None, "first_name": None, "last_name": None,
            "phone": None, "note": None, "tags": "", "state": "disabled", "verified_email": True, "multipass_identifier": None,
            "tax_exempt": False, "tax_exemptions": [], "currency": "EUR", "created_at": zoned(now), "updated_at": zoned(now),
            "default_address": None, "addresses": [],
        }  # fmt: skip

    def _check_email(self, customer: Document) -> None:
        email = customer["email"]
        if not email:
            return
        if "@" not in email or email != email.strip():
            raise Invalid("email", "is invalid")
        row = self.store.one("SELECT id FROM customers WHERE email = ?", _lower(email))
        if row is not None and row[0] != customer["id"]:
            raise Invalid("email", "has already been taken")

    def _set_address(self, customer: Document, given: Document) -> None:
        old = customer["default_address"] or {"id": self.next_id("MailingAddress")}
        fields = {k: v for k, v in given.items() if k not in ("id", "latitude", "longitude")}
        country = fields.get("country") or old.get("country")
        found = {**old, **fields, "customer_id": customer["id"], "country_name": country, "default": True}
        customer["default_address"], customer["addresses"] = found, [found]

    def customer_by(self, column: str, value: str) -> Document | None:
        row = self.store.one(f"SELECT body FROM customers WHERE {column} = ?", _lower(value) or "")  # noqa: S608 - email or phone
        return msgspec.json.decode(row[0]) if row else None

    def delete_customer(self, number: int) -> bool:
        with self.store.transaction() as db:
            if self.find("customers", number) is None:
                return False
            if self.store.number("SELECT count(*) FROM orders WHERE customer = ?", number):
                raise Invalid("id", "belongs to a customer who has orders")
            db.execute("DELETE FROM customers WHERE id = ?", (number,))
            self.emit("customers/delete", {"id": number})
        return True

    # --- orders

    def place(self, draft: Draft, *, takes_stock: bool) -> Document:
        """Makes the order; with ``takes_stock`` the pieces are committed, Invalid when there are not enough."""
        if not draft.lines:
            raise Invalid("line_items", "must have at least one line")
        with self.store.transaction():
            now = now_utc()
            order = build_order(draft, self.next_id("order number"), now, self.next_id)
            if takes_stock:
                for line in draft.lines:
                    self._commit_stock(line.variant, line.quantity)
            self._write(order, now)
            self.emit("orders/create", order)
            if order["financial_status"] == "paid":
                self.emit("orders/paid", order)
        return order

    def _commit_stock(self, variant: Document | None, quantity: int) -> None:
        if variant is None:
            return
        level = self.level(variant["inventory_item_id"])
        if level is None or level["available"] < quantity:
            raise Invalid("line_items", f"ask for more of {variant['sku'] or variant['id']} than is available")
        self.change_level(variant["inventory_item_id"], available=-quantity, committed=quantity)

    def save_order(self, order: Document, *topics: str) -> Document:
        """Keeps a changed order and tells orders/updated and the named topics."""
        with self.store.transaction():
            now = now_utc()
            order["updated_at"] = zoned(now)
            self._write(order, now)
            for topic in ("orders/updated", *topics):
                self.emit(topic, order)
        return order

    def _write(self, order: Document, now: str) -> None:
        status = "cancelled" if order["cancelled_at"] else "closed" if order["closed_at"] else "open"
        customer = (order["customer"] or {}).get("id")
        row = (
            order["id"], order["number"], order["name"], customer, _lower(order["email"]), status, order["financial_status"],
            order["fulfillment_status"], utc(order["created_at"]), now, utc(order["processed_at"]), order["source_identifier"],
            msgspec.json.encode(order),
        )  # fmt: skip
        self.store.db.execute(f"INSERT OR REPLACE INTO orders VALUES ({','.join('?' * len(row))})", row)  # noqa: S608

    def cancel_order(self, order: Document, reason: str | None, *, restocks: bool) -> Document:
        with self.store.transaction():
            if order["cancelled_at"]:
                return order
            if order["fulfillments"]:
                raise Invalid("base", "has fulfilled items and cannot be cancelled")
            order |= {
                "cancelled_at": zoned(now_utc()),
                "closed_at": zoned(now_utc()),
                "cancel_reason": reason or "other",
            }
            if order["financial_status"] == "pending":
                order["financial_status"] = "voided"
            for line in order["line_items"] if restocks else ():
                found = self.variant(line["variant_id"]) if line["variant_id"] else None
                if found is not None:
                    quantity = line["fulfillable_quantity"]
                    self.change_level(found[0]["inventory_item_id"], available=quantity, committed=-quantity)
            return self.save_order(order, "orders/cancelled")

    def mark_paid(self, order: Document) -> Document:
        order |= {"financial_status": "paid", "total_outstanding": "0.00", "payment_gateway_names": ["manual"]}
        return self.save_order(order, "orders/paid")

    def fulfil(self, order: Document, wanted: dict[int, int] | None, tracking: Document) -> Document:
        """Fulfils pieces (line id to quantity; None: all that is left); the fulfillment. Raises Invalid."""
        with self.store.transaction():
            left = {line["id"]: line["fulfillable_quantity"] for line in order["line_items"]}
            wanted = {number: count for number, count in left.items() if count} if wanted is None else wanted
            if not wanted or order["cancelled_at"]:
                raise Invalid("fulfillment_order_id", "has nothing left to fulfill")
            if any(count < 1 or count > left.get(number, 0) for number, count in wanted.items()):
                raise Invalid("quantity", "is more than remains to be fulfilled")
            lines = []
            for line in order["line_items"]:
                count = wanted.get(line["id"], 0)
                if not count:
                    continue
                line["fulfillable_quantity"] -= count
                line["fulfillment_status"] = "partial" if line["fulfillable_quantity"] else "fulfilled"
                lines.append({**line, "quantity": count})
                self._release(line, count)
            is_whole = not any(line["fulfillable_quantity"] for line in order["line_items"])
            order["fulfillment_status"] = "fulfilled" if is_whole else "partial"
            fulfillment = self._fulfillment(order, lines, tracking)
            order["fulfillments"].append(fulfillment)
            self.store.db.execute("INSERT INTO fulfillments VALUES (?, ?)", (fulfillment["id"], order["id"]))
            self.save_order(order, "orders/fulfilled" if is_whole else "orders/partially_fulfilled")
            self.emit("fulfillments/create", fulfillment)
        return fulfillment

    def _release(self, line: Document, count: int) -> None:
        found = self.variant(line["variant_id"]) if line["variant_id"] else None
        level = self.level(found[0]["inventory_item_id"]) if found else None
        if level is not None:
            self.change_level(level["inventory_item_id"], committed=-min(count, level["committed"]))

    def _fulfillment(self, order: Document, lines: list[Document], tracking: Document) -> Document:
        number, now = self.next_id("Fulfillment"), zoned(now_utc())
        numbers = tracking.get("numbers") or ([tracking["number"]] if tracking.get("number") else [])
        urls = tracking.get("urls") or ([tracking["url"]] if tracking.get("url") else [])
        return {
            "id": number, "admin_graphql_api_id": gid("Fulfillment", number), "order_id": order["id"], "status": "success",
            "name": f"{order['name']}.{len(order['fulfillments']) + 1}", "service": "manual", "location_id": LOCATION_ID,
            "shipment_status": None, "tracking_company": tracking.get("company"), "tracking_number": numbers[0] if numbers else None,
            "tracking_numbers": numbers, "tracking_url": urls[0] if urls else None, "tracking_urls": urls, "receipt": {},
            "origin_address": {}, "line_items": lines, "email": order["email"], "destination": order["shipping_address"],
            "created_at": now, "updated_at": now,
        }  # fmt: skip


def rest_level(level: Document) -> Document:
    item = level["inventory_item_id"]
    return {
        "inventory_item_id": item,
        "location_id": LOCATION_ID,
        "available": level["available"],
        "updated_at": zoned(level["updated_at"]),
        "admin_graphql_api_id": f"{gid('InventoryLevel', LOCATION_ID)}?inventory_item_id={item}",
    }


def _lower(text: str | None) -> str | None:
    return text.lower() if text else None


def _decimal(value: Any, field: str) -> Decimal:
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        raise Invalid(field, "is not a number") from None
    if not found.is_finite() or found < 0:
        raise Invalid(field, "must be greater than or equal to 0")
    return found
