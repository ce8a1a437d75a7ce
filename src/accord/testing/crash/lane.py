"""One engine, its targets and its senders: killed again and again, then left to finish, then counted."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from accord.observe.crash_points import POINTS
from accord.testing.crash.counts import Tally, tally
from accord.testing.crash.grounds import Ground
from accord.testing.crash.lives import Life
from accord.testing.crash.node import Node
from accord.testing.crash.project import PARTS_EACH, TARGETS, holds_left, recorded_in_ledger, write_project
from accord.testing.crash.sender import Poster, Sender
from accord.testing.ports import free_port
from accord.testing.proxy import Proxy, Toxics

TOKEN = "token-of-the-laboratory"  # noqa: S105 (of an engine on loopback that lives for one run)
RANDOM = "(random)"
LEASE_LOST = "(lease lost, or the journal away at the start)"
ENDS_BY_ITSELF = ("journal.fenced", "journal.unavailable")
MEMBERS = (
    'members: {address: "${env:ACCORD_MEMBER}", secret: "${secret:members}", name: "${env:ACCORD_NAME}", linger: 0s}, '
)
PASSES_MAX = {
    "start.": 1,
    "migrate.": 1,
    "drain.": 1,
    "checkpoint.": 1,
    "release.": 2,
    "accept.": 5,
    "park.": 3,
    "undo.": 3,
    "snapshot.": 1,
}
PASSES_OTHERWISE_MAX = 40
PASSES_SHARED_MAX = 4  # where several engines share the work
DRIPS = 4
CHECKPOINT_MESSAGES = 200  # more of them make the log long enough
RANDOM_WITHIN_S = 0.4  # after it is ready
POINT_WITHIN_S = 1.0  # a point that is not passed in this time after the start is given up for a random kill
RARE_WITHIN_S = 5.0
ACCEPTED_WITHIN_S = 300.0
SETTLES_NONE_S_MAX = 60.0  # longer than any breaker stays open


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """``points``: kills at each of these points in turn, alternating with random ones. ``drop`` and ``busy``: how often a target
    drops its answer, and how often it says 503. ``nodes``: engines on one journal, killed in turn while the others go on. ``toxics``:
    what the proxy before the targets does, one after the other."""

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
    nodes: int = 1
    seconds_max: float = 3600.0


class LaneResult(msgspec.Struct, frozen=True, kw_only=True):
    tallies: dict[str, Tally]
    kills: dict[str, int]
    messages: int
    dead: int
    holds_left: int
    refusals: int
    violations: tuple[str, ...]
    network: dict[str, int]
    seconds: float


class Lane:
    def __init__(self, folder: Path, plan: Plan, ground: Ground) -> None:
        self.folder = folder
        self.plan = plan
        self.ground = ground
        self.kills: Counter[str] = Counter()
        self._chance = random.Random(plan.seed)
        self._nodes: list[Node] = []
        self._turn = 0
        self._granted = 0  # messages the senders may have sent by now
        self.taken = 0
        self._grant = asyncio.Condition()
        self._is_over = False
        self._ready_s = 0.1
        self._dead = 0
        self._network: Counter[str] = Counter()

    async def run(self) -> LaneResult:
        started = time.monotonic()
        write_project(self.folder, self.ground.store + (MEMBERS if self.plan.nodes > 1 else ""))
        async with (
            self.ground,
            contextlib.AsyncExitStack() as stack,
            self._recorder() as recorder_port,
            self._proxy(recorder_port) as port,
        ):
            environment = {
                "RECORDER": f"http://127.0.0.1:{port}",
                "ACCORD_SECRET_API": TOKEN,
                **self.ground.environment,
            }
            self._nodes = [await stack.enter_async_context(self._node(n, environment)) for n in range(self.plan.nodes)]
            targets = Poster(("127.0.0.1", recorder_port))
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
            _, effects = await targets.ask("GET", "/effects")
            targets.close()
            violations = await asyncio.to_thread(self.ground.violations)
        seen = {**msgspec.json.decode(effects), **recorded_in_ledger(self.folder)}
        return self._result(senders, seen, violations, time.monotonic() - started)

    def _sender(self, number: int) -> Sender:
        plan = self.plan
        chance = random.Random(plan.seed * 1000 + number)
        addresses = [node.address for node in self._nodes]
        poster = Poster(*addresses[number % len(addresses) :], *addresses[: number % len(addresses)])
        return Sender(number, poster, chance, keys=plan.keys_per_sender, batch=plan.batch)

    def _node(self, number: int, environment: dict[str, str]) -> Node:
        own = {
            "ACCORD_NAME": f"node {number}",
            "ACCORD_MEMBER": f"127.0.0.1:{free_port()}",
            "ACCORD_SECRET_MEMBERS": TOKEN,
        }
        return Node(self.folder, number, free_port(), {**environment, **own})

    async def _budget(self, count: int) -> bool:
        """Waits until ``count`` more messages may be sent. False when the run's messages are all sent."""
        async with self._grant:
            await self._grant.wait_for(lambda: self._is_over or self.taken < self._granted)
            if self.taken >= self._granted:
                return False
            self.taken += count
            return True

    async def _allow(self, total: int, *, is_over: bool = False) -> None:
        async with self._grant:
            self._granted, self._is_over = total, is_over
            self._grant.notify_all()

    async def _kill_again_and_again(self, ends: float) -> None:
        plan = self.plan
        rounds: list[str] = []
        is_first_round = True
        missed: set[str] = set()
        extra = 0
        for number in range(plan.kills):
            if time.monotonic() > ends:
                break
            if not rounds:
                rounds = self._round(is_first_round)
                is_first_round = False
            point = rounds.pop()
            extra += CHECKPOINT_MESSAGES if point.startswith("checkpoint.") else 0
            total = plan.messages * (number + 1) // max(1, plan.kills) + extra
            if plan.nodes == 1:
                await self._allow(total)
            reached = await self._one_life(point, 1 if point in missed else self._passes_max(point), total)
            self.kills[reached] += 1
            if reached != point and not self.kills[point] and point not in missed:
                missed.add(point)
                rounds.insert(0, point)  # once more in this round, then in each that follows

    def _round(self, is_first: bool) -> list[str]:
        """Every point once and as many random kills, shuffled; migrations in the first round only: they copy the whole journal."""
        possible = [p for p in self.plan.points if p in self.ground.points]
        points = [p for p in possible if is_first or not p.startswith("migrate.")]
        found = [*points, *self.ground.blows, *[RANDOM] * (0 if is_first else len(points))]
        self._chance.shuffle(found)
        return found

    async def _one_life(self, point: str, passes_max: int, total: int) -> str:
        """Starts an engine, lets it be killed at the point, or kills it; by then so many messages may have been sent. Where it was
        killed."""
        node = self._nodes[self._turn % len(self._nodes)]
        self._turn += 1
        is_alone = point.startswith("migrate.")
        for other in self._nodes:
            if other is not node:
                await self._keep_alive(other, not is_alone)
        await self._end(node)
        if is_alone:
            await self.ground.downgrade()
        if point in self.ground.blows:
            await self._blow(node, point, total)
            return point
        life = await node.start("" if point == RANDOM else f"{point}:{self._chance.randint(1, passes_max)}")
        if point == RANDOM:
            await self._send_on(life, total, self._chance.uniform(0.0, self._ready_s + RANDOM_WITHIN_S))
        else:
            self._ready_s = await node.wait_ready()
            if point.startswith("drain."):
                life.signal(signal.SIGTERM)
            await self._send_on(life, total, self._reached_within_s(point))
        is_by_itself = life.code is not None
        code = await node.kill()
        if code != -signal.SIGKILL:
            raise RuntimeError(f"the engine ended with {code} at {point}:\n{node.log_tail()}")
        return point if is_by_itself else RANDOM

    def _passes_max(self, point: str) -> int:
        """How often a point is passed in one life, about: any pass up to there may be the last."""
        found = next(
            (passes for prefix, passes in PASSES_MAX.items() if point.startswith(prefix)), PASSES_OTHERWISE_MAX
        )
        return min(found, PASSES_SHARED_MAX) if len(self._nodes) > 1 else found

    def _reached_within_s(self, point: str) -> float:
        is_rare = len(self._nodes) > 1 or point.startswith(("checkpoint.", "drain.", "release.", "snapshot.", "undo."))
        return RARE_WITHIN_S if is_rare else POINT_WITHIN_S

    async def _keep_alive(self, other: Node, is_wanted: bool) -> None:
        """Who goes on while another is killed."""
        if not is_wanted:
            await self._end(other)
        elif not other.is_alive:
            await self._end(other)
            await other.start()
            await other.wait_ready()

    async def _end(self, node: Node) -> None:
        """One that went on so far, unless it ended by itself: on a busy machine a member may lose its lease, and one that starts while
        the journal's server is away ends, for its supervisor to start it again."""
        code = await node.kill()
        if code not in (None, -signal.SIGKILL):
            if not any(end in node.log_tail() for end in ENDS_BY_ITSELF):
                raise RuntimeError(f"the engine ended with {code}:\n{node.log_tail()}")
            self.kills[LEASE_LOST] += 1

    async def _blow(self, node: Node, blow: str, total: int) -> None:
        """The store is struck under an engine, which goes on with it for a while and is killed then; or before it starts."""
        if blow in self.ground.losses:
            await self.ground.strike(blow)
        life = await node.start()
        await node.wait_ready()
        await self._send_on(life, total, self._chance.uniform(0.0, RANDOM_WITHIN_S))
        if blow not in self.ground.losses:
            await self.ground.strike(blow)
        await node.wait_ready()
        await life.wait(self._chance.uniform(0.0, RARE_WITHIN_S / 2))
        await self._end(node)

    async def _send_on(self, life: Life, total: int, within_s: float) -> None:
        """While it lives: little by little, since the others would have done all before one that was just started gets a part."""
        for step in range(DRIPS, -1, -1):
            await self._allow(max(self._granted, total - (total - self._granted) * step // (DRIPS + 1)))
            if await life.wait(within_s / (DRIPS + 1)) is not None:
                return

    async def _finish(self, sending: list[asyncio.Task[None]], targets: Poster) -> None:
        """Without kills and faults: what is open is settled, then the engine ends well."""
        await targets.ask("POST", "/faults", b'{"drop":0.0,"busy":0.0}')
        for node in self._nodes:
            await self._keep_alive(node, is_wanted=True)
        await self._allow(max(self._granted, self.taken), is_over=True)
        await asyncio.wait_for(asyncio.gather(*sending), ACCEPTED_WITHIN_S)
        poster = Poster(self._nodes[0].address)
        fewest, since = 1 << 60, time.monotonic()
        while open_messages := await self._open_messages(poster):
            if open_messages < fewest:
                fewest, since = open_messages, time.monotonic()
            elif time.monotonic() - since > SETTLES_NONE_S_MAX:
                raise RuntimeError(f"{open_messages} messages do not settle:\n{self._nodes[0].log_tail()}")
            await asyncio.sleep(0.1)
        poster.close()
        for node in self._nodes:
            await node.stop()

    async def _open_messages(self, poster: Poster) -> int:
        _, body = await poster.ask("GET", "/api/status", headers=f"authorization: Bearer {TOKEN}\r\n")
        flows = msgspec.json.decode(body)["flows"]
        self._dead = sum(flow["dead"] for flow in flows)
        return sum(flow["ready"] + flow["waiting"] + flow["held"] for flow in flows)

    def _result(
        self, senders: list[Sender], seen: dict[str, dict[str, list[int]]], violations: list[str], seconds: float
    ) -> LaneResult:
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
            violations=tuple(violations),
            network=dict(self._network),
            seconds=seconds,
        )

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
                self._network = proxy.done
                await asyncio.gather(changing, return_exceptions=True)

    async def _change_toxics(self, proxy: Proxy) -> None:
        while not self._is_over:
            for toxics in (*self.plan.toxics, Toxics()):
                proxy.toxics = toxics
                await asyncio.sleep(self._chance.uniform(0.2, 0.6))
        proxy.toxics = Toxics()
