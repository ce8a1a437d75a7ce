"""Reading an entity page by page, all of it or what changed, so that no change is lost."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from accord.connectors.http.requests import Base
from accord.connectors.http.settings import HttpEntity, ReadSettings
from accord.connectors.http.transport import NO_JSON, Transport
from accord.errors import ConnectorError
from accord.record import Entity, Reject, Retry
from accord.sdk.bodies import fill_text, text_of, value_at
from accord.sdk.changes import ChangeWindow, format_cursor
from accord.sdk.connector import Page, ReadFailed
from accord.sdk.errors_http import utc_now
from accord.sdk.http import HttpRequest, HttpResponse
from accord.sdk.paging import PAGES_MAX, CursorPaging, NextPaging, Paging, State, drifts, follow, parameters

EXCLUSIVE_OVERLAP_S = 1.0  # an API that gives only later records is asked from one second (or number) before


class Reader:
    """Reads one entity. Where pages are counted and the API sorts by the cursor, it asks again from the last cursor instead
    of for the next page: a record that changes meanwhile would otherwise shift another one over the page boundary."""

    def __init__(self, transport: Transport, base: Base, entity: Entity, extra: HttpEntity, paging: Paging) -> None:
        self._transport = transport
        self._base = base
        self.entity = entity
        self.extra = extra
        self.paging = paging
        # where the next page is stands in the body
        self.reads_body = isinstance(paging, CursorPaging | NextPaging) or bool(getattr(paging, "pages_at", ""))
        self._steps_by_cursor = drifts(paging) and extra.read is not None and extra.read.sorted

    async def read(self, position: Any) -> AsyncIterator[Page]:
        try:
            pages = self._all(position) if self.extra.read is None else self._changes(position, self.extra.read)
            async for page in pages:
                yield page
        except ConnectorError as error:
            if isinstance(error, ReadFailed):
                raise
            raise ReadFailed(Reject(str(error.what), code=error.code)) from error

    async def _all(self, position: Any) -> AsyncIterator[Page]:
        state: State | None = position.get("page") if isinstance(position, dict) else None
        for _ in range(PAGES_MAX):
            records, state = await self._page(state, {})
            yield Page(records, {"page": state})
            if state is None:
                return

    async def _changes(self, position: Any, read: ReadSettings) -> AsyncIterator[Page]:
        overlap_s = max(read.overlap.total_seconds(), 0.0 if read.inclusive else EXCLUSIVE_OVERLAP_S)
        window = ChangeWindow(position, format_=read.format, overlap_s=overlap_s)
        since, state = window.lower_bound(), window.page.get("state") if isinstance(window.page, dict) else None
        asked_from = window.since
        begun = None if read.sorted else _begun(window.page)
        for _ in range(PAGES_MAX):
            records, state = await self._page(state, self.since(read, since))
            fresh = [r for r in records if window.is_new(self._identity(r), value_at(r, read.cursor), r)]
            if state is None:
                window.advance(begun)
            elif self._steps_by_cursor and (asked_from is None or window.high > asked_from):
                window.advance()
                asked_from, state = window.high, None
                since = format_cursor(window.high, read.format) if read.inclusive else window.lower_bound()
                yield Page(fresh, window.position())
                continue
            window.page = None if state is None else {"state": state, "begun": begun.isoformat() if begun else None}
            yield Page(fresh, window.position())
            if state is None:
                return

    def since(self, read: ReadSettings, since: str | None) -> dict[str, str]:
        asked = {name: text_of(value) for name, value in read.query.items()}
        if since is not None:
            asked[read.param] = fill_text(read.value, lambda name: since if name == "since" else None)
        return asked

    async def _page(self, state: State | None, asked: dict[str, str]) -> tuple[list[dict[str, Any]], State | None]:
        response, url = await self.ask(state, asked)
        body = self.decoded(response)
        records = self.records(body)
        following = follow(self.paging, state, response, body, len(records), url)
        if following is not None and following == state:
            raise ReadFailed(Reject("the API names the same next page again and again", code="connector.paging-loop"))
        return records, following

    async def ask(self, state: State | None, asked: dict[str, str]) -> tuple[HttpResponse, str]:
        """The page at ``state`` and its address. Raises ReadFailed."""
        request = self._request(state, asked)
        response = await self._transport.exchange(request, changes=False)
        if not isinstance(response, HttpResponse):
            raise ReadFailed(response)
        return response, request.url

    def decoded(self, response: HttpResponse) -> Any:
        try:
            return response.json()
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ReadFailed(Retry(NO_JSON)) from None

    def records(self, body: Any) -> list[dict[str, Any]]:
        records = value_at(body, self.extra.list)
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise ReadFailed(Reject(self.no_list(), code="connector.no-list"))
        return records

    def no_list(self) -> str:
        where = f"at `{self.extra.list}` of the answer" if self.extra.list else "in the answer"
        return f"{where} there is no list of records"

    def _request(self, state: State | None, asked: dict[str, str]) -> HttpRequest:
        if state is not None and "url" in state:
            url = state["url"]
            missing = {n: v for n, v in self._base.query.items() if f"{n}=" not in url}
            url += f"{'&' if '?' in url else '?'}" + "&".join(f"{n}={v}" for n, v in missing.items()) if missing else ""
        else:
            fixed = {name: text_of(value) for name, value in self.extra.query.items()}
            url = self._base.url(self.extra.path, {**fixed, **asked, **parameters(self.paging, state)})
        return HttpRequest(method="GET", url=url, headers=self._base.headers, timeout_s=self._base.timeout_s)

    def _identity(self, record: dict[str, Any]) -> str:
        return (
            "|".join(str(record.get(name)) for name in self.entity.key) if self.entity.key else str(hash(repr(record)))
        )


def _begun(page: Any) -> dt.datetime:
    """When the run that stopped at this position began; now for a new one."""
    told = page.get("begun") if isinstance(page, dict) else None
    return dt.datetime.fromisoformat(told) if told else utc_now()
