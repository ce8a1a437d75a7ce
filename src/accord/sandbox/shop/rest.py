"""The REST Admin: the resources the Python client of Shopify's own library needs, with its errors, pages and call limit."""

from __future__ import annotations

import base64
import binascii
import math
import re
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import msgspec

from accord.sandbox.http_server import Refusal, Request, Response, Router, json_response
from accord.sandbox.shop.data import ShopData
from accord.sandbox.shop.drafts import draft_from_rest
from accord.sandbox.shop.goods import rest_level
from accord.sandbox.shop.hooks import Hooks
from accord.sandbox.shop.memory import Invalid
from accord.sandbox.shop.wire import FULFILLMENT_ORDER_OFFSET, LOCATION_ID, SHOP_ID, Document, gid, tag_text, utc, zoned

PATH = re.compile(r"/admin/api/(\d{4}-\d{2}|unstable)(/.+)")
PAGE_MAX = 250
Filters = dict[str, str]
# query name -> condition; the value is bound
COMMON = {"created_at_min": "created_at >= ?", "created_at_max": "created_at <= ?", "updated_at_min": "updated_at >= ?",
          "updated_at_max": "updated_at <= ?", "since_id": "id > ?"}  # fmt: skip
OWN = {
    "products": {"handle": "handle = ?", "title": "body ->> 'title' = ?", "vendor": "body ->> 'vendor' = ?",
                 "product_type": "body ->> 'product_type' = ?"},
    "customers": {},
    "orders": {"financial_status": "financial_status = ?", "fulfillment_status": "coalesce(fulfillment_status, 'unfulfilled') = ?",
               "customer_id": "customer = ?", "name": "name = ?", "processed_at_min": "processed_at >= ?"},
}  # fmt: skip


class CallBucket:
    """The leaky bucket of REST calls: ``size`` calls, ``per_s`` leak out each second."""

    def __init__(self, size: int, per_s: float) -> None:
        self.size, self.per_s = size, per_s
        self.used, self.at = 0.0, time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self.used = max(0.0, self.used - (now - self.at) * self.per_s)
        self.at = now
        if self.used + 1 > self.size:
            return False
        self.used += 1
        return True


