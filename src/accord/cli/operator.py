"""Reaches a project's engine: the running one through its control API, or else the journal itself."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from accord.errors import AccordError
from accord.sdk.http import decode_json, encode_json

TIMEOUT_S = 30.0


class Operator:
    """The operator's commands on one project. ``state_folder`` tells whether an engine runs."""

    def __init__(self, folder: Path, environment: str) -> None:
        self._folder = folder
        self._environment = environment
        self.engine = running_engine(folder / ".accord")

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self._do("GET", "status", {}, lambda control: _plain(control.status()))
        return {**status, "address": self.engine["address"] if self.engine else ""}

    def messages(self, **filters: Any) -> list[dict[str, Any]]:
        after_seq, limit = filters.pop("after_seq"), filters.pop("limit")
        query = {**filters, "after": after_seq, "limit": limit}
        found: list[dict[str, Any]] = self._do(
            "GET",
            "messages",
            query,
            lambda control: _plain(control.messages(**filters, after_seq=after_seq, limit=limit)),
        )
        return found

    def dead_letters(
        self, flow: str = "", after_seq: int = 0, limit: int = 100, *, with_payload: bool = False
    ) -> list[dict[str, Any]]:
        query = {"flow": flow, "after": after_seq, "limit": limit, "payload": int(with_payload)}
        found: list[dict[str, Any]] = self._do(
            "GET",
            "dead-letters",
            query,
            lambda control: _plain(
                control.dead_letters(flow=flow, after_seq=after_seq, limit=limit, with_payload=with_payload)
            ),
        )
        return found

    def replay(self, seq: int, body: bytes | None, *, from_start: bool) -> None:
        self._do(
            "POST",
            f"dead-letters/{seq}/replay",
            {"from_start": int(from_start)},
            lambda control: control.replay(seq, body=body, from_start=from_start),
            body or b"",
        )

    def discard(self, seq: int, reason: str) -> None:
        self._do(
            "POST", f"dead-letters/{seq}/discard", {"reason": reason}, lambda control: control.discard(seq, reason)
        )

    def send(self, flow: str, body: bytes, event_id: str) -> dict[str, Any]:
        stored: dict[str, Any] = self._do(
            "POST",
            f"send/{urllib.parse.quote(flow)}",
            {"event_id": event_id},
            lambda control: control.send(flow, body, event_id),
            body,
        )
        return stored

    def _do(
        self,
        method: str,
        path: str,
        query: dict[str, Any],
        local: Callable[[Any], Any | Awaitable[Any]],
        body: bytes = b"",
    ) -> Any:
        if self.engine is not None:
            return _request(self.engine, method, path, query, body)
        return asyncio.run(self._locally(local))

    async def _locally(self, work: Callable[[Any], Any | Awaitable[Any]]) -> Any:
        from accord.cli.up import engine_for

        engine = engine_for(self._folder, self._environment)
        control = engine.open_journal()
        try:
            result = work(control)
            if isinstance(result, Awaitable):
                result = _plain(await result)
            return result
        finally:
            await engine.stop()


def running_engine(state_folder: Path) -> dict[str, str] | None:
    """Address and token of the engine that runs on this state folder; None when none answers."""
    try:
        state: dict[str, str] = json.loads((state_folder / "engine.json").read_bytes())
        with urllib.request.urlopen(state["address"] + "/healthz", timeout=2.0):  # noqa: S310 (our own address)
            return state
    except (OSError, ValueError, KeyError):
        return None


def _request(engine: dict[str, str], method: str, path: str, query: dict[str, Any], body: bytes) -> Any:
    url = f"{engine['address']}/api/{path}?{urllib.parse.urlencode(query)}"
    headers = {"authorization": f"Bearer {engine['token']}", "content-type": "application/json"}
    request = urllib.request.Request(url, data=body or None, headers=headers, method=method)  # noqa: S310 (our own address)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310 (our own address)
            return decode_json(response.read())
    except urllib.error.HTTPError as error:
        detail = json.loads(error.read() or b"{}")
        raise AccordError(detail.get("detail", str(error)), code=detail.get("code", "engine.command")) from error
    except urllib.error.URLError as error:
        raise AccordError(
            f"the engine at {engine['address']} does not answer: {error.reason}", code="engine.unreachable"
        ) from error


def _plain(value: Any) -> Any:
    return decode_json(encode_json(value)) if value is not None else None
