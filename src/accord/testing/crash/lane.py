"""One engine, its targets and its senders: killed again and again, then left to finish, then counted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from accord.journal.stores.sqlite_verify import verify
from accord.observe.crash_points import POINTS, VARIABLE
from accord.testing.crash.counts import Tally, tally
from accord.testing.crash.downgrade import downgrade
from accord.testing.crash.project import PARTS_EACH, TARGETS, holds_left, recorded_in_ledger, write_project
from accord.testing.crash.sender import Poster, Sender
from accord.testing.proxy import Proxy, Toxics

TOKEN = "token-of-the-laboratory"  # noqa: S105 (of an engine on loopback that lives for one run)
RANDOM = "(random)"
RARE = ("start.", "migrate.", "drain.", "undo.", "checkpoint.", "release.", "park.")
PASSES_MAX = 40
POINT_WITHIN_S = 1.5  # a point that is not passed in this time after the start is given up for a random kill
SETTLED_WITHIN_S = 300.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """``points``: kills at each of these points in turn, alternating with random ones. ``drop`` and ``busy``: how often a target
    drops its answer, and how often it says 503. ``toxics``: what the proxy before the targets does, one after the other."""

    kills: int
    messages: int
    seed: int = 1
    points: tuple[str, ...] = tuple(POINTS)
    senders: int = 4
    keys_per_sender: int = 25
    batch: int = 10
    drop: float = 0.01
    busy: float = 0.005
    toxics: tuple[Toxics, ...] = ()
    seconds_max: float = 3600.0


class LaneResult(msgspec.Struct, frozen=True, kw_only=True):
    tallies: dict[str, Tally]
    kills: dict[str, int]
    messages: int
    dead: int
    holds_left: int
    refusals: int
    violations: tuple[str, ...]
    seconds: float


class Lane:
    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        self.plan = plan
        self.kills: Counter[str] = Counter()
        self._chance = random.Random(plan.seed)
        self._address = ("127.0.0.1", _free_port())
        self._granted = 0  # messages the senders may have sent by now
        self._taken = 0
        self._grant = asyncio.Condition()
        self._is_over = False

    async def run(self) -> LaneResult:
        started = time.monotonic()
        write_project(self.folder)
        async with self._recorder() as recorder_port, self._proxy(recorder_port) as port:
            self._environment = {
                **os.environ,
                "ACCORD_ADDRESS": "{}:{}".format(*self._address),
                "RECORDER": f"http://127.0.0.1:{port}",
                "ACCORD_SECRET_API": TOKEN,
            }
            self._environment.pop(VARIABLE, None)
            targets = Poster("127.0.0.1", recorder_port)
            await targets.ask("POST", "/faults", msgspec.json.encode({"drop": self.plan.drop, "busy": self.plan.busy}))
            senders = [self._sender(number) for number in range(self.plan.senders)]
            sending = [asyncio.create_task(sender.run(self._budget)) for sender in senders]
            try:
                await self._kill_again_and_again(started + self.plan.seconds_max)
                await self._finish(sending, targets)
            finally:
                for task in sending:
                    task.cancel()
                await asyncio.gather(*sending, return_exceptions=True)
                await self._end()
            _, effects = await targets.ask("GET", "/effects")
            targets.close()
        seen = {**msgspec.json.decode(effects), **recorded_in_ledger(self.folder)}
        return self._result(senders, seen, time.monotonic() - started)

    def _sender(self, number: int) -> Sender:
        plan = self.plan
        chance = random.Random(plan.seed * 1000 + number)
        return Sender(number, Poster(*self._address), chance, keys=plan.keys_per_sender, batch=plan.batch)

    async def _budget(self, count: int) -> bool:
        """Waits until ``count`` more messages may be sent. False when the run's messages are all sent."""
        async with self._grant:
            await self._grant.wait_for(lambda: self._is_over or self._taken < self._granted)
            if self._taken >= self._granted:
                return False
            self._taken += count
            return True

    async def _allow(self, total: int, *, is_over: bool = False) -> None:
        async with self._grant:
            self._granted, self._is_over = total, is_over
            self._grant.notify_all()

    async def _kill_again_and_again(self, ends: float) -> None:
        plan = self.plan
        rounds: list[str] = []
        is_first_round = True
        for number in range(plan.kills):
            if time.monotonic() > ends:
                break
            await self._allow(plan.messages * (number + 1) // max(1, plan.kills))
            if not rounds:
                rounds = self._round(is_first_round)
                is_first_round = False
            point = rounds.pop()
            self.kills[await self._one_life(point)] += 1

    def _round(self, is_first: bool) -> list[str]:
        """Every point once and as many random kills, shuffled; migrations in the first round only: they copy the whole journal."""
        points = [p for p in self.plan.points if is_first or not p.startswith("migrate.")]
        found = [*points, *[RANDOM] * (0 if is_first else len(points))]
        self._chance.shuffle(found)
        return found

    async def _one_life(self, point: str) -> str:
        """Starts the engine, lets it be killed at the point, or kills it. Where it was killed."""
        journal = self.folder / ".accord" / "journal.db"
        if point.startswith("migrate.") and journal.exists():
            await asyncio.to_thread(downgrade, journal)
        passes = self._chance.randint(1, 1 if point.startswith(("start.", "migrate.", "drain.")) else _passes(point))
        await self._start({} if point == RANDOM else {VARIABLE: f"{point}:{passes}"})
        if point == RANDOM:
            await self._wait_ended(self._chance.uniform(0.1, 1.0))
        elif point.startswith("drain."):
            await self._wait_ready()
            self._process.send_signal(signal.SIGTERM)
            await self._wait_ended(10.0)
        else:
            await self._wait_ended(POINT_WITHIN_S)
        is_by_itself = self._process.returncode is not None
        if not is_by_itself:
            self._process.kill()
        code = await self._process.wait()
        if is_by_itself and code != -signal.SIGKILL:
            raise RuntimeError(f"the engine ended with {code} at {point}:\n{self._log_tail()}")
        return point if is_by_itself else RANDOM

    async def _start(self, more: dict[str, str]) -> None:
        with (self.folder / "accord.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "accord.cli.main", "up", "-p", str(self.folder)),
                env={**self._environment, **more},
                stderr=log,
            )

    async def _wait_ended(self, within_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), within_s)

    async def _wait_ready(self) -> None:
        poster = Poster(*self._address)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process.returncode is None:
            with contextlib.suppress(OSError, EOFError):
                if (await poster.ask("GET", "/readyz"))[0] == 200:
                    break
            await asyncio.sleep(0.02)
        else:
            raise RuntimeError(f"the engine did not get ready:\n{self._log_tail()}")
        poster.close()

    async def _finish(self, sending: list[asyncio.Task[None]], targets: Poster) -> None:
        """Without kills and faults: what is open is settled, then the engine ends well."""
        await targets.ask("POST", "/faults", b'{"drop":0.0,"busy":0.0}')
        await self._start({})
        await self._wait_ready()
        await self._allow(self.plan.messages if self.kills.total() >= self.plan.kills else self._taken, is_over=True)
        await asyncio.wait_for(asyncio.gather(*sending), SETTLED_WITHIN_S)
        poster = Poster(*self._address)
        deadline = time.monotonic() + SETTLED_WITHIN_S
        while await self._open_messages(poster):
            if time.monotonic() > deadline:
                raise RuntimeError(f"not all is settled after {SETTLED_WITHIN_S:g} s:\n{self._log_tail()}")
            await asyncio.sleep(0.1)
        poster.close()
        self._process.send_signal(signal.SIGTERM)
        await self._wait_ended(30.0)

    async def _open_messages(self, poster: Poster) -> int:
        _, body = await poster.ask("GET", "/api/status", headers=f"authorization: Bearer {TOKEN}\r\n")
        flows = msgspec.json.decode(body)["flows"]
        self._dead = sum(flow["dead"] for flow in flows)
        return sum(flow["ready"] + flow["waiting"] + flow["held"] for flow in flows)

    async def _end(self) -> None:
        if hasattr(self, "_process") and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def _result(self, senders: list[Sender], seen: dict[str, dict[str, list[int]]], seconds: float) -> LaneResult:
        sent: dict[str, dict[str, list[int]]] = {}
        for sender in senders:
            for topic, by_key in sender.sent.items():
                sent.setdefault(topic, {}).update(by_key)
        tallies = {}
        for target in TARGETS:
            wanted = sent.get(target.topic, {})
            if target.name == "parts":
                wanted = {key: [n + i for n in numbers for i in range(PARTS_EACH)] for key, numbers in wanted.items()}
            elif target.name == "hold_changes":
                wanted = {"": [n for numbers in wanted.values() for n in numbers]}
            tallies[target.name] = tally(
                wanted, seen.get(target.name, {}), repeat_is_same=target.repeat_is_same, is_ordered=target.is_ordered
            )
        return LaneResult(
            tallies=tallies,
            kills=dict(self.kills),
            messages=sum(len(numbers) for by_key in sent.values() for numbers in by_key.values()),
            dead=self._dead - sum(len(numbers) for numbers in sent.get("undone", {}).values()),
            holds_left=holds_left(self.folder),
            refusals=sum(sender.refusals for sender in senders),
            violations=tuple(verify(self.folder / ".accord" / "journal.db")),
            seconds=seconds,
        )

    def _log_tail(self) -> str:
        return (self.folder / "accord.log").read_text()[-3000:]

    @contextlib.asynccontextmanager
    async def _recorder(self) -> AsyncIterator[int]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "accord.testing.crash.recorder", str(self.plan.seed)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None and process.stdin is not None
        try:
            yield int(await process.stdout.readline())
        finally:
            process.stdin.close()
            process.kill()
            await process.wait()

    @contextlib.asynccontextmanager
    async def _proxy(self, port: int) -> AsyncIterator[int]:
        if not self.plan.toxics:
            yield port
            return
        async with Proxy("127.0.0.1", port) as proxy:
            changing = asyncio.create_task(self._change_toxics(proxy))
            try:
                yield proxy.port
            finally:
                changing.cancel()
                await asyncio.gather(changing, return_exceptions=True)

    async def _change_toxics(self, proxy: Proxy) -> None:
        while not self._is_over:
            for toxics in (*self.plan.toxics, Toxics()):
                proxy.toxics = toxics
                await asyncio.sleep(self._chance.uniform(0.3, 1.0))
        proxy.toxics = Toxics()


def _passes(point: str) -> int:
    return 4 if point.startswith(RARE) else PASSES_MAX


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
