"""Live figures for open pages: one look at the engine for all of them, sent as server-sent events (WHATWG HTML, section 9.2).

Nothing is asked of the engine while no page is open. Figures are whole, so an event that a slow page misses does no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from accord.engine.answer import Line
from accord.engine.clock import Clock
from accord.errors import JournalError
from accord.monitor.drawing import Lines, edge_mark, edge_tip

EVERY_S = 2.0  # between looks: what a person notices as live, and well below a hundredth of a core
HEARTBEAT_S = 15.0  # a comment when nothing changes: proxies drop what is silent for a minute, and clients that have gone are noticed
PAGES_MAX = 64  # open at once, per process; the next one reads by loading again
OPEN_S_MAX = 600.0  # then the page comes again, and says anew who it is
BEGINNING = b"retry: 3000\n\n"
HEARTBEAT = b": \n\n"

Figures = Mapping[str, Mapping[str, str]]  # what (flow:orders) → figure → text


class Live:
    """``look`` gives the figures as they are now."""

    def __init__(self, look: Callable[[], Awaitable[Figures]], clock: Clock) -> None:
        self._look = look
        self._clock = clock
        self._pages: set[_Page] = set()
        self._is_watched = asyncio.Event()
        self._expected = 0  # pages whose connection has not begun

    def page(self) -> _Page | None:
        """For one page; None when too many are open."""
        if len(self._pages) + self._expected >= PAGES_MAX:
            return None
        self._expected += 1
        return _Page(self)

    async def run(self) -> None:
        """Until cancelled; then the pages are let go."""
        last, sent_s = b"", 0.0
        try:
            while True:
                await self._is_watched.wait()
                try:
                    event = b"event: figures\ndata: %b\n\n" % msgspec.json.encode(await self._look())
                except JournalError:
                    event = last  # away for the moment
                now_s = self._clock.monotonic()
                is_due = event != last or now_s - sent_s >= HEARTBEAT_S
                for page in list(self._pages):
                    page.tell(event, now_s, HEARTBEAT if event == last and is_due else b"")
                last, sent_s = event, now_s if is_due else sent_s
                await self._clock.sleep(EVERY_S)
        finally:
            for page in list(self._pages):
                page.close()

    def _opened(self, page: _Page) -> None:
        self._expected -= 1
        self._pages.add(page)
        self._is_watched.set()

    def _closed(self, page: _Page) -> None:
        if page in self._pages:
            self._pages.discard(page)
        else:
            self._expected -= 1
        if not self._pages:
            self._is_watched.clear()


class _Page:
    """One open page: a Feed of the web server."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._line: Line | None = None
        self._told = b""
        self._until_s = 0.0

    def began(self, line: Line) -> None:
        self._line = line
        self._until_s = self._live._clock.monotonic() + OPEN_S_MAX
        self._live._opened(self)

    def ended(self) -> None:
        self._line = None
        self._live._closed(self)

    def tell(self, event: bytes, now_s: float, otherwise: bytes) -> None:
        """The event if it is news to this page, else ``otherwise``."""
        if self._line is None:
            return
        if now_s >= self._until_s:
            self._line.close()
        elif event != self._told:
            if self._line.write(event):
                self._told = event
        elif otherwise:
            self._line.write(otherwise)

    def close(self) -> None:
        if self._line is not None:
            self._line.close()


def shown_figures(
    lines: Sequence[Lines], flows: Mapping[str, Mapping[str, Any]], systems: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """As pages show them; the same texts as in the templates. ``lines``: of the map."""
    found: dict[str, dict[str, str]] = {}
    for name, flow in flows.items():
        counts = {
            state: f"{flow[state]:,}" for state in ("ready", "waiting", "held", "in_doubt", "dead", "done", "running")
        }
        found[f"flow:{name}"] = {
            **counts,
            "rate": flow["rate_text"],
            **{key: flow[key] for key in ("state", "line", "tip")},
        }
    for name, system in systems.items():
        counts = {key: f"{system[key]:,}" for key in ("held", "in_flight", "waiting", "concurrency_limit")}
        found[f"system:{name}"] = {**counts, **{key: system[key] for key in ("state", "line", "reason", "tip")}}
    for one in lines:
        for name in (*one.sources, *one.targets):
            found[edge_mark(one.flow, name)] = {"tip": edge_tip(flows[one.flow], systems.get(name))}
    dead = sum(flow["dead"] for flow in flows.values())
    found["all"] = {"dead": f"{dead:,}" if dead else ""}
    return found
