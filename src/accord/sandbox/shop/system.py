"""The shop as a process: who may enter, which door leads where, random orders for its owner."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Annotated, Any
from urllib.parse import parse_qsl

import msgspec

from accord.sandbox.catalogue import products
from accord.sandbox.http_server import Refusal, Request, Response, html_response, json_response, refusal_response
from accord.sandbox.shop.admin import Admin
from accord.sandbox.shop.bulk import SCHEMA as BULK_SCHEMA
from accord.sandbox.shop.bulk import BulkOperations
from accord.sandbox.shop.cost import PointBucket
from accord.sandbox.shop.data import ShopData
from accord.sandbox.shop.drafts import Cart, CartLine, draft_from_cart, random_draft
from accord.sandbox.shop.hooks import Hooks
from accord.sandbox.shop.memory import SCHEMA, Invalid
from accord.sandbox.shop.mutations import Mutations
from accord.sandbox.shop.rest import PATH, CallBucket, Rest
from accord.sandbox.shop.storefront import shop_page, thanks_page
from accord.sandbox.shop.views import Views
from accord.sandbox.shop.wire import API_VERSION, Document
from accord.sandbox.system import OWNER_PATHS, Config, System, setting
from accord.sandbox.webhooks import SCHEMA as WEBHOOK_SCHEMA
from accord.sandbox.webhooks import Webhooks


class PlaceOrders(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``rate``: orders a second; null places them as fast as the shop can."""

    count: Annotated[int, msgspec.Meta(ge=1, le=500)]
    rate: Annotated[float, msgspec.Meta(gt=0)] | None = None


