"""The site: which page an address is, who may see it, and what a form does. Every action is one of the engine's control."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import importlib.resources
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlencode

import msgspec

from accord.engine.answer import Answer, busy
from accord.engine.clock import Clock
from accord.engine.control import LIST_MAX, Control
from accord.engine.control_views import ControlError, whole_number
from accord.engine.engine import Engine
from accord.engine.http import PooledHttpClient
from accord.engine.operators.access import Trail, described
from accord.engine.operators.roles import Actor, Role, role_needed
from accord.engine.operators.users import Users
from accord.engine.steering import SteeringError
from accord.errors import AccordError, JournalError
from accord.monitor.charts import seconds
from accord.monitor.live import BEGINNING, Live
from accord.monitor.oidc import OidcError, Provider
from accord.monitor.rates import Rates
from accord.monitor.session import LOOPBACK_NAMES, NOBODY, Sessions, Visitor
from accord.monitor.views import Views, rate_text
from accord.project import Project
from accord.sdk.http import InboundRequest, encode_json
from accord.settings.monitor import MonitorSpec

if TYPE_CHECKING:
    import jinja2

PREFIX = "/monitor/"
FORM_SIZE_BYTES_MAX = 20_000_000  # a payload as form text takes up to three times its size
SILENCE_S = 3600  # by the button; the command line takes any time
HTML = "text/html; charset=utf-8"
STATIC_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
        b" frame-ancestors 'none'; base-uri 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)

Form: TypeAlias = Mapping[str, str]


class Monitor:
    """``handle`` answers ``/`` and everything under ``/monitor/``; ``run`` keeps the history, until cancelled.

    ``is_local``: the engine listens on a loopback address, so nobody has to sign in.
    """

    def __init__(
        self,
        project: Project,
        control: Control,
        clock: Clock,
        token: str,
        spec: MonitorSpec,
        users: Users,
        trail: Trail,
        *,
        is_local: bool,
        public_address: str = "",
    ) -> None:
        self._control = control
        self._trail = trail
        self._users = users
        self._rates = Rates(control, clock)
        self._views = Views(project, control, self._rates)
        self._sessions = Sessions(
            token, users, is_local=is_local, asks_who=spec.asks_who, session_s=spec.session.total_seconds()
        )
        self._provider = None
        if spec.oidc is not None:
            self._provider = Provider(spec.oidc, PooledHttpClient, self._sessions.sign)
        self._public_address = public_address
        self._project = project.name
        self._live = Live(self._views.figures, clock)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._rates.run())
            group.create_task(self._live.run())

    @functools.cached_property
    def _templates(self) -> jinja2.Environment:
        """Made for the first page: an engine nobody looks at need not load them."""
        import jinja2

        loader = jinja2.PackageLoader("accord.monitor", "templates")
        templates = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
        templates.globals["project"] = self._project
        filters: dict[str, Callable[..., str]] = {"when": _when, "ago": _ago, "json": _json}
        templates.filters |= filters | {"rate": rate_text, "seconds": _seconds, "budget": _budget}
        return templates

    async def handle(self, request: InboundRequest) -> Answer:
        sessions = self._sessions
        if not sessions.is_host_ours(request.headers.get("host", "")):
            return self._said(
                421, "This address is not ours", "Open the monitor under the address the engine listens on."
            )
        parts = [unquote(part) for part in request.path.removeprefix(PREFIX).strip("/").split("/") if part]
        if parts[:1] == ["static"] and len(parts) == 2:
            return _static(parts[1])
        visitor = sessions.visitor(request.headers)
        if request.method == "POST":
            return await self._post(request, parts, visitor)
        if request.method not in ("GET", "HEAD"):
            return self._said(405, "Method not allowed", "Pages are read with GET and changed with POST.")
        query = dict(parse_qsl(request.query))
        if parts[:1] == ["oidc"] and self._provider is not None:
            return await self._by_provider(self._provider, parts[1:], query, request)
        if visitor.actor is None:
            return self._login(failed=False)
        if (needed := role_needed(request.method, parts, query)) > visitor.actor.role:
            return self._not_allowed(visitor.actor, needed, visitor)
        if parts == ["events"]:
            return self._events()
        try:
            found = await self._views.page(parts, query)
        except JournalError as error:
            return self._said(503, "The journal cannot be read now", str(error), visitor)
        except ValueError as error:
            return self._said(400, "That is no address of a page", str(error), visitor)
        if found is None:
            return self._said(404, "There is nothing here", "It may have been settled and removed meanwhile.", visitor)
        template, context = found
        firing = await self._control.alerts.firing()
        return self._rendered(
            template, {**context, "firing": firing, "notice": query.get("notice", ""), "query": query}, visitor
        )

    def _events(self) -> Answer:
        page = self._live.page()
        if page is None:
            return busy("too many pages are open")
        return Answer(200, BEGINNING, "text/event-stream", (*HEADERS, (b"x-accel-buffering", b"no")), page)

    # --- what forms do

    async def _post(self, request: InboundRequest, parts: list[str], visitor: Visitor) -> Answer:
        if len(request.body) > FORM_SIZE_BYTES_MAX:
            return self._said(413, "Too large", "The form holds more than 20 MB.", visitor)
        form = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
        if parts == ["login"]:
            return await self._sign_in(form, request)
        actor = visitor.actor
        if actor is None:
            return self._login(failed=False)
        if not self._sessions.is_form_ours(visitor, form.get("form", ""), request.headers):
            return self._said(403, "The form is not from this page", "Load the page again and repeat.", visitor)
        if parts == ["logout"]:
            await self._trail.record(actor, "sign-out", "", "done", request.peer)
            headers = (*HEADERS, (b"set-cookie", self._sessions.set_cookie(NOBODY, is_secure=_is_secure(request))))
            return Answer(303, b"", HTML, (*headers, (b"location", b"/")))
        if (needed := role_needed("POST", parts, {})) > actor.role:
            await self._trail.record(actor, *described(parts, {}), "refused (403)", request.peer)
            return self._not_allowed(actor, needed, visitor)
        if parts[:1] == ["dead"] and parts[2:] == ["check"]:
            problems = await self._views.messages.problems_of(whole_number(parts[1]), form.get("body", "").encode())
            return Answer(200, msgspec.json.encode({"problems": problems}), headers=HEADERS)
        if parts[:1] == ["dead"] and parts[2:] == ["preview"]:
            return await self._previewed(parts[1], form, visitor)
        answer = await self._answer_of_act(parts, form, visitor)
        if answer.status != 404:
            result = "done" if answer.status < 400 else f"refused ({answer.status})"
            await self._trail.record(actor, *described(parts, {}), result, request.peer)
        return answer

    async def _previewed(self, seq: str, form: Form, visitor: Visitor) -> Answer:
        try:
            found = await self._views.messages.previewed(
                whole_number(seq), form.get("body", ""), from_start=form.get("from_start") == "1"
            )
        except (ControlError, ValueError) as error:
            return self._said(400, "That cannot be previewed", str(error), visitor)
        except JournalError as error:
            return self._said(503, "The journal cannot be read now", str(error), visitor)
        if found is None:
            return self._said(404, "There is nothing here", "It is not a dead letter any more.", visitor)
        template, context = found
        return self._rendered(template, {**context, "query": {}}, visitor)

    async def _answer_of_act(self, parts: list[str], form: Form, visitor: Visitor) -> Answer:
        try:
            acted = await self._act(parts, form)
        except (ControlError, SteeringError) as error:
            return self._said(409, "That could not be done", str(error), visitor)
        except JournalError as error:
            return self._said(503, "The journal takes nothing now", str(error), visitor)
        except (ValueError, AccordError) as error:
            return self._said(400, "That could not be done", str(error), visitor)
        if acted is None:
            return self._said(404, "There is no such command", "", visitor)
        notice, back = acted
        location = f"{back}?{urlencode({'notice': notice})}"
        return Answer(303, b"", HTML, (*HEADERS, (b"location", location.encode())))

    async def _act(self, parts: list[str], form: Form) -> tuple[str, str] | None:
        """What was done, in words, and the page to show next."""
        control, reason = self._control, form.get("reason", "").strip()
        match parts:
            case [("flows" | "systems") as kind, name, ("pause" | "resume") as word]:
                if word == "pause":
                    await control.pause(kind[:-1], name, reason)
                else:
                    await control.resume(kind[:-1], name)
                return f"{kind[:-1].capitalize()} {name} {word}d.", f"{PREFIX}{kind}/{quote(name)}"
            case ["flows", name, "replay"]:
                letters = await control.dead_letters(flow=name, limit=LIST_MAX)
                return await self._replay([letter.seq for letter in letters]), f"{PREFIX}flows/{quote(name)}"
            case ["systems", name, "test"]:
                check = await control.check_system(name)
                words = (
                    "is well" if check.ok else f"was not tested: {check.reason}" if check.ok is None else check.reason
                )
                return f"Connection test of {name}: {words} ({check.took_s:g} s).", f"{PREFIX}systems/{quote(name)}"
            case ["messages", seq, ("pause" | "resume" | "cancel") as word]:
                steered = await control.steer(word, whole_number(seq), reason=reason, undo=form.get("undo") == "1")
                return f"Message {seq}: {steered.state}.", f"{PREFIX}messages/{whole_number(seq)}"
            case ["dead", seq, "replay"]:
                body = form["body"].encode() if form.get("body") else None
                await control.replay(whole_number(seq), body=body, from_start=form.get("from_start") == "1")
                return f"Message {seq} is on its way again.", f"{PREFIX}messages/{whole_number(seq)}"
            case ["dead", seq, "discard"]:
                await control.discard(whole_number(seq), reason or "discarded by hand")
                return f"Message {seq} was discarded.", f"{PREFIX}dead"
            case ["alerts", alert, ("silence" | "tell") as word]:
                await control.alerts.silence(alert, SILENCE_S if word == "silence" else 0, reason)
                return f"Alert {alert}: {'silenced' if word == 'silence' else 'told again'}.", f"{PREFIX}alerts"
            case ["causes", cause, "replay"]:
                return await self._replay_cause(cause), f"{PREFIX}dead"
        return None

    async def _replay_cause(self, id_: str) -> str:
        cause = await self._views.messages.cause(id_)
        if cause is None:
            raise ControlError("There are no dead letters of this cause any more.")
        return await self._replay(cause.seqs)

    async def _replay(self, seqs: Sequence[int]) -> str:
        for seq in seqs:  # in their order, so that letters of one key go as they came
            await self._control.replay(seq)
        return f"{len(seqs)} messages are on their way again."

    async def _sign_in(self, form: Form, request: InboundRequest) -> Answer:
        name = form.get("name", "").strip()
        visitor = await self._sessions.sign_in(name, form.get("password", "") or form.get("token", ""), request.peer)
        if visitor is None or visitor.actor is None:
            # A name that is not declared may be a password typed into the wrong field.
            known = name if self._users.role_of(name) is not None else "(unknown)"
            nobody = Actor(known, Role.VIEWER, "password" if name else "token")
            await self._trail.record(nobody, "sign-in", "", "refused (401)", request.peer)
            return self._login(failed=True)
        await self._trail.record(visitor.actor, "sign-in", "", "done", request.peer)
        cookie = (b"set-cookie", self._sessions.set_cookie(visitor, is_secure=_is_secure(request)))
        return Answer(303, b"", HTML, (*HEADERS, cookie, (b"location", b"/")))

    async def _by_provider(
        self, provider: Provider, parts: list[str], query: Mapping[str, str], request: InboundRequest
    ) -> Answer:
        scheme = "https" if _is_secure(request) else "http"
        ours = self._public_address.rstrip("/") or f"{scheme}://{request.headers.get('host', '')}"
        try:
            if parts == ["begin"]:
                address, cookie = await provider.begin(f"{ours}{PREFIX}oidc/callback")
                return Answer(303, b"", HTML, (*HEADERS, (b"set-cookie", cookie), (b"location", address.encode())))
            if parts != ["callback"]:
                return self._said(404, "There is nothing here", "")
            actor = await provider.finish(query, request.headers)
        except OidcError as error:
            nobody = Actor("(unknown)", Role.VIEWER, "oidc")
            await self._trail.record(nobody, "sign-in", "", f"refused: {error.code}", request.peer)
            return self._said(403, "The identity provider did not let you in", str(error))
        visitor = self._sessions.opened(actor)
        await self._trail.record(actor, "sign-in", "", "done", request.peer)
        cookie = self._sessions.set_cookie(visitor, is_secure=_is_secure(request))
        # A page of ours between: a redirect that another site began would not carry the strict cookie.
        page = self._said(200, f"Signed in as {actor.name}", "", refresh="/")
        return Answer(page.status, page.body, HTML, (*HEADERS, (b"set-cookie", cookie)))

    def _login(self, *, failed: bool) -> Answer:
        return self._rendered(
            "login.html",
            {"failed": failed, "has_users": bool(self._users), "has_oidc": self._provider is not None},
            NOBODY,
            401,
        )

    def _not_allowed(self, actor: Actor, needed: Role, visitor: Visitor) -> Answer:
        words = f"{actor.name} has the role {actor.role.name.lower()}; this needs {needed.name.lower()}."
        return self._said(403, "Not with this role", words, visitor)

    # --- answers

    def _said(
        self, status: int, title: str, words: str, visitor: Visitor | None = None, *, refresh: str = ""
    ) -> Answer:
        context = {"title": title, "words": words, "refresh": refresh}
        return self._rendered("said.html", context, visitor or NOBODY, status)

    def _rendered(self, template: str, context: dict[str, Any], visitor: Visitor, status: int = 200) -> Answer:
        given = {"form": visitor.form, "actor": visitor.actor, "notice": "", "firing": (), **context}
        body = self._templates.get_template(template).render(given).encode()
        if not visitor.is_new:
            return Answer(status, body, HTML, HEADERS)
        cookie = self._sessions.set_cookie(visitor, is_secure=False)  # new ones are made here on loopback only
        return Answer(status, body, HTML, (*HEADERS, (b"set-cookie", cookie)))


def monitor_of(engine: Engine) -> Monitor:
    """For ``Engine.site``."""
    is_local = engine.settings.host in LOOPBACK_NAMES or engine.settings.host.startswith("127.")
    return Monitor(
        engine.project,
        engine.control,
        engine.clock,
        engine.token,
        engine.settings.monitor,
        engine.users,
        engine.trail,
        is_local=is_local,
        public_address=engine.settings.public_address,
    )


def _is_secure(request: InboundRequest) -> bool:
    """Whether the browser speaks TLS, as the proxy before the engine says."""
    return request.headers.get("x-forwarded-proto", "") == "https"


def _static(name: str) -> Answer:
    kind = STATIC_TYPES.get(name.rpartition(".")[2])
    file = importlib.resources.files("accord.monitor").joinpath("static", name)
    if kind is None or "/" in name or not file.is_file():
        return Answer(404, b"", HTML, HEADERS)
    return Answer(200, file.read_bytes(), kind, (*HEADERS[:-1], (b"cache-control", b"max-age=300")))


def _when(value: dt.datetime | None) -> str:
    return "" if value is None else value.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _ago(value: dt.datetime | None) -> str:
    if value is None:
        return ""
    seconds = (dt.datetime.now(dt.UTC) - value).total_seconds()
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if abs(seconds) >= size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"


def _json(value: Any) -> str:
    return msgspec.json.format(encode_json(value), indent=2).decode()


def _seconds(value: float | None) -> str:
    return "" if value is None else seconds(value)


def _budget(one: Mapping[str, Any]) -> str:
    limit = f" of {one['limit']:,.0f}" if one["limit"] is not None else ""
    resets = f", begins anew in {seconds(one['resets_in_s'])}" if one["resets_in_s"] is not None else ""
    return f"{one['name']}: {one['left']:,.0f}{limit} left{resets}"
