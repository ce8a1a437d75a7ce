"""Who may look: nobody has to sign in on a loopback address; elsewhere the engine's token is asked for once.

Cookies are signed with a key made of the token, so that they survive a restart with a declared token and end with another one. Every
form carries a value bound to the cookie; requests that another site made a browser send lack it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie

import msgspec

SESSION_S = 12 * 3600
COOKIE = "accord_session"
FAILURES_MAX = 10  # wrong tokens a minute, from wherever they come
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")


class Visitor(msgspec.Struct, frozen=True):
    """``cookie``: what the browser keeps; ``is_new``: it is to be sent. ``form``: the value every form carries."""

    cookie: str
    form: str
    is_signed_in: bool
    is_new: bool = False


class Sessions:
    def __init__(self, token: str, *, is_local: bool, now: Callable[[], float] = time.time) -> None:
        self._token = token
        self._key = hashlib.sha256(b"accord monitor " + token.encode()).digest()
        self._is_local = is_local
        self._now = now
        self._failures: list[float] = []

    def is_host_ours(self, host: str) -> bool:
        """On a loopback address only its own names: a stranger's name that leads here is a page trying to read this one."""
        name = host.rpartition(":")[0] if not host.endswith("]") and host.count(":") in (1, 8) else host
        return not self._is_local or name.strip("[]").lower() in LOOPBACK_NAMES or host.startswith("[::1]")

    def visitor(self, headers: Mapping[str, str]) -> Visitor:
        cookie = _cookie(headers.get("cookie", ""))
        expires, _, rest = cookie.partition(".")
        nonce, _, signature = rest.partition(".")
        is_genuine = hmac.compare_digest(signature, self._sign(f"{expires}.{nonce}")) and expires.isdigit()
        if is_genuine and int(expires) > self._now():
            return Visitor(cookie, self._sign("form " + cookie), True)
        if not self._is_local:
            return Visitor("", "", False)
        return self._made()

    def sign_in(self, token: str) -> Visitor | None:
        """None when the token is wrong, or too many wrong ones came lately."""
        now = self._now()
        self._failures = [at for at in self._failures if at > now - 60]
        if len(self._failures) >= FAILURES_MAX:
            return None
        if not hmac.compare_digest(token.strip().encode(), self._token.encode()):
            self._failures.append(now)
            return None
        return self._made()

    def _made(self) -> Visitor:
        text = f"{int(self._now()) + SESSION_S}.{secrets.token_urlsafe(16)}"
        cookie = f"{text}.{self._sign(text)}"
        return Visitor(cookie, self._sign("form " + cookie), True, is_new=True)

    def is_form_ours(self, visitor: Visitor, given: str, headers: Mapping[str, str]) -> bool:
        origin = headers.get("origin", "")
        is_same_site = not origin or origin.partition("://")[2] == headers.get("host", "")
        return is_same_site and bool(visitor.form) and hmac.compare_digest(given.encode(), visitor.form.encode())

    def _sign(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def set_cookie(visitor: Visitor, *, is_secure: bool) -> bytes:
    secure = "; Secure" if is_secure else ""
    return f"{COOKIE}={visitor.cookie}; Path=/; HttpOnly; SameSite=Strict; Max-Age={SESSION_S}{secure}".encode()


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""
