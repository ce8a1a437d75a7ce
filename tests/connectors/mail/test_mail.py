"""Mail over a real SMTP server: what arrives, what is refused, what happens when the answer is lost."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from tests.connectors.mail.mailbox import (
    Mailbox,
    certificate,
    check_login,
    lookup_server,
    opened,
    secret,
    send,
    settings_for,
    smtp_server,
)
from tests.servers import free_port

from accord.errors import ConnectorError
from accord.record import Done, Reconnect, Reject, Retry


def test_a_message_arrives_whole(tmp_path: Path) -> None:
    box = Mailbox()
    (tmp_path / "terms.pdf").write_bytes(b"%PDF terms")

    async def scene(port: int) -> None:
        async with opened(tmp_path, settings_for(port)) as connection:
            outcome = await send(
                connection,
                to=["Ada Lövelace <ada@example.org>", "bob@münchen.example"],
                cc="Cy, the third <cy@example.org>",
                bcc=["hidden@example.org"],
                reply_to="help@example.org",
                subject="Größe: 日本語 🎉 " + "long " * 40,
                text="Grüße\n.\nleading dot\n",
                html="<p>Grüße</p>",
                headers={"X-Order": "1001"},
                attachments=[
                    {
                        "name": "Rechnung ä.pdf",
                        "type": "application/pdf",
                        "content": base64.b64encode(b"\x00\xff").decode(),
                    },
                    {"path": "terms.pdf"},
                ],
            )
            assert isinstance(outcome, Done)
            assert outcome.result["message_id"] == "<e1@example.org>"
        (message,) = box.messages
        assert box.envelopes[0].rcpt_tos == [
            "ada@example.org",
            "bob@xn--mnchen-3ya.example",
            "cy@example.org",
            "hidden@example.org",
        ]
        assert str(message["Message-ID"]) == "<e1@example.org>"
        assert message["Subject"] == ("Größe: 日本語 🎉 " + "long " * 40).strip()
        assert [a.display_name for a in message["To"].addresses] == ["Ada Lövelace", ""]
        assert message["Cc"].addresses[0].display_name == "Cy, the third"
        assert message["From"].addresses[0].display_name == "The Shöp"
        assert message["Bcc"] is None and b"hidden@" not in box.raw[0]
        assert (message["Reply-To"], message["X-Order"]) == ("help@example.org", "1001")
        text, html = message.get_body(("plain",)), message.get_body(("html",))
        assert text is not None and text.get_content() == "Grüße\n.\nleading dot\n"
        assert html is not None and html.get_content().strip() == "<p>Grüße</p>"
        attached = [(p.get_filename(), p.get_content_type(), p.get_content()) for p in message.iter_attachments()]
        assert attached == [
            ("Rechnung ä.pdf", "application/pdf", b"\x00\xff"),
            ("terms.pdf", "application/octet-stream", b"%PDF terms"),
        ]
        assert box.raw[0].isascii(), "a server without SMTPUTF8 or 8BITMIME takes it"

    with smtp_server(box) as port:
        asyncio.run(scene(port))


def test_templates_escape_html_and_refuse_what_is_missing(tmp_path: Path) -> None:
    box = Mailbox()
    folder = tmp_path / "templates"
    (folder / "part").mkdir(parents=True)
    (folder / "notice.subject").write_text("Order {{ reference }}\n")
    (folder / "notice.txt").write_text("Dear {{ recipient }}, {% for l in lines %}{{ l.sku }} {% endfor %}")
    (folder / "notice.html").write_text("{% include 'part/head.html' %}<p>{{ recipient }}</p>")
    (folder / "part" / "head.html").write_text("<h1>{{ data.reference }}</h1>")
    (folder / "escape.txt").write_text("{{ ''.__class__.__mro__ }}")

    async def scene(port: int) -> None:
        async with opened(tmp_path, settings_for(port)) as connection:

            async def notice(template: str = "notice", **data: Any) -> Any:
                arguments = {"to": "a@example.org", "template": template, "data": data, "subject": None, "text": None}
                return await send(connection, **arguments)

            full = {"recipient": "<b>Ada</b>", "reference": "#1", "lines": [{"sku": "A"}, {"sku": "B"}]}
            assert isinstance(await notice(**full), Done)
            missing = await notice(recipient="Ada", reference="#1")
            assert (
                isinstance(missing, Reject) and "'lines' is undefined" in missing.reason and missing.path == "template"
            )
            assert "Ada" not in missing.reason
            split = await notice(**{**full, "reference": "#1\r\nBcc: evil@example.org"})
            assert isinstance(split, Reject) and split.path == "subject"
            for name in ("no-such", "../templates/notice", "/etc/passwd", "escape"):
                refused = await notice(name, **full)
                assert isinstance(refused, Reject) and refused.code == "connector.mail-template", name
        (message,) = box.messages
        text, html = message.get_body(("plain",)), message.get_body(("html",))
        assert text is not None and text.get_content().strip() == "Dear <b>Ada</b>, A B"
        assert html is not None and html.get_content().strip() == "<h1>#1</h1><p>&lt;b&gt;Ada&lt;/b&gt;</p>"
        assert message["Subject"] == "Order #1"

    with smtp_server(box) as port:
        asyncio.run(scene(port))


def test_broken_templates_are_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "x.txt").write_text("a\n{% if %}")

    async def scene() -> None:
        async with opened(tmp_path, settings_for(1)):
            raise AssertionError("it opened")

    with pytest.raises(ConnectorError, match=r"x\.txt:2"):
        asyncio.run(scene())


BAD: list[tuple[str, dict[str, Any]]] = [
    ("to", {"to": ""}),
    ("to", {"to": None}),
    ("to", {"to": "no address"}),
    ("to", {"to": "a@example.org, evil@example.org"}),
    ("to", {"to": "a@example.org\r\nBcc: evil@example.org"}),
    ("to[1]", {"to": ["a@example.org", "b@"]}),
    ("to", {"to": {"a": 1}}),
    ("cc", {"cc": "x <y"}),
    ("subject", {"subject": "a\nBcc: evil@example.org"}),
    ("text", {"text": None}),
    ("headers.Bcc", {"headers": {"Bcc": "evil@example.org"}}),
    ("headers.X-A", {"headers": {"X-A": "1\r\nX-B: 2"}}),
    ("headers.X: A", {"headers": {"X: A": "1"}}),
    ("attachments", {"attachments": [{"nome": "x"}]}),
    ("attachments[0]", {"attachments": [{"name": "x"}]}),
    ("attachments[0].content", {"attachments": [{"content": "?"}]}),
    ("attachments[0].path", {"attachments": [{"path": "../../etc/passwd"}]}),
    ("attachments[0].path", {"attachments": [{"path": "no-such"}]}),
    ("attachments[0].name", {"attachments": [{"name": "a\r\nb", "content": ""}]}),
    ("attachments[0]", {"attachments": [{"name": "a", "content": "A" * 40_000}]}),
]


@pytest.mark.parametrize(("path", "arguments"), BAD, ids=[f"{i}-{path}" for i, (path, _) in enumerate(BAD)])
def test_bad_messages_are_rejected_with_the_field(tmp_path: Path, path: str, arguments: dict[str, Any]) -> None:
    async def scene() -> None:
        async with opened(tmp_path, settings_for(free_port(), message_size_max=20_000)) as connection:
            outcome = await send(connection, **arguments)
            assert isinstance(outcome, Reject), outcome
            assert outcome.path == path

    asyncio.run(scene())


def test_answers_become_outcomes(tmp_path: Path) -> None:
    box = Mailbox()

    async def scene(port: int) -> None:
        async with opened(tmp_path, settings_for(port)) as connection:
            box.rcpt = lambda address: "550 no such user" if address.startswith("bob") else "250 OK"
            refused = await send(connection, to=["ada@example.org", "bob@example.org"])
            assert isinstance(refused, Reject) and refused.path == "to[1]" and "bob" not in refused.reason
            box.rcpt = lambda _: "450 greylisted"
            assert isinstance(await send(connection), Retry)
            box.rcpt = lambda _: "250 OK"
            for answer, kind, in_doubt in (
                ("452 disk full", Retry, False),
                ("554 spam", Reject, None),
                ("552 too large", Reject, None),
                ("421 going down", Reconnect, False),
            ):
                box.answer = answer
                outcome = await send(connection)
                assert isinstance(outcome, kind), (answer, outcome)
                assert getattr(outcome, "in_doubt", None) is in_doubt
            assert box.raw == [], "nothing was delivered to anyone"
            box.answer = "250 OK"
            assert isinstance(await send(connection), Done)

    with smtp_server(box) as port:
        asyncio.run(scene(port))


def test_a_lost_answer_is_in_doubt_and_looked_up(tmp_path: Path) -> None:
    box = Mailbox()

    async def scene(port: int) -> None:
        async with lookup_server(box) as url, opened(tmp_path, settings_for(port, lookup_url=url)) as connection:
            box.lose = True
            lost = await send(connection, "e1")
            assert isinstance(lost, Retry) and lost.in_doubt
            box.lose = False
            again = await send(connection, "e1", in_doubt=True)
            assert isinstance(again, Done) and again.was_there and len(box.raw) == 1
            other = await send(connection, "e2", in_doubt=True)
            assert isinstance(other, Done) and not other.was_there and len(box.raw) == 2
        async with opened(tmp_path, settings_for(port, lookup_url=f"http://127.0.0.1:{free_port()}/")) as connection:
            unknown = await send(connection, "e1", in_doubt=True)
            assert isinstance(unknown, Reconnect) and unknown.in_doubt and len(box.raw) == 2

    with smtp_server(box) as port:
        asyncio.run(scene(port))


def test_connections_are_reused_and_stale_ones_replaced(tmp_path: Path) -> None:
    box = Mailbox()

    async def scene(port: int) -> None:
        async with opened(tmp_path, settings_for(port, connections_max=2)) as connection:
            outcomes = await asyncio.gather(*(send(connection, f"e{i}") for i in range(20)))
            assert all(isinstance(o, Done) for o in outcomes)
            assert len(box.peers) <= 2
            box.hang_up_after = True
            assert isinstance(await send(connection, "x1"), Done)
            await asyncio.wait_for(box.hung_up(), 5)
            box.hang_up_after = False
            assert isinstance(await send(connection, "x2"), Done)
        assert len({str(m["Message-ID"]) for m in box.messages}) == 22 == len(box.raw)

    with smtp_server(box) as port:
        asyncio.run(scene(port))


def test_an_absent_server_is_reconnect_and_then_all_goes_on(tmp_path: Path) -> None:
    box, port = Mailbox(), free_port()

    async def scene() -> None:
        async with opened(tmp_path, settings_for(port)) as connection:
            assert isinstance(await connection.check(), Reconnect)
            down = await send(connection)
            assert isinstance(down, Reconnect) and not down.in_doubt
            with smtp_server(box, port=port):
                assert isinstance(await send(connection), Done)
            assert isinstance(await send(connection), Reconnect)
            with smtp_server(box, port=port):
                assert isinstance(await send(connection), Done)

    asyncio.run(scene())


@pytest.mark.parametrize("mode", ["starttls", "tls"])
def test_login_and_tls(tmp_path: Path, mode: str) -> None:
    box = Mailbox()
    context, authority = certificate(tmp_path)
    login = {"authenticator": check_login, "auth_required": mode == "starttls", "auth_require_tls": mode == "starttls"}
    options = {**login, "tls_context": context, "require_starttls": True} if mode == "starttls" else login

    async def scene(port: int) -> None:
        good = settings_for(port, tls=mode, user="accord", password=secret(), ca_file=authority.name)
        async with opened(tmp_path, good) as connection:
            assert isinstance(await connection.check(), Done)
            assert isinstance(await send(connection), Done)
        wrong = settings_for(port, tls=mode, user="other", password=secret(), ca_file=authority.name)
        async with opened(tmp_path, wrong) as connection:
            refused = await connection.check()
            assert isinstance(refused, Reject) and "correct horse" not in refused.reason
            assert isinstance(await send(connection), Reconnect)
        async with opened(tmp_path, settings_for(port, tls=mode)) as connection:
            stranger = await send(connection)
            assert isinstance(stranger, Reconnect) and "TLS" in stranger.reason
        assert len(box.raw) == 1

    with smtp_server(box, tls=context if mode == "tls" else None, **options) as port:
        asyncio.run(scene(port))


@pytest.mark.parametrize("offered", [True, False])
def test_addresses_outside_ascii_need_smtputf8(tmp_path: Path, offered: bool) -> None:
    box = Mailbox()

    async def scene(port: int) -> None:
        async with opened(tmp_path, settings_for(port)) as connection:
            outcome = await send(connection, to="Пеле <пеле@пример.example>")
            if offered:
                assert isinstance(outcome, Done)
                assert box.envelopes[0].rcpt_tos == ["пеле@xn--e1afmkfd.example"]
            else:
                assert isinstance(outcome, Reject) and outcome.path == "to"

    with smtp_server(box, enable_SMTPUTF8=offered) as port:
        asyncio.run(scene(port))
