"""The shop's memory: documents in REST shape, changed in transactions that also write the webhooks of the change."""

from __future__ import annotations

import msgspec

from accord.sandbox.shop.goods import Goods
from accord.sandbox.shop.memory import Invalid, lower
from accord.sandbox.shop.orders import Draft, build_order
from accord.sandbox.shop.people import Customers
from accord.sandbox.shop.wire import LOCATION_ID, Document, gid, now_utc, utc, zoned


class ShopData(Goods, Customers):
    """Orders and their life, on top of goods and customers."""

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
            order["id"], order["number"], order["name"], customer, lower(order["email"]), status, order["financial_status"],
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
