"""A small pool of SMTP connections, and the one place where SMTP's answers become outcomes.

A message goes to all of its recipients or to none: one refused recipient resets the transaction before DATA, so a retry does
not send it twice to the others. Only an answer lost after DATA began leaves the message in doubt.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from pathlib import Path
from typing import Any

import aiosmtplib
from aiosmtplib import errors

from accord.connectors.mail.message import Envelope
from accord.connectors.mail.spec import MailSettings
from accord.record import Done, Outcome, Reconnect, Reject, Retry

MESSAGES_PER_CONNECTION_MAX = 100  # some servers limit it; a new connection costs little
_LOST = (
    errors.SMTPServerDisconnected,
    errors.SMTPTimeoutError,
    errors.SMTPConnectError,
    ConnectionError,
    OSError,
    TimeoutError,
)


class _Idle:
    """A connection nobody uses at the moment."""

    def __init__(self, client: aiosmtplib.SMTP) -> None:
        self.client = client
        self.sent = 0
        self.since = time.monotonic()


class Smtp:
    def __init__(self, settings: MailSettings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._idle: deque[_Idle] = deque()
        self._slots = asyncio.Semaphore(settings.connections_max)

    async def close(self) -> None:
        while self._idle:
            await _quit(self._idle.popleft().client)

    async def check(self) -> Outcome:
        """Connects, greets and logs in."""
        try:
            await _quit(await self._connect())
        except (errors.SMTPException, OSError, ValueError) as error:
            return outcome_of(error, is_check=True)
        return Done(None)

    async def send(self, envelope: Envelope) -> Outcome:
        async with self._slots:
            idle = await self._take()
            if idle is not None:
                outcome, is_stale = await self._attempt(idle, envelope)
                if not is_stale:
                    return outcome
            try:
                fresh = _Idle(await self._connect())
            except (errors.SMTPException, OSError, ValueError) as error:
                return outcome_of(error)
            outcome, _ = await self._attempt(fresh, envelope)
            return outcome

    async def _take(self) -> _Idle | None:
        now = time.monotonic()
        while self._idle:
            idle = self._idle.pop()
            is_young = now - idle.since < self._settings.idle_max.total_seconds()
            if is_young and idle.sent < MESSAGES_PER_CONNECTION_MAX and idle.client.is_connected:
                return idle
            await _quit(idle.client)
        return None

    async def _attempt(self, idle: _Idle, envelope: Envelope) -> tuple[Outcome, bool]:
        """The outcome, and whether the server had hung up on an idle connection (then nothing was sent)."""
        stage = _Stage()
        try:
            answer = await _transaction(idle.client, envelope, stage)
        except errors.SMTPResponseException as error:
            if error.code == 421:
                idle.client.close()
                return outcome_of(error, envelope, stage), stage.name == "mail" and idle.sent > 0
            await self._give_back(idle, is_reset=False)
            return outcome_of(error, envelope, stage), False
        except (errors.SMTPException, OSError, ValueError, TimeoutError) as error:
            idle.client.close()
            is_stale = stage.name == "mail" and idle.sent > 0 and isinstance(error, _LOST)
            return outcome_of(error, envelope, stage), is_stale
        except BaseException:
            idle.client.close()  # cancelled in the middle: the connection's state is unknown
            raise
        idle.sent += 1
        await self._give_back(idle, is_reset=True)
        return Done({"message_id": envelope.message_id, "answer": answer[:200]}), False

    async def _give_back(self, idle: _Idle, *, is_reset: bool) -> None:
        if not is_reset:
            try:
                await idle.client.rset()
            except (errors.SMTPException, OSError):
                idle.client.close()
                return
        idle.since = time.monotonic()
        self._idle.append(idle)

    async def _connect(self) -> aiosmtplib.SMTP:
        settings = self._settings
        context: ssl.SSLContext | None = None
        if settings.tls != "none":
            context = ssl.create_default_context()
            if settings.ca_file:
                context.load_verify_locations(self._folder / settings.ca_file)
        client = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port_number,
            use_tls=settings.tls == "tls",
            start_tls=settings.tls == "starttls",
            tls_context=context,
            timeout=settings.timeout.total_seconds(),
            username=settings.user or None,
            password=settings.password.reveal() if settings.password and settings.user else None,
        )
        try:
            await client.connect()
            if client.is_ehlo_or_helo_needed:
                await client.ehlo()
        except BaseException:
            client.close()
            raise
        return client


class _Stage:
    """How far a transaction came: mail, rcpt, data (nothing sent yet) or body (in doubt from here)."""

    name = "mail"
    recipient = 0


async def _transaction(client: aiosmtplib.SMTP, envelope: Envelope, stage: _Stage) -> str:
    options = []
    if envelope.needs_utf8:
        if not client.supports_extension("smtputf8"):
            raise errors.SMTPNotSupported("SMTPUTF8")
        options += ["SMTPUTF8", "BODY=8BITMIME"]
    if client.supports_extension("size"):
        options.append(f"SIZE={len(envelope.content)}")
    encoding = "utf-8" if envelope.needs_utf8 else "ascii"
    await client.mail(envelope.sender, options=options, encoding=encoding)
    stage.name = "rcpt"
    for index, recipient in enumerate(envelope.recipients):
        stage.recipient = index
        await client.rcpt(recipient, encoding=encoding)
    stage.name = "body"
    answer: Any = await client.data(envelope.content)
    return str(answer.message)


async def _quit(client: aiosmtplib.SMTP) -> None:
    try:
        await asyncio.wait_for(client.quit(), 2)
    except (errors.SMTPException, OSError, TimeoutError):
        client.close()


def outcome_of(
    error: BaseException, envelope: Envelope | None = None, stage: _Stage | None = None, *, is_check: bool = False
) -> Retry | Reconnect | Reject:
    """RFC 5321, 4.2.1: 4yz is for now, 5yz for good; 421 is the whole service. Server texts may hold addresses: not repeated."""
    in_body = stage is not None and stage.name == "body"
    if isinstance(error, errors.SMTPAuthenticationError):
        reason = f"the mail server refuses user or password ({error.code})"
        return Reject(reason, code="connector.mail-login") if is_check else Reconnect(reason)
    if isinstance(error, errors.SMTPResponseException):
        return _of_code(error, envelope, stage)
    if isinstance(error, errors.SMTPNotSupported):
        if envelope is not None and envelope.needs_utf8:
            reason = "an address has letters outside ASCII and the mail server does not offer SMTPUTF8"
            return Reject(reason, "to", "connector.mail-recipient")
        return Reconnect("the mail server does not offer what the settings ask for (STARTTLS or login)")
    cause = error if isinstance(error, ssl.SSLError) else error.__cause__
    if isinstance(cause, ssl.SSLError) and not in_body:
        return Reconnect(f"the mail server's certificate or TLS is refused ({cause.reason or 'TLS'})")
    if isinstance(error, _LOST):
        if in_body:
            return Retry("the connection was lost before the mail server confirmed the message", in_doubt=True)
        return Reconnect(f"the mail server is not there ({type(error).__name__})")
    if isinstance(error, ValueError):
        return Reject("an address cannot be sent over SMTP", "to", "connector.mail-recipient")
    return Retry(f"an error of the mail library that is not known ({type(error).__name__})", in_doubt=in_body)


def _of_code(
    error: errors.SMTPResponseException, envelope: Envelope | None, stage: _Stage | None
) -> Retry | Reconnect | Reject:
    code = error.code
    where = stage.name if stage else "connect"
    if code == 421 or where == "connect":
        return Reconnect(f"the mail server is closing or not ready ({code})")
    if 400 <= code < 500:
        return Retry(f"the mail server puts us off ({code})")
    if not 500 <= code < 600:
        return Retry(f"the mail server gave an answer that makes no sense ({code})", in_doubt=where == "body")
    if where == "rcpt" and envelope is not None and stage is not None:
        path = envelope.paths[stage.recipient]
        return Reject(f"the mail server refuses the recipient ({code})", path, "connector.mail-recipient")
    if where == "mail":
        return Reject(f"the mail server refuses the sender or the size ({code})", "from", "connector.mail-refused")
    return Reject(f"the mail server refuses the message ({code})", code="connector.mail-refused")
