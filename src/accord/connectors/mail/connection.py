"""A live connection to one mail server."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any
from urllib.parse import urlencode

import msgspec

from accord.connectors.mail.message import Bad, build
from accord.connectors.mail.smtp import Smtp
from accord.connectors.mail.spec import MailSettings
from accord.connectors.mail.templates import Templates
from accord.errors import ConnectorError
from accord.record import Done, Outcome, Reconnect, Retry
from accord.sdk.connector import CallItem, Connection, Context
from accord.sdk.http import HttpFailed, HttpRequest


class MailConnection(Connection):
    def __init__(self, settings: MailSettings, context: Context) -> None:
        self._settings = settings
        self._context = context
        self._templates = Templates(context.folder / settings.templates)
        self._smtp = Smtp(settings, context.folder)

    async def open(self) -> None:
        faults = await asyncio.to_thread(self._templates.faults)
        if faults:
            told = "; ".join(f"{name}:{line} {what}" for name, line, what in faults[:10])
            raise ConnectorError(
                f"Mail templates of '{self._context.system}' cannot be read: {told}.",
                mend="Mend the templates; the syntax is Jinja2's.",
                code="connector.mail-template",
            )

    async def close(self) -> None:
        await self._smtp.close()

    async def check(self) -> Outcome:
        return await self._smtp.check()

    async def call(self, operation: str, item: CallItem) -> Outcome:
        """``message``: sends it. Done.result holds the Message-ID."""
        try:
            envelope = await asyncio.to_thread(
                build,
                item.arguments,
                item.effect_id,
                self._settings,
                self._templates,
                self._context.folder,
                dt.datetime.now(dt.UTC),
            )
        except Bad as bad:
            return bad.reject
        if item.in_doubt and self._settings.lookup_url:
            found = await self._look_up(envelope.message_id)
            if found is not None:
                return found
        return await self._smtp.send(envelope)

    async def _look_up(self, identity: str) -> Outcome | None:
        """Done when the message was delivered, None when it was not; else why we do not know."""
        join = "&" if "?" in self._settings.lookup_url else "?"
        url = f"{self._settings.lookup_url}{join}{urlencode({'message_id': identity})}"
        try:
            response = await self._context.http.send(HttpRequest(method="GET", url=url))
        except HttpFailed as failed:
            return Reconnect(f"whether the message was sent cannot be looked up: {failed.kind}", in_doubt=True)
        if response.status == 404:
            return None
        if response.status >= 500:
            return Reconnect(f"whether the message was sent cannot be looked up ({response.status})", in_doubt=True)
        if response.status != 200:
            return Retry(f"whether the message was sent cannot be looked up ({response.status})", in_doubt=True)
        try:
            answer: Any = response.json()
        except msgspec.DecodeError:
            return Retry("the look-up of sent messages does not answer JSON", in_doubt=True)
        found = answer.get("messages") if isinstance(answer, dict) else answer
        if not isinstance(found, list):
            return Retry("the look-up of sent messages answers no list", in_doubt=True)
        return Done({"message_id": identity, "answer": ""}, was_there=True) if found else None
