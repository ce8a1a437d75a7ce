"""Who may look, and as whom.

On a loopback address nobody has to sign in, unless users or an identity provider are declared. Elsewhere one signs in: as a declared
user, through the identity provider, or with the engine's token. Cookies are signed with a key made of the token, so that they survive
a restart with a declared token and end with another one; a user's ends with the password too. Every form carries a value bound to the
cookie; requests that another site made a browser send lack it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie

import msgspec

from accord.engine.operators.roles import Actor, Role, role_needed
from accord.engine.operators.users import Users

SESSION_S = 12 * 3600.0
COOKIE = "accord_session"
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
LOCAL = Actor("(local)", Role.ADMIN, "local")
TOKEN = Actor("(token)", Role.ADMIN, "token")


class FormKey(str):
    """The value every form of a visitor carries; ``may`` tells templates which forms to show."""

    __slots__ = ("role",)
    role: Role | None

    def may(self, address: str) -> bool:
        parts = [part for part in address.removeprefix("/monitor/").split("/") if part]
        return self.role is not None and role_needed("POST", parts, {}) <= self.role


class Visitor(msgspec.Struct, frozen=True):
    """``cookie``: what the browser keeps; ``is_new``: it is to be sent. ``actor`` None: not signed in."""

    cookie: str = ""
    form: FormKey = FormKey()
    actor: Actor | None = None
    is_new: bool = False


NOBODY = Visitor()


class _Session(msgspec.Struct, frozen=True, array_like=True):
    """What a cookie says. ``mark``: changes with the user's password."""

    name: str
    role: int
    via: str
    mark: str
    expires_s: int
    nonce: str


class Sessions:
    """``is_local``: the engine listens on a loopback address."""

    def __init__(
        self,
        token: str,
        users: Users | None = None,
        *,
        is_local: bool,
        asks_who: bool = False,
        session_s: float = SESSION_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._token = token
        self._users = users if users is not None else Users()
        self._key = hashlib.sha256(b"accord monitor " + token.encode()).digest()
        self._is_open = is_local and not asks_who
        self._session_s = session_s
        self._now = now

    def is_host_ours(self, host: str) -> bool:
        """Where nobody signs in, only loopback names: a stranger's name that leads here is a page trying to read this one."""
        name = host.rpartition(":")[0] if not host.endswith("]") and host.count(":") in (1, 8) else host
        return not self._is_open or name.strip("[]").lower() in LOOPBACK_NAMES or host.startswith("[::1]")

    def visitor(self, headers: Mapping[str, str]) -> Visitor:
        cookie = cookie_of(headers, COOKIE)
        session = self._read(cookie)
        actor = self._actor(session) if session is not None else None
        if actor is not None:
            return self._visitor(cookie, actor)
        return self.opened(LOCAL) if self._is_open else NOBODY

    async def sign_in(self, name: str, password: str, address: str) -> Visitor | None:
        """``name`` '': with the engine's token. None when it is wrong, or too many wrong ones came lately."""
        if name:
            actor = await self._users.sign_in(name, password, address)
            return None if actor is None else self.opened(actor)
        throttle = self._users.throttle
        if not throttle.may_try(address):
            return None
        if not hmac.compare_digest(password.strip().encode(), self._token.encode()):
            throttle.failed(address)
            return None
        return self.opened(TOKEN)

    def opened(self, actor: Actor) -> Visitor:
        """A session begins."""
        session = _Session(
            actor.name,
            actor.role,
            actor.via,
            self._users.mark_of(actor.name) if actor.via == "password" else "",
            int(self._now() + self._session_s),
            secrets.token_urlsafe(16),
        )
        text = base64.urlsafe_b64encode(msgspec.json.encode(session)).decode().rstrip("=")
        return self._visitor(f"{text}.{self.sign(text)}", actor, is_new=True)

    def _visitor(self, cookie: str, actor: Actor, *, is_new: bool = False) -> Visitor:
        form = FormKey(self.sign("form " + cookie))
        form.role = actor.role
        return Visitor(cookie, form, actor, is_new)

    def _read(self, cookie: str) -> _Session | None:
        text, _, signature = cookie.partition(".")
        if not hmac.compare_digest(signature.encode(), self.sign(text).encode()):
            return None
        session = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Session)
        return session if session.expires_s > self._now() else None

    def _actor(self, session: _Session) -> Actor | None:
        """Of a genuine session, as of today's declaration."""
        match session.via:
            case "local":
                return LOCAL if self._is_open else None
            case "password":
                role = self._users.role_of(session.name)
                is_same = role is not None and session.mark == self._users.mark_of(session.name)
                return Actor(session.name, role, "password") if is_same and role is not None else None
            case _:
                return Actor(session.name, Role(session.role), session.via)

    def is_form_ours(self, visitor: Visitor, given: str, headers: Mapping[str, str]) -> bool:
        origin = headers.get("origin", "")
        is_same_site = not origin or origin.partition("://")[2] == headers.get("host", "")
        return is_same_site and bool(visitor.form) and hmac.compare_digest(given.encode(), visitor.form.encode())

    def sign(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()

    def set_cookie(self, visitor: Visitor, *, is_secure: bool) -> bytes:
        """The header's value; of NOBODY one that ends the session."""
        age_s = int(self._session_s) if visitor.cookie else 0
        secure = "; Secure" if is_secure else ""
        return f"{COOKIE}={visitor.cookie}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age_s}{secure}".encode()


def cookie_of(headers: Mapping[str, str], name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found else ""
