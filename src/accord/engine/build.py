"""An engine from a project and its chosen environment."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from accord.engine.admission import Bounds, SystemBounds
from accord.engine.cluster.cluster import MemberSettings
from accord.engine.engine import Engine, EngineSettings
from accord.engine.retention import Retention
from accord.errors import JournalError
from accord.journal.shared import SharedStore
from accord.journal.store import AsyncStore, Store
from accord.journal.stores.memory import MemoryStore
from accord.journal.stores.sqlite import SqliteStore
from accord.journal.stores.sqlite_replica import SqliteReplica
from accord.observe import Event, Observer
from accord.observe.events import JournalAway, JournalBack, JournalLost, JournalStandsBy, JournalTaken, SnapshotFailed
from accord.project import Project
from accord.settings.project_file import EnvironmentSpec, MembersSpec, StoreSpec

if TYPE_CHECKING:
    from accord.journal.stores.jetstream_log import LogSettings

STATE_FOLDER = ".accord"
BRIEF_CACHE_BYTES = 8 * 1024 * 1024  # of a journal that one command opens: it has no use for what it read long ago


def engine_of(
    project: Project,
    *,
    observer: Observer | None = None,
    address: str = "",
    may_stand_by: bool = False,
    is_member: bool = False,
    is_brief: bool = False,
) -> Engine:
    """``address`` (host:port) takes the place of the declared one. ``may_stand_by``: where another engine has a journal that can be
    taken over, the start waits for that instead of failing. ``is_member``: joins the others on a journal that is declared to be
    shared; else it is alone on it. ``is_brief``: for one command, whose memory stays small."""
    observer = observer or Observer()
    spec = project.environment.spec
    if is_member and spec.members is not None:
        settings = settings_of(project, address, member=member_of(spec.members))
        return Engine(project, settings, _shared_store_of(spec), observer=observer)
    store = store_of(project, spec, observer, may_stand_by=may_stand_by, is_brief=is_brief)
    settings = settings_of(project, address, may_stand_by=may_stand_by and spec.store.kind == "jetstream")
    return Engine(project, settings, store, observer=observer)


def settings_of(
    project: Project, address: str = "", *, member: MemberSettings | None = None, may_stand_by: bool = False
) -> EngineSettings:
    """``member``: for an engine on a SharedStore."""
    spec = project.environment.spec
    if address:
        host, _, port = address.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
    else:
        host, port = spec.host, str(spec.port)
    return EngineSettings(
        state_folder=project.folder / STATE_FOLDER,
        host=host,
        port=int(port),
        public_address=spec.public_address,
        bounds=Bounds(
            body_size_bytes_max=spec.intake.body_size_max,
            requests_max=spec.intake.requests_max,
            requests_per_system_max=spec.intake.requests_per_system_max,
            rate_per_s=spec.intake.rate_per_s,
            backlog_max=spec.intake.backlog_max,
        ),
        system_bounds={
            name: SystemBounds(rate_per_s=system.intake.rate_per_s, backlog_max=system.intake.backlog_max)
            for name, system in project.systems.items()
        },
        retention=Retention(
            done_s=spec.retention.age.total_seconds(),
            seen_s=spec.retention.age.total_seconds(),
            size_bytes_max=spec.retention.size_max,
        ),
        drain_s=spec.drain.total_seconds(),
        api_token=spec.api_token,
        monitor=spec.monitor,
        member=member,
        may_stand_by=may_stand_by,
        metrics=spec.metrics,
        telemetry=spec.telemetry,
    )


def member_of(spec: MembersSpec) -> MemberSettings:
    name = spec.name or f"{socket.gethostname()} {spec.address}"
    return MemberSettings(name=name, address=spec.address, secret=spec.secret, linger_s=spec.linger.total_seconds())


def store_of(
    project: Project,
    spec: EnvironmentSpec,
    observer: Observer | None = None,
    *,
    may_stand_by: bool = False,
    is_brief: bool = False,
) -> Store | AsyncStore:
    """Raises JournalError ``journal.extra`` when what the kind of store needs is not installed."""
    if spec.store.kind == "memory":
        return MemoryStore()
    if spec.store.kind == "postgresql":
        return _postgresql_of(spec)
    if spec.store.kind == "jetstream":
        return _jetstream_of(project, spec, observer or Observer(), may_stand_by=may_stand_by)
    path = project.folder / spec.store.path
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return SqliteStore(path, cache_bytes=BRIEF_CACHE_BYTES) if is_brief else SqliteStore(path)


def _postgresql_of(spec: EnvironmentSpec) -> AsyncStore:
    try:
        from accord.journal.stores.postgresql import PostgresqlStore
    except ImportError as error:
        raise _no_psycopg() from error
    assert spec.store.url is not None
    return PostgresqlStore(spec.store.url.reveal(), spec.store.schema)


def _jetstream_of(project: Project, spec: EnvironmentSpec, observer: Observer, *, may_stand_by: bool) -> AsyncStore:
    settings = log_settings_of(spec.store)
    from accord.journal.stores.jetstream import JetStreamStore
    from accord.journal.stores.jetstream_keep import KeepSettings

    def tell(state: str, what: str) -> None:
        events: dict[str, Event] = {
            "standby": JournalStandsBy(owner=what),
            "active": JournalTaken(),
            "fenced": JournalLost(owner=what),
            "away": JournalAway(reason=what),
            "back": JournalBack(),
            "no-snapshot": SnapshotFailed(reason=what),
        }
        observer.emit(events[state])

    path = project.folder / spec.store.path
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    keep = KeepSettings(entries=spec.store.snapshot_entries)
    return JetStreamStore(settings, SqliteReplica(path), tell=tell, keep=keep, may_stand_by=may_stand_by)


def log_settings_of(store: StoreSpec) -> LogSettings:
    """Raises JournalError ``journal.extra``."""
    try:
        from accord.journal.stores.jetstream_log import LogSettings
    except ImportError as error:
        raise JournalError(
            "A journal in NATS JetStream needs the package nats-py.",
            mend="pip install 'accord-integration[jetstream]'",
            code="journal.extra",
        ) from error
    return LogSettings(
        servers=tuple(store.servers),
        stream=store.stream,
        replicas=store.replicas,
        credentials=store.credentials.reveal() if store.credentials else "",
    )


def _shared_store_of(spec: EnvironmentSpec) -> SharedStore:
    try:
        from accord.journal.stores.postgresql_member import PostgresqlMember
    except ImportError as error:
        raise _no_psycopg() from error
    assert spec.store.url is not None
    return PostgresqlMember(spec.store.url.reveal(), spec.store.schema)


def _no_psycopg() -> JournalError:
    mend = "pip install 'accord-integration[postgresql]'"
    return JournalError("A journal in PostgreSQL needs the package psycopg.", mend=mend, code="journal.extra")
