"""An engine from a project and its chosen environment."""

from __future__ import annotations

from accord.engine.engine import Engine, EngineSettings
from accord.engine.intake import Bounds
from accord.engine.retention import Retention
from accord.errors import JournalError
from accord.journal.store import AsyncStore, Store
from accord.journal.stores.memory import MemoryStore
from accord.journal.stores.sqlite import SqliteStore
from accord.observe import Observer
from accord.project import Project
from accord.settings.project_file import EnvironmentSpec

STATE_FOLDER = ".accord"


def engine_of(project: Project, *, observer: Observer | None = None, address: str = "") -> Engine:
    """``address`` (host:port) takes the place of the declared one."""
    spec = project.environment.spec
    if address:
        host, _, port = address.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
    else:
        host, port = spec.host, str(spec.port)
    settings = EngineSettings(
        state_folder=project.folder / STATE_FOLDER,
        host=host,
        port=int(port),
        public_address=spec.public_address,
        bounds=Bounds(
            body_size_bytes_max=spec.intake.body_size_max,
            requests_max=spec.intake.requests_max,
            rate_per_s=spec.intake.rate_per_s,
        ),
        retention=Retention(
            done_s=spec.retention.age.total_seconds(),
            seen_s=spec.retention.age.total_seconds(),
            size_bytes_max=spec.retention.size_max,
        ),
        drain_s=spec.drain.total_seconds(),
        api_token=spec.api_token,
    )
    return Engine(project, settings, store_of(project, spec), observer=observer)


def store_of(project: Project, spec: EnvironmentSpec) -> Store | AsyncStore:
    """Raises JournalError ``journal.extra`` when what the kind of store needs is not installed."""
    if spec.store.kind == "memory":
        return MemoryStore()
    if spec.store.kind == "postgresql":
        return _postgresql_of(spec)
    path = project.folder / spec.store.path
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return SqliteStore(path)


def _postgresql_of(spec: EnvironmentSpec) -> AsyncStore:
    try:
        from accord.journal.stores.postgresql import PostgresqlStore
    except ImportError as error:
        raise JournalError(
            "A journal in PostgreSQL needs the package psycopg.",
            mend="pip install 'accord-integration[postgresql]'",
            code="journal.extra",
        ) from error
    assert spec.store.url is not None
    return PostgresqlStore(spec.store.url.reveal(), spec.store.schema)
