"""The mail connector passes the connector suite, with a look-up of sent messages and without one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.connectors.mail.mailbox import Mailbox, lookup_server, settings_for, smtp_server
from tests.servers import free_port

from accord.connectors.mail import CONNECTOR
from accord.testing.connector_suite import CallCase, Status, Subject, check_names, run_check


@asynccontextmanager
async def subject(folder: Path, has_lookup: bool) -> AsyncIterator[Subject]:
    box = Mailbox()

    async def sent() -> Any:
        return [str(message["Message-ID"]) for message in box.messages]

    async def talk_nonsense(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x01 this is no mail server\r\n" * 20)
        writer.close()

    nonsense = await asyncio.start_server(talk_nonsense, "127.0.0.1", 0)
    with smtp_server(box) as port:
        async with nonsense, lookup_server(box) as url:
            message = {"to": "ada@example.org", "subject": "Hi", "text": "Hello"}
            yield Subject(
                kind=CONNECTOR,
                settings=settings_for(port, lookup_url=url if has_lookup else ""),
                entities={},
                folder=folder,
                calls=[
                    CallCase(
                        operation="message", arguments=message, effects=sent, refused={**message, "to": "no address"}
                    )
                ],
                unreachable=settings_for(free_port()),
                garbage=settings_for(nonsense.sockets[0].getsockname()[1]),
            )


@pytest.mark.parametrize("has_lookup", [True, False], ids=["lookup", "plain"])
@pytest.mark.parametrize("name", check_names())
def test_conformance(name: str, has_lookup: bool, tmp_path: Path) -> None:
    result = asyncio.run(run_check(name, lambda: subject(tmp_path, has_lookup)))
    assert result.status is not Status.FAILED, result.why
