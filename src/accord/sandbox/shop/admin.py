"""The GraphQL endpoint: documents parsed and validated once, paid from the bucket, executed, answered as the Admin does."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from functools import lru_cache
from importlib import resources
from typing import Any

import msgspec
from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLScalarType,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    build_schema,
    execute_sync,
    get_operation_ast,
    parse,
    validate,
)

from accord.sandbox.http_server import Request, Response, json_response
from accord.sandbox.shop.cost import Cost, PointBucket, actual_cost
from accord.sandbox.shop.mutations import Mutations
from accord.sandbox.shop.search import Source, View, connection, list_connection, parse_search
from accord.sandbox.shop.views import Views, gid_is, number_of
from accord.sandbox.shop.wire import LOCATION_ID
from accord.sandbox.store import Store

QUERY_POINTS_MAX = 1000
DOCUMENTS_KEPT = 256


def load_schema() -> GraphQLSchema:
    """The schema this stand-in serves, with decimals that never pass through float."""
    text = resources.files("accord.sandbox.shop").joinpath("schema.graphql").read_text(encoding="utf-8")
    schema = build_schema(text, assume_valid=True)
    for name in ("Decimal", "Money"):
        scalar = schema.get_type(name)
        if isinstance(scalar, GraphQLScalarType):
            scalar.parse_value = _decimal_text  # type: ignore[method-assign]
            scalar.parse_literal = lambda node, variables=None: _decimal_text(getattr(node, "value", ""))  # type: ignore[method-assign]
    return schema


def _decimal_text(value: Any) -> str:
    try:
        return str(Decimal(str(value)))
    except InvalidOperation:
        raise GraphQLError(f"{value!r} is not a decimal.") from None


class Admin:
    def __init__(self, views: Views, mutations: Mutations, bucket: PointBucket) -> None:
        self.views, self.store, self.bucket, self.hooks = views, views.store, bucket, mutations.hooks
        self.schema = load_schema()
        self.prepare = lru_cache(DOCUMENTS_KEPT)(self._prepare)
        self.bulk = mutations.bulk
        self.queries, self.mutations = self._queries(), mutations.root()
        self.bulk.serve(self.schema, self.queries)

    def _prepare(self, text: str) -> tuple[DocumentNode | None, list[GraphQLError]]:
        try:
            document = parse(text)
        except GraphQLError as fault:
            return None, [fault]
        return document, validate(self.schema, document)

    def __call__(self, request: Request) -> Response:
        """POST with ``{query, variables, operationName}``; faults of the query are 200 with ``errors``, as in the Admin."""
        try:
            asked = msgspec.json.decode(request.body)
            text, variables, name = asked["query"], asked.get("variables") or {}, asked.get("operationName")
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
            return json_response({"errors": "The body must be a JSON object with a query."}, 400)
        if not isinstance(text, str) or not isinstance(variables, dict):
            return json_response({"errors": "query must be text and variables an object."}, 400)
        document, faults = self.prepare(text)
        if document is None or faults:
            return json_response({"errors": [fault.formatted for fault in faults]})
        operation = get_operation_ast(document, name)
        if operation is None:
            return json_response({"errors": [{"message": "No operation with this name."}]})
        return self._run(document, operation, variables, name)

    def _run(
        self, document: DocumentNode, operation: OperationDefinitionNode, variables: dict[str, Any], name: str | None
    ) -> Response:
        requested = Cost(self.schema, document, variables).of(operation)
        cost: dict[str, Any] = {"requestedQueryCost": requested, "actualQueryCost": None}
        if requested > QUERY_POINTS_MAX:
            error = {"message": f"The query costs {requested} points, more than the {QUERY_POINTS_MAX} a single query may.",
                     "extensions": {"code": "MAX_COST_EXCEEDED", "cost": requested, "maxCost": QUERY_POINTS_MAX}}  # fmt: skip
            return json_response({"errors": [error]})
        if self.bucket.refresh() < requested:
            error = {"message": "Throttled", "extensions": {"code": "THROTTLED"}}
            return json_response(
                {"errors": [error], "extensions": {"cost": {**cost, "throttleStatus": self.bucket.status()}}}
            )
        self.bucket.available -= requested
        is_mutation = operation.operation is OperationType.MUTATION
        root = self.mutations if is_mutation else self.queries
        result = execute_sync(self.schema, document, root, variable_values=variables, operation_name=name)
        actual = actual_cost(result.data, requested, is_mutation=is_mutation)
        self.bucket.available = min(self.bucket.size, self.bucket.available + requested - actual)
        answer: dict[str, Any] = {"data": result.data}
        if result.errors:
            answer["errors"] = [fault.formatted for fault in result.errors]
        answer["extensions"] = {"cost": {**cost, "actualQueryCost": actual, "throttleStatus": self.bucket.status()}}
        return json_response(answer)

    def _queries(self) -> dict[str, Any]:
        views, store = self.views, self.store

        def count(source: Source) -> Any:
            return lambda info, **args: _count(store, source, args)

        found: dict[str, Any] = {
            "shop": lambda info: views.shop(),
            "bulkOperation": lambda info, id: self.bulk.by_id(number_of(id)),
            "currentBulkOperation": lambda info, type="QUERY": self.bulk.current() if type == "QUERY" else None,
            "order": lambda info, id: views.order_by_id(number_of(id)),
            "orders": lambda info, **args: connection(store, views.orders, args),
            "product": lambda info, id: views.product_by_id(number_of(id)),
            "products": lambda info, **args: connection(store, views.products, args),
            "productVariant": lambda info, id: views.variant_by_id(number_of(id)),
            "productVariants": lambda info, **args: connection(store, views.variants, args),
            "customer": lambda info, id: views.customer_by_id(number_of(id)),
            "customers": lambda info, **args: connection(store, views.customers, args),
            "customerByIdentifier": lambda info, identifier: self._customer(identifier),
            "productByIdentifier": lambda info, identifier: self._product(identifier),
            "fulfillment": lambda info, id: views.fulfillment_by_id(number_of(id)),
            "inventoryItem": lambda info, id: views.item_by_id(number_of(id)),
            "inventoryLevel": lambda info, id: self._level(id),
            "location": lambda info, id=None: (
                views.location() if id is None or gid_is(id, "Location", LOCATION_ID) else None
            ),
            "locations": lambda info, **args: list_connection([views.location()], args),
            "node": lambda info, id: self._node(id),
            "nodes": lambda info, ids: [self._node(each) for each in ids],
            "webhookSubscription": lambda info, id: self._hook(number_of(id)),
            "webhookSubscriptions": lambda info, **args: self._hooks(args),
        }
        found |= {f"{one.table}Count": count(one) for one in (views.orders, views.products, views.customers)}
        return found

    def _customer(self, by: dict[str, Any]) -> View | None:
        if by.get("id"):
            return self.views.customer_by_id(number_of(by["id"]))
        column, value = (
            ("email", by.get("emailAddress")) if by.get("emailAddress") else ("phone", by.get("phoneNumber"))
        )
        found = self.views.data.customer_by(column, value or "")
        return self.views.customer(found) if found else None

    def _product(self, by: dict[str, Any]) -> View | None:
        if by.get("id"):
            return self.views.product_by_id(number_of(by["id"]))
        row = self.store.one("SELECT id FROM products WHERE handle = ?", by.get("handle"))
        return self.views.product_by_id(row[0]) if row else None

    def _level(self, name: str) -> View | None:
        head, _, item = name.partition("?inventory_item_id=")
        return (
            self.views.level_by_item(int(item))
            if gid_is(head, "InventoryLevel", LOCATION_ID) and item.isdigit()
            else None
        )

    def _node(self, name: str) -> View | None:
        kind, number = name.removeprefix("gid://shopify/").partition("/")[0], number_of(name)
        if kind == "InventoryLevel":
            return self._level(name)
        loaders = {"Order": self.views.order_by_id, "Product": self.views.product_by_id, "ProductVariant": self.views.variant_by_id,
                   "Customer": self.views.customer_by_id, "InventoryItem": self.views.item_by_id,
                   "Fulfillment": self.views.fulfillment_by_id, "WebhookSubscription": self._hook,
                   "BulkOperation": self.bulk.by_id}  # fmt: skip
        return loaders[kind](number) if kind in loaders else None

    def _hook(self, number: int) -> View | None:
        return {"__typename": "WebhookSubscription", **self.hooks.view(number)} if self.hooks.exists(number) else None

    def _hooks(self, args: dict[str, Any]) -> View:
        found = [self.hooks.view(row[0]) for row in self.store.all("SELECT id FROM hooks ORDER BY id")]
        topics, uri = args.get("topics"), args.get("uri") or args.get("callbackUrl")
        return list_connection(
            [h for h in found if (not topics or h["topic"] in topics) and uri in (None, h["uri"])], args
        )


def _count(store: Store, source: Source, args: dict[str, Any]) -> View:
    where, values = parse_search(args.get("query"), source)
    conditions = f"WHERE {' AND '.join(where)}" if where else ""
    found, most = store.number(f"SELECT count(*) FROM {source.table} {conditions}", *values), args.get("limit")  # noqa: S608
    is_exact = most is None or found <= most
    return {"count": found if is_exact else most, "precision": "EXACT" if is_exact else "AT_LEAST"}
