"""How a system is told who is asking: settings of every scheme and the authorizer that applies them.

Sources: RFC 7617 (basic), RFC 6750 (bearer), RFC 6749 sections 4.4 and 6 (client credentials, refresh token), RFC 7523 section 2.1
(JWT bearer).
Nothing here opens a connection of its own: tokens are fetched with the HttpClient the engine gives.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias
from urllib.parse import urlencode, urlsplit

import msgspec

from accord.errors import ConnectorError
from accord.sdk.bodies import PLACEHOLDER
from accord.sdk.errors_http import ErrorRules, utc_now
from accord.sdk.http import HttpClient, HttpRequest
from accord.sdk.tokens import TokenCache, TokenRequest
from accord.settings.secret import Secret

ASSERTION_LIFETIME = dt.timedelta(minutes=3)  # servers refuse those that live for long
_FORM_HEADERS = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}

Algorithm: TypeAlias = Literal["sha1", "sha256", "sha512"]
Encoding: TypeAlias = Literal["hex", "base64"]


class _Auth(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    pass


class NoAuth(_Auth, frozen=True, kw_only=True, tag="none"):
    """Nobody asks."""


class BasicAuth(_Auth, frozen=True, kw_only=True, tag="basic"):
    user: str
    password: Secret


class HeaderAuth(_Auth, frozen=True, kw_only=True, tag="header"):
    """A key in a header of its own: ``X-Api-Key``. ``prefix`` stands before it (with its space, if it has one)."""

    name: str
    value: Secret
    prefix: str = ""


class QueryAuth(_Auth, frozen=True, kw_only=True, tag="query"):
    """A key in the query. Such keys end in access logs: prefer any other scheme the system offers."""

    name: str
    value: Secret


class BearerAuth(_Auth, frozen=True, kw_only=True, tag="bearer"):
    token: Secret


class ClientCredentials(_Auth, frozen=True, kw_only=True, tag="oauth2_client_credentials"):
    """``style``: the client's id and secret go in a Basic header (the standard's preference) or in the body."""

    token_address: str
    client_id: str
    client_secret: Secret
    scope: str = ""
    audience: str = ""
    style: Literal["basic", "body"] = "basic"


class RefreshToken(_Auth, frozen=True, kw_only=True, tag="oauth2_refresh_token"):
    """Where the server gives a new refresh token with every access token, the newest one is kept in the state folder."""

    token_address: str
    client_id: str
    client_secret: Secret | None = None
    refresh_token: Secret
    scope: str = ""
    style: Literal["basic", "body"] = "basic"


class JwtBearer(_Auth, frozen=True, kw_only=True, tag="oauth2_jwt_bearer"):
    """A signed assertion instead of a secret (RFC 7523): ``issuer`` is the client's id, ``subject`` whom it acts for, ``audience`` the
    authorization server. ``private_key``: PEM, of an RSA key for RS256. Nothing secret leaves this process."""

    token_address: str
    issuer: str
    subject: str
    audience: str
    private_key: Secret
    scope: str = ""

    def assertion(self, now: dt.datetime) -> str:
        """Raises ConnectorError when the key is none."""
        import jwt  # takes a tenth of a second, which other schemes need not spend

        claims = {"iss": self.issuer, "sub": self.subject, "aud": self.audience, "exp": now + ASSERTION_LIFETIME}
        try:
            return jwt.encode(claims, self.private_key.reveal(), algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError) as error:
            raise ConnectorError(
                f"`private_key` signs nothing: {type(error).__name__}",
                mend="It is the whole PEM text of an RSA private key, from -----BEGIN to END-----, without a pass phrase.",
                code="connector.private-key",
            ) from None


class HmacAuth(_Auth, frozen=True, kw_only=True, tag="hmac"):
    """Every request is signed. ``signs`` is the text that is signed; known in it: ``{method} {path} {query} {target}``
    (path with query) ``{host} {timestamp} {body} {body_sha256}``. ``\\n`` is a line break. The timestamp is Unix seconds or ISO 8601.
    """

    secret: Secret
    header: str
    signs: str = "{timestamp}{method}{target}{body}"
    algorithm: Algorithm = "sha256"
    encoding: Encoding = "hex"
    prefix: str = ""
    key_header: str = ""
    key_id: str = ""
    timestamp_header: str = ""
    timestamp_format: Literal["unix", "iso"] = "unix"

    def __post_init__(self) -> None:
        unknown = set(PLACEHOLDER.findall(self.signs)) - SIGNABLE
        if unknown:
            raise ValueError(f"`signs` knows {', '.join(sorted(SIGNABLE))}, not {', '.join(sorted(unknown))}")
        if "{timestamp}" in self.signs and not self.timestamp_header:
            raise ValueError(
                "`timestamp_header` is missing: the system cannot check a signed timestamp that it is not sent"
            )


SIGNABLE = {"method", "path", "query", "target", "host", "timestamp", "body", "body_sha256"}

Auth: TypeAlias = (
    NoAuth | BasicAuth | HeaderAuth | QueryAuth | BearerAuth | ClientCredentials | RefreshToken | JwtBearer | HmacAuth
)


class Authorizer:
    """Applies one scheme. ``headers`` and ``query`` never change; ``is_static`` tells that they are all there is to do."""

    def __init__(self, headers: Mapping[str, str] | None = None, query: Mapping[str, str] | None = None) -> None:
        self.headers: Mapping[str, str] = headers or {}
        self.query: Mapping[str, str] = query or {}
        self.is_static = True

    async def authorize(self, request: HttpRequest) -> HttpRequest:
        """The request with this attempt's credentials. Raises TokenFailed when no token can be had."""
        return request

    async def renew(self, refused: HttpRequest) -> bool:
        """After a 401 to ``refused``: True when other credentials are there now, so that one more try makes sense."""
        return False


