"""What each page shows: the control's answers and the project's declarations, made ready for the templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias
from urllib.parse import urlencode

import msgspec
from markupsafe import Markup

from accord.engine.control import LIST_MAX, OPEN_STATES, SEQ_MAX, Control, moment, whole_number
from accord.engine.history import Kind
from accord.engine.operators.audit import newest_first
from accord.flow.flow import Flow
from accord.flow.trigger import FilesTrigger, ManualTrigger, PollTrigger, ScheduleTrigger, Trigger
from accord.mapping.contract import problems_of
from accord.monitor.causes import Cause, causes_of
from accord.monitor.charts import charts_of
from accord.monitor.drawing import draw_map, lines_of
from accord.monitor.live import shown_figures
from accord.monitor.rates import Rates
from accord.project import Project
from accord.record.types import name_of

STATES = (*OPEN_STATES, "done", "dead")
PAGE_SIZE = 50
SINCE_S = {"1h": 3_600, "6h": 6 * 3_600, "24h": 24 * 3_600}  # what charts can cover
LETTERS_SHOWN_MAX = 100  # of one cause
STEP_STATES = {"done": "done", "passed over": "quiet", "ended": "quiet", "refused": "dead", "open": "waiting"}

Shown: TypeAlias = tuple[str, dict[str, Any]]  # template and what it is given


class Views:
    def __init__(self, project: Project, control: Control, rates: Rates) -> None:
        self._project = project
        self._control = control
        self._rates = rates
        self._lines = lines_of(project.flows)

    async def page(self, parts: list[str], query: Mapping[str, str]) -> Shown | None:
        """None when there is no such page. Raises ValueError for a malformed address, JournalError."""
        match parts:
            case []:
                return await self._map()
            case ["flows", name]:
                return await self._flow(name, query)
            case ["systems", name]:
                return await self._system(name, query)
            case ["messages"]:
                return await self._messages(query)
            case ["messages", seq]:
                return await self._message(whole_number(seq))
            case ["dead"]:
                return "dead.html", {"causes": await self.causes(), "letters_max": LIST_MAX}
            case ["causes", id_]:
                return await self._cause(id_)
            case ["audit"]:
                return await self._audit(query)
            case ["dead", seq]:
                return await self._letter(whole_number(seq), query.get("reveal") == "1")
        return None

    # --- map, flows, systems

    async def figures(self) -> dict[str, Any]:
        """What open pages show live."""
        flows, systems, _ = await self._flows_and_systems()
        return shown_figures(flows, systems)

    async def _flows_and_systems(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        status = await self._control.status()
        flows = {one["name"]: self._flow_view(one) for one in status["flows"]}
        return flows, {one["name"]: _system_view(one) for one in status["systems"]}, status

    async def _map(self) -> Shown:
        flows, systems, status = await self._flows_and_systems()
        picture = Markup(draw_map(self._lines, flows, systems))  # noqa: S704 (drawing escapes every name it is given)
        dead = sum(one["dead"] for one in flows.values())
        return "map.html", {"picture": picture, "flows": flows, "systems": systems, "dead": dead, "status": status}

    def _flow_view(self, told: Mapping[str, Any]) -> dict[str, Any]:
        rate = self._rates.rate_per_s(told["name"])
        waiting = told["ready"] + told["waiting"] + told["held"]
        words = [rate_text(rate)]
        words += [f"{told[state]:,} {state}" for state in ("waiting", "held", "dead") if told[state]]
        state = "paused" if told["paused"] else "sick" if told["held"] else "busy" if rate or waiting else "well"
        return {**told, "rate": rate, "rate_text": words[0], "open": waiting, "state": state, "line": ", ".join(words)}

    async def _flow(self, name: str, query: Mapping[str, str]) -> Shown | None:
        flow = self._project.flows.get(name)
        status = await self._control.status()
        told = next((one for one in status["flows"] if one["name"] == name), None)
        if flow is None or told is None:
            return None
        history = await self._history_of("flow", name, query)
        return "one_flow.html", {
            "flow": flow,
            "view": self._flow_view(told),
            "triggers": [_trigger_words(trigger) for trigger in flow.triggers],
            "declaration": _text_of(self._project, flow),
            **history,
        }

    async def _history_of(self, kind: Kind, name: str, query: Mapping[str, str]) -> dict[str, Any]:
        chosen = query.get("since", "") if query.get("since") in SINCE_S else next(iter(SINCE_S))
        view = await self._control.history(kind, name, SINCE_S[chosen])
        charts = [Markup(chart) for chart in charts_of(view)]  # noqa: S704 (charts escape every name they are given)
        return {"charts": charts, "since": chosen, "sinces": list(SINCE_S), "steps": view.steps}

    async def _system(self, name: str, query: Mapping[str, str]) -> Shown | None:
        system = self._project.systems.get(name)
        status = await self._control.status()
        told = next((one for one in status["systems"] if one["name"] == name), None)
        if system is None or told is None:
            return None
        entities = [
            {"name": entity.name, "key": entity.key, "summary": entity.summary, "fields": _fields(entity.fields)}
            for entity in system.entities.values()
        ]
        flows = [
            flow for flow in self._project.flows.values() if name in flow.systems or flow.source.startswith(f"{name}.")
        ]
        return "one_system.html", {
            "name": name,
            "view": _system_view(told),
            "entities": entities,
            "flows": sorted(flow.name for flow in flows),
            **await self._history_of("system", name, query),
        }

    # --- messages

    async def _messages(self, query: Mapping[str, str]) -> Shown:
        state = query.get("state", "")
        if state and state not in STATES:
            raise ValueError(f"'{state}' is no state; there are {', '.join(STATES)}")
        before = whole_number(query.get("before") or str(SEQ_MAX))
        chosen = {name: query.get(name, "").strip() for name in ("flow", "key", "id", "source")}
        times = {name: query.get(name, "").strip() for name in ("since", "until")}
        rows = await self._control.messages(
            flow=chosen["flow"],
            key=chosen["key"],
            id=chosen["id"],
            source=chosen["source"],
            state=state,
            before_seq=before,
            since=moment(times["since"]),
            until=moment(times["until"]),
            limit=PAGE_SIZE + 1,
        )
        asked = {name: value for name, value in {**chosen, **times, "state": state}.items() if value}
        last = rows[PAGE_SIZE - 1].seq if len(rows) > PAGE_SIZE else None
        return "messages.html", {
            "rows": rows[:PAGE_SIZE],
            "older": urlencode({**asked, "before": last}) if last else "",
            "newest": urlencode(asked) if "before" in query else None,
            "chosen": {**chosen, **times, "state": state},
            "flows": sorted(self._project.flows),
            "sources": sorted({flow.source for flow in self._project.flows.values() if flow.source}),
            "states": STATES,
        }

    async def _message(self, seq: int) -> Shown | None:
        rows = await self._control.messages(after_seq=seq - 1, limit=1)
        if not rows or rows[0].seq != seq:
            return None
        flow = self._project.flows.get(rows[0].flow)
        guarantees = {effect.path: effect for effect in flow.effects} if flow else {}
        return "message.html", {
            "row": rows[0],
            "guarantees": guarantees,
            "is_open": rows[0].state in OPEN_STATES,
            "trace": await self._control.trace(seq),
            "step_state": STEP_STATES,
        }

    async def _audit(self, query: Mapping[str, str]) -> Shown:
        chosen = {name: query.get(name, "").strip() for name in ("actor", "action")}
        before = query.get("before", "")
        since_s = float(before) if before.replace(".", "", 1).isdecimal() else 0.0
        found = await self._control.audit_by_store(before=since_s, limit=PAGE_SIZE + 1, **chosen)
        entries = newest_first(found.values(), PAGE_SIZE + 1)
        last = entries[PAGE_SIZE - 1].at.timestamp() if len(entries) > PAGE_SIZE else None
        return "audit.html", {"entries": entries[:PAGE_SIZE], "next": last, "chosen": chosen}

    # --- dead letters

    async def causes(self) -> list[Cause]:
        return causes_of(await self._control.dead_letters(limit=LIST_MAX))

    async def cause(self, id_: str) -> Cause | None:
        return next((cause for cause in await self.causes() if cause.id == id_), None)

    async def _cause(self, id_: str) -> Shown | None:
        letters = {letter.seq: letter for letter in await self._control.dead_letters(limit=LIST_MAX)}
        cause = next((cause for cause in causes_of(letters.values()) if cause.id == id_), None)
        if cause is None:
            return None
        return "cause.html", {"cause": cause, "letters": [letters[seq] for seq in cause.seqs[:LETTERS_SHOWN_MAX]]}

    async def _letter(self, seq: int, reveal: bool) -> Shown | None:
        letters = await self._control.dead_letters(after_seq=seq - 1, limit=1, with_payload=reveal)
        if not letters or letters[0].seq != seq:
            return None
        letter = letters[0]
        payload = ""
        if letter.payload is not None:
            try:
                payload = msgspec.json.format(letter.payload, indent=2)
            except msgspec.DecodeError:
                payload = letter.payload  # it may be dead because it is no JSON
        return "letter.html", {"letter": letter, "payload": payload, "reveal": reveal}

    async def problems_of(self, seq: int, body: bytes) -> list[str]:
        """What the letter's flow will say of a mended record; nothing when it is fine."""
        letters = await self._control.dead_letters(after_seq=seq - 1, limit=1)
        flow = self._project.flows.get(letters[0].flow) if letters else None
        return problems_of(flow.contract if flow is not None else None, body)