class Rest:
    def __init__(self, data: ShopData, hooks: Hooks, bucket: CallBucket, address: str) -> None:
        self.data, self.store, self.hooks, self.bucket, self.address = data, data.store, hooks, bucket, address
        self.router = Router()
        for method, path, handler in self._routes():
            self.router.add(method, f"{path}.json", handler)

    def _routes(self) -> list[tuple[str, str, Callable[[Request], Response]]]:
        routes: list[tuple[str, str, Callable[[Request], Response]]] = [
            ("GET", "/shop", lambda request: json_response({"shop": self.shop()})),
            ("GET", "/locations", lambda request: json_response({"locations": [self.location()]})),
            ("GET", f"/locations/{LOCATION_ID}", lambda request: json_response({"location": self.location()})),
            ("GET", "/inventory_levels", self.levels),
            ("POST", "/inventory_levels/adjust", self.adjust_level),
            ("POST", "/inventory_levels/set", self.set_level),
            ("GET", "/products/{id}/variants", self.variants),
            ("GET", "/variants/{id}", self.variant),
            ("PUT", "/variants/{id}", self.update_variant),
            ("GET", "/customers/search", self.search_customers),
            ("GET", "/customers/{id}/orders", self.customer_orders),
            ("GET", "/orders/{id}/fulfillments", self.order_fulfillments),
            ("GET", "/orders/{id}/fulfillment_orders", self.fulfillment_orders),
            ("POST", "/orders/{id}/close", self.close_order),
            ("POST", "/orders/{id}/open", self.open_order),
            ("POST", "/orders/{id}/cancel", self.cancel_order),
            ("POST", "/fulfillments", self.create_fulfillment),
            ("GET", "/webhooks", lambda request: json_response({"webhooks": self.hooks.all_rest(request.query)})),
            ("POST", "/webhooks", self.create_webhook),
            (
                "GET",
                "/webhooks/count",
                lambda request: json_response({"count": len(self.hooks.all_rest(request.query))}),
            ),
            ("GET", "/webhooks/{id}", self.get_webhook),
            ("PUT", "/webhooks/{id}", self.update_webhook),
            ("DELETE", "/webhooks/{id}", self.delete_webhook),
        ]
        savers = {"product": self._save_product, "customer": self._save_customer, "order": self._save_order}
        for one, save in savers.items():
            routes += [
                ("GET", f"/{one}s", self._lister(f"{one}s")),
                ("GET", f"/{one}s/count", self._counter(f"{one}s")),
                ("POST", f"/{one}s", self._saver(one, save)),
                ("GET", f"/{one}s/{{id}}", self._getter(one)),
                ("PUT", f"/{one}s/{{id}}", self._saver(one, save)),
                ("DELETE", f"/{one}s/{{id}}", self._deleter(one)),
            ]
        return routes

    async def __call__(self, request: Request, version: str, path: str) -> Response:
        """One call, counted in the bucket; errors in the shape clients of the Admin expect."""
        limit = (("X-Shopify-API-Version", version), ("X-Shopify-Shop-Api-Call-Limit", ""))
        if not self.bucket.take():
            answer = json_response(
                {"errors": "Too many calls for this app; wait for the bucket to drain."}, 429, (("Retry-After", "2.0"),)
            )
        else:
            try:
                named = {**request.headers, "x-asked-version": version}
                handler, found = self.router.find(msgspec.structs.replace(request, path=path, headers=named))
                result = handler(found)
                answer = result if isinstance(result, Response) else await result
            except Invalid as fault:
                answer = json_response({"errors": {fault.field: [fault.reason]}}, 422)
            except (TypeError, ValueError, AttributeError, KeyError, ArithmeticError) as fault:
                answer = json_response({"errors": f"A value has the wrong type: {fault}"}, 400)
            except Refusal as refusal:
                answer = json_response({"errors": refusal.message}, refusal.status, refusal.headers)
        limit = (limit[0], (limit[1][0], f"{math.ceil(self.bucket.used)}/{self.bucket.size}"))
        return msgspec.structs.replace(answer, headers=(*answer.headers, *limit))

    # --- products, customers, orders

    def _lister(self, table: str) -> Callable[[Request], Response]:
        def list_page(request: Request) -> Response:
            query = request.query
            limit = _limit(query)
            filters, after = (query, "") if "page_info" not in query else _page_info(query["page_info"])
            where, values = _conditions(table, filters)
            is_newest_first = table == "orders" and "since_id" not in filters
            direction, compare = ("DESC", "<") if is_newest_first else ("ASC", ">")
            if after:
                where.append(f"id {compare} ?")
                values.append(int(after))
            sql = f"SELECT body FROM {table} {_where(where)} ORDER BY id {direction} LIMIT ?"  # noqa: S608
            rows = [msgspec.json.decode(row[0]) for row in self.store.all(sql, *values, limit + 1)]
            headers: tuple[tuple[str, str], ...] = ()
            if len(rows) > limit:
                kept = {k: v for k, v in filters.items() if k not in ("limit", "page_info", "fields")}
                info = base64.urlsafe_b64encode(msgspec.json.encode([kept, str(rows[limit - 1]["id"])])).decode()
                url = f"{self.address}/admin/api/{request.headers['x-asked-version']}{request.path}?limit={limit}&page_info={quote(info)}"
                headers = (("Link", f'<{url}>; rel="next"'),)
            return json_response({table: [_only(row, query.get("fields")) for row in rows[:limit]]}, headers=headers)

        return list_page

    def _counter(self, table: str) -> Callable[[Request], Response]:
        def count(request: Request) -> Response:
            where, values = _conditions(table, request.query)
            return json_response({"count": self.store.number(f"SELECT count(*) FROM {table} {_where(where)}", *values)})  # noqa: S608

        return count

    def _getter(self, one: str) -> Callable[[Request], Response]:
        def get(request: Request) -> Response:
            found = self._found(f"{one}s", request.parameters["id"])
            return json_response({one: _only(found, request.query.get("fields"))})

        return get

    def _saver(self, one: str, save: Callable[[Document], Document]) -> Callable[[Request], Response]:
        def keep(request: Request) -> Response:
            given = _body(request, one)
            given.pop("id", None)
            number = request.parameters.get("id")
            if number is not None:
                given["id"] = self._found(f"{one}s", number)["id"]
            return json_response({one: save(given)}, 201 if number is None else 200)

        return keep

    def _deleter(self, one: str) -> Callable[[Request], Response]:
        def delete(request: Request) -> Response:
            found = self._found(f"{one}s", request.parameters["id"])
            if one == "product":
                self.data.delete_product(found["id"])
            elif one == "customer":
                self.data.delete_customer(found["id"])
            else:
                with self.store.transaction() as db:
                    db.execute("DELETE FROM orders WHERE id = ?", (found["id"],))
                    self.data.emit("orders/delete", {"id": found["id"]})
            return json_response({})

        return delete

    def _found(self, table: str, text: str) -> Document:
        found = self.data.find(table, int(text)) if text.isascii() and text.isdigit() and len(text) < 19 else None
        if found is None:
            raise Refusal(404, "not-found", "Not Found")
        return found

    def _save_product(self, given: Document) -> Document:
        return self.data.save_product(given)

    def _save_customer(self, given: Document) -> Document:
        return self.data.save_customer(given)

    def _save_order(self, given: Document) -> Document:
        if "id" not in given:
            with self.store.transaction():
                return self.data.place(draft_from_rest(self.data, given), takes_stock=False)
        order = self._found("orders", str(given["id"]))
        from_given = {k: v for k, v in given.items() if k in ("note", "email", "phone", "po_number", "note_attributes")}
        order |= from_given
        if "tags" in given:
            order["tags"] = tag_text(given["tags"])
        if given.get("shipping_address"):
            order["shipping_address"] = {**(order["shipping_address"] or {}), **given["shipping_address"]}
        return self.data.save_order(order)

    def search_customers(self, request: Request) -> Response:
        words = request.query.get("query", "")
        field, colon, value = words.partition(":")
        sql, found = "SELECT body FROM customers WHERE ", [f"%{words}%"]
        sql += "body LIKE ?" if not colon else f"{'phone' if field == 'phone' else 'email'} = ?"
        found = [value.strip('"').lower()] if colon else found
        rows = self.store.all(f"{sql} ORDER BY id LIMIT ?", *found, _limit(request.query))
        return json_response({"customers": [msgspec.json.decode(row[0]) for row in rows]})

    def customer_orders(self, request: Request) -> Response:
        customer = self._found("customers", request.parameters["id"])
        rows = self.store.all(
            "SELECT body FROM orders WHERE customer = ? ORDER BY id DESC LIMIT ?", customer["id"], PAGE_MAX
        )
        return json_response({"orders": [msgspec.json.decode(row[0]) for row in rows]})

    # --- orders' life

    def close_order(self, request: Request) -> Response:
        order = self._found("orders", request.parameters["id"])
        order["closed_at"] = zoned(utc(order["updated_at"]) or "")
        return json_response({"order": self.data.save_order(order)})

    def open_order(self, request: Request) -> Response:
        order = self._found("orders", request.parameters["id"])
        order["closed_at"] = None
        return json_response({"order": self.data.save_order(order)})

    def cancel_order(self, request: Request) -> Response:
        order = self._found("orders", request.parameters["id"])
        asked = msgspec.json.decode(request.body or b"{}") or {}
        reason = asked.get("reason") or request.query.get("reason")
        return json_response({"order": self.data.cancel_order(order, reason, restocks=bool(asked.get("restock")))})

    def order_fulfillments(self, request: Request) -> Response:
        return json_response({"fulfillments": self._found("orders", request.parameters["id"])["fulfillments"]})

    def fulfillment_orders(self, request: Request) -> Response:
        order = self._found("orders", request.parameters["id"])
        number = order["id"] + FULFILLMENT_ORDER_OFFSET
        lines = [
            {"id": line["id"], "line_item_id": line["id"], "variant_id": line["variant_id"], "quantity": line["quantity"],
             "fulfillable_quantity": line["fulfillable_quantity"], "fulfillment_order_id": number, "shop_id": SHOP_ID}
            for line in order["line_items"]
        ]  # fmt: skip
        status = "closed" if order["fulfillment_status"] == "fulfilled" else "open"
        found = {"id": number, "shop_id": SHOP_ID, "order_id": order["id"], "status": status, "line_items": lines,
                 "assigned_location_id": LOCATION_ID}  # fmt: skip
        return json_response({"fulfillment_orders": [found]})

    def create_fulfillment(self, request: Request) -> Response:
        given = _body(request, "fulfillment")
        groups = given.get("line_items_by_fulfillment_order") or [{}]
        number = int(groups[0].get("fulfillment_order_id") or 0) - FULFILLMENT_ORDER_OFFSET
        order = self._found("orders", str(max(0, number)))
        chosen = groups[0].get("fulfillment_order_line_items")
        wanted = {int(line["id"]): int(line["quantity"]) for line in chosen} if chosen else None
        return json_response({"fulfillment": self.data.fulfil(order, wanted, given.get("tracking_info") or {})}, 201)

    # --- variants and levels

    def variants(self, request: Request) -> Response:
        return json_response({"variants": self._found("products", request.parameters["id"])["variants"]})

    def variant(self, request: Request) -> Response:
        return json_response({"variant": self._variant(request)[0]})

    def _variant(self, request: Request) -> tuple[Document, Document]:
        text = request.parameters["id"]
        found = self.data.variant(int(text)) if text.isascii() and text.isdigit() and len(text) < 19 else None
        if found is None:
            raise Refusal(404, "not-found", "Not Found")
        return found

    def update_variant(self, request: Request) -> Response:
        variant, product = self._variant(request)
        given = {**_body(request, "variant"), "id": variant["id"]}
        wanted = [given if v["id"] == variant["id"] else {"id": v["id"]} for v in product["variants"]]
        saved = self.data.save_product({"id": product["id"], "variants": wanted})
        return json_response({"variant": next(v for v in saved["variants"] if v["id"] == variant["id"])})

    def levels(self, request: Request) -> Response:
        query = request.query
        if "inventory_item_ids" not in query and "location_ids" not in query:
            raise Invalid("inventory_item_ids", "or location_ids must be given")
        items = [int(text) for text in query.get("inventory_item_ids", "").split(",") if text.strip().isdigit()]
        where, values = (f"WHERE item IN ({','.join('?' * len(items))})", items) if items else ("", [])
        if query.get("location_ids", str(LOCATION_ID)) != str(LOCATION_ID):
            return json_response({"inventory_levels": []})
        rows = self.store.all(f"SELECT item FROM levels {where} ORDER BY item LIMIT ?", *values, _limit(query))  # noqa: S608
        return json_response({"inventory_levels": [rest_level(self.data.level(row[0]) or {}) for row in rows]})

    def adjust_level(self, request: Request) -> Response:
        given = _body(request, "")
        item = self._item(given)
        level = self.data.change_level(item, available=_whole(given, "available_adjustment"))
        return json_response({"inventory_level": rest_level(level)})

    def set_level(self, request: Request) -> Response:
        given = _body(request, "")
        item, wanted = self._item(given), _whole(given, "available")
        with self.store.transaction():
            level = self.data.level(item)
            changed = self.data.change_level(item, available=wanted - (level or {}).get("available", 0))
        return json_response({"inventory_level": rest_level(changed)})

    def _item(self, given: Document) -> int:
        if _whole(given, "location_id") != LOCATION_ID:
            raise Refusal(404, "not-found", "Not Found")
        return _whole(given, "inventory_item_id")

    # --- webhooks, shop

    def create_webhook(self, request: Request) -> Response:
        given = _body(request, "webhook")
        return json_response(
            {"webhook": self.hooks.rest(self.hooks.create(given.get("topic", ""), given.get("address", "")))}, 201
        )

    def get_webhook(self, request: Request) -> Response:
        return json_response({"webhook": self.hooks.rest(self._hook(request))})

    def update_webhook(self, request: Request) -> Response:
        number, given = self._hook(request), _body(request, "webhook")
        self.hooks.move(number, given.get("address", ""))
        return json_response({"webhook": self.hooks.rest(number)})

    def delete_webhook(self, request: Request) -> Response:
        self.hooks.delete(self._hook(request))
        return json_response({})

    def _hook(self, request: Request) -> int:
        text = request.parameters["id"]
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
        if not self.hooks.exists(number):
            raise Refusal(404, "not-found", "Not Found")
        return number

    def shop(self) -> Document:
        return self.hooks.shop_document()

    def location(self) -> Document:
        return {
            "id": LOCATION_ID, "name": "Main warehouse", "address1": "Lagerstraße 1", "city": "Düsseldorf", "zip": "40212",
            "country": "DE", "country_code": "DE", "country_name": "Germany", "active": True, "legacy": False,
            "admin_graphql_api_id": gid("Location", LOCATION_ID),
        }  # fmt: skip