class _TokenAuthorizer(Authorizer):
    def __init__(self, cache: TokenCache) -> None:
        super().__init__()
        self.is_static = False
        self._cache = cache

    async def authorize(self, request: HttpRequest) -> HttpRequest:
        token = await self._cache.token()
        return msgspec.structs.replace(request, headers={**request.headers, "authorization": f"Bearer {token}"})

    async def renew(self, refused: HttpRequest) -> bool:
        await self._cache.renew(refused.headers.get("authorization", "").removeprefix("Bearer "))
        return True


class _Signer(Authorizer):
    def __init__(self, settings: HmacAuth, now: Callable[[], dt.datetime]) -> None:
        super().__init__({settings.key_header.lower(): settings.key_id} if settings.key_header else {})
        self.is_static = False
        self._settings = settings
        self._now = now

    async def authorize(self, request: HttpRequest) -> HttpRequest:
        settings = self._settings
        now = self._now()
        stamp = str(int(now.timestamp())) if settings.timestamp_format == "unix" else now.strftime("%Y-%m-%dT%H:%M:%SZ")
        signed = signed_text(settings.signs, request, stamp)
        digest = digest_of(settings.secret.reveal(), signed, settings.algorithm, settings.encoding)
        headers = {**request.headers, **self.headers, settings.header.lower(): settings.prefix + digest}
        if settings.timestamp_header:
            headers[settings.timestamp_header.lower()] = stamp
        return msgspec.structs.replace(request, headers=headers)


def signed_text(template: str, request: HttpRequest, timestamp: str) -> bytes:
    """The bytes a signature covers; the body goes in as it is, whatever its encoding."""
    url = urlsplit(request.url)
    target = url.path + (f"?{url.query}" if url.query else "")
    values: dict[str, bytes] = {
        "method": request.method.encode(),
        "path": url.path.encode(),
        "query": url.query.encode(),
        "target": target.encode(),
        "host": url.netloc.encode(),
        "timestamp": timestamp.encode(),
        "body": request.body,
        "body_sha256": hashlib.sha256(request.body).hexdigest().encode(),
    }
    parts = PLACEHOLDER.split(template.replace("\\n", "\n"))
    return b"".join(values[part] if i % 2 else part.encode() for i, part in enumerate(parts))


