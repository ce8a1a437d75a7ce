"""A real SMTP server (aiosmtpd) on a free port, that can refuse, hang up and lose its answers."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.servers import free_port

from accord.connectors.mail import CONNECTOR
from accord.connectors.mail.spec import MailSettings
from accord.engine.http import PooledHttpClient
from accord.record import Outcome
from accord.sdk.connector import CallItem, Connection, Context
from accord.settings.secret import Secret

PASSWORD = "correct horse"


class Mailbox:
    """``answer`` gives the reply to DATA; ``rcpt`` to each recipient. ``lose`` keeps the mail and hangs up without a reply."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.envelopes: list[Envelope] = []
        self.peers: set[Any] = set()
        self.answer = "250 OK"
        self.rcpt: Callable[[str], str] = lambda _address: "250 OK"
        self.lose = False
        self.hang_up_after = False
        self._gone = threading.Event()

    @property
    def messages(self) -> list[EmailMessage]:
        return [BytesParser(EmailMessage, policy=policy.default).parsebytes(raw) for raw in self.raw]

    def _hang_up(self, transport: Any) -> None:
        transport.abort()
        self._gone.set()

    async def hung_up(self) -> None:
        """Waits until the server has closed its side of an idle connection."""
        await asyncio.to_thread(self._gone.wait)

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.rcpt(address)
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.peers.add(session.peer)
        if self.answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.raw.append(envelope.content)
            self.envelopes.append(envelope)
        if self.lose:
            server.transport.abort()
        if self.hang_up_after:
            asyncio.get_running_loop().call_later(0.01, self._hang_up, server.transport)
        return self.answer


@contextlib.contextmanager
def smtp_server(mailbox: Mailbox, *, port: int = 0, tls: ssl.SSLContext | None = None, **options: Any) -> Iterator[int]:
    """Runs the server in a thread; gives its port."""

    class Quiet(Controller):
        def factory(self) -> SMTP:
            return SMTP(self.handler, **{"ident": "test", "hostname": "test", **options})

    controller = Quiet(mailbox, hostname="127.0.0.1", port=port or free_port(), ssl_context=tls, ready_timeout=10)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def check_login(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
    is_right = (data.login, data.password) == (b"accord", PASSWORD.encode())
    return AuthResult(success=is_right, handled=False)


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server context and the file of its own authority, for 127.0.0.1."""
    import ipaddress

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "ca.pem", folder / "key.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return context, public


def settings_for(port: int, **more: Any) -> MailSettings:
    return MailSettings(
        **{"host": "127.0.0.1", "port": port, "tls": "none", "from_": "The Shöp <shop@example.org>", **more}
    )


@asynccontextmanager
async def opened(folder: Path, settings: MailSettings) -> AsyncIterator[Connection]:
    http = PooledHttpClient(timeout_s=5.0)
    connection = CONNECTOR.connect(settings, {}, Context(system="mail", http=http, folder=folder, state_folder=folder))
    try:
        await connection.open()
        yield connection
    finally:
        await connection.close()
        await http.close()


async def send(connection: Connection, effect_id: str = "e1", in_doubt: bool = False, **arguments: Any) -> Outcome:
    message = {"to": "ada@example.org", "subject": "Hi", "text": "Hello", **arguments}
    return await connection.call("message", CallItem(effect_id, message, in_doubt))


@asynccontextmanager
async def lookup_server(mailbox: Mailbox) -> AsyncIterator[str]:
    """GET /?message_id=… answers the list of delivered messages with that id, as the sandbox's inbox does."""
    from urllib.parse import parse_qs, urlsplit

    import msgspec

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        query = parse_qs(urlsplit(request.split()[1].decode()).query)
        found = [str(m["Subject"]) for m in mailbox.messages if m["Message-ID"] == query["message_id"][0]]
        body = msgspec.json.encode({"messages": found})
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


def secret() -> Secret:
    return Secret(PASSWORD, "mail_password")
