"""Users that are declared, and how often somebody may guess."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import secrets
import time
from collections.abc import Callable, Mapping, Sequence

from accord.engine.operators.passwords import hash_password, is_password
from accord.engine.operators.roles import Actor, Role
from accord.settings.monitor import UserSpec

FAILURES_PER_ADDRESS_MAX = 10  # wrong proofs a minute from one address
FAILURES_MAX = 100  # … from all together; beyond it guessing goes on as slowly as one address may
ADDRESSES_MAX = 1_000  # remembered
KNOWN_S = 60.0  # a Basic proof that was right is taken again so long without computing the hash
AT_ONCE_MAX = 2  # hashes computed: each takes a core and 32 MB for 0.2 s


class Throttle:
    """Counts wrong proofs of the last minute, by the address they come from."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failures: dict[str, list[float]] = {}

    def may_try(self, address: str) -> bool:
        self._forget()
        if len(self._failures.get(address, ())) >= FAILURES_PER_ADDRESS_MAX:
            return False
        return sum(map(len, self._failures.values())) < FAILURES_MAX

    def failed(self, address: str) -> None:
        if address in self._failures or len(self._failures) < ADDRESSES_MAX:
            self._failures.setdefault(address, []).append(self._now())

    def _forget(self) -> None:
        since = self._now() - 60.0
        for address, times in list(self._failures.items()):
            left = [at for at in times if at > since]
            if left:
                self._failures[address] = left
            else:
                del self._failures[address]


class Users:
    """``throttle`` is shared with other ways to sign in."""

    def __init__(self, declared: Sequence[UserSpec] = (), throttle: Throttle | None = None) -> None:
        self.throttle = throttle or Throttle()
        self._declared: Mapping[str, UserSpec] = {user.name: user for user in declared}
        self._key = secrets.token_bytes(32)
        self._known: dict[bytes, float] = {}
        self._hashing = asyncio.Semaphore(AT_ONCE_MAX)
        self._nobody = ""  # a hash no password has: a name that is not declared takes as long as one that is

    def __bool__(self) -> bool:
        return bool(self._declared)

    def role_of(self, name: str) -> Role | None:
        user = self._declared.get(name)
        return Role.named(user.role) if user is not None else None

    def mark_of(self, name: str) -> str:
        """Changes with the password; '' for nobody."""
        user = self._declared.get(name)
        return hmac.digest(b"accord mark", user.password_hash.reveal().encode(), "sha256").hex()[:16] if user else ""

    async def sign_in(self, name: str, password: str, address: str) -> Actor | None:
        """None when it is wrong or was tried too often. Raises ValueError when the declared hash is none."""
        if not self.throttle.may_try(address):
            return None
        user = self._declared.get(name)
        async with self._hashing:
            if user is None and not self._nobody:
                self._nobody = await asyncio.to_thread(hash_password, secrets.token_urlsafe(16))
            hashed = user.password_hash.reveal() if user is not None else self._nobody
            is_right = await asyncio.to_thread(is_password, password, hashed)
        if user is None or not is_right:
            self.throttle.failed(address)
            return None
        return Actor(name, Role.named(user.role), "password")

    async def basic(self, given: str, address: str) -> Actor | None:
        """From an Authorization header of the scheme Basic (RFC 7617)."""
        try:
            name, _, password = base64.b64decode(given.removeprefix("Basic "), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        now = time.monotonic()
        proof = hmac.digest(self._key, f"{name}:{password}".encode(), "sha256")
        role = self.role_of(name)
        if role is not None and self._known.get(proof, 0.0) > now:
            return Actor(name, role, "password")
        found = await self.sign_in(name, password, address)
        if found is not None:
            self._known = {one: until for one, until in self._known.items() if until > now}
            self._known[proof] = now + KNOWN_S
        return found
