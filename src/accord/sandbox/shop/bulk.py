"""Bulk operations: a query carried out over time, its result as JSON Lines behind an address of its own for seven days.

Source: shopify.dev, "Perform bulk operations with the GraphQL Admin API" (one top-level field, connections as ``edges { node }`` with the
nodes' ids, children on lines of their own with ``__parentId``, at most five connections, two levels deep) and the 2026-10 schema
(states, error codes, ``groupObjects``: children directly behind their parents).
"""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    IntValueNode,
    NameNode,
    OperationDefinitionNode,
    SelectionSetNode,
    Visitor,
    execute_sync,
    parse,
    validate,
    visit,
)

from accord.sandbox import clock
from accord.sandbox.http_server import Refusal, Request, Response
from accord.sandbox.shop.memory import Invalid
from accord.sandbox.shop.search import View, page_max
from accord.sandbox.shop.views import number_of
from accord.sandbox.shop.wire import gid, now_utc
from accord.sandbox.store import Store

SCHEMA = "CREATE TABLE IF NOT EXISTS bulk_operations (id INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL, result BLOB);"
CONNECTIONS_MAX, DEPTH_MAX = 5, 2
LIFESPAN_S = 7 * 86_400.0
ALL = 1_000_000_000
SCATTERED = 10  # roots whose children come behind all of them where objects are not grouped
ACTIVE = ("CREATED", "RUNNING", "CANCELING")


class Operation(msgspec.Struct):
    """``key`` makes its address hard to guess. ``breaks``: planned by the owner, the error code it fails with ``after`` so many lines."""

    query: str
    key: str
    is_grouped: bool
    created_at: str
    runs_from: float
    works_until: float
    status: str = "CREATED"
    ended_at: float = 0.0
    completed_at: str | None = None
    roots: int = 0
    objects: int = 0
    breaks: str = ""
    after: int = 0


