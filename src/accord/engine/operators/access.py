"""Who asks over HTTP: by the engine's token or as a declared user. The control API behind it, with roles and the audit trail."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import parse_qsl, unquote

from accord.engine.answer import Answer, problem
from accord.engine.operators.audit import Audit
from accord.engine.operators.roles import Actor, Role, role_needed
from accord.engine.operators.users import Users
from accord.observe import Observer
from accord.observe.events import OperatorActed
from accord.sdk.http import InboundRequest

ACTOR_HEADER = (
    "x-accord-actor"  # who uses the token, as the command line says; it is believed, since the token is an admin's
)
CHALLENGE = ((b"www-authenticate", b'Bearer realm="accord", Basic realm="accord"'),)


class Trail:
    """What somebody did goes to the log and the audit trail."""

    def __init__(self, audit: Audit, observer: Observer) -> None:
        self._audit = audit
        self._observer = observer

    async def record(self, actor: Actor, action: str, object: str, result: str, address: str) -> None:
        what = f"{action} {object}".strip()
        self._observer.emit(OperatorActed(actor=actor.name, what=what, result=result, address=address))
        await self._audit.record(actor, action, object, result, address)


class Access:
    """``handle`` answers a request of the control API by ``answer``, when whoever asks may have that done."""

    def __init__(
        self, token: str, users: Users, trail: Trail, answer: Callable[[InboundRequest], Awaitable[Answer]]
    ) -> None:
        self._token = token
        self._users = users
        self._trail = trail
        self._answer = answer

    async def who(self, headers: Mapping[str, str], peer: str) -> Actor | None:
        given = headers.get("authorization", "")
        if hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            name = headers.get(ACTOR_HEADER, "")
            return Actor(name or "(token)", Role.ADMIN, "command-line" if name else "token")
        return await self._users.basic(given, peer) if self._users and given.startswith("Basic ") else None

    async def handle(self, request: InboundRequest) -> Answer:
        actor = await self.who(request.headers, request.peer)
        if actor is None:
            return problem(
                401, "engine.token", "the control API needs this engine's token, or a declared user", CHALLENGE
            )
        parts = [unquote(part) for part in request.path.removeprefix("/api/").split("/")]
        query = dict(parse_qsl(request.query))
        needed = role_needed(request.method, parts, query)
        is_kept = request.method not in ("GET", "HEAD")
        if actor.role < needed:
            reason = f"{actor.name} is {actor.role.name.lower()}; this needs the role {needed.name.lower()}"
            answer = problem(403, "engine.role", reason)
        else:
            answer = await self._answer(request)
        if is_kept and answer.status != 404:
            await self._trail.record(actor, *described(parts, query), outcome_of(answer), request.peer)
        return answer


def described(parts: Sequence[str], query: Mapping[str, str]) -> tuple[str, str]:
    """Action and object of what a path asks for: ``messages/7/cancel`` → cancel, messages/7; ``send/orders`` → send, flows/orders."""
    if parts[0] == "send":
        return "send", "/".join(["flows", *parts[1:]])
    object = "/".join(parts[:-1])
    chosen = " ".join(f"{name}={query[name]}" for name in ("flow", "state") if query.get(name))
    return parts[-1], f"{object} {chosen}".strip()


def outcome_of(answer: Answer) -> str:
    return "done" if answer.status < 400 else f"refused ({answer.status})"
