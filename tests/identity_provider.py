"""A small identity provider (OpenID Connect, authorization code with PKCE, RS256) over real HTTP, for tests of signing in."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

KEY, OTHER_KEY = (rsa.generate_private_key(65537, 2048) for _ in range(2))


class IdentityProvider:
    """Authorization, token and key endpoints; checks client, callback and PKCE as RFC 6749 and 7636 ask. ``claims`` go over its own."""

    def __init__(self) -> None:
        self.issuer = ""
        self.claims: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {}  # when there is some, the id token says nothing but who
        self.key, self.kid = KEY, "one"
        self.asked: dict[str, dict[str, str]] = {}
        self.reads = 0

    def authorize(self, address: str) -> str:
        """As a person who agrees would: the code."""
        asked = dict(parse_qsl(urlsplit(address).query))
        assert asked["response_type"] == "code"
        assert "openid" in asked["scope"].split()
        code = f"code-{len(self.asked)}"
        self.asked[code] = asked
        return code

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, Any]:
        asked = self.asked.pop(form["code"], None)
        challenge = (
            base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).decode().rstrip("=")
        )
        is_client = base64.b64decode(authorization.removeprefix("Basic ")) == b"accord:s%2Fcret"
        is_right = (
            asked is not None and asked["code_challenge"] == challenge and asked["code_challenge_method"] == "S256"
        )
        if asked is None or not is_client or not is_right or form["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": "accord",
            "sub": "7",
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
        }
        if not self.userinfo:
            claims |= {"email": "ada@example.com", "groups": ["staff", "accord-operators"], **self.claims}
        token = jwt.encode(claims, self.key, "RS256", {"kid": self.kid})
        return 200, {"access_token": "a", "token_type": "Bearer", "id_token": token}

    def keys(self) -> Any:
        self.reads += 1
        key = jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
        return {"keys": [{**key, "kid": "one", "use": "sig", "alg": "RS256"}]}

    def configuration(self) -> Any:
        paths = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        if self.userinfo:
            paths["userinfo_endpoint"] = "userinfo"
        return {"issuer": self.issuer, **{name: f"{self.issuer}/{path}" for name, path in paths.items()}}


@contextlib.contextmanager
def identity_provider() -> Iterator[IdentityProvider]:
    found = IdentityProvider()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/userinfo":
                is_known = self.headers["authorization"] == "Bearer a"
                self._answer(200 if is_known else 401, found.userinfo)
                return
            self._answer(200, found.keys() if self.path == "/keys" else found.configuration())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self._answer(*found.token(form, self.headers["authorization"]))

        def _answer(self, status: int, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    found.issuer = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