def _body(request: Request, name: str) -> Document:
    """The object under the resource's name (or the whole body); raises Refusal 400."""
    try:
        given = msgspec.json.decode(request.body, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Refusal(400, "bad-json", "The body is not JSON.") from None
    found = given.get(name) if name and isinstance(given, dict) else given
    if not isinstance(found, dict):
        raise Refusal(
            400, "bad-request", f"The body must hold an object {name!r}." if name else "The body must be an object."
        )
    return found


def _whole(given: Document, name: str) -> int:
    try:
        number = Decimal(str(given[name]))
        if number != int(number):
            raise ValueError
    except (KeyError, ValueError, ArithmeticError):
        raise Invalid(name, "must be a whole number") from None
    return int(number)


def _limit(query: Filters) -> int:
    text = query.get("limit", "50")
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= PAGE_MAX):
        raise Refusal(400, "bad-query", f"limit must be from 1 to {PAGE_MAX}.")
    return int(text)


def _page_info(text: str) -> tuple[Filters, str]:
    try:
        filters, after = msgspec.json.decode(base64.urlsafe_b64decode(text), type=tuple[dict[str, str], str])
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise Refusal(400, "bad-query", "page_info is not one this shop gave.") from None
    return filters, after


def _conditions(table: str, query: Filters) -> tuple[list[str], list[Any]]:
    where: list[str] = []
    values: list[Any] = []
    known = COMMON | OWN[table]
    for name, value in query.items():
        if name == "ids":
            numbers = [int(text) for text in value.split(",") if text.strip().isdigit()]
            where.append(f"id IN ({','.join('?' * len(numbers))})")
            values += numbers
        elif name in known and value not in ("any", ""):
            where.append(known[name])
            try:
                values.append(
                    utc(value.replace(" ", "+")) if "_at_" in name else int(value) if name.endswith("_id") else value
                )
            except ValueError:
                raise Refusal(400, "bad-query", f"{name} has no valid value.") from None
    if table == "orders" and query.get("status", "open") != "any":
        where.append("status = ?")
        values.append(query.get("status", "open"))
    return where, values


def _where(conditions: list[str]) -> str:
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""


def _only(document: Document, fields: str | None) -> Document:
    if not fields:
        return document
    wanted = {name.strip() for name in fields.split(",")}
    return {name: value for name, value in document.items() if name in wanted}
