"""OAuth 2.0 as the org's token endpoint speaks it: client credentials and JWT bearer.

Source: Salesforce Help, "OAuth 2.0 Client Credentials Flow", "OAuth 2.0 JWT Bearer Flow": form fields, answers and error codes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Any
from urllib.parse import parse_qsl

import jwt
import msgspec

from accord.sandbox import clock
from accord.sandbox.http_server import Request, Response, json_response
from accord.sandbox.store import Store

SCHEMA = "CREATE TABLE IF NOT EXISTS tokens (token TEXT PRIMARY KEY, expires_at REAL NOT NULL);"
ORG = "00D000000000001EAA"
USER = "005000000000001AAA"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
AUDIENCES = ("https://login.salesforce.com", "https://test.salesforce.com")


class Tokens:
    def __init__(self, store: Store, credentials: dict[str, str], address: str, lifetime_s: float) -> None:
        self._store = store
        self._credentials = credentials
        self._address = address
        self._lifetime_s = lifetime_s

    def give(self, request: Request) -> Response:
        form = dict(parse_qsl(request.body.decode("utf-8", "replace")))
        match form.get("grant_type"):
            case "client_credentials":
                return self._by_secret(form, request.headers.get("authorization", ""))
            case grant if grant == JWT_BEARER:
                return self._by_assertion(form.get("assertion", ""))
        return _refused("unsupported_grant_type", "grant type not supported")

    def is_valid(self, authorization: str) -> bool:
        token = authorization.removeprefix("Bearer ").removeprefix("OAuth ")
        row = self._store.one("SELECT expires_at FROM tokens WHERE token = ?", token)
        return row is not None and row[0] > clock.time()

    def end_all(self) -> None:
        """Every session is over, as when an administrator ends them."""
        self._store.db.execute("DELETE FROM tokens")

    def _by_secret(self, form: dict[str, str], authorization: str) -> Response:
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
        if authorization.startswith("Basic "):
            client_id, _, secret = base64.b64decode(authorization[6:]).decode().partition(":")
        if client_id != self._credentials["client_id"]:
            return _refused("invalid_client_id", "client identifier invalid")
        if not hmac.compare_digest(secret, self._credentials["client_secret"]):
            return _refused("invalid_client", "invalid client credentials", 401)
        return self._session()

    def _by_assertion(self, assertion: str) -> Response:
        key = self._store.fact("public_key")
        if key is None:
            return _refused("invalid_grant", "no certificate is registered for this app")
        try:
            claims: dict[str, Any] = jwt.decode(
                assertion, key, algorithms=["RS256"], audience=AUDIENCES, issuer=self._credentials["client_id"],
                options={"require": ["iss", "sub", "aud", "exp"]},
            )  # fmt: skip
        except jwt.PyJWTError as error:
            return _refused("invalid_grant", f"invalid assertion: {error}")
        if claims["sub"] != self._credentials["username"]:
            return _refused("invalid_grant", "user hasn't approved this consumer")
        return self._session()

    def _session(self) -> Response:
        token = f"{ORG[:15]}!{secrets.token_urlsafe(48)}"
        with self._store.transaction() as db:
            db.execute("DELETE FROM tokens WHERE expires_at < ?", (clock.time(),))
            db.execute("INSERT INTO tokens VALUES (?, ?)", (token, clock.time() + self._lifetime_s))
        identity, issued = f"{self._address}/id/{ORG}/{USER}", str(int(clock.time() * 1000))
        digest = hmac.digest(self._credentials["client_secret"].encode(), (identity + issued).encode(), hashlib.sha256)
        return json_response(
            {
                "access_token": token,
                "signature": base64.b64encode(digest).decode(),
                "scope": "api",
                "instance_url": self._address,
                "id": identity,
                "token_type": "Bearer",
                "issued_at": issued,
            }
        )


def _refused(error: str, description: str, status: int = 400) -> Response:
    return Response(status, msgspec.json.encode({"error": error, "error_description": description}))
