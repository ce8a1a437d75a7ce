"""What every stand-in shares: its configuration, the gate of faults before its door, its owner's entrance, its life."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from accord.sandbox import clock
from accord.sandbox.faults import KINDS, FaultBoard, FaultRequest, UnsupportedFaultError
from accord.sandbox.http_server import Refusal, Request, Response, Router, WebServer, json_response, refusal_response
from accord.sandbox.store import Store
from accord.sandbox.tls import server_context

STATE_PAGE_MAX = 2_000  # objects in one page of the state
OWNER_PATHS = "/_sandbox/"


class Config(msgspec.Struct, frozen=True):
    """What the launcher tells a stand-in; kept as ``config.json`` in the stand-in's folder."""

    name: str
    folder: str
    seed: int
    ports: dict[str, int]  # main, control, and smtp for mail
    credentials: dict[str, str]
    settings: dict[str, Any] = {}
    host: str = "127.0.0.1"


class MoveClock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    by_s: float = 0.0
    reset: bool = False


def setting(settings: dict[str, Any], name: str, default: float) -> float:
    return float(settings.get(name, default))


class System:
    """Subclasses set SCHEMA, KINDS and the router, and may add background tasks."""

    SCHEMA = ""
    FAULTS: tuple[str, ...] = KINDS
    STATE: dict[
        str, str
    ] = {}  # kind -> SELECT with a key that grows first and JSON or columns after; see ``_state_rows``

    def __init__(self, config: Config) -> None:
        self.config = config
        self.settings = config.settings
        self.dice = random.Random(f"{config.seed}:{config.name}")
        self.faults = FaultBoard(config.seed, self.FAULTS)
        self.store = Store(Path(config.folder) / "state.db", self.SCHEMA)
        self.router = Router()
        self.owner_router = Router()
        tls = server_context(Path(config.folder), config.host) if self.settings.get("tls") else None
        self.server = WebServer(config.host, config.ports["main"], self.gate, tls)
        self.control = WebServer(config.host, config.ports["control"], self.owner_router)
        self._changed = asyncio.Event()
        for method, path, handler in (
            ("GET", "health", self._health),
            ("GET", "state", self._state),
            ("POST", "fault", self._fault),
            ("POST", "reset", self._reset),
            ("GET", "clock", self._clock),
            ("POST", "clock", self._move_clock),
        ):
            self.owner_router.add(method, OWNER_PATHS + path, handler)
        clock.set_ahead(float(self.store.fact("clock ahead") or 0.0))
        self.prepare()
        if self.store.fact("seeded") is None:
            self.seed_again()

    # --- what a subclass fills

    def prepare(self) -> None:
        """Makes what ``seed`` needs; the store is open, nothing is served yet."""

    def seed(self) -> None:
        """Fills the empty store; runs in one transaction."""

    def background(self) -> list[Coroutine[Any, Any, None]]:
        return []

    async def apply_down(self, is_down: bool) -> None:
        """Closes or opens what customers reach."""
        if is_down:
            self.server.close_listener()
        else:
            await self.server.open_listener()

    def counts(self) -> dict[str, int]:
        return {kind: self.store.number(f"SELECT count(*) FROM ({sql})") for kind, sql in self.STATE.items()}  # noqa: S608

    def read_state(self, kind: str, after: str, limit: int) -> tuple[list[dict[str, Any]], str]:
        """One page of a kind's objects and the mark of the next page (empty: no more)."""
        sql = self.STATE[kind]
        cursor = self.store.db.execute(f"SELECT * FROM ({sql}) LIMIT ? OFFSET ?", (limit, int(after or 0)))  # noqa: S608
        names = [column[0] for column in cursor.description]
        objects = [_object(names, row) for row in cursor.fetchall()]
        return objects, str(int(after or 0) + limit) if len(objects) == limit else ""

    # --- the gate

    async def gate(self, request: Request) -> Response:
        """Customers pass here; what the faults say happens before or after the work."""
        if request.path.startswith(OWNER_PATHS):
            return await self.owner_router(request)
        faults = self.faults
        if not faults.in_force():
            return await self.answer(request)
        if faults.is_on("unavailable"):
            return self.refuse(
                Refusal(503, "unavailable", "The system is under maintenance.", headers=(("Retry-After", "1"),))
            )
        wait_s = faults.limited_for_s()
        if wait_s:
            after = (("Retry-After", str(math.ceil(wait_s))),)
            return self.refuse(Refusal(429, "too-many-requests", "Too many requests; slow down.", headers=after))
        status = faults.drawn_error()
        if status:
            return self.refuse(Refusal(status, "planned-error", "The system failed before it did anything."))
        if faults.is_on("slow_s"):
            await asyncio.sleep(faults.value("slow_s"))
        response = await self.answer(request)
        return msgspec.structs.replace(response, lost=True) if faults.is_answer_lost() else response

    async def answer(self, request: Request) -> Response:
        return await self.router(request)

    def refuse(self, refusal: Refusal) -> Response:
        """How this system words a refusal made at the gate."""
        return refusal_response(refusal)

    # --- the owner's entrance

    def _health(self, request: Request) -> Response:
        return json_response(
            {
                "system": self.config.name,
                "up": self.server.is_listening,
                "faults": self.faults.in_force(),
                "counts": self.counts(),
            }
        )

    def _state(self, request: Request) -> Response:
        query = request.query
        kind = query.get("kind", "")
        if not kind:
            return json_response({"counts": self.counts(), "kinds": sorted(self.STATE)})
        if kind not in self.STATE:
            raise Refusal(404, "unknown-kind", f"No kind {kind!r} here; known: {', '.join(sorted(self.STATE))}.")
        limit, after = query.get("limit", "1000"), query.get("after", "")
        if not limit.isdigit() or not (after == "" or after.isdigit()):
            raise Refusal(400, "bad-page", "limit and after are whole numbers.")
        objects, following = self.read_state(kind, after, max(1, min(int(limit), STATE_PAGE_MAX)))
        return json_response({"kind": kind, "objects": objects, "next": following})

    def _clock(self, request: Request) -> Response:
        return json_response({"now": clock.now().isoformat(timespec="seconds"), "ahead_s": clock.ahead_s()})

    def _move_clock(self, request: Request) -> Response:
        """``{"by_s": 86400}`` moves it on; ``{"reset": true}`` first sets it to the machine's. What falls due is done at once."""
        try:
            asked = msgspec.json.decode(request.body, type=MoveClock)
        except (msgspec.ValidationError, msgspec.DecodeError) as fault:
            raise Refusal(400, "bad-clock", str(fault)) from fault
        ahead_s = asked.by_s if asked.reset else clock.ahead_s() + asked.by_s
        if not 0 <= ahead_s <= clock.AHEAD_S_MAX:
            raise Refusal(
                400, "bad-clock", "A clock goes ahead of the machine's by at most ten years, and never behind it."
            )
        clock.set_ahead(ahead_s)
        self.store.keep_fact("clock ahead", repr(ahead_s))
        self.clock_moved()
        return self._clock(request)

    def clock_moved(self) -> None:
        """Wakes whatever waits for a time."""

    def _fault(self, request: Request) -> Response:
        try:
            self.faults.apply(msgspec.json.decode(request.body, type=FaultRequest))
        except (msgspec.ValidationError, msgspec.DecodeError, UnsupportedFaultError) as fault:
            raise Refusal(400, "bad-fault", str(fault)) from fault
        self._changed.set()
        self.on_fault_change()
        return json_response({"faults": self.faults.in_force()})

    def on_fault_change(self) -> None:
        """Called after every change of the board."""

    def _reset(self, request: Request) -> Response:
        with self.store.transaction():
            self.store.wipe()
            self.seed_again()
        return json_response({"counts": self.counts()})

    def seed_again(self) -> None:
        with self.store.transaction():
            self.seed()
            self.store.keep_fact("clock ahead", repr(clock.ahead_s()))
            self.store.keep_fact("seeded", str(self.config.seed))

    # --- life

    async def keep_door(self) -> None:
        """Closes the door while ``down`` is in force and opens it again when that ends."""
        is_down = False
        while True:
            self._changed.clear()
            wanted = self.faults.is_on("down")
            if wanted != is_down:
                await self.apply_down(wanted)
                is_down = wanted
            left_s = self.faults.seconds_left("down")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s if wanted and left_s != math.inf else None):
                    await self._changed.wait()

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Serves until SIGTERM or SIGINT; a failing background task ends the process with its error."""
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await self.apply_down(False)
        await self.control.open_listener()
        tasks = [asyncio.ensure_future(work) for work in (stop.wait(), self.keep_door(), *self.background())]
        on_ready()
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await self.apply_down(True)
        self.control.close_listener()
        self.store.close()
        for task in done:
            task.result()


def _object(names: list[str], row: tuple[Any, ...]) -> dict[str, Any]:
    """A row as an object; a column named ``body`` holds the whole object as JSON."""
    if "body" in names:
        found: dict[str, Any] = msgspec.json.decode(row[names.index("body")])
        return found
    return {name: value for name, value in zip(names, row, strict=True) if name != "rowid"}
