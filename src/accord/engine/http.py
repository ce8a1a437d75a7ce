"""The HTTP client connectors are given, one pool per system: ``plain_http`` without TLS, pyreqwest for everything else, whose foreign
errors are translated here and nowhere else."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Coroutine
from datetime import timedelta
from typing import Any

import msgspec
from pyreqwest import exceptions as foreign
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.response import Response

from accord.engine.attempts import WATCH, watched
from accord.engine.plain_http import PlainHttp, can_send
from accord.observe.tracing import TRACEPARENT
from accord.sdk.http import BODY_SIZE_BYTES_MAX, HttpFailed, HttpRequest, HttpResponse

TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 5.0
IDLE_TIMEOUT_S = 50.0  # below the 60 s after which common load balancers drop idle connections
STREAM_IDLE_TIMEOUT_S = 60.0
_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


class PooledHttpClient:
    """Implements ``accord.sdk.http.HttpClient``. Create inside the running loop's process; close when done."""

    def __init__(self, *, connections_max: int = 64, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._plain: PlainHttp | None = None
        if not any(os.environ.get(name) for name in _PROXIES):  # the library knows proxies
            self._plain = PlainHttp(connections_max=connections_max, connect_s=CONNECT_TIMEOUT_S, idle_s=IDLE_TIMEOUT_S)
        self._client: Client = (
            ClientBuilder()
            .http1_only()
            .follow_redirects(False)
            .max_connections(connections_max)
            .connect_timeout(timedelta(seconds=CONNECT_TIMEOUT_S))
            .pool_idle_timeout(timedelta(seconds=IDLE_TIMEOUT_S))
            .pool_timeout(timedelta(seconds=timeout_s))
            .timeout(timedelta(seconds=timeout_s))
            .tcp_nodelay(True)
            .user_agent("accord")
            .build()
        )

    def send(self, request: HttpRequest) -> Coroutine[Any, Any, HttpResponse]:
        parent = TRACEPARENT.get()
        if parent:
            request = msgspec.structs.replace(request, headers={"traceparent": parent, **request.headers})
        watch = WATCH.get()
        if self._plain is not None and can_send(request):
            timeout_s = self._timeout_s if request.timeout_s is None else request.timeout_s
            return self._plain.send(request, timeout_s, watch)
        sending = self._send_by_library(request)
        return sending if watch is None else watched(watch, request, sending)

    async def _send_by_library(self, request: HttpRequest) -> HttpResponse:
        try:
            builder = self._client.request(request.method, request.url)
            if request.headers:
                builder = builder.headers(dict(request.headers))
            if request.body:
                builder = builder.body_bytes(request.body)
            if request.timeout_s is not None:
                builder = builder.timeout(timedelta(seconds=request.timeout_s))
            response = await builder.build().send()
            return HttpResponse(status=response.status, headers=_headers(response), body=await _bounded_body(response))
        except (foreign.PyreqwestError, ValueError) as error:
            raise _translated(error) from error

    async def stream(self, request: HttpRequest) -> AsyncIterator[bytes]:
        timeout_s = request.timeout_s if request.timeout_s is not None else 24 * 3600.0
        try:
            builder = self._client.request(request.method, request.url).headers(dict(request.headers))
            if request.body:
                builder = builder.body_bytes(request.body)
            async with builder.timeout(timedelta(seconds=timeout_s)).build_streamed() as response:
                if response.status >= 400:
                    raise HttpFailed(f"the server answered {response.status}", kind="status", in_doubt=False)
                while (chunk := await response.body_reader.read_chunk()) is not None:
                    yield bytes(chunk)
        except (foreign.PyreqwestError, ValueError) as error:
            raise _translated(error) from error

    async def close(self) -> None:
        if self._plain is not None:
            await self._plain.close()
        await self._client.close()


async def _bounded_body(response: Response) -> bytes:
    length = response.get_header("content-length")
    if length is not None and length.isdigit() and int(length) <= BODY_SIZE_BYTES_MAX:
        return bytes(await response.bytes())
    chunks: list[bytes] = []
    size_bytes = 0
    while (chunk := await response.body_reader.read_chunk()) is not None:
        size_bytes += len(chunk)
        if size_bytes > BODY_SIZE_BYTES_MAX:
            raise HttpFailed(f"the answer is larger than {BODY_SIZE_BYTES_MAX} bytes", kind="too-large", in_doubt=True)
        chunks.append(bytes(chunk))
    return b"".join(chunks)


def _headers(response: Response) -> dict[str, str]:
    headers = response.headers
    if len(headers) == headers.keys_len():
        return dict(headers.items())
    return {name: ", ".join(headers.getall(name)) for name in headers.keys()}  # noqa: SIM118 (a HeaderMap is no dict)


def _translated(error: Exception) -> HttpFailed:
    """In doubt unless proven otherwise: the library calls a connection closed after the request was sent a ConnectError,
    and any total timeout a ConnectTimeoutError, so only the causes it lists tell whether the request left this process."""
    match error:
        case foreign.PoolTimeoutError():
            return HttpFailed("no free connection to the system in time", kind="connect", in_doubt=False)
        case foreign.BuilderError() | ValueError():
            return HttpFailed(f"the request cannot be built: {error}", kind="invalid", in_doubt=False)
    causes = _causes(error)
    if "client error (Connect)" in causes:
        return HttpFailed("the system cannot be reached: " + causes.rpartition("; ")[2], kind="connect", in_doubt=False)
    if isinstance(error, foreign.RequestTimeoutError):
        return HttpFailed("no answer in time", kind="timeout", in_doubt=True)
    return HttpFailed("the connection broke before the whole answer had come", kind="reset", in_doubt=True)


def _causes(error: Exception) -> str:
    details = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], dict) else {}
    return "; ".join(str(cause.get("message", "")) for cause in details.get("causes") or ())