def digest_of(secret: str, message: bytes, algorithm: Algorithm, encoding: Encoding) -> str:
    raw = hmac.digest(secret.encode(), message, algorithm)
    return raw.hex() if encoding == "hex" else base64.b64encode(raw).decode()


def basic_header(user: str, password: str) -> str:
    """The value of an Authorization header of RFC 7617, in UTF-8."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def secrets_of(settings: Any) -> list[str]:
    """Every secret in a settings struct, also nested: what must never show in a message."""
    found: list[str] = []
    if isinstance(settings, Secret):
        found.append(settings.reveal())
    elif isinstance(settings, msgspec.Struct):
        for name in settings.__struct_fields__:
            found += secrets_of(getattr(settings, name))
    elif isinstance(settings, Mapping):
        for value in settings.values():
            found += secrets_of(value)
    elif isinstance(settings, list | tuple):
        for value in settings:
            found += secrets_of(value)
    return found


def open_auth(
    settings: Auth,
    http: HttpClient,
    *,
    now: Callable[[], dt.datetime] = utc_now,
    refresh_token: str = "",
    keep_refresh_token: Callable[[str], None] | None = None,
) -> Authorizer:
    """The authorizer of a scheme. ``refresh_token``: a newer one than the settings hold, kept by ``keep_refresh_token``."""
    match settings:
        case BasicAuth():
            return Authorizer({"authorization": basic_header(settings.user, settings.password.reveal())})
        case HeaderAuth():
            return Authorizer({settings.name.lower(): settings.prefix + settings.value.reveal()})
        case QueryAuth():
            return Authorizer(query={settings.name: settings.value.reveal()})
        case BearerAuth():
            return Authorizer({"authorization": f"Bearer {settings.token.reveal()}"})
        case ClientCredentials() | RefreshToken():
            newest = refresh_token
            if isinstance(settings, RefreshToken) and not newest:
                newest = settings.refresh_token.reveal()
            request = _token_request(settings, newest)
            rules = ErrorRules(secrets=[*secrets_of(settings), newest], now=now)
            return _TokenAuthorizer(TokenCache(request, http, rules, now, keep_refresh_token))
        case JwtBearer():
            form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}
            if settings.scope:
                form["scope"] = settings.scope
            token_request = TokenRequest(
                address=settings.token_address,
                headers=_FORM_HEADERS,
                form=form,
                assertion=lambda: settings.assertion(now()),
            )
            return _TokenAuthorizer(
                TokenCache(token_request, http, ErrorRules(secrets=secrets_of(settings), now=now), now)
            )
        case HmacAuth():
            return _Signer(settings, now)
        case _:
            return Authorizer()


def _token_request(settings: ClientCredentials | RefreshToken, refresh_token: str) -> TokenRequest:
    form: dict[str, str] = {"grant_type": "client_credentials"}
    if isinstance(settings, RefreshToken):
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    elif settings.audience:
        form["audience"] = settings.audience
    if settings.scope:
        form["scope"] = settings.scope
    headers = dict(_FORM_HEADERS)
    secret = settings.client_secret.reveal() if settings.client_secret else ""
    if settings.style == "basic" and secret:
        # RFC 6749 section 2.3.1: both are form-encoded before they go into the header
        quoted = urlencode({"i": settings.client_id, "s": secret}).split("&")
        headers["authorization"] = basic_header(quoted[0][2:], quoted[1][2:])
    else:
        form["client_id"] = settings.client_id
        if secret:
            form["client_secret"] = secret
    return TokenRequest(address=settings.token_address, headers=headers, form=form)
