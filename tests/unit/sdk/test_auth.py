"""Credentials of every scheme; tokens fetched once, renewed once."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import hashlib
import hmac
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest

from accord.record import Reconnect, Retry
from accord.sdk import auth as a
from accord.sdk.http import HttpFailed, HttpRequest, HttpResponse
from accord.sdk.tokens import TokenFailed
from accord.settings.secret import Secret

REQUEST = HttpRequest(method="POST", url="https://api.example/v1/items?b=2", headers={"x": "1"}, body=b'{"a":1}')
NOW = dt.datetime(2026, 11, 1, 12, 0, tzinfo=dt.UTC)


class TokenServer:
    """Gives ``t1``, ``t2``, … ; an HttpClient that keeps what it was asked."""

    def __init__(self, **answer: Any) -> None:
        self.asked: list[HttpRequest] = []
        self.answer = {"expires_in": 3600, **answer}
        self.fails: HttpFailed | None = None
        self.status = 200

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.asked.append(request)
        await asyncio.sleep(0)
        if self.fails:
            raise self.fails
        told = {"access_token": f"t{len(self.asked)}", **self.answer}
        return HttpResponse(status=self.status, body=msgspec.json.encode(told))

    async def stream(self, request: HttpRequest) -> AsyncIterator[bytes]:
        raise AssertionError("tokens are not streamed")
        yield b""


CLIENT = a.ClientCredentials(
    token_address="https://id.example/token", client_id="me@x", client_secret=Secret("a b&c"), scope="read"
)


def test_static_schemes() -> None:
    http = TokenServer()
    basic = a.open_auth(a.BasicAuth(user="ü", password=Secret("p:w")), http)
    assert base64.b64decode(basic.headers["authorization"][6:]).decode() == "ü:p:w"
    assert a.open_auth(a.HeaderAuth(name="X-Api-Key", value=Secret("k"), prefix="Key "), http).headers == {
        "x-api-key": "Key k"
    }
    assert a.open_auth(a.BearerAuth(token=Secret("t")), http).headers == {"authorization": "Bearer t"}
    assert a.open_auth(a.QueryAuth(name="key", value=Secret("k")), http).query == {"key": "k"}
    none = a.open_auth(a.NoAuth(), http)
    assert none.is_static and not none.headers and not none.query


def test_one_token_for_all_until_it_expires() -> None:
    http = TokenServer()
    time = [NOW]
    authorizer = a.open_auth(CLIENT, http, now=lambda: time[0])

    async def run() -> list[str]:
        first = await asyncio.gather(*(authorizer.authorize(REQUEST) for _ in range(50)))
        time[0] += dt.timedelta(seconds=3571)
        last = await authorizer.authorize(REQUEST)
        return [r.headers["authorization"] for r in (*first, last)]

    assert set(asyncio.run(run())) == {"Bearer t1", "Bearer t2"}
    assert len(http.asked) == 2
    form = parse_qs(http.asked[0].body.decode())
    assert form == {"grant_type": ["client_credentials"], "scope": ["read"]}
    assert base64.b64decode(http.asked[0].headers["authorization"][6:]).decode() == "me%40x:a+b%26c"


def test_many_refused_requests_renew_once() -> None:
    http = TokenServer()

    async def run() -> list[str]:
        authorizer = a.open_auth(CLIENT, http)
        requests = await asyncio.gather(*(authorizer.authorize(REQUEST) for _ in range(20)))
        await asyncio.gather(*(authorizer.renew(request) for request in requests))
        return [(await authorizer.authorize(REQUEST)).headers["authorization"]]

    assert asyncio.run(run()) == ["Bearer t2"]
    assert len(http.asked) == 2


def test_rotated_refresh_tokens_are_kept() -> None:
    http = TokenServer(refresh_token="r2")
    kept: list[str] = []
    settings = a.RefreshToken(
        token_address="https://id.example/t", client_id="me", refresh_token=Secret("r1"), style="body"
    )

    async def run() -> None:
        authorizer = a.open_auth(settings, http, keep_refresh_token=kept.append)
        await authorizer.renew(await authorizer.authorize(REQUEST))

    asyncio.run(run())
    assert kept == ["r2", "r2"]
    sent = [parse_qs(r.body.decode())["refresh_token"] for r in http.asked]
    assert sent == [["r1"], ["r2"]]


@pytest.mark.parametrize(
    ("status", "fails", "kind", "is_refused"),
    [
        (400, None, Reconnect, True),
        (401, None, Reconnect, True),
        (503, None, Reconnect, False),
        (429, None, Retry, False),
        (200, HttpFailed("refused", kind="connect", in_doubt=False), Reconnect, False),
    ],
)
def test_no_token(status: int, fails: HttpFailed | None, kind: type, is_refused: bool) -> None:
    http = TokenServer()
    http.status, http.fails = status, fails

    async def run() -> None:
        await a.open_auth(CLIENT, http).authorize(REQUEST)

    with pytest.raises(TokenFailed) as failed:
        asyncio.run(run())
    assert type(failed.value.outcome) is kind
    assert failed.value.is_refused is is_refused
    assert "a b&c" not in str(failed.value)


def test_an_answer_without_a_token_is_no_token() -> None:
    http = TokenServer(access_token=None)
    with pytest.raises(TokenFailed):
        asyncio.run(a.open_auth(CLIENT, http).authorize(REQUEST))


def test_requests_are_signed() -> None:
    settings = a.HmacAuth(
        secret=Secret("k"),
        header="X-Signature",
        signs="{method}\\n{target}\\n{timestamp}\\n{body_sha256}",
        timestamp_header="X-Time",
        key_header="X-Key",
        key_id="id-1",
        prefix="v1=",
    )
    signed = asyncio.run(a.open_auth(settings, TokenServer(), now=lambda: NOW).authorize(REQUEST))
    stamp = str(int(NOW.timestamp()))
    text = f"POST\n/v1/items?b=2\n{stamp}\n{hashlib.sha256(REQUEST.body).hexdigest()}"
    wanted = hmac.new(b"k", text.encode(), hashlib.sha256).hexdigest()
    assert signed.headers == {"x": "1", "x-key": "id-1", "x-signature": f"v1={wanted}", "x-time": stamp}


def test_unknown_parts_cannot_be_signed() -> None:
    with pytest.raises(ValueError, match="`signs`"):
        a.HmacAuth(secret=Secret("k"), header="h", signs="{bodi}")
    with pytest.raises(ValueError, match="`timestamp_header`"):
        a.HmacAuth(secret=Secret("k"), header="h")


def test_secrets_are_found_wherever_they_stand() -> None:
    assert a.secrets_of({"a": [CLIENT], "b": Secret("x")}) == ["a b&c", "x"]
