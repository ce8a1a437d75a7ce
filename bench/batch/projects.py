"""The project Accord runs in each scenario: orders are checked against their contract, 12 fields mapped, and written."""

from __future__ import annotations

import json
from pathlib import Path

import batch_data

from batch.ideal import REGIONS

TARGET = {
    "id": ("integer", "bigint"),
    "reference": ("string", "text"),
    "customer": ("string", "text"),
    "email": ("string", "text"),
    "is_open": ("boolean", "boolean"),
    "quantity": ("integer", "bigint"),
    "net": ("decimal", "numeric(14, 2)"),
    "gross": ("decimal", "numeric(14, 2)"),
    "due": ("date", "date"),
    "updated_at": ("datetime", "timestamptz"),
    "region": ("string", "text"),
    "note": ("string", "text"),
}
LINES = {"order_id": ("integer", "bigint"), "sku": ("string", "text"), "amount": ("decimal", "numeric(14, 2)")}
MAPPED = {
    "id": "id",
    "reference": '"S-" + number',
    "customer": "trim(customer)",
    "email": "lower(email)",
    "is_open": 'status == "open"',
    "quantity": "quantity",
    "net": "total - coalesce(discount, 0)",
    "gross": "total * quantity",
    "due": "ordered_on + days(14)",
    "updated_at": "updated_at",
    "region": 'lookup("regions", country, default="other")',
    "note": 'coalesce(note, "")',
}
LINE_FIELDS = {"list": {"sku": "string", "quantity": "integer", "price": "decimal"}}
SOURCES = {
    "csv": {"pattern": "orders.csv", "keep": True, "key": "id"},
    "jsonl": {"pattern": "orders.jsonl", "keep": True, "key": "id"},
    "postgresql": {"table": "orders", "key": "id"},
    "http": {"path": "/orders", "list": "data", "key": "id"},
}


def table_of(fields: dict[str, tuple[str, str]], name: str, key: str = "") -> str:
    columns = ", ".join(
        f"{column} {kind}{' PRIMARY KEY' if column == key else ''}" for column, (_, kind) in fields.items()
    )
    return f"CREATE TABLE {name} ({columns})"


def write_project(
    folder: Path,
    *,
    source: str,
    address: str,
    url: str,
    mode: str = "append",
    to_files: bool = False,
    with_lines: bool = False,
) -> None:
    """``address``: the folder, URL of the database or of the API that the orders are read from; ``url``: the target database."""
    fields = {**batch_data.FIELDS, **({"lines": LINE_FIELDS} if with_lines else {})}
    target = {"fields": {name: kind for name, (kind, _) in TARGET.items()}}
    if mode == "upsert":
        target["key"] = "id"  # type: ignore[assignment]
    write: list[object] = [{"write": "books.entries", "mapping": "entry", "mode": mode}]
    entities = {"entries": {**target, **({"dataset": "entries"} if to_files else {"table": "entries"})}}
    if with_lines:
        entities["lines"] = {"table": "lines", "fields": {name: kind for name, (kind, _) in LINES.items()}}
        line = {"order_id": "parent.id", "sku": "sku", "amount": "price * quantity"}
        write.append({"split": "lines", "steps": [{"write": "books.lines", "with": line, "mode": "append"}]})
    books = {"folder": str(folder)} if to_files else _database(url)
    documents: dict[str, object] = {
        "accord.yaml": {"name": "bench"},
        "systems/shop.yaml": {
            "system": "shop",
            **_shop(source, address),
            "entities": {"orders": {**SOURCES[source], "fields": fields}},
        },
        "systems/books.yaml": {
            "system": "books",
            "connector": "files" if to_files else "sql",
            "settings": books,
            "entities": entities,
        },
        "mappings/entry.yaml": {
            "mapping": "entry",
            "from": "shop.orders",
            "to": "books.entries",
            "lookups": {"regions": REGIONS},
            "fields": MAPPED,
        },
        "flows/load.yaml": {
            "flow": "load",
            "on": "manual",
            "read": {"entity": "shop.orders"},
            "stop_after": "5% rejects",
            "steps": [{"validate": "shop.orders"}, *write],
        },
    }
    for name, document in documents.items():  # JSON is YAML
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1))


def _database(url: str) -> dict[str, str]:
    return {"url": url.replace("postgresql://", "postgresql+psycopg://"), "statement_timeout": "10m"}


def _shop(source: str, address: str) -> dict[str, object]:
    if source == "postgresql":
        return {"connector": "sql", "settings": _database(address)}
    if source == "http":
        paging = {"type": "page", "param": "page", "size": 500, "size_param": "limit"}
        return {"connector": "http", "settings": {"address": address, "paging": paging}}
    return {"connector": "files", "settings": {"folder": address, "stable": "0s"}}