class Shop(System):
    SCHEMA = SCHEMA + BULK_SCHEMA + WEBHOOK_SCHEMA
    STATE = {
        "orders": "SELECT body FROM orders ORDER BY id",
        "products": "SELECT body FROM products ORDER BY id",
        "customers": "SELECT body FROM customers ORDER BY id",
        "levels": "SELECT item AS inventory_item_id, variant AS variant_id, available, committed, updated_at FROM levels ORDER BY item",
        "hooks": "SELECT id, topic, url FROM hooks ORDER BY id",
        "deliveries": "SELECT id, topic, event_id, webhook_id, attempts, is_open, last_answer FROM deliveries ORDER BY id",
    }

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        address = f"http://{config.host}:{config.ports['main']}"
        points = PointBucket(
            setting(self.settings, "graphql_points", 2_000), setting(self.settings, "graphql_points_per_s", 100)
        )
        calls = CallBucket(int(setting(self.settings, "rest_calls", 40)), setting(self.settings, "rest_calls_per_s", 2))
        self.rest = Rest(self.data, self.hooks, calls, address)
        views = Views(self.data)
        bulk = BulkOperations(
            self.store,
            address,
            setting(self.settings, "bulk_waits_s", 0.1),
            setting(self.settings, "bulk_works_s", 0.2),
        )
        self.admin = Admin(views, Mutations(self.data, views, self.hooks, bulk), points)
        self.router.add("GET", "/bulk/{number}/{key}", bulk.result)
        self.owner_router.add("POST", f"{OWNER_PATHS}bulk/fail", bulk.plan_failure)
        self.router.add("GET", "/", lambda request: html_response(shop_page(self.data)))
        self.router.add("POST", "/", self.order_by_form)
        self.router.add("GET", "/storefront/products", self.storefront_products)
        self.router.add("POST", "/storefront/orders", self.order_by_customer)
        self.owner_router.add("POST", f"{OWNER_PATHS}orders", self.place_orders)

    def prepare(self) -> None:
        self.webhooks = Webhooks(
            self.store, self.faults, lambda delivery: self.hooks.sign(delivery), self.dice, self.settings
        )
        self.hooks = Hooks(self.webhooks, self.config.credentials["webhook_secret"])
        self.data = ShopData(self.store, self.webhooks)

    def clock_moved(self) -> None:
        self.webhooks.wake()

    def seed(self) -> None:
        stock = int(self.settings.get("stock", 1_000_000))
        for product in products(self.config.seed):
            self.data.new_product(product, stock)

    def background(self) -> list[Coroutine[Any, Any, None]]:
        return [self.webhooks.run()]

    async def answer(self, request: Request) -> Response:
        """The Admin needs the access token; the storefront is open to all."""
        if not request.path.startswith("/admin/"):
            return await self.router(request)
        if request.headers.get("x-shopify-access-token") != self.config.credentials["access_token"]:
            return json_response({"errors": "The access token is missing or wrong."}, 401)
        match = PATH.fullmatch(request.path)
        if match is None:
            return json_response({"errors": "Not Found"}, 404)
        version, path = match.groups()
        if path != "/graphql.json":
            return await self.rest(request, version, path)
        if request.method != "POST":
            return json_response({"errors": "Method Not Allowed"}, 405, (("Allow", "POST"),))
        answer = self.admin(request)
        return msgspec.structs.replace(answer, headers=(*answer.headers, ("X-Shopify-API-Version", API_VERSION)))

    def refuse(self, refusal: Refusal) -> Response:
        return json_response({"errors": refusal.message}, refusal.status, refusal.headers)

    # --- storefront

    def storefront_products(self, request: Request) -> Response:
        rows = self.store.all("SELECT body FROM products ORDER BY id")
        return json_response({"products": [msgspec.json.decode(row[0]) for row in rows]})

    def order_by_customer(self, request: Request) -> Response:
        """``POST /storefront/orders`` with a Cart: 201 with the order, 422 with what is wrong."""
        try:
            cart = msgspec.json.decode(request.body, type=Cart)
        except msgspec.ValidationError as fault:
            raise Refusal(422, "invalid", str(fault)) from fault
        except (msgspec.DecodeError, UnicodeDecodeError) as fault:
            raise Refusal(400, "bad-json", str(fault)) from fault
        try:
            return json_response({"order": self._place(cart)}, 201)
        except Invalid as fault:
            raise Refusal(422, "invalid", str(fault)) from fault

    def _place(self, cart: Cart) -> Document:
        with self.store.transaction():
            return self.data.place(draft_from_cart(self.data, cart), takes_stock=True)

    def order_by_form(self, request: Request) -> Response:
        typed = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
        pieces = {
            name.removeprefix("pieces-"): n for name, n in typed.items() if name.startswith("pieces-") and n.strip("0 ")
        }
        values = {name: value for name, value in typed.items() if not name.startswith("pieces-")}
        try:
            lines = [CartLine(int(variant), int(count)) for variant, count in pieces.items()]
            cart = msgspec.convert({**values, "lines": msgspec.to_builtins(lines)}, Cart)
            return html_response(thanks_page(self._place(cart)), 201)
        except (msgspec.ValidationError, Invalid, ValueError) as fault:
            message = "Choose at least one piece." if not pieces else str(fault)
            return html_response(shop_page(self.data, message, typed), 422)

    # --- the owner's orders

    async def place_orders(self, request: Request) -> Response:
        """Random orders; the n-th order of a seed is always the same."""
        try:
            asked = msgspec.json.decode(request.body, type=PlaceOrders)
        except msgspec.ValidationError as fault:
            return refusal_response(Refusal(400, "bad-request", str(fault)))
        placed, begin = [], time.monotonic()
        variants = [row[0] for row in self.store.all("SELECT id FROM variants ORDER BY id")]
        for position in range(asked.count):
            if asked.rate is not None:
                await asyncio.sleep(max(0.0, begin + position / asked.rate - time.monotonic()))
            elif position % 8 == 0:
                await asyncio.sleep(0)  # webhooks and customers get their turn
            order = self._place_random(variants)
            placed.append(
                {k: order[k] for k in ("id", "name", "total_price", "currency")}
                | {"customer": order["customer"]["email"]}
            )
        return json_response({"orders": placed})

    def _place_random(self, variants: list[int]) -> Document:
        with self.store.transaction():
            number = int(self.store.fact("random orders") or 0) + 1
            self.store.keep_fact("random orders", str(number))
            draft = random_draft(self.data, self.config.seed, number, variants)
            return self.data.place(draft, takes_stock=True)
