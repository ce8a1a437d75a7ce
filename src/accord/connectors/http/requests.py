"""From a manifest's templates and a record to a request, and from an answer to its record. Pure; planned once, built often."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from accord.connectors.http.settings import FindSettings, GetSettings, HttpSettings, OperationSettings, WriteSettings
from accord.record import Entity
from accord.sdk.bodies import MissingValue, fill_path, fill_text, fill_value, placeholders, text_of, value_at
from accord.sdk.connector import WriteMode
from accord.sdk.http import HttpRequest, encode_json

EFFECT_ID = "effect_id"
METHODS: Mapping[WriteMode, str] = {
    WriteMode.CREATE: "POST",
    WriteMode.UPDATE: "PATCH",
    WriteMode.UPSERT: "PUT",
    WriteMode.DELETE: "DELETE",
}

_text_encoder = msgspec.json.Encoder(decimal_format="string")


def lookup(record: Mapping[str, Any], effect_id: str) -> Callable[[str], Any]:
    """Values of placeholders: the effect id, else the record's value at a dotted path."""

    def look_up(name: str) -> Any:
        return effect_id if name == EFFECT_ID else value_at(record, name)

    return look_up


class Base:
    """What all requests of a system share."""

    def __init__(self, settings: HttpSettings, headers: Mapping[str, str], query: Mapping[str, str]) -> None:
        self.address = settings.address.rstrip("/")
        self.headers = {"accept": "application/json", **headers}
        self.query = dict(query)
        seconds = settings.timeout.total_seconds()
        self.timeout_s = seconds if seconds != 30.0 else None
        self.encode = encode_json if settings.decimals == "number" else _text_encoder.encode
        self.key_header = settings.idempotency_header.lower()

    def url(self, path: str, query: Mapping[str, str]) -> str:
        """The whole address of a path (given with or without its first slash)."""
        asked = {**query, **self.query}
        url = self.address + (path if path.startswith("/") else f"/{path}" if path else "")
        return f"{url}{'&' if '?' in url else '?'}{urlencode(asked)}" if asked else url


class RequestPlan:
    """A request with placeholders. What has none is prepared here, once."""

    def __init__(
        self,
        base: Base,
        *,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        wrap: str = "",
        omit: frozenset[str] = frozenset(),
        sends_record: bool = False,
    ) -> None:
        self._base = base
        self._method = method
        self._path = path
        self._query = {name: text_of(value) for name, value in (query or {}).items()}
        self._is_fixed = not placeholders(path) and not placeholders(self._query)
        self._fixed_url = base.url(path, self._query) if self._is_fixed else ""
        self._given_headers = {name.lower(): value for name, value in (headers or {}).items()}
        self._has_header_templates = bool(placeholders(self._given_headers))
        self._body = body
        self._wrap = wrap
        self._omit = omit
        self._sends_record = sends_record and body is None
        self._headers = {**base.headers, **self._given_headers}
        if self._sends_record or body is not None:
            self._headers.setdefault("content-type", "application/json")

    def build(self, record: Mapping[str, Any], effect_id: str) -> HttpRequest:
        """The request for one record or call. Raises MissingValue for a placeholder without a value."""
        base = self._base
        headers = self._headers
        if self._has_header_templates:
            look_up = lookup(record, effect_id)
            headers = {n: fill_text(v, look_up) if n in self._given_headers else v for n, v in headers.items()}
        if base.key_header and self._method != "GET":
            headers = {**headers, base.key_header: effect_id}
        return HttpRequest(
            method=self._method,
            url=self._fixed_url if self._is_fixed else self._url(record, effect_id),
            headers=headers,
            body=self._encoded(record, effect_id),
            timeout_s=base.timeout_s,
        )

    def _url(self, record: Mapping[str, Any], effect_id: str) -> str:
        look_up = lookup(record, effect_id)
        return self._base.url(
            fill_path(self._path, look_up), {name: fill_text(value, look_up) for name, value in self._query.items()}
        )

    def _encoded(self, record: Mapping[str, Any], effect_id: str) -> bytes:
        if self._sends_record:
            value: Any = {k: v for k, v in record.items() if k not in self._omit} if self._omit else record
        elif self._body is not None:
            value = fill_value(self._body, lookup(record, effect_id))
        else:
            return b""
        return self._base.encode({self._wrap: value} if self._wrap else value)


class WritePlan:
    """One write mode of one entity: its request, and how its answer is read."""

    def __init__(self, base: Base, entity: Entity, mode: WriteMode, settings: WriteSettings) -> None:
        method = settings.method or METHODS[mode]
        self.request = RequestPlan(
            base,
            method=method,
            path=settings.path,
            query=settings.query,
            headers=settings.headers,
            body=settings.body,
            wrap=settings.wrap,
            omit=frozenset(settings.omit),
            sends_record=method != "DELETE",
        )
        self.is_delete = mode is WriteMode.DELETE
        self._answer = settings.answer
        self._id = settings.id
        self._key = entity.key[0] if entity.key else "id"

    def result(self, body: Any) -> Any:
        """The record as the system answered it; at least its key where the manifest says where that is."""
        record = value_at(body, self._answer)
        if self._id:
            found = value_at(body, self._id)
            return {**(record if isinstance(record, dict) and self._answer else {}), self._key: found}
        return record


class FindPlan:
    """Looks for one record by reference."""

    def __init__(self, base: Base, settings: FindSettings) -> None:
        self.request = RequestPlan(base, method="GET", path=settings.path, query=settings.query)
        self._list = settings.list
        self._match = settings.match

    def found(self, body: Any, record: Mapping[str, Any], effect_id: str) -> dict[str, Any] | None:
        """The record that fits, or None."""
        there = value_at(body, self._list)
        candidates = there if isinstance(there, list) else [there] if isinstance(there, dict) and there else []
        look_up = lookup(record, effect_id)
        for candidate in candidates:
            if isinstance(candidate, dict) and all(
                text_of(value_at(candidate, at)) == text_of(fill_value(wanted, look_up))
                for at, wanted in self._match.items()
            ):
                return candidate
        return None


def get_plan(base: Base, settings: GetSettings | str) -> tuple[RequestPlan, str]:
    """The request that gets one record, and where in the answer it is."""
    if isinstance(settings, str):
        settings = GetSettings(path=settings)
    return RequestPlan(base, method="GET", path=settings.path, query=settings.query), settings.answer


def operation_plan(base: Base, settings: OperationSettings) -> RequestPlan:
    """The request of a call: arguments that stand in path or query are not sent again in the body."""
    used = placeholders(settings.path) | placeholders(settings.query)
    return RequestPlan(
        base,
        method=settings.method,
        path=settings.path,
        query=settings.query,
        headers=settings.headers,
        body=settings.body,
        wrap=settings.wrap,
        omit=frozenset(used),
        sends_record=settings.method not in ("GET", "DELETE"),
    )


def is_read_only(settings: OperationSettings) -> bool:
    return settings.method == "GET" if settings.read_only is None else settings.read_only


__all__ = [
    "EFFECT_ID",
    "Base",
    "FindPlan",
    "MissingValue",
    "RequestPlan",
    "WritePlan",
    "get_plan",
    "is_read_only",
    "lookup",
    "operation_plan",
]