class BulkOperations:
    def __init__(self, store: Store, address: str, waits_s: float, works_s: float) -> None:
        self._store, self._address = store, address
        self._waits_s, self._works_s = waits_s, works_s
        self._schema: GraphQLSchema | None = None
        self._root: dict[str, Any] = {}

    def serve(self, schema: GraphQLSchema, root: dict[str, Any]) -> None:
        self._schema, self._root = schema, root

    # mutations and queries

    def run(self, query: str, groupObjects: bool) -> View:
        self._check(query)
        if any(one.status in ACTIVE for _, one in self._all()):
            raise Invalid(
                "query", "A bulk query operation for this app and shop is already in progress", "OPERATION_IN_PROGRESS"
            )
        begin = clock.time() + self._waits_s
        made = Operation(query, secrets.token_hex(8), groupObjects, now_utc(), begin, begin + self._works_s)
        planned = self._store.fact("bulk breaks")
        if planned:
            plan = msgspec.json.decode(planned)
            made.breaks, made.after = plan["code"], int(plan.get("after", 0))
            self._store.keep_fact("bulk breaks", "")
        sql = "INSERT INTO bulk_operations (body) VALUES (?)"
        number = int(self._store.db.execute(sql, (msgspec.json.encode(made),)).lastrowid or 0)
        return {"bulkOperation": self._view(number, made)}

    def cancel(self, id: str) -> View:
        number = number_of(id)
        found = next((one for at, one in self._all() if at == number), None)
        if found is None:
            raise Invalid("id", "Bulk operation does not exist")
        if found.status not in ACTIVE:
            raise Invalid("id", "A bulk operation cannot be canceled when it is completed")
        found.status, found.works_until = "CANCELING", clock.time() + self._works_s
        self._keep(number, found)
        return {"bulkOperation": self._view(number, found)}

    def by_id(self, number: int) -> View | None:
        return next((self._view(at, one) for at, one in self._all() if at == number), None)

    def current(self) -> View | None:
        found = self._all()
        return self._view(*found[-1]) if found else None

    # for the owner, and those who fetch results

    def plan_failure(self, request: Request) -> Response:
        """``{"code": "TIMEOUT", "after": lines}``: the next operation fails so, with so many lines of partial data."""
        self._store.keep_fact("bulk breaks", request.body.decode())
        return Response(204)

    def result(self, request: Request) -> Response:
        number, key = int(request.parameters["number"]), request.parameters["key"]
        row = self._store.one("SELECT body, result FROM bulk_operations WHERE id = ?", number)
        found = msgspec.json.decode(row[0], type=Operation) if row else None
        if (
            row is None
            or found is None
            or found.key != key
            or clock.time() - found.ended_at > LIFESPAN_S
            or row[1] is None
        ):
            raise Refusal(403, "expired", "The address is wrong or has expired.")
        return Response(200, row[1], "application/jsonl")

    # inside

    def _all(self) -> list[tuple[int, Operation]]:
        """As they stand now: what was due has happened."""
        rows = self._store.all("SELECT id, body FROM bulk_operations ORDER BY id")
        found = [(number, msgspec.json.decode(body, type=Operation)) for number, body in rows]
        for number, one in found:
            self._advance(number, one)
        return found

    def _advance(self, number: int, one: Operation) -> None:
        now = clock.time()
        if one.status == "CREATED" and now >= one.runs_from:
            one.status = "RUNNING"
        if one.status == "CANCELING" and now >= one.works_until:
            one.status, one.ended_at = "CANCELED", now
        elif one.status == "RUNNING" and now >= one.works_until:
            lines = self._lines(one)
            if one.breaks:
                lines = lines[: one.after]
            one.status, one.ended_at = ("FAILED" if one.breaks else "COMPLETED"), now
            one.completed_at = None if one.breaks else now_utc()
            one.objects = len(lines)
            one.roots = sum("__parentId" not in line for line in lines)
            result = b"".join(msgspec.json.encode(line) + b"\n" for line in lines) or None
            self._store.db.execute("UPDATE bulk_operations SET result = ? WHERE id = ?", (result, number))
        elif one.status == "COMPLETED" and now - one.ended_at > LIFESPAN_S:
            one.status = "EXPIRED"
        self._keep(number, one)

    def _keep(self, number: int, one: Operation) -> None:
        self._store.db.execute("UPDATE bulk_operations SET body = ? WHERE id = ?", (msgspec.json.encode(one), number))

    def _view(self, number: int, one: Operation) -> View:
        address = f"{self._address}/bulk/{number}/{one.key}" if one.objects else None
        size = self._store.number("SELECT length(result) FROM bulk_operations WHERE id = ?", number)
        return {
            "__typename": "BulkOperation", "id": gid("BulkOperation", number), "status": one.status, "type": "QUERY", "query": one.query,
            "createdAt": one.created_at, "completedAt": one.completed_at, "errorCode": one.breaks if one.status == "FAILED" else None,
            "objectCount": str(one.objects), "rootObjectCount": str(one.roots), "fileSize": str(size) if address else None,
            "url": address if one.status == "COMPLETED" else None, "partialDataUrl": address if one.status == "FAILED" else None,
        }  # fmt: skip

    def _check(self, text: str) -> OperationDefinitionNode:
        """Raises Invalid."""
        assert self._schema is not None
        try:
            document = parse(text)
        except GraphQLError as fault:
            raise Invalid("query", f"Invalid bulk query: {fault.message}", "INVALID") from None
        faults = validate(self._schema, document)
        if faults:
            raise Invalid("query", f"Invalid bulk query: {faults[0].message}", "INVALID")
        (first, *rest) = document.definitions
        if rest or not isinstance(first, OperationDefinitionNode) or len(first.selection_set.selections) != 1:
            raise Invalid("query", "Bulk queries must contain a single top level field", "INVALID")
        depths = list(_connections(first.selection_set, 0))
        if not depths or len(depths) > CONNECTIONS_MAX or max(depths) > DEPTH_MAX:
            raise Invalid("query", "Bulk queries have from 1 to 5 connections, nested at most 2 levels deep", "INVALID")
        return first

    def _lines(self, one: Operation) -> list[dict[str, Any]]:
        assert self._schema is not None
        document: DocumentNode = visit(parse(one.query), _Whole())
        token = page_max.set(ALL)
        try:
            result = execute_sync(self._schema, document, self._root)
        finally:
            page_max.reset(token)
        assert result.data is not None and not result.errors, result.errors
        (connection,) = result.data.values()
        roots = [edge["node"] for edge in connection["edges"]]
        if one.is_grouped:
            return [line for root in roots for line in _flat(root, None)]
        found: list[dict[str, Any]] = []
        for start in range(0, len(roots), SCATTERED):
            each = [list(_flat(root, None)) for root in roots[start : start + SCATTERED]]
            found += [lines[0] for lines in each] + [line for lines in each for line in lines[1:]]
        return found


class _Whole(Visitor):
    """Every connection without bounds."""

    def enter_field(self, node: FieldNode, *_: Any) -> FieldNode | None:
        if not _is_connection(node):
            return None
        kept = tuple(one for one in node.arguments or () if one.name.value not in ("first", "last", "after", "before"))
        every = ArgumentNode(name=NameNode(value="first"), value=IntValueNode(value=str(ALL)))
        return FieldNode(
            name=node.name,
            alias=node.alias,
            arguments=(*kept, every),
            directives=node.directives,
            selection_set=node.selection_set,
        )


def _is_connection(node: FieldNode) -> bool:
    inside = node.selection_set.selections if node.selection_set else ()
    return any(isinstance(one, FieldNode) and one.name.value == "edges" for one in inside)


def _connections(selection: SelectionSetNode | None, depth: int) -> Any:
    for one in selection.selections if selection else ():
        inner = getattr(one, "selection_set", None)
        if isinstance(one, FieldNode) and _is_connection(one):
            yield depth
            yield from _connections(inner, depth + 1)
        else:
            yield from _connections(inner, depth)


def _flat(node: dict[str, Any], parent: str | None) -> Any:
    """The node's line, then those of its connections' nodes."""
    own: dict[str, Any] = {}
    inside: list[dict[str, Any]] = []
    for name, value in node.items():
        if isinstance(value, dict) and "edges" in value:
            inside += [edge["node"] for edge in value["edges"]]
        else:
            own[name] = value
    yield {**own, "__parentId": parent} if parent else own
    for child in inside:
        yield from _flat(child, node["id"])
