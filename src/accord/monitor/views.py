"""What each page shows: the control's answers and the project's declarations, made ready for the templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from markupsafe import Markup

from accord.engine.control import LIST_MAX, Control
from accord.engine.control_views import whole_number
from accord.engine.history import Kind
from accord.engine.operators.audit import newest_first
from accord.flow.flow import Flow
from accord.flow.trigger import ChangesTrigger, FilesTrigger, ManualTrigger, PollTrigger, ScheduleTrigger, Trigger
from accord.monitor.charts import charts_of, seconds
from accord.monitor.drawing import draw_map, lines_of
from accord.monitor.flow_picture import draw_steps
from accord.monitor.live import shown_figures
from accord.monitor.message_views import MessageViews
from accord.monitor.rates import Rates
from accord.observe.metrics import HistogramView, MetricsView
from accord.project import Project
from accord.record.types import Field, name_of

PAGE_SIZE = 50
SINCE_S = {"1h": 3_600, "6h": 6 * 3_600, "24h": 24 * 3_600}  # what charts can cover
LETTERS_SHOWN_MAX = 100  # of one cause

Shown: TypeAlias = tuple[str, dict[str, Any]]  # template and what it is given


class Views:
    def __init__(self, project: Project, control: Control, rates: Rates) -> None:
        self.messages = MessageViews(project, control)
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
                return await self.messages.messages(query)
            case ["messages", seq]:
                return await self.messages.message(whole_number(seq))
            case ["alerts"]:
                return "alerts.html", {"alerts": await self._control.alerts.view()}
            case ["dead"]:
                return "dead.html", {"causes": await self.messages.causes(), "letters_max": LIST_MAX}
            case ["causes", id_]:
                return await self.messages.cause_page(id_)
            case ["audit"]:
                return await self._audit(query)
            case ["dead", seq]:
                return await self.messages.letter(whole_number(seq), query.get("reveal") == "1")
        return None

    # --- map, flows, systems

    async def figures(self) -> dict[str, Any]:
        """What open pages show live."""
        flows, systems, _ = await self._flows_and_systems()
        return shown_figures(self._lines, flows, systems)

    async def _flows_and_systems(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        status = await self._control.status()
        metrics = await self._control.metrics()
        flows = {one["name"]: self._flow_view(one, metrics) for one in status["flows"]}
        return flows, {one["name"]: _system_view(one, metrics) for one in status["systems"]}, status

    async def _map(self) -> Shown:
        flows, systems, status = await self._flows_and_systems()
        picture = Markup(draw_map(self._lines, flows, systems))  # noqa: S704 (drawing escapes every name it is given)
        dead = sum(one["dead"] for one in flows.values())
        return "map.html", {"picture": picture, "flows": flows, "systems": systems, "dead": dead, "status": status}

    def _flow_view(self, told: Mapping[str, Any], metrics: MetricsView) -> dict[str, Any]:
        rate = self._rates.rate_per_s(told["name"])
        waiting = told["ready"] + told["waiting"] + told["held"]
        words = [rate_text(rate)]
        words += [f"{told[state]:,} {state}" for state in ("waiting", "held", "dead") if told[state]]
        state = "paused" if told["paused"] else "sick" if told["held"] else "busy" if rate or waiting else "well"
        measured = metrics.flows.get(told["name"])
        tip = (
            f"Flow {told['name']}, {state}: {words[0]}, p95 {_p95(measured.duration if measured else None)},"
            f" {waiting:,} waiting ({told['held']:,} held), {told['in_doubt']:,} in doubt, {told['dead']:,} dead"
        )
        shown = {"rate": rate, "rate_text": words[0], "open": waiting, "state": state, "line": ", ".join(words)}
        return {**told, **shown, "tip": tip}

    async def _flow(self, name: str, query: Mapping[str, str]) -> Shown | None:
        flow = self._project.flows.get(name)
        status = await self._control.status()
        told = next((one for one in status["flows"] if one["name"] == name), None)
        if flow is None or told is None:
            return None
        history = await self._history_of("flow", name, query)
        return "one_flow.html", {
            "flow": flow,
            "view": self._flow_view(told, await self._control.metrics()),
            "causes": await self.messages.causes(name) if told["dead"] else [],
            "triggers": [_trigger_words(trigger) for trigger in flow.triggers],
            "declaration": _text_of(self._project, flow),
            "picture": Markup(draw_steps(flow, history["steps"])),  # noqa: S704 (drawing escapes what it is given)
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
            "view": _system_view(told, await self._control.metrics()),
            "entities": entities,
            "flows": sorted(flow.name for flow in flows),
            "troubles": await self._control.troubles(name),
            **await self._history_of("system", name, query),
        }

    async def _audit(self, query: Mapping[str, str]) -> Shown:
        chosen = {name: query.get(name, "").strip() for name in ("actor", "action")}
        before = query.get("before", "")
        since_s = float(before) if before.replace(".", "", 1).isdecimal() else 0.0
        found = await self._control.audit_by_store(before=since_s, limit=PAGE_SIZE + 1, **chosen)
        entries = newest_first(found.values(), PAGE_SIZE + 1)
        last = entries[PAGE_SIZE - 1].at.timestamp() if len(entries) > PAGE_SIZE else None
        return "audit.html", {"entries": entries[:PAGE_SIZE], "next": last, "chosen": chosen}


def rate_text(value: float) -> str:
    return f"{value:,.0f}/s" if value >= 10 else f"{value:.1f}/s"


def _p95(times: HistogramView | None) -> str:
    """Since the start of the engines."""
    found = times.quantile(0.95) if times is not None else None
    return "unknown" if found is None else seconds(found)


def _system_view(told: Mapping[str, Any], metrics: MetricsView) -> dict[str, Any]:
    words = "paused" if told["paused"] else "well" if told["is_well"] else told["reason"] or "not available"
    if told["held"]:
        words += f", {told['held']:,} held"
    state = "paused" if told["paused"] else "well" if told["is_well"] else "sick"
    breaker = (
        "breaker closed" if told["is_well"] else f"breaker open, next try in {told['wait_s']:g} s: {told['reason']}"
    )
    measured = metrics.systems.get(told["name"])
    tip = (
        f"System {told['name']}, {'paused, ' if told['paused'] else ''}{breaker}: {told['in_flight']:,} of"
        f" {told['concurrency_limit']:,} requests under way, p95 {_p95(measured.duration if measured else None)},"
        f" {told['held']:,} held"
    )
    return {**told, "state": state, "line": words, "tip": tip}


def _trigger_words(trigger: Trigger) -> str:
    match trigger:
        case ScheduleTrigger(cron=cron, zone=zone, every_s=every_s):
            return f"every {every_s:g} s" if every_s else f"at {cron} ({zone})"
        case PollTrigger(entity=entity, every_s=every_s):
            return f"polls {entity} every {every_s:g} s"
        case FilesTrigger(entity=entity):
            return f"files of {entity}"
        case ChangesTrigger(entity=entity, topics=kinds):
            return f"changes of {entity} ({', '.join(kinds)})"
        case ManualTrigger(entity=entity):
            return f"{entity} by hand"
        case _:
            topics = f" ({', '.join(trigger.topics)})" if trigger.topics else ""
            return f"webhooks of {trigger.entity}{topics}"


def _fields(fields: Mapping[str, Field]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "type": name_of(field.type) + ("?" if field.nullable else ""),
            "personal": field.personal or "",
            "references": field.references or "",
            "contract": _contract_words(field),
            "summary": field.summary,
        }
        for name, field in fields.items()
    ]


def _contract_words(field: Field) -> str:
    """What a value must satisfy beside its type."""
    bounds = {
        "at least": field.min,
        "at most": field.max,
        "length from": field.length_min,
        "length to": field.length_max,
        "like": field.pattern,
        "a": field.format,
    }
    return ", ".join(f"{word} {value}" for word, value in bounds.items() if value is not None and value != "")


def _text_of(project: Project, flow: Flow) -> str:
    """The flow's file as it is on disk: secrets are only named in it."""
    path = (project.folder / flow.place.file).resolve()
    if not flow.place.file or project.folder.resolve() not in path.parents or not path.is_file():
        return ""
    return path.read_text("utf-8", "replace")
