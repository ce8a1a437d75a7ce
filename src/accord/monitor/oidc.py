"""Signing in through an identity provider: OpenID Connect Core 1.0, authorization code flow, with PKCE (RFC 7636, S256).

What belongs to one sign-in (state, nonce, code verifier) is kept in a signed cookie of the browser that began it, not here, so that any
worker can finish it. The id token is checked against the provider's published keys: signature, issuer, audience, times and nonce.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import jwt
import msgspec

from accord.engine.operators.roles import Actor, Role
from accord.errors import AccordError
from accord.monitor.session import cookie_of
from accord.sdk.http import HttpClient, HttpFailed, HttpRequest
from accord.settings.monitor import OidcSpec

COOKIE = "accord_oidc"
SIGN_IN_S = 600  # from leaving for the provider to coming back
KNOWN_S = 3600.0  # the provider's configuration and keys are kept so long
KEYS_AGAIN_S = 60.0  # a key nobody knows makes them be read anew, so often at most
LEEWAY_S = 60.0  # between the clocks of the provider and this machine
TIMEOUT_S = 10.0
ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)  # never a shared key


class OidcError(AccordError):
    """The provider, or what came back from it, did not let somebody in."""

    code = "engine.oidc"


class _Begun(msgspec.Struct, frozen=True, array_like=True):
    state: str
    nonce: str
    verifier: str
    callback: str
    expires_s: int


class _Configuration(msgspec.Struct, frozen=True):
    """Of OpenID Connect Discovery 1.0, what is needed here."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    token_endpoint_auth_methods_supported: list[str] = msgspec.field(default_factory=lambda: ["client_secret_basic"])


class _Tokens(msgspec.Struct, frozen=True):
    """``access_token`` is '' when none was given."""

    id_token: str
    access_token: str


