"""Connections between members, over real sockets."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path
from typing import Any

import pytest
import uvloop

from accord.engine.accept import Stored
from accord.engine.cluster.frames import Ask, Computed, Frames, Hand, Handed, Look, Told
from accord.engine.cluster.link import Door, Link, LinkLost
from accord.record import Message


def message(number: int) -> Message:
    return Message(
        id=f"m{number}",
        flow="f",
        key="k",
        source="s.things",
        body=b"x" * 2000,
        time=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        headers={"a": "b"},
    )


def ignore(_: object) -> None:
    """Hears nothing."""


class House:
    """A door whose guests' requests are kept; hands are answered as told."""

    def __init__(self, secret: bytes = b"s", *, answers: bool = True) -> None:
        self.requests: list[Hand | Ask | Look] = []
        self.guests: list[Frames] = []
        self.answers = answers
        self.door = Door(secret, self._request, ignore)

    def _request(self, guest: Frames, request: Hand | Ask | Look) -> None:
        self.requests.append(request)
        self.guests.append(guest)
        if isinstance(request, Hand) and self.answers:
            guest.send(Handed(request.number, Stored(tuple(m.id for m in request.messages), 0)))
        elif isinstance(request, Ask):
            guest.send(Told(request.number, 200, request.path.encode()))


@pytest.mark.parametrize("is_unix", [True, False])
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_what_is_handed_over_arrives_whole_and_in_order(tmp_path: Path, is_unix: bool, loop: Any) -> None:
    async def work() -> None:
        house = House()
        address = await house.door.open(f"unix:{tmp_path}/d" if is_unix else "127.0.0.1:0")
        computed: list[Computed] = []
        link = Link(address, b"s", computed.append)
        await asyncio.gather(link.connect(), link.connect())
        replies = await asyncio.gather(
            *(link.ask(lambda number, n=n: Hand(number, [message(n)])) for n in range(500)),
            link.ask(lambda number: Ask(number, "GET", "/api/status")),
        )
        assert [reply.stored.ids for reply in replies[:-1] if isinstance(reply, Handed)] == [
            (f"m{n}",) for n in range(500)
        ]
        assert replies[-1] == Told(501, 200, b"/api/status")
        assert [one.messages for one in house.requests if isinstance(one, Hand)] == [[message(n)] for n in range(500)]
        assert len(set(map(id, house.guests))) == 1, "one connection carries all"
        house.guests[0].send(Computed("m1", 200, b"{}", "application/json"))
        async with asyncio.timeout(5):
            while not computed:
                await asyncio.sleep(0)
        assert computed[0].message_id == "m1"
        link.close()
        await house.door.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(work())


def test_who_waits_hears_that_the_connection_is_lost_and_may_connect_again() -> None:
    async def work() -> None:
        house = House(answers=False)
        address = await house.door.open("127.0.0.1:0")
        link = Link(address, b"s", ignore)
        await link.connect()
        waiting = [asyncio.ensure_future(link.ask(lambda number: Hand(number, [message(1)]))) for _ in range(3)]
        async with asyncio.timeout(5):
            while len(house.requests) < 3:
                await asyncio.sleep(0)
        house.guests[0].abort()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in found] == [LinkLost] * 3
        assert not link.is_ready
        await link.connect()
        assert link.is_ready
        link.close()
        await house.door.close()
        with pytest.raises(LinkLost):
            await Link(address, b"s", ignore).connect()

    asyncio.run(work())


def test_a_member_that_is_frozen_keeps_nobody_waiting_who_is_in_a_hurry() -> None:
    async def work() -> None:
        house = House(answers=False)
        link = Link(await house.door.open("127.0.0.1:0"), b"s", ignore)
        await link.connect()
        patient = asyncio.ensure_future(link.ask(lambda number: Hand(number, [message(1)])))
        await asyncio.sleep(0)
        for now_s in (0.0, 1.0, 9.0):
            link.sweep(now_s, 4.0)
        assert link.is_ready, "who is patient may wait"
        urgent = asyncio.ensure_future(link.ask(lambda number: Hand(number, [message(2)]), is_urgent=True))
        await asyncio.sleep(0)
        link.sweep(10.0, 4.0)
        link.sweep(13.9, 4.0)
        assert link.is_ready
        link.sweep(14.0, 4.0)
        found = await asyncio.gather(patient, urgent, return_exceptions=True)
        assert [type(one) for one in found] == [LinkLost] * 2
        await house.door.close()

    asyncio.run(work())


def test_who_waits_for_a_connection_hears_that_the_link_was_closed() -> None:
    """A member that is frozen takes connections and says nothing; when the others see that it is gone, its link is closed."""

    async def work() -> None:
        taken: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
        silent = await asyncio.start_server(lambda reader, writer: taken.set_result(writer), "127.0.0.1", 0)
        link = Link(f"127.0.0.1:{silent.sockets[0].getsockname()[1]}", b"s", ignore)
        waiting = [asyncio.create_task(link.connect()) for _ in range(2)]
        guest = await taken
        link.close()
        for one in await asyncio.gather(*waiting, return_exceptions=True):
            assert type(one) is LinkLost
        guest.close()
        silent.close()
        await silent.wait_closed()

    asyncio.run(work())


def test_only_who_knows_the_secret_is_heard() -> None:
    async def work() -> None:
        house = House(b"right")
        address = await house.door.open("127.0.0.1:0")
        with pytest.raises(LinkLost):
            await Link(address, b"wrong", ignore).connect()
        host, _, port = address.rpartition(":")
        for sent in (b"\x05\x00\x00\x00\x93\x0a\x01\x90\xc2", b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n"):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(sent)
            try:
                async with asyncio.timeout(5):
                    heard = await reader.read(-1)  # the challenge, and then nothing more
            except ConnectionResetError:
                heard = b""
            assert len(heard) < 100
            writer.close()
        assert house.requests == []
        await house.door.close()

    asyncio.run(work())
