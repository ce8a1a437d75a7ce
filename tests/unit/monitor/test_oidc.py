"""Signing in through an identity provider that signs with RS256 keys, over real HTTP: what lets somebody in, and what must not."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from accord.engine.http import PooledHttpClient
from accord.engine.operators.roles import Actor, Role
from accord.monitor.oidc import OidcError, Provider
from accord.settings.monitor import OidcSpec
from accord.settings.secret import Secret
from identity_provider import OTHER_KEY, IdentityProvider, identity_provider

CALLBACK = "http://127.0.0.1:8400/monitor/oidc/callback"


@pytest.fixture
def identity() -> Iterator[IdentityProvider]:
    with identity_provider() as found:
        yield found


def sign(text: str) -> str:
    return hashlib.sha256(b"key" + text.encode()).hexdigest()


async def signed_in(identity: IdentityProvider, *, state: str = "", cookie: str = "", times: int = 1) -> Actor:
    spec = OidcSpec(
        issuer=identity.issuer,
        client_id="accord",
        client_secret=Secret("s/cret"),
        roles={"accord-operators": "operator", "accord-viewers": "viewer"},
    )
    async with contextlib.AsyncExitStack() as stack:
        client = PooledHttpClient()
        stack.push_async_callback(client.close)
        provider = Provider(spec, lambda: client, sign)
        for _ in range(times):
            address, given = await provider.begin(CALLBACK)
            code = identity.authorize(address)
            query = {"code": code, "state": state or dict(parse_qsl(urlsplit(address).query))["state"]}
            actor = await provider.finish(query, {"cookie": cookie or given.decode().partition(";")[0]})
    return actor


def test_a_person_gets_the_highest_role_of_her_groups(identity: IdentityProvider) -> None:
    assert asyncio.run(signed_in(identity, times=3)) == Actor("ada@example.com", Role.OPERATOR, "oidc")
    assert identity.reads == 1, "keys are kept"
    identity.claims = {"groups": "accord-viewers", "email": None}
    assert asyncio.run(signed_in(identity)) == Actor("7", Role.VIEWER, "oidc")


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"groups": ["staff"]}, "has no role"),
        ({"aud": "another client"}, "not valid"),
        ({"iss": "https://evil.example"}, "not valid"),
        ({"exp": 1_000_000_000}, "not valid"),
        ({"nonce": "of another sign-in"}, "another sign-in"),
    ],
)
def test_what_a_token_says_must_be_right(identity: IdentityProvider, claims: dict[str, Any], reason: str) -> None:
    identity.claims = claims
    with pytest.raises(OidcError, match=reason):
        asyncio.run(signed_in(identity))


def test_a_token_must_be_signed_with_a_published_key(identity: IdentityProvider) -> None:
    identity.key = OTHER_KEY
    with pytest.raises(OidcError, match="not valid"):
        asyncio.run(signed_in(identity))
    identity.kid = "two"
    with pytest.raises(OidcError, match="does not publish"):
        asyncio.run(signed_in(identity))


def test_a_sign_in_belongs_to_the_browser_that_began_it(identity: IdentityProvider) -> None:
    with pytest.raises(OidcError, match="another sign-in"):
        asyncio.run(signed_in(identity, state="guessed"))
    for cookie in ("other=1", "accord_oidc=WyJhIl0.0000"):
        with pytest.raises(OidcError, match="did not begin in this browser"):
            asyncio.run(signed_in(identity, cookie=cookie))


def test_a_provider_that_is_another_or_away_lets_nobody_in(identity: IdentityProvider) -> None:
    address, identity.issuer = identity.issuer, "https://other.example"
    spec = OidcSpec(issuer=address, client_id="accord", roles={"a": "admin"})

    async def begin(spec: OidcSpec) -> None:
        client = PooledHttpClient()
        try:
            await Provider(spec, lambda: client, sign).begin(CALLBACK)
        finally:
            await client.close()

    with pytest.raises(OidcError, match="calls itself"):
        asyncio.run(begin(spec))
    with pytest.raises(OidcError, match="does not answer"):
        asyncio.run(begin(OidcSpec(issuer="http://127.0.0.1:1", client_id="accord", roles={"a": "admin"})))


def test_what_the_id_token_does_not_say_is_asked_for(identity: IdentityProvider) -> None:
    identity.userinfo = {"sub": "7", "email": "ada@example.com", "groups": ["accord-viewers"]}
    assert asyncio.run(signed_in(identity)) == Actor("ada@example.com", Role.VIEWER, "oidc")
    identity.userinfo["sub"] = "8"
    with pytest.raises(OidcError, match="somebody else"):
        asyncio.run(signed_in(identity))
