"""The site: which page an address is, who may see it, and what a form does. Every action is one of the engine's control."""

from __future__ import annotations

import datetime as dt
import functools
import importlib.resources
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlencode

import msgspec

from accord.engine.answer import Answer
from accord.engine.clock import Clock
from accord.engine.control import Control, ControlError, whole_number
from accord.engine.engine import Engine
from accord.engine.steering import SteeringError
from accord.errors import AccordError, JournalError
from accord.monitor.history import History
from accord.monitor.session import LOOPBACK_NAMES, Sessions, Visitor, set_cookie
from accord.monitor.views import Views
from accord.observe import Observer
from accord.observe.events import OperatorActed
from accord.project import Project
from accord.sdk.http import InboundRequest, encode_json

if TYPE_CHECKING:
    import jinja2

PREFIX = "/monitor/"
FORM_SIZE_BYTES_MAX = 20_000_000  # a payload as form text takes up to three times its size
HTML = "text/html; charset=utf-8"
STATIC_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
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
        self, project: Project, control: Control, observer: Observer, clock: Clock, token: str, *, is_local: bool
    ) -> None:
        self._control = control
        self._observer = observer
        self._history = History(control, clock)
        self._views = Views(project, control, self._history)
        self._sessions = Sessions(token, is_local=is_local)
        self._project = project.name
        self.run = self._history.run

    @functools.cached_property
    def _templates(self) -> jinja2.Environment:
        """Made for the first page: an engine nobody looks at need not load them."""
        import jinja2

        loader = jinja2.PackageLoader("accord.monitor", "templates")
        templates = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
        templates.globals["project"] = self._project
        templates.filters |= {"when": _when, "ago": _ago, "json": _json, "rate": _rate}
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
        if not visitor.is_signed_in:
            return self._rendered("login.html", {"failed": False}, visitor, 401)
        query = dict(parse_qsl(request.query))
        try:
            found = await self._views.page(parts, query)
        except JournalError as error:
            return self._said(503, "The journal cannot be read now", str(error), visitor)
        except ValueError as error:
            return self._said(400, "That is no address of a page", str(error), visitor)
        if found is None:
            return self._said(404, "There is nothing here", "It may have been settled and removed meanwhile.", visitor)
        template, context = found
        return self._rendered(template, {**context, "notice": query.get("notice", ""), "query": query}, visitor)

    # --- what forms do

    async def _post(self, request: InboundRequest, parts: list[str], visitor: Visitor) -> Answer:
        if len(request.body) > FORM_SIZE_BYTES_MAX:
            return self._said(413, "Too large", "The form holds more than 20 MB.", visitor)
        form = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
        if parts == ["login"]:
            return self._sign_in(form, request.headers)
        if not visitor.is_signed_in:
            return self._rendered("login.html", {"failed": False}, visitor, 401)
        if not self._sessions.is_form_ours(visitor, form.get("form", ""), request.headers):
            return self._said(403, "The form is not from this page", "Load the page again and repeat.", visitor)
        if parts[:1] == ["dead"] and parts[2:] == ["check"]:
            problems = await self._views.problems_of(whole_number(parts[1]), form.get("body", "").encode())
            return Answer(200, msgspec.json.encode({"problems": problems}), headers=HEADERS)
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
        self._observer.emit(OperatorActed(what="/".join(parts), result=notice))
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
            case ["causes", cause, "replay"]:
                return await self._replay_cause(cause), f"{PREFIX}dead"
        return None

    async def _replay_cause(self, id_: str) -> str:
        cause = await self._views.cause(id_)
        if cause is None:
            raise ControlError("There are no dead letters of this cause any more.")
        for seq in cause.seqs:  # in their order, so that letters of one key go as they came
            await self._control.replay(seq)
        return f"{len(cause.seqs)} messages are on their way again."

    def _sign_in(self, form: Form, headers: Mapping[str, str]) -> Answer:
        visitor = self._sessions.sign_in(form.get("token", ""))
        if visitor is None:
            self._observer.emit(OperatorActed(what="login", result="refused"))
            return self._rendered("login.html", {"failed": True}, Visitor("", "", False), 401)
        is_secure = headers.get("x-forwarded-proto", "") == "https"
        cookie = (b"set-cookie", set_cookie(visitor, is_secure=is_secure))
        return Answer(303, b"", HTML, (*HEADERS, cookie, (b"location", b"/")))

    # --- answers

    def _said(self, status: int, title: str, words: str, visitor: Visitor | None = None) -> Answer:
        return self._rendered("said.html", {"title": title, "words": words}, visitor or Visitor("", "", False), status)

    def _rendered(self, template: str, context: dict[str, Any], visitor: Visitor, status: int = 200) -> Answer:
        given = {"form": visitor.form, "is_signed_in": visitor.is_signed_in, "notice": "", **context}
        body = self._templates.get_template(template).render(given).encode()
        headers = (*HEADERS, (b"set-cookie", set_cookie(visitor, is_secure=False))) if visitor.is_new else HEADERS
        return Answer(status, body, HTML, headers)


def monitor_of(engine: Engine) -> Monitor:
    """For ``Engine.site``."""
    is_local = engine.settings.host in LOOPBACK_NAMES or engine.settings.host.startswith("127.")
    return Monitor(engine.project, engine.control, engine.observer, engine.clock, engine.token, is_local=is_local)


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


def _rate(value: float) -> str:
    return f"{value:,.0f}/s" if value >= 10 else f"{value:.1f}/s"
