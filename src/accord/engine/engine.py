"""The engine: wires a project to a journal and runs it.

Start: journal → connections → queues → timers, readers, schedules → web. Stop, in reverse: no new webhook is taken, running
messages settle (at most ``drain_s``), the journal is flushed and closed. What is cut off is found again at the next start.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
import socket
import sqlite3
from collections.abc import Callable, Collection, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from accord.engine.accept import Acceptor
from accord.engine.admission import Bounds, SystemBounds, sources_of
from accord.engine.alerts.watch import Alerts
from accord.engine.answer import Answer
from accord.engine.beginnings import Beginnings
from accord.engine.bulk.desk import BulkDesk, BulkSchedule
from accord.engine.clock import Clock, SystemClock
from accord.engine.cluster.cluster import Cluster, MemberSettings
from accord.engine.control import Control
from accord.engine.control_api import ControlApi
from accord.engine.delivery import Delivery, Port
from accord.engine.dispatch import FlowQueue
from accord.engine.ends import Stop
from accord.engine.exposition import Exposition, MetricsAccess
from accord.engine.gate import Gate
from accord.engine.history import History
from accord.engine.http import PooledHttpClient
from accord.engine.intake import Callers, Intake, report_defect, standing_by
from accord.engine.looks import OPEN_STATES
from accord.engine.operators.access import Access, Trail
from accord.engine.operators.audit import Audit, AuditEntry
from accord.engine.operators.users import Users
from accord.engine.pauses import Pauses
from accord.engine.pressure import Pressure
from accord.engine.release import Releaser
from accord.engine.retention import Retention, prune_forever
from accord.engine.runner import Runner
from accord.engine.server import Defect, Handle, WebServer
from accord.engine.subscribe import subscribe_forever, topics_wanted
from accord.engine.versions import Versions
from accord.errors import JournalError, SettingsError
from accord.flow.flow import Flow
from accord.journal.group import Journal
from accord.journal.operations import Lease, Settle
from accord.journal.shared import SharedStore
from accord.journal.store import AsyncStore, Store
from accord.observe import Observer
from accord.observe.crash_points import crash_point
from accord.observe.events import (
    AuditUnwritten,
    EngineReady,
    EngineStopped,
    EngineStopping,
    FlowMissing,
    MemberFenced,
    PartFailed,
)
from accord.observe.tracing import Tracing
from accord.project import Project
from accord.record import Entity
from accord.sdk.addresses import is_loopback
from accord.sdk.connector import Connection, Context
from accord.sdk.http import InboundRequest
from accord.settings.monitor import MonitorSpec
from accord.settings.secret import Secret
from accord.settings.telemetry import TelemetrySpec

if TYPE_CHECKING:
    from accord.engine.bulk.spark.feed import SparkFeed

STATE_FILE = "engine.json"
RESTART_S = 1.0


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``state_folder`` holds the journal and what the command line needs to find the engine; ``tells_state``: the engine itself writes
    that there. ``public_address``: where systems
    reach this engine from outside (``https://accord.example.com``); with it webhooks are subscribed by the engine itself."""

    state_folder: Path
    host: str = "127.0.0.1"
    port: int = 8400
    public_address: str = ""
    bounds: Bounds = Bounds()
    system_bounds: Mapping[str, SystemBounds] = {}
    retention: Retention = Retention()
    drain_s: float = 20.0
    api_token: Secret | None = None  # None: a new one for each start, in the state folder
    member: MemberSettings | None = None  # on a shared journal: how this engine joins the others
    may_stand_by: bool = False  # the journal may be another engine's for long: the address answers meanwhile
    monitor: MonitorSpec = MonitorSpec()
    with_web: bool = True
    tells_state: bool = True
    telemetry: TelemetrySpec | None = None
    metrics: MetricsAccess = "guarded"  # who may read /metrics


class Site(Protocol):
    """Pages beside the webhooks: ``handle`` answers ``/`` and everything under ``/monitor/``, ``run`` works until cancelled."""

    async def handle(self, request: InboundRequest) -> Answer: ...

    async def run(self) -> None: ...


