"""The SMTP door and the inbox. A message is answered 250 after it is committed."""

from __future__ import annotations

import asyncio
import html
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from typing import Any

import msgspec
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from accord.sandbox.api import whole_number
from accord.sandbox.http_server import Refusal, Request, Response, html_response, json_response
from accord.sandbox.pages import page, table
from accord.sandbox.store import now_text
from accord.sandbox.system import Config, System

MESSAGE_BYTES_MAX = 32 * 1024 * 1024
PAGE_MESSAGES = 100
FIELDS = "id, message_id, mail_from, recipients, subject, headers, received_at, size_bytes"


class Mail(System):
    FAULTS = ("down", "unavailable", "slow_s", "rate_limit_per_s", "lose_answers", "error")
    SCHEMA = """
    CREATE TABLE IF NOT EXISTS messages (
      id INTEGER PRIMARY KEY AUTOINCREMENT, message_id TEXT NOT NULL, mail_from TEXT NOT NULL, recipients TEXT NOT NULL,
      subject TEXT NOT NULL, headers TEXT NOT NULL, received_at TEXT NOT NULL, size_bytes INTEGER NOT NULL, raw BLOB NOT NULL);
    CREATE INDEX IF NOT EXISTS messages_by_message_id ON messages (message_id);
    CREATE TABLE IF NOT EXISTS recipients (address TEXT NOT NULL, message INTEGER NOT NULL, PRIMARY KEY (address, message))
      WITHOUT ROWID;
    """
    STATE = {"messages": f"SELECT {FIELDS} FROM messages ORDER BY id"}  # noqa: S608

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.smtp_server: asyncio.Server | None = None
        self.smtp_connections: set[_Door] = set()
        self.router.add("GET", "/", self.page)
        self.router.add("GET", "/messages", self.list_messages)
        self.router.add("GET", "/messages/{id}", self.get_message)
        self.router.add("GET", "/messages/{id}/raw", self.get_raw)

    async def apply_down(self, is_down: bool) -> None:
        await self.server.open_listener()  # the inbox stays readable: only SMTP is down
        if not is_down and self.smtp_server is None:
            loop = asyncio.get_running_loop()
            self.smtp_server = await loop.create_server(
                lambda: _Door(self), self.config.host, self.config.ports["smtp"], reuse_address=True, backlog=256
            )
        elif is_down and self.smtp_server is not None:
            self.smtp_server.close()
            self.smtp_server = None
            for door in list(self.smtp_connections):
                door.cut()

    async def gate(self, request: Request) -> Response:
        """The inbox itself has no faults: they belong to the SMTP door."""
        if request.path.startswith("/_sandbox/"):
            return await self.owner_router(request)
        return await self.router(request)

    def read_state(self, kind: str, after: str, limit: int) -> tuple[list[dict[str, Any]], str]:
        rows, following = super().read_state(kind, after, limit)
        return [_readable(row) for row in rows], following

    # --- SMTP

    def planned_answer(self) -> str:
        """The refusal planned for this mail, or an empty text."""
        if self.faults.is_on("unavailable"):
            return "421 4.3.2 The system is under maintenance"
        if self.faults.limited_for_s():
            return "451 4.7.1 Too many messages, slow down"
        status = self.faults.drawn_error()
        return f"{status} {status // 100}.3.0 The system failed before it did anything" if status else ""

    def keep(self, envelope: Envelope) -> None:
        raw = envelope.content if isinstance(envelope.content, bytes) else str(envelope.content or "").encode()
        parsed = BytesHeaderParser(policy=policy.default).parsebytes(raw)
        headers = [[str(name), str(value)] for name, value in parsed.items()]
        named = {name.lower(): value for name, value in reversed(headers)}
        with self.store.transaction() as db:
            sql = (
                "INSERT INTO messages (message_id, mail_from, recipients, subject, headers, received_at, size_bytes, raw)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            )
            values = (
                named.get("message-id", "").strip(),
                envelope.mail_from or "",
                msgspec.json.encode(envelope.rcpt_tos).decode(),
                named.get("subject", ""),
                msgspec.json.encode(headers).decode(),
                now_text(),
                len(raw),
                raw,
            )
            number = db.execute(sql, values).lastrowid
            for address in {address.lower() for address in envelope.rcpt_tos}:
                db.execute("INSERT INTO recipients VALUES (?, ?)", (address, number))

    # --- inbox

    def list_messages(self, request: Request) -> Response:
        """``?to=`` and ``?message_id=`` narrow; ``after`` is the id of the last message seen, ``limit`` at most 500."""
        query = request.query
        after, limit = whole_number(query, "after", 0, 0, 10**11 - 1), whole_number(query, "limit", 100, 1, 500)
        where, values = ["id > ?"], [after]  # type: tuple[list[str], list[Any]]
        if "to" in query:
            where.append("id IN (SELECT message FROM recipients WHERE address = ?)")
            values.append(query["to"].lower())
        if "message_id" in query:
            where.append("message_id = ?")
            values.append(query["message_id"])
        sql = f"SELECT {FIELDS} FROM messages WHERE {' AND '.join(where)} ORDER BY id LIMIT ?"  # noqa: S608
        rows = self.store.all(sql, *values, limit)
        names = FIELDS.split(", ")
        found = [_readable(dict(zip(names, row, strict=True))) for row in rows]
        return json_response({"messages": found, "next": found[-1]["id"] if len(found) == limit else None})

    def get_message(self, request: Request) -> Response:
        """The message with its text, HTML and attachment names."""
        number, raw = self._find(request)
        row = self.store.one(f"SELECT {FIELDS} FROM messages WHERE id = ?", number)  # noqa: S608
        found = _readable(dict(zip(FIELDS.split(", "), row or (), strict=True)))
        parsed = message_from_bytes(raw, _class=EmailMessage, policy=policy.default)
        for kind, name in (("plain", "text"), ("html", "html")):
            part = parsed.get_body(preferencelist=(kind,))
            found[name] = part.get_content() if part is not None else None
        found["attachments"] = [
            {
                "name": part.get_filename(),
                "type": part.get_content_type(),
                "size_bytes": len(part.get_payload(decode=True) or b""),
            }
            for part in parsed.iter_attachments()
        ]
        return json_response(found)

    def get_raw(self, request: Request) -> Response:
        return Response(200, self._find(request)[1], "message/rfc822")

    def _find(self, request: Request) -> tuple[int, bytes]:
        text = request.parameters["id"]
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
        row = self.store.one("SELECT id, raw FROM messages WHERE id = ?", number)
        if row is None:
            raise Refusal(404, "unknown-message", f"There is no message {text[:100]!r}.")
        return row[0], row[1]

    def page(self, request: Request) -> Response:
        total = self.store.number("SELECT count(*) FROM messages")
        rows = self.store.all(
            "SELECT id, mail_from, recipients, subject, received_at FROM messages ORDER BY id DESC LIMIT ?",
            PAGE_MESSAGES,
        )
        lines = "".join(
            f"<tr><td>{at[:19]}</td><td>{html.escape(sender)}</td><td>{html.escape(', '.join(msgspec.json.decode(to)))}</td>"
            f'<td dir="auto"><a href="/messages/{number}">{html.escape(subject) or "(no subject)"}</a></td></tr>'
            for number, sender, to, subject, at in rows
        )
        head = "".join(f'<th scope="col">{name}</th>' for name in ("received", "from", "to", "subject"))
        shown = f"<p>{total} messages, the newest {len(rows)} shown.</p>{table('Inbox', head, lines)}"
        return html_response(page("Inbox", shown, "Sandbox mail"))


class _Door(SMTP):
    """One SMTP connection; also its own handler."""

    def __init__(self, system: Mail) -> None:
        self.system = system
        super().__init__(
            self,
            data_size_limit=MESSAGE_BYTES_MAX,
            enable_SMTPUTF8=True,
            hostname="mail.sandbox.example",
            ident="Accord sandbox mail",
            auth_require_tls=False,
            authenticator=self.check_login,
            loop=asyncio.get_running_loop(),
        )

    def connection_made(self, transport: Any) -> None:
        self.system.smtp_connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.system.smtp_connections.discard(self)
        super().connection_lost(error)

    def cut(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.abort()

    def check_login(self, server: Any, session: Session, envelope: Envelope, mechanism: str, login: Any) -> AuthResult:
        known = self.system.config.credentials
        expected = LoginPassword(known["username"].encode(), known["password"].encode())
        return AuthResult(success=login == expected, handled=False)

    async def handle_MAIL(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        refused = self.system.planned_answer()
        if refused:
            return refused
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        faults = self.system.faults
        if faults.is_on("slow_s"):
            await asyncio.sleep(faults.value("slow_s"))
        self.system.keep(envelope)
        if faults.is_answer_lost():
            self.cut()
        return "250 2.0.0 Kept"


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "recipients": msgspec.json.decode(row["recipients"]), "headers": msgspec.json.decode(row["headers"])}
