"""The operator's commands over HTTP under /api/."""

from __future__ import annotations

import datetime as dt
import urllib.parse
from collections.abc import Mapping
from typing import Any

import msgspec

from accord.engine.alerts.channels import NoticeFailed
from accord.engine.alerts.watch import AlertError
from accord.engine.answer import Answer, problem
from accord.engine.bulk.desk import BulkAskFault
from accord.engine.control import Control
from accord.engine.control_views import SENT_MAX, ControlError, query_of, whole_number
from accord.engine.ends import REASON_LENGTH_MAX
from accord.engine.history import Kind
from accord.engine.operators.audit import newest_first
from accord.engine.steering import SteeringError
from accord.errors import JournalError
from accord.sdk.http import InboundRequest, encode_json


class ControlApi:
    """Who may give them is decided before (``operators.access``)."""

    def __init__(self, control: Control) -> None:
        self._control = control

    async def answer(self, request: InboundRequest) -> Answer:
        """Without asking who asks."""
        query = dict(urllib.parse.parse_qsl(request.query))
        parts = request.path.removeprefix("/api/").split("/")
        try:
            value = await self._answer(request, parts, query)
        except (ControlError, SteeringError, BulkAskFault, AlertError, NoticeFailed) as error:
            return problem(409, error.code, str(error))
        except JournalError as error:
            return problem(503, error.code, str(error))
        except (ValueError, msgspec.DecodeError) as error:
            return problem(400, "engine.bad-request", str(error))
        if value is None:
            return problem(404, "intake.not-found", "there is no such command")
        return Answer(200, encode_json(value))

    async def _answer(self, request: InboundRequest, parts: list[str], query: dict[str, str]) -> Any:
        control = self._control
        after_seq, limit = whole_number(query.get("after", "0")), whole_number(query.get("limit", "100"))
        match request.method, parts:
            case "GET", ["status"]:
                return await control.status()
            case "GET", ["alerts"]:
                return await control.alerts.view()
            case "POST", ["alerts", alert, "silence"]:
                for_s = whole_number(query.get("for_s", "0"))
                return {"until": await control.alerts.silence(urllib.parse.unquote(alert), for_s, _reason(query))}
            case "POST", ["channels", channel, "test"]:
                await control.alerts.test(urllib.parse.unquote(channel))
                return {"sent": True}
            case "GET", ["metrics"]:
                return await control.metrics()
            case "GET", ["versions"]:
                pairs = [one.partition(":") for one in query.get("today", "").split(",") if one]
                return await control.in_flight({name: version for name, _, version in pairs} if pairs else None)
            case "GET", ["history"]:
                kind = msgspec.convert(query.get("kind", "flow"), Kind)
                name, since_s = query.get("name", ""), whole_number(query.get("since_s", "3600"))
                if query.get("by_store") == "1":
                    return await control.history_by_store(kind, name, since_s)
                return await control.history(kind, name, since_s)
            case "GET", ["audit"]:
                given = {name: query.get(name, "") for name in ("actor", "action")}
                found_by = await control.audit_by_store(before=_seconds(query.get("before", "")), limit=limit, **given)
                return found_by if query.get("by_store") == "1" else newest_first(found_by.values(), limit)
            case "GET", ["messages"]:
                return await control.messages(query_of(query), source=query.get("source", ""))
            case "GET", ["messages", seq, "trace"]:
                return await control.trace(whole_number(seq))
            case "GET", ["dead-letters"]:
                with_payload = query.get("payload") == "1"
                return await control.dead_letters(
                    flow=query.get("flow", ""), after_seq=after_seq, limit=limit, with_payload=with_payload
                )
            case "GET", ["dead-letters", seq, "diff"]:
                return await control.difference(whole_number(seq))
            case "POST", ["dead-letters", seq, "preview"]:
                from_start = query.get("from_start") == "1"
                return await control.preview(whole_number(seq), request.body, from_start=from_start)
            case "POST", ["dead-letters", seq, "replay"]:
                from_start = query.get("from_start") == "1"
                await control.replay(whole_number(seq), body=request.body or None, from_start=from_start)
                return {"replayed": seq}
            case "POST", ["dead-letters", seq, "discard"]:
                await control.discard(whole_number(seq), query.get("reason", "discarded by hand"))
                return {"discarded": seq}
            case "POST", ["flows" | "systems" as kind, name, "pause"]:
                return await control.pause(kind[:-1], urllib.parse.unquote(name), _reason(query))
            case "POST", ["flows" | "systems" as kind, name, "resume"]:
                return await control.resume(kind[:-1], urllib.parse.unquote(name))
            case "POST", ["systems", name, "test"]:
                return await control.check_system(urllib.parse.unquote(name))
            case "GET", ["systems", name, "troubles"]:
                return await control.troubles(urllib.parse.unquote(name))
            case "POST", ["messages", ("pause" | "resume" | "cancel" | "migrate") as word]:
                return await control.steer_many(
                    word,
                    flow=query.get("flow", ""),
                    state=query.get("state", ""),
                    after_seq=after_seq,
                    limit=limit,
                    reason=_reason(query),
                    undo=query.get("undo") == "1",
                    force=query.get("force") == "1",
                )
            case "POST", ["messages", seq, ("pause" | "resume" | "cancel" | "migrate") as word]:
                undo, force = query.get("undo") == "1", query.get("force") == "1"
                return await control.steer(word, whole_number(seq), reason=_reason(query), undo=undo, force=force)
            case "GET", ["bulk"]:
                return await control.bulk.views()
            case "GET", ["bulk", flow]:
                return await control.bulk.view(urllib.parse.unquote(flow))
            case "GET", ["bulk", flow, "runs"]:
                return await control.bulk.runs(urllib.parse.unquote(flow))
            case "GET", ["bulk", flow, "profile"]:
                return await control.bulk.profile(urllib.parse.unquote(flow), query.get("run", ""))
            case "POST", ["bulk", flow, ("run" | "stop") as word]:
                fresh, accept = query.get("fresh") == "1", query.get("accept") == "1"
                return await control.bulk.ask(urllib.parse.unquote(flow), word, fresh=fresh, accept=accept)
            case "POST", ["send", flow]:
                is_backfill = query.get("backfill") == "1"
                event_id = query.get("event_id", "")
                flow = urllib.parse.unquote(flow)
                if query.get("lines") != "1":
                    return await control.send(flow, request.body, event_id, is_backfill=is_backfill)
                records = numbered_records(request.body, event_id, whole_number(query.get("first", "0")))
                return await control.send_many(flow, records, is_backfill=is_backfill)
        return None


def numbered_records(lines: bytes, event_id: str, first: int) -> list[tuple[bytes, str]]:
    """One record on each line, with its event id: '' or ``event_id`` and its number, the first one's being ``first``. Raises ValueError."""
    found = [line for line in lines.split(b"\n") if line]
    if len(found) > SENT_MAX:
        raise ValueError(f"{len(found)} records are too many for one request; {SENT_MAX} are the most")
    return [(line, f"{event_id}:{number}" if event_id else "") for number, line in enumerate(found, first)]


def _reason(query: Mapping[str, str]) -> str:
    return query.get("reason", "")[:REASON_LENGTH_MAX]


def _seconds(text: str) -> float:
    """Since 1970, of an ISO 8601 time; 0 for ''. Raises ValueError."""
    if not text:
        return 0.0
    at = dt.datetime.fromisoformat(text.replace(" ", "+"))  # an unescaped + of a zone is a space in an address
    return (at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp()
