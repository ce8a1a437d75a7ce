"""Reaches a project's engine: the running one through its control API, or else the journal itself."""

from __future__ import annotations

import asyncio
import getpass
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from accord.errors import AccordError
from accord.sdk.http import decode_json, encode_json

TIMEOUT_S = 30.0
PROBE_TIMEOUT_S = 5.0
SENT_BYTES_AT_ONCE = 1_000_000  # well below `body_size_max`


class Operator:
    """The operator's commands on one project. ``engine``: address and token of the one that runs, None when none does."""

    def __init__(self, folder: Path, environment: str) -> None:
        self._folder = folder
        self._environment = environment
        self.engine = running_engine(folder / ".accord")

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self._do("GET", "status", {}, lambda control: control.status())
        return {**status, "address": self.engine["address"] if self.engine else ""}

    def messages(self, **query: str | int) -> list[dict[str, Any]]:
        """``query``: what an address may hold: flow, key, id, state, source, since, until, after, before, limit."""

        async def local(control: Any) -> Any:
            from accord.engine.control_views import query_of

            given = {name: str(value) for name, value in query.items()}
            return await control.messages(query_of(given), source=given.get("source", ""))

        found: list[dict[str, Any]] = self._do("GET", "messages", query, local)
        return found

    def trace(self, seq: int) -> dict[str, Any]:
        """Every step of a message."""
        found: dict[str, Any] = self._do("GET", f"messages/{seq}/trace", {}, lambda control: control.trace(seq))
        return found

    def dead_letters(
        self, flow: str = "", after_seq: int = 0, limit: int = 100, *, with_payload: bool = False
    ) -> list[dict[str, Any]]:
        query = {"flow": flow, "after": after_seq, "limit": limit, "payload": int(with_payload)}
        found: list[dict[str, Any]] = self._do(
            "GET",
            "dead-letters",
            query,
            lambda control: control.dead_letters(
                flow=flow, after_seq=after_seq, limit=limit, with_payload=with_payload
            ),
        )
        return found

    def difference(self, seq: int) -> dict[str, Any]:
        """Of a dead letter to the last good message of its flow."""
        found: dict[str, Any] = self._do("GET", f"dead-letters/{seq}/diff", {}, lambda control: control.difference(seq))
        return found

    def preview(self, seq: int, body: bytes | None, *, from_start: bool) -> dict[str, Any]:
        """What a replay would do."""
        found: dict[str, Any] = self._do(
            "POST",
            f"dead-letters/{seq}/preview",
            {"from_start": int(from_start)},
            lambda control: control.preview(seq, body or b"", from_start=from_start),
            body or b"",
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

    def bulk_flows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._do("GET", "bulk", {}, lambda control: control.bulk.views())
        return found

    def bulk_flow(self, flow: str) -> dict[str, Any]:
        path = f"bulk/{urllib.parse.quote(flow, safe='')}"
        found: dict[str, Any] = self._do("GET", path, {}, lambda control: control.bulk.view(flow))
        return found

    def bulk_runs(self, flow: str) -> list[dict[str, Any]]:
        """The newest first."""
        path = f"bulk/{urllib.parse.quote(flow, safe='')}/runs"
        found: list[dict[str, Any]] = self._do("GET", path, {}, lambda control: control.bulk.runs(flow))
        return found

    def bulk_profile(self, flow: str, run: str) -> dict[str, Any]:
        """``run`` '': of the newest that has ended."""
        path = f"bulk/{urllib.parse.quote(flow, safe='')}/profile"
        query = {"run": run}
        found: dict[str, Any] = self._do("GET", path, query, lambda control: control.bulk.profile(flow, run))
        return found

    def bulk_ask(self, flow: str, word: str, *, fresh: bool = False, accept: bool = False) -> None:
        """``word``: run or stop."""
        path = f"bulk/{urllib.parse.quote(flow, safe='')}/{word}"
        query = {"fresh": int(fresh), "accept": int(accept)}
        self._do("POST", path, query, lambda control: control.bulk.ask(flow, word, fresh=fresh, accept=accept))

    def pause(self, kind: str, name: str, reason: str) -> bool:
        """A flow or a system. False when it was paused already."""
        path = f"{kind}s/{urllib.parse.quote(name, safe='')}/pause"
        done = self._do("POST", path, {"reason": reason}, lambda control: control.pause(kind, name, reason))
        return bool(done["changed"])

    def resume(self, kind: str, name: str) -> bool:
        """False when it was not paused."""
        path = f"{kind}s/{urllib.parse.quote(name, safe='')}/resume"
        return bool(self._do("POST", path, {}, lambda control: control.resume(kind, name))["changed"])

    def audit(self, *, before: str, actor: str, action: str, limit: int) -> list[dict[str, Any]]:
        """Who did what, newest first."""
        from accord.engine.operators.audit import newest_first

        async def local(control: Any) -> Any:
            return newest_first((await control.audit_by_store(actor=actor, action=action, limit=limit)).values(), limit)

        query = {"before": before, "actor": actor, "action": action, "limit": limit}
        found: list[dict[str, Any]] = self._do("GET", "audit", query, local)
        return found

    def history(self, kind: str, name: str, since_s: int) -> dict[str, Any]:
        """What a flow or a system did lately."""
        query = {"kind": kind, "name": name, "since_s": since_s}
        found: dict[str, Any] = self._do("GET", "history", query, lambda control: control.history(kind, name, since_s))
        return found

    def alerts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._do("GET", "alerts", {}, lambda control: control.alerts.view())
        return found

    def silence(self, alert: str, for_s: int, reason: str) -> None:
        """``alert`` '*': all of them. ``for_s`` 0 ends the silence."""
        path = f"alerts/{urllib.parse.quote(alert, safe='')}/silence"
        query = {"for_s": for_s, "reason": reason}
        self._do("POST", path, query, lambda control: control.alerts.silence(alert, for_s, reason))

    def test_channel(self, channel: str) -> None:
        path = f"channels/{urllib.parse.quote(channel, safe='')}/test"
        self._do("POST", path, {}, lambda control: control.alerts.test(channel))

    def check_system(self, name: str) -> dict[str, Any]:
        """By the engine that runs."""
        path = f"systems/{urllib.parse.quote(name, safe='')}/test"
        found: dict[str, Any] = self._do("POST", path, {}, lambda control: control.check_system(name))
        return found

    def troubles(self, name: str) -> list[dict[str, Any]]:
        path = f"systems/{urllib.parse.quote(name, safe='')}/troubles"
        found: list[dict[str, Any]] = self._do("GET", path, {}, lambda control: control.troubles(name))
        return found

    def versions(self, today: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """Versions of flows that open messages have begun with, other than those of ``today``, or than the engine's own."""
        shown = ",".join(f"{name}:{version}" for name, version in (today or {}).items())
        found: list[dict[str, Any]] = self._do(
            "GET", "versions", {"today": shown}, lambda control: control.in_flight(today)
        )
        return found

    def steer(
        self, word: str, seq: int, *, reason: str = "", undo: bool = False, force: bool = False
    ) -> dict[str, Any]:
        """``word``: pause, resume, cancel or migrate."""
        query = {"reason": reason, "undo": int(undo), "force": int(force)}
        done: dict[str, Any] = self._do(
            "POST",
            f"messages/{seq}/{word}",
            query,
            lambda control: control.steer(word, seq, reason=reason, undo=undo, force=force),
        )
        return done

    def steer_many(
        self,
        word: str,
        *,
        flow: str,
        state: str,
        after_seq: int,
        limit: int,
        reason: str = "",
        undo: bool = False,
        force: bool = False,
    ) -> dict[str, Any]:
        """One page of them: how many were told, how many refused, and the last seq (0: that was all)."""
        query = {"flow": flow, "state": state, "after": after_seq, "limit": limit}
        query |= {"reason": reason, "undo": int(undo), "force": int(force)}
        done: dict[str, Any] = self._do(
            "POST",
            f"messages/{word}",
            query,
            lambda control: control.steer_many(
                word, flow=flow, state=state, after_seq=after_seq, limit=limit, reason=reason, undo=undo, force=force
            ),
        )
        return done

    def send(self, flow: str, body: bytes, event_id: str = "", *, is_backfill: bool = False) -> tuple[int, int]:
        """Gives one record to a flow. How many were accepted, and known already: 1 and 0, or 0 and 1."""
        query = {"event_id": event_id, "backfill": int(is_backfill)}
        stored = self._do(
            "POST",
            _send_path(flow),
            query,
            lambda control: control.send(flow, body, event_id, is_backfill=is_backfill),
            body,
        )
        return len(stored["ids"]), stored["duplicates"]

    def send_lines(
        self, flow: str, records: Sequence[bytes], event_id: str = "", *, is_backfill: bool = False
    ) -> tuple[int, int]:
        """Gives records to a flow, in order; each one's event id is ``event_id`` and its number. Counts as of ``send``."""
        path, query = _send_path(flow), {"event_id": event_id, "backfill": int(is_backfill), "lines": 1}

        async def local(control: Any) -> Any:
            from accord.engine.control_api import numbered_records

            stored: list[Any] = []
            for first, lines in _batches(records):
                numbered = numbered_records(lines, event_id, first)
                stored += await control.send_many(flow, numbered, is_backfill=is_backfill)
            return stored

        if self.engine is None:
            stored = self._do("POST", path, query, local)
        else:
            batches = _batches(records)
            told = [_ask(self.engine, "POST", path, {**query, "first": first}, lines) for first, lines in batches]
            stored = [one for answer in told for one in answer]
        return sum(len(one["ids"]) for one in stored), sum(one["duplicates"] for one in stored)

    def _do(
        self,
        method: str,
        path: str,
        query: dict[str, Any],
        local: Callable[[Any], Awaitable[Any]],
        body: bytes = b"",
    ) -> Any:
        if self.engine is not None:
            return _ask(self.engine, method, path, query, body)
        return asyncio.run(self._locally(local, "" if method == "GET" else path, query))

    async def _locally(
        self, work: Callable[[Any], Awaitable[Any]], action: str = "", query: Mapping[str, Any] | None = None
    ) -> Any:
        """``action``: the path that asks an engine for it, for the audit trail; '' for what is only read."""
        from accord.cli.options import project_of_journal
        from accord.engine.build import engine_of

        engine = engine_of(project_of_journal(self._folder, self._environment))
        try:
            control = await engine.open_journal()
            if not action:
                return _plain(await work(control))
            result = "refused"
            try:
                done = _plain(await work(control))
                result = "done"
            finally:
                await engine.trail.record(_local_actor(), *_described(action, query or {}), result, "")
            return done
        finally:
            await engine.stop()


def _local_actor() -> Any:
    from accord.engine.operators.roles import Actor, Role

    return Actor(local_user(), Role.ADMIN, "command-line")


def _described(path: str, query: Mapping[str, Any]) -> tuple[str, str]:
    from accord.engine.operators.access import described

    return described([urllib.parse.unquote(part) for part in path.split("/")], query)


def local_user() -> str:
    """The user of the operating system who runs the command, in what headers of HTTP can hold."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        name = ""
    return name.encode("ascii", "replace").decode() or "(nameless)"


def _send_path(flow: str) -> str:
    return f"send/{urllib.parse.quote(flow, safe='')}"


def _batches(records: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    """The number of the first record of each request, and the records as lines."""
    from accord.engine.control_views import SENT_MAX

    first, batch, size = 0, list[bytes](), 0
    for number, record in enumerate(records):
        if batch and (len(batch) == SENT_MAX or size + len(record) > SENT_BYTES_AT_ONCE):
            yield first, b"\n".join(batch)
            first, batch, size = number, [], 0
        batch.append(record)
        size += len(record)
    if batch:
        yield first, b"\n".join(batch)


def running_engine(state_folder: Path) -> dict[str, str] | None:
    """Address and token of the engine that runs on this state folder; None when none answers to its token (it was killed, and
    something else may listen there now). Raises OSError when the file that tells cannot be read."""
    try:
        state: dict[str, str] = json.loads((state_folder / "engine.json").read_bytes())
        with _open(_request(state, "GET", "status", {}, b""), PROBE_TIMEOUT_S):
            return state
    except PermissionError:
        raise
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return None


def _ask(engine: dict[str, str], method: str, path: str, query: dict[str, Any], body: bytes) -> Any:
    try:
        with _open(_request(engine, method, path, query, body), TIMEOUT_S) as response:
            return decode_json(response.read())
    except urllib.error.HTTPError as error:
        raise _refusal(error) from error
    except (OSError, http.client.HTTPException) as error:
        what = f"The engine at {engine['address']} does not answer: {getattr(error, 'reason', '') or error}."
        raise AccordError(what, mend="`accord status` tells whether it runs.", code="cli.unreachable") from error


def _request(
    engine: dict[str, str], method: str, path: str, query: dict[str, Any], body: bytes
) -> urllib.request.Request:
    url = f"{engine['address']}/api/{path}?{urllib.parse.urlencode(query)}"
    headers = {
        "authorization": f"Bearer {engine['token']}",
        "content-type": "application/json",
        "x-accord-actor": local_user(),
    }
    return urllib.request.Request(url, data=body or None, headers=headers, method=method)  # noqa: S310 (our own address)


def _open(request: urllib.request.Request, timeout_s: float) -> Any:
    """Never through a proxy: the engine is on this machine."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout_s)


def _refusal(error: urllib.error.HTTPError) -> AccordError:
    try:
        detail = json.loads(error.read() or b"{}")
    except ValueError:
        detail = {}
    code = detail.get("code", "engine.command")
    return AccordError(detail.get("detail", str(error)).removesuffix(f" [{code}]"), code=code)


def _plain(value: Any) -> Any:
    return decode_json(encode_json(value)) if value is not None else None
