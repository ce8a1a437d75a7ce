"""Products with their variants, and how many of each there are."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from accord.sandbox.catalogue import Product
from accord.sandbox.shop.memory import Invalid, Memory
from accord.sandbox.shop.wire import LOCATION_ID, Document, gid, now_utc, tag_text, zoned


class Goods(Memory):
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


def rest_level(level: Document) -> Document:
    item = level["inventory_item_id"]
    return {
        "inventory_item_id": item,
        "location_id": LOCATION_ID,
        "available": level["available"],
        "updated_at": zoned(level["updated_at"]),
        "admin_graphql_api_id": f"{gid('InventoryLevel', LOCATION_ID)}?inventory_item_id={item}",
    }


def _decimal(value: Any, field: str) -> Decimal:
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        raise Invalid(field, "is not a number") from None
    if not found.is_finite() or found < 0:
        raise Invalid(field, "must be greater than or equal to 0")
    return found