class Provider:
    """``sign``: of a text, with a key of this engine. ``make_http``: makes the client when the first one signs in."""

    def __init__(
        self,
        spec: OidcSpec,
        make_http: Callable[[], HttpClient],
        sign: Callable[[str], str],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._spec = spec
        self._make_http = make_http
        self._sign = sign
        self._now = now
        self._configuration: tuple[float, _Configuration] | None = None
        self._keys: tuple[float, dict[str, jwt.PyJWK]] = (0.0, {})

    @functools.cached_property
    def _http(self) -> HttpClient:
        return self._make_http()

    async def begin(self, callback: str) -> tuple[str, bytes]:
        """Where to send the browser, and the cookie it takes with it. Raises OidcError."""
        configuration = await self._configured()
        begun = _Begun(
            secrets.token_urlsafe(24),
            secrets.token_urlsafe(24),
            secrets.token_urlsafe(48),
            callback,
            int(self._now()) + SIGN_IN_S,
        )
        query = {
            "response_type": "code",
            "client_id": self._spec.client_id,
            "redirect_uri": callback,
            "scope": " ".join(dict.fromkeys(["openid", *self._spec.scopes])),
            "state": begun.state,
            "nonce": begun.nonce,
            "code_challenge": _text(hashlib.sha256(begun.verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        endpoint = configuration.authorization_endpoint
        address = endpoint + ("&" if "?" in endpoint else "?") + urlencode(query)
        text = _text(msgspec.json.encode(begun))
        # Lax: the provider's redirect comes from another site.
        cookie = f"{COOKIE}={text}.{self._sign('oidc ' + text)}; Path=/monitor/oidc; HttpOnly; SameSite=Lax; Max-Age={SIGN_IN_S}"
        return address, cookie.encode()

    async def finish(self, query: Mapping[str, str], headers: Mapping[str, str]) -> Actor:
        """Who came back. Raises OidcError."""
        begun = self._begun(cookie_of(headers, COOKIE))
        if not hmac.compare_digest(query.get("state", "").encode(), begun.state.encode()):
            raise OidcError("What came back belongs to another sign-in.", mend="Sign in again.")
        if "error" in query or not query.get("code"):
            raise OidcError(f"The identity provider refused: {query.get('error', 'no code')[:100]}.")
        configuration = await self._configured()
        if query.get("iss", configuration.issuer) != configuration.issuer:  # RFC 9207
            raise OidcError("The answer comes from another identity provider.", mend="Sign in again.")
        tokens = await self._exchanged(configuration, query["code"], begun)
        claims = await self._checked(configuration, tokens.id_token, begun.nonce)
        return self._actor(await self._with_userinfo(configuration, tokens.access_token, claims))

    def _begun(self, cookie: str) -> _Begun:
        text, _, signature = cookie.partition(".")
        if text and hmac.compare_digest(signature.encode(), self._sign("oidc " + text).encode()):
            begun = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Begun)
            if begun.expires_s > self._now():
                return begun
        raise OidcError("This sign-in did not begin in this browser, or too long ago.", mend="Sign in again.")

    async def _configured(self) -> _Configuration:
        if self._configuration is None or self._configuration[0] < self._now():
            address = self._spec.issuer.rstrip("/") + "/.well-known/openid-configuration"
            found = _converted(await self._asked(HttpRequest(method="GET", url=address, timeout_s=TIMEOUT_S)))
            if found.issuer != self._spec.issuer:
                what = f"The identity provider calls itself '{found.issuer[:100]}', not '{self._spec.issuer}'."
                raise OidcError(what, mend="Write `issuer` as the provider does.")
            for endpoint in (
                found.authorization_endpoint,
                found.token_endpoint,
                found.jwks_uri,
                found.userinfo_endpoint or found.issuer,
            ):
                if not endpoint.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
                    raise OidcError(f"The identity provider's address '{endpoint[:100]}' is not encrypted.")
            self._configuration = (self._now() + KNOWN_S, found)
        return self._configuration[1]

    async def _exchanged(self, configuration: _Configuration, code: str, begun: _Begun) -> _Tokens:
        spec = self._spec
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": begun.callback,
            "client_id": spec.client_id,
            "code_verifier": begun.verifier,
        }
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        if spec.client_secret is not None:
            if "client_secret_basic" in configuration.token_endpoint_auth_methods_supported:
                pair = f"{quote(spec.client_id, safe='')}:{quote(spec.client_secret.reveal(), safe='')}"
                headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
            else:
                form["client_secret"] = spec.client_secret.reveal()
        request = HttpRequest(
            method="POST",
            url=configuration.token_endpoint,
            headers=headers,
            body=urlencode(form).encode(),
            timeout_s=TIMEOUT_S,
        )
        answer = await self._asked(request)
        token, access = answer.get("id_token"), answer.get("access_token")
        if not isinstance(token, str):
            raise OidcError("The identity provider gave no id token.")
        return _Tokens(token, access if isinstance(access, str) else "")

    async def _checked(self, configuration: _Configuration, token: str, nonce: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            key = await self._key(configuration, header.get("kid", ""))
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=self._spec.client_id,
                issuer=configuration.issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "sub", "aud", "iss"]},
            )
        except jwt.PyJWTError as error:
            raise OidcError(f"The identity provider's id token is not valid: {error}.") from error
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise OidcError("The id token belongs to another sign-in.", mend="Sign in again.")
        return claims

    async def _with_userinfo(
        self, configuration: _Configuration, access_token: str, claims: dict[str, Any]
    ) -> dict[str, Any]:
        """With the claims of the UserInfo endpoint, where those asked for are not in the id token (OpenID Connect Core 1.0, 5.4)."""
        is_whole = all(name in claims for name in (self._spec.name_claim, self._spec.role_claim))
        if is_whole or not configuration.userinfo_endpoint or not access_token:
            return claims
        request = HttpRequest(
            method="GET",
            url=configuration.userinfo_endpoint,
            headers={"authorization": f"Bearer {access_token}", "accept": "application/json"},
            timeout_s=TIMEOUT_S,
        )
        found = await self._asked(request)
        if found.get("sub") != claims["sub"]:
            raise OidcError("The identity provider told of somebody else than who signed in.", mend="Sign in again.")
        return {**found, **claims}

    async def _key(self, configuration: _Configuration, id_: str) -> jwt.PyJWK:
        read_s, keys = self._keys
        age_s = self._now() - read_s
        if age_s > KNOWN_S or (id_ not in keys and age_s > KEYS_AGAIN_S):
            found = await self._asked(HttpRequest(method="GET", url=configuration.jwks_uri, timeout_s=TIMEOUT_S))
            keys = {key.key_id or "": key for key in jwt.PyJWKSet.from_dict(found).keys}
            self._keys = (self._now(), keys)
        if id_ not in keys:
            raise OidcError("The id token is signed with a key the identity provider does not publish.")
        return keys[id_]

    def _actor(self, claims: Mapping[str, Any]) -> Actor:
        """The highest of the roles that the claim's values give."""
        told = claims.get(self._spec.role_claim, [])
        values = [told] if isinstance(told, str) else told if isinstance(told, list) else []
        roles = [Role.named(self._spec.roles[value]) for value in values if value in self._spec.roles]
        name = str(claims.get(self._spec.name_claim) or claims["sub"])
        if not roles:
            what = f"{name[:100]} has no role here: claim '{self._spec.role_claim}' gives none."
            raise OidcError(what, mend="`roles` under `oidc` in accord.yaml says which values do.")
        return Actor(name[:100], max(roles), "oidc")

    async def _asked(self, request: HttpRequest) -> dict[str, Any]:
        try:
            response = await self._http.send(request)
            found = msgspec.json.decode(response.body) if response.status == 200 else None
        except (HttpFailed, msgspec.DecodeError) as error:
            raise OidcError(f"The identity provider does not answer: {error}.") from error
        if not isinstance(found, dict):
            raise OidcError(f"The identity provider answered {response.status} at {request.url.partition('?')[0]}.")
        return found


def _converted(found: dict[str, Any]) -> _Configuration:
    try:
        return msgspec.convert(found, _Configuration)
    except msgspec.ValidationError as error:
        raise OidcError(f"The identity provider's configuration cannot be used: {error}.") from error


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