class Engine:
    """One process's engine. ``listener``: a socket that listens at its address already, shared with others.

    ``start`` returns when it is ready; ``stop`` when everything is on disk."""

    def __init__(
        self,
        project: Project,
        settings: EngineSettings,
        store: Store | AsyncStore,
        *,
        observer: Observer | None = None,
        clock: Clock | None = None,
        listener: socket.socket | None = None,
    ) -> None:
        self.project = project
        self.site: Callable[[Engine], Site] | None = None  # set before the start
        self.settings = settings
        self.observer = observer or Observer()
        self.clock = clock or SystemClock()
        self.journal = Journal(store)
        self.journal.metrics = self.observer.metrics.commits
        self._listener = listener
        self.failed: asyncio.Event = asyncio.Event()
        """Set when this engine has stopped working by itself; ``failure`` tells why. ``stop`` it then."""
        self.failure: JournalError | None = None
        self.address = ""
        self.token = settings.api_token.reveal() if settings.api_token else secrets.token_urlsafe(24)
        self.flows: dict[str, Flow] = dict(project.flows)
        self.entities: dict[str, Entity] = {
            entity.name: entity for system in project.systems.values() for entity in system.entities.values()
        }
        self.audit = Audit(settings.state_folder / "audit.db", settings.monitor.audit_kept, self._tell_unwritten)
        self.history = History(settings.state_folder / "history.db", self.observer.metrics, self._counts, self.clock)
        self.trail = Trail(self.audit, self.observer)
        self.users = Users(settings.monitor.users)
        self._callers = Callers()
        self._queues: dict[str, FlowQueue] = {}
        self._pressure = Pressure(self._queues)
        self._gates = {
            name: Gate(name, system.rate_limit, self.clock, self.observer, self._pressure.is_late)
            for name, system in project.systems.items()
        }
        self._stops: dict[int, Stop] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._clients: list[PooledHttpClient] = []
        self._connections: dict[str, Connection] = {}
        self._ports: dict[str, Port] = {}
        self._cluster: Cluster | None = None
        if settings.member is not None:
            self._cluster = Cluster(
                cast(SharedStore, store), settings.member, self._supervise, self._callers, self.observer, self.clock
            )
        self._delivery = (
            Delivery(self._ports, self.observer) if self._cluster is None else self._cluster.delivery(self._ports)
        )
        self._web: WebServer | None = None
        self._is_taking = False  # webhooks
        self._is_ready = False
        self._is_open = False
        self._is_clean = True  # nothing that ran was cut off
        self._is_told = False  # the state file says where this engine is

    async def start(self) -> None:
        """Raises JournalError, ConnectorError, OSError (address taken); what was opened is closed again."""
        try:
            if self.settings.may_stand_by and self.settings.with_web:
                await self._stand_by()
            await self.open_journal(is_member=True)
            crash_point("start.journal-open")
            if self.settings.telemetry is not None:
                self.observer.tracing = telemetry_of(self.settings.telemetry, self.project.name, self.observer)
                self._spawn(self._send_figures)
            bound = self._bind()
            await self.connect()
            crash_point("start.connected")
            await self._run_queues()
            self._run_tasks()
            await self._serve(bound)
        except BaseException:
            await self.stop()
            raise
        self._is_ready = self._is_taking = True
        self.observer.emit(
            EngineReady(
                address=self.address,
                flows=len(self.flows),
                systems=len(self._connections),
                open_messages=self.open_messages,
            )
        )

    async def open_journal(self, *, is_member: bool = False) -> Control:
        """Opens the journal, for commands while no engine runs, or to run as one of its members. ``stop`` closes it."""
        self.settings.state_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self.journal.start()
        self._is_open = True
        releaser = Releaser(self._queues, self._gates, self.journal, self.clock)
        self._releaser = releaser
        cluster = self._cluster if is_member else None
        if cluster is not None:
            await cluster.join()
        make_queue = FlowQueue if cluster is None else cluster.queue
        for name in self.flows:
            self._queues[name] = make_queue(name, self.journal, self._attempt, lambda _state: releaser.parked())
        make_acceptor = Acceptor if cluster is None else cluster.acceptor
        self.acceptor = make_acceptor(self.flows, self._queues, self.journal, self.clock)
        self.acceptor.metrics = self.observer.metrics
        self.pauses = Pauses(self._queues, self._gates, self.journal, self.clock)
        await self.pauses.load()
        self.versions = Versions(self.project, self.journal, self.clock, self.observer)
        await self.versions.look()
        self.bulk = BulkDesk(
            self.project.bulk_flows,
            self._ports,
            {e.name: s.capabilities(e) for s in self.project.systems.values() for e in s.entities.values()},
            self.journal,
            self.pauses,
            self.clock,
            self.observer,
            _spark_of(self.project, self.settings.state_folder),
        )
        make_control = Control if cluster is None else cluster.control
        self.control = make_control(
            name=self.project.name,
            journal=self.journal,
            acceptor=self.acceptor,
            flows=self.flows,
            queues=self._queues,
            gates=self._gates,
            entities=self.entities,
            observer=self.observer,
            clock=self.clock,
            pauses=self.pauses,
            bulk=self.bulk,
            versions=self.versions,
            stops=self._stops,
            recent=self._delivery.recent,
            audit=self.audit,
            history=self.history,
            ports=self._ports,
            settings={name: system.settings for name, system in self.project.systems.items()},
        )
        self._runner = Runner(
            self.flows,
            self.journal,
            self._delivery,
            self.versions,
            self.control,
            self._callers,
            self._stops,
            self._pressure.watch,
            self.clock,
            self.observer,
        )
        self.alerts = self.control.alerts = Alerts(
            self.project.alerts,
            self.project.channels,
            project=self.project.name,
            zone=self.project.zone,
            flows=self.flows,
            entities=self.entities,
            control=self.control,
            journal=self.journal,
            clock=self.clock,
            observer=self.observer,
        )
        return self.control

    async def stop(self) -> None:
        """Drains (requests for half of ``drain_s``, messages for what is left of it) and closes. Safe to call at any time, also
        twice. A member gives its parts to others first, and takes webhooks until it has."""
        self._is_ready = False
        deadline_s = self.clock.monotonic() + (self.settings.drain_s if self.failure is None else 0.0)
        running = sum(queue.running_count for queue in self._queues.values())
        if self.address:
            crash_point("drain.begun")
            self.observer.emit(EngineStopping(in_flight=running))
        if self._cluster is not None and self._is_taking and self.failure is None:
            if self._web is not None:
                self._web.is_draining = True  # clients come back by connections to others
            await self._cluster.depart(self.settings.drain_s / 2)
        self._is_taking = False
        if self._cluster is not None and self.failure is not None:
            await self._cluster.stop_handing()
        self._pressure.close()
        if self._web is not None:
            await self._web.stop()
            self._web = None
        if self._cluster is not None:
            await self._cluster.runners.stop()
            await self._cluster.stop_handing()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self._drain(max(0.0, deadline_s - self.clock.monotonic()))
        crash_point("drain.drained")
        if self._cluster is not None:
            await self._cluster.close()
        if self.observer.tracing is not None:
            tracing, self.observer.tracing = self.observer.tracing, None
            await asyncio.to_thread(tracing.close)
        for connection in self._connections.values():
            await connection.close()
        for client in self._clients:
            await client.close()
        await self.audit.close()
        await self._end_history()
        open_messages = self.open_messages
        if self._is_open:
            self._is_open = False
            if self._is_clean:
                await self._end_versions()
            await self.journal.close()
            crash_point("drain.closed")
        if self._is_told:  # else it may be another engine's, which has kept this one from starting
            self._is_told = False
            (self.settings.state_folder / STATE_FILE).unlink(missing_ok=True)
        if self.address:
            self.address = ""
            self.observer.emit(EngineStopped(open_messages=open_messages))

    @property
    def open_messages(self) -> int:
        return sum(queue.open_count for queue in self._queues.values())

    async def _drain(self, within_s: float) -> None:
        stops = [asyncio.ensure_future(queue.stop()) for queue in self._queues.values()]
        if stops:
            await asyncio.wait(stops, timeout=within_s)
        for queue in self._queues.values():
            queue.cancel()
        self._is_clean = not any(queue.running_count for queue in self._queues.values())
        self._delivery.cancel()
        for stop in stops:
            stop.cancel()
        await asyncio.gather(*stops, return_exceptions=True)

    async def _end_versions(self) -> None:
        try:
            await self.versions.end()
        except JournalError as error:  # what was running then counts as begun, which is the safe side
            self.observer.emit(PartFailed(part="versions", error=str(error)))

    async def connect(self, systems: Collection[str] | None = None) -> None:
        """``systems``: only these, for a command that needs no others. ``stop`` closes what was opened."""
        for name, system in self.project.systems.items():
            if systems is not None and name not in systems:
                continue
            client = PooledHttpClient(connections_max=system.rate_limit.concurrent)
            self._clients.append(client)
            context = Context(
                system=name,
                http=client,
                folder=self.project.folder,
                state_folder=self.settings.state_folder / "systems" / name,
                budget=self._gates[name].told,
            )
            context.state_folder.mkdir(parents=True, exist_ok=True)
            connection = system.kind.connect(system.settings, system.entities, context)
            self._connections[name] = connection
            await connection.open()
            self._ports[name] = Port(
                name=name,
                connection=connection,
                gate=self._gates[name],
                entities={entity.name: entity for entity in system.entities.values()},
                items_max={e.name: system.capabilities(e).write_items_max for e in system.entities.values()},
            )

    async def _run_queues(self) -> None:
        if self._cluster is not None:
            await self.versions.begin()
            for queue in self._queues.values():
                queue.start(0)
            await self._cluster.begin(self.journal, self.flows, self._gates, self._releaser, self.versions.release)
            return
        open_counts: dict[str, int] = {}
        for (flow, state), count in (await self.journal.reads.counts()).items():
            if state in OPEN_STATES:
                open_counts[flow] = open_counts.get(flow, 0) + count
        await self.versions.begin()
        for name, queue in self._queues.items():
            queue.start(open_counts.pop(name, 0))
        for name, count in open_counts.items():
            if count:
                self.observer.emit(FlowMissing(flow=name, open_messages=count))

    async def _send_figures(self) -> None:
        from accord.engine.telemetry_metrics import (
            MetricsSender,  # only where it is asked for: its packages are an extra
        )

        assert self.settings.telemetry is not None
        await MetricsSender(self.settings.telemetry, self.project.name, self.observer, self.clock).run()

    def _run_tasks(self) -> None:
        self._spawn(self._releaser.run)
        self._spawn(self.versions.tidy_forever)
        if self.journal.is_shared:
            self._spawn(self.pauses.watch)
        if self._cluster is not None:
            self._tasks.append(asyncio.get_running_loop().create_task(self._run_member(self._cluster)))
        prune = functools.partial(prune_forever, self.journal, self.settings.retention, self.clock)
        if self.project.alerts:
            self._spawn_one("alerts", self.alerts.run)
        self._spawn(prune)  # each member its own parts
        if self.settings.with_web:
            self._spawn(self.history.run)
        beginnings = Beginnings(self._ports, self.acceptor, self.journal, self.clock, self.observer)
        for name, work in beginnings.of_flows(self.flows.values()):
            self._spawn_one(name, work)
        for name, bulk in self.project.bulk_flows.items():
            self._spawn_one(f"bulk:{name}", functools.partial(self.bulk.keep, name))
            for at in bulk.spec.schedules:
                times = BulkSchedule(name, at, self.bulk, self.journal, self.clock)
                self._spawn_one(times.name, times.run)

    async def _stand_by(self) -> None:
        """Answers at the address before the journal is open, so that whoever watches sees an engine that is alive and not ready."""
        self._web = self._web_server(standing_by, functools.partial(report_defect, self.observer))
        self._web.bind()
        await self._web.start()

    def _web_server(self, handle: Handle, defect: Defect) -> WebServer:
        return WebServer(
            handle,
            defect,
            self.settings.host,
            self.settings.port,
            drain_s=self.settings.drain_s / 2,
            body_size_bytes_max=self.settings.bounds.body_size_bytes_max,
            listener=self._listener,
        )

    def _bind(self) -> str:
        """Takes the address before any message runs, so that one that is taken stops the start at once."""
        if not self.settings.with_web:
            return ""
        site = self.site(self) if self.site is not None else None
        if site is not None:
            self._spawn(site.run)
        intake = Intake(
            self._connections,
            sources_of(
                self.settings.bounds,
                self.settings.system_bounds,
                list(self.project.systems),
                {
                    name: [self._queues[flow] for flow in self.acceptor.flows_of_system(name)]
                    for name in self.project.systems
                },
                self.observer,
                self.clock,
            ),
            self.acceptor,
            self._callers,
            self.settings.bounds,
            self._pressure,
            self.observer,
            self.clock,
            is_ready=lambda: self._is_ready and self.journal.is_available,
            is_taking=lambda: self._is_taking,
            control=Access(self.token, self.users, self.trail, ControlApi(self.control).answer).handle,
            metrics=Exposition(
                self.control, self.token, self.settings.metrics, is_local=is_loopback(self.settings.host)
            ).handle,
            pages=site.handle if site is not None else None,
        )
        if self._web is None:
            self._web = self._web_server(intake.handle, intake.defect)
        else:
            self._web.handle, self._web.defect = intake.handle, intake.defect
        return "http://" + self._web.bind()

    async def _serve(self, bound: str) -> None:
        self.address = bound or "(no web)"
        if self._web is None:
            return
        if not self.settings.may_stand_by:
            await self._web.start()
        if self.settings.tells_state:
            tell_state(self.settings.state_folder, self.address, self.token)
            self._is_told = True
        address = self.settings.public_address
        if address:
            for name, system in self.project.systems.items():
                topics = topics_wanted(name, system.topics(), self.acceptor.hook_topics())
                if topics and system.topics():
                    connection = self._connections[name]
                    hook = f"{address.rstrip('/')}/hooks/{name}"
                    self._spawn_one(
                        f"subscribe:{name}",
                        functools.partial(subscribe_forever, name, connection, hook, topics, self.clock, self.observer),
                    )

    def _attempt(self, lease: Lease) -> Coroutine[Any, Any, Settle]:
        return self._runner.attempt(lease)

    async def _counts(self) -> Mapping[tuple[str, str], int]:
        return await self.journal.reads.counts()

    async def _end_history(self) -> None:
        """What was done since the last sample is kept too."""
        try:
            if self.address and self.settings.with_web:
                await self.history.sample({})
            await self.history.close()
        except (sqlite3.Error, OSError) as error:
            self.observer.emit(PartFailed(part="history", error=str(error)))

    def _tell_unwritten(self, entry: AuditEntry, error: str) -> None:
        self.observer.emit(AuditUnwritten(actor=entry.actor, what=f"{entry.action} {entry.object}", error=error))

    async def _run_member(self, cluster: Cluster) -> None:
        """Until the lease has ended: then everything is cut off at once, since others are at work on the same messages."""
        while self.failure is None:
            try:
                await cluster.run()
            except JournalError as error:
                self.failure = error
            except Exception as error:  # noqa: BLE001 (reported; without beats the lease would end)
                self.observer.emit(PartFailed(part="membership", error=f"{type(error).__name__}: {error}"[:500]))
        self._is_ready = self._is_taking = False
        for queue in self._queues.values():
            queue.cancel()
        self._delivery.cancel()
        self.observer.emit(MemberFenced(reason=str(self.failure)))
        self.failed.set()

    def _spawn_one(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Work that one engine does for all of them."""
        if self._cluster is None:
            self._spawn(work)
        else:
            self._cluster.runners.add(name, work)

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(self._supervise(work)))

    async def _supervise(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs a part of the engine for good: what breaks it is reported, and it begins again."""
        while True:
            try:
                return await work()
            except Exception as error:  # noqa: BLE001 (reported; a timer or reader must not end with one failure)
                self.observer.emit(PartFailed(part=_name_of(work), error=f"{type(error).__name__}: {error}"[:500]))
                await self.clock.sleep(RESTART_S)


def telemetry_of(spec: TelemetrySpec, project: str, observer: Observer) -> Tracing:
    """Raises SettingsError when what it needs is not installed."""
    try:
        from accord.engine.telemetry import Telemetry
    except ImportError as error:
        raise SettingsError(
            "Sending traces needs the packages of OpenTelemetry.",
            mend="pip install 'accord-integration[telemetry]'",
            code="engine.telemetry-extra",
        ) from error
    return Telemetry(spec, project, observer)


def tell_state(state_folder: Path, address: str, token: str) -> None:
    """Where the command line finds the engine."""
    path = state_folder / STATE_FILE
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode({"address": address, "token": token}))


def _name_of(work: Callable[[], Coroutine[Any, Any, None]]) -> str:
    function = work.func if isinstance(work, functools.partial) else work
    return str(getattr(function, "__qualname__", function))


def _spark_of(project: Project, state_folder: Path) -> SparkFeed | None:
    """None, and nothing of Spark or Polars is imported, when no flow runs there."""
    if not any(flow.spec.engine == "spark" for flow in project.bulk_flows.values()):
        return None
    from accord.engine.bulk.spark.feed import SparkFeed

    return SparkFeed.of(project, state_folder)
