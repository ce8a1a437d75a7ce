"""A connection to one store. Errors become outcomes in one place: Accord's rules for HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from accord.record import Done, Entity, Outcome, Partial, Reject, Retry
from accord.sdk.connector import CallItem, Connection, Page, ReadFailed, WriteItem, WriteMode
from accord.sdk.errors_http import ErrorRules
from accord.sdk.http import HttpClient, HttpFailed, HttpRequest, encode_json
from accord.settings.secret import Secret

PAGE = 100


class KeyValueConnection(Connection):
    def __init__(self, address: str, token: Secret, http: HttpClient) -> None:
        self._address = address
        self._http = http
        self._headers = {"authorization": f"Bearer {token.reveal()}", "content-type": "application/json"}
        self._rules = ErrorRules(secrets=[token.reveal()])

    async def _ask(self, method: str, path: str, body: bytes = b"", *, is_check: bool = False) -> Any:
        """The answer's JSON (None when empty), or the outcome that stands for it."""
        changes = method != "GET"
        request = HttpRequest(method=method, url=self._address + path, headers=self._headers, body=body)
        try:
            response = await self._http.send(request)
        except HttpFailed as error:
            return self._rules.failed(error, changes=changes)
        outcome = self._rules.judge(response, changes=changes, is_check=is_check)
        if outcome is not None or not response.body:
            return outcome
        try:
            found = response.json()
        except (msgspec.DecodeError, UnicodeDecodeError):
            return Retry("the store's answer is no JSON", in_doubt=changes)
        return found if isinstance(found, dict) else Retry("the store's answer is no object", in_doubt=changes)

    async def check(self) -> Outcome:
        found = await self._ask("GET", "/entries?limit=1", is_check=True)
        return Done() if isinstance(found, dict) else found

    async def discover(self) -> Sequence[Entity]:
        from accord_keyvalue.kind import ENTRIES

        return (ENTRIES,)

    async def read(self, entity: Entity, position: Any = None) -> AsyncIterator[Page]:
        """The position is the last revision given: every later change has a greater one."""
        after = int(position or 0)
        while True:
            found = await self._ask("GET", f"/entries?after={after}&limit={PAGE}")
            if not isinstance(found, dict) or "entries" not in found:
                raise ReadFailed(found if not isinstance(found, dict) else Retry("the answer holds no entries"))
            entries = found["entries"]
            after = entries[-1]["revision"] if entries else after
            yield Page(entries, after)
            if len(entries) < PAGE:
                return

    async def get(self, entity: Entity, key: str) -> Outcome:
        found = await self._ask("GET", f"/entries/{quote(key, safe='')}")
        return Done(found) if isinstance(found, dict) else found

    async def write(self, entity: Entity, mode: WriteMode, items: Sequence[WriteItem]) -> Outcome:
        outcomes = await asyncio.gather(*(self._write(mode, item) for item in items))
        return outcomes[0] if len(outcomes) == 1 else Partial(tuple(outcomes))

    async def _write(self, mode: WriteMode, item: WriteItem) -> Any:
        path = f"/entries/{quote(str(item.record['key']), safe='')}"
        if mode is WriteMode.DELETE:
            outcome = await self._ask("DELETE", path)
            is_gone = isinstance(outcome, Reject) and outcome.code == "connector.not-found"
            return Done(was_there=True) if is_gone else outcome or Done()
        found = await self._ask("PUT", path, encode_json({"value": item.record.get("value")}))
        return Done(found) if isinstance(found, dict) else found

    async def call(self, operation: str, item: CallItem) -> Outcome:
        found = await self._ask("GET", "/count")
        return Done(found) if isinstance(found, dict) else found
