"""A flood of one flow, a trickle of another to the same target: the trickle hardly notices."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from accord.engine.http import PooledHttpClient
from accord.sdk.http import HttpRequest, HttpResponse, InboundRequest
from accord.testing.http_server import serve
from journeys.live import SECRET, Live

FLOOD = 5_000
SENDERS = 48
WORKERS = 4  # of the target: 200 a second, a tenth of what comes in
SERVICE_S = 0.02
EVERY_S = 0.05  # a trickle

SYSTEM = """
system: {name}
connector: http
settings:
  address: ${{env:TARGET}}
  webhooks:
    signature: {{type: hmac, header: x-signature, secret: "${{secret:hook}}"}}
    topic: {{header: x-topic}}
    event_id: {{header: x-event-id}}
    topics: {{tickets: tickets}}
entities:
  tickets:
    key: id
    fields: {{id: integer, text: string}}
    write: {{create: {{path: /{name}}}}}
"""
FLOW = "flow: {name}\non: {{webhook: {name}.tickets}}\nkey: id\nsteps:\n  - write: target.tickets\n    with: {{id: id, text: text}}\n"
FILES = {
    **{f"systems/{name}.yaml": SYSTEM.format(name=name) for name in ("busy", "calm", "target")},
    **{f"flows/{name}.yaml": FLOW.format(name=name) for name in ("busy", "calm")},
}


class Target:
    """``at``: when each record came to be worked on, by its text (which is its flow's name and number)."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}
        self._workers = asyncio.Semaphore(WORKERS)

    async def answer(self, request: InboundRequest) -> HttpResponse:
        async with self._workers:
            self.at[json.loads(request.body)["text"]] = asyncio.get_running_loop().time()
            await asyncio.sleep(SERVICE_S)
        return HttpResponse(status=201, body=request.body, headers={"content-type": "application/json"})


class Sender:
    """``at``: when each was accepted."""

    def __init__(self, address: str) -> None:
        self.at: dict[str, float] = {}
        self.client = PooledHttpClient(connections_max=SENDERS + 2)
        self._address = address

    async def send(self, system: str, number: int) -> None:
        text = f"{system} {number}"
        body = json.dumps({"id": number, "text": text}).encode()
        signature = hmac.digest(SECRET.encode(), body, hashlib.sha256).hex()
        headers = {
            "x-topic": "tickets",
            "x-signature": signature,
            "x-event-id": text,
            "content-type": "application/json",
        }
        request = HttpRequest(method="POST", url=f"{self._address}/hooks/{system}", headers=headers, body=body)
        response = await self.client.send(request)
        assert response.status == 200, response
        self.at[text] = asyncio.get_running_loop().time()

    async def trickle(self, first: int, count: int) -> list[str]:
        for number in range(first, first + count):
            await self.send("calm", number)
            await asyncio.sleep(EVERY_S)
        return [f"calm {number}" for number in range(first, first + count)]

    async def flood(self) -> None:
        numbers = iter(range(FLOOD))

        async def sender() -> None:
            for number in numbers:
                await self.send("busy", number)

        await asyncio.gather(*(sender() for _ in range(SENDERS)))


@pytest.mark.timeout(180)
@pytest.mark.xdist_group("load")
def test_a_flood_does_not_starve_another_flow(tmp_path: Path) -> None:
    async def run() -> None:
        target = Target()
        async with serve(target.answer) as server:
            live = Live(tmp_path, FILES, environment={"TARGET": server.address})
            await asyncio.to_thread(live.start)
            try:
                sender = Sender(live.address)
                quiet = await sender.trickle(0, 40)
                await _came(target, quiet)
                flood = asyncio.create_task(sender.flood())
                calm = await sender.trickle(100, 80)
                await _came(target, calm)
                status: dict[str, Any] = await asyncio.to_thread(live.api, "status")
                backlog = next(flow for flow in status["flows"] if flow["name"] == "busy")
                assert backlog["ready"] > 1_000, "the flood was still there"
                await flood
                await sender.client.close()
            finally:
                await asyncio.to_thread(live.kill)
        waits = {
            name: [target.at[t] - sender.at[t] for t in texts] for name, texts in (("quiet", quiet), ("calm", calm))
        }
        flooded = [
            target.at[text] - at for text, at in sender.at.items() if text in target.at and text.startswith("busy")
        ]
        print({name: (_part(found, 0.5), _part(found, 0.99)) for name, found in waits.items()}, _part(flooded, 0.5))
        print(status["systems"])
        assert _part(waits["calm"], 0.99) < _part(flooded, 0.5) / 4, "the trickle went before the flood"
        assert _part(waits["calm"], 0.5) < 10 * (_part(waits["quiet"], 0.99) + SERVICE_S)

    asyncio.run(run())


async def _came(target: Target, texts: list[str]) -> None:
    async with asyncio.timeout(60):
        while not all(text in target.at for text in texts):
            await asyncio.sleep(0.01)


def _part(values: list[float], part: float) -> float:
    return sorted(values)[int(part * (len(values) - 1))]