def rate_text(value: float) -> str:
    return f"{value:,.0f}/s" if value >= 10 else f"{value:.1f}/s"


def _system_view(told: Mapping[str, Any]) -> dict[str, Any]:
    words = "paused" if told["paused"] else "well" if told["is_well"] else told["reason"] or "not available"
    if told["held"]:
        words += f", {told['held']:,} held"
    state = "paused" if told["paused"] else "well" if told["is_well"] else "sick"
    return {**told, "state": state, "line": words}


def _trigger_words(trigger: Trigger) -> str:
    match trigger:
        case ScheduleTrigger(cron=cron, zone=zone, every_s=every_s):
            return f"every {every_s:g} s" if every_s else f"at {cron} ({zone})"
        case PollTrigger(entity=entity, every_s=every_s):
            return f"polls {entity} every {every_s:g} s"
        case FilesTrigger(entity=entity):
            return f"files of {entity}"
        case ManualTrigger(entity=entity):
            return f"{entity} by hand"
        case _:
            topics = f" ({', '.join(trigger.topics)})" if trigger.topics else ""
            return f"webhooks of {trigger.entity}{topics}"


def _fields(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "type": name_of(field.type) + ("?" if field.nullable else ""),
            "personal": field.personal or "",
            "references": field.references or "",
            "summary": field.summary,
        }
        for name, field in fields.items()
    ]


def _text_of(project: Project, flow: Flow) -> str:
    """The flow's file as it is on disk: secrets are only named in it."""
    path = (project.folder / flow.place.file).resolve()
    if not flow.place.file or project.folder.resolve() not in path.parents or not path.is_file():
        return ""
    return path.read_text("utf-8", "replace")
