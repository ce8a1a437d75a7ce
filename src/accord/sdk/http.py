"""HTTP as values: what a connector asks for and gets. The engine owns the client, its pool, limits and timeouts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from accord.errors import AccordError


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request. Header names are lower case. ``timeout_s`` covers the whole exchange; None takes the system's default (30 s)."""

    method: str
    url: str
    headers: Mapping[str, str] = {}
    body: bytes = b""
    timeout_s: float | None = None


class HttpResponse(msgspec.Struct, frozen=True, kw_only=True):
    """``headers``: lower-case names, repeated headers joined with ', '. ``body`` is bounded by ``BODY_SIZE_BYTES_MAX``."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""

    def json(self) -> Any:
        """The body as JSON; numbers with a point become decimal.Decimal. Raises msgspec.DecodeError."""
        return decode_json(self.body)


BODY_SIZE_BYTES_MAX = 64 * 1024 * 1024


class HttpFailed(AccordError):
    """No whole response came. ``in_doubt``: the request may have reached the server. ``kind``: connect | timeout | reset | too-large."""

    code = "connector.http-failed"

    def __init__(self, what: str, *, kind: str, in_doubt: bool) -> None:
        self.kind = kind
        self.in_doubt = in_doubt
        super().__init__(what)


class HttpClient(Protocol):
    """Given to connectors in their Context; shared connections per system."""

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Any status is a response. Redirects are not followed. Raises HttpFailed."""
        ...

    def stream(self, request: HttpRequest) -> AsyncIterator[bytes]:
        """The body in chunks, for large downloads. Raises HttpFailed, also for a status of 400 and above."""
        ...


class InboundRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that came in (webhook): ``path`` without the query, lower-case headers, ``body`` the raw bytes as signed, ``peer`` the
    address at the other end of the connection ('' when it has none)."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = {}
    body: bytes = b""
    peer: str = ""


_exact_decoder = msgspec.json.Decoder(float_hook=Decimal)
_exact_encoder = msgspec.json.Encoder(decimal_format="number")


def decode_json(raw: bytes) -> Any:
    """JSON to plain Python data with exact numbers: integers as int, all other numbers as decimal.Decimal.

    Raises msgspec.DecodeError, also for nesting deeper than the interpreter can follow.
    """
    try:
        return _exact_decoder.decode(raw)
    except RecursionError:
        raise msgspec.DecodeError("JSON nests too deep") from None


def encode_json(value: Any) -> bytes:
    """Plain data to JSON. decimal.Decimal becomes a JSON number of the same digits (never through float), datetimes ISO 8601."""
    return _exact_encoder.encode(value)
