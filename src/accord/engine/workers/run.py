"""``accord up --workers``: the project runs in worker processes, in front of one journal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from accord.engine.build import settings_of, store_of
from accord.engine.cluster.cluster import MemberSettings
from accord.engine.collector import calm_collector
from accord.engine.engine import STATE_FILE, Engine, Site, tell_state
from accord.engine.server import BACKLOG, address_of, bound_socket
from accord.engine.workers.supervisor import Supervisor
from accord.engine.workers.writer import write_journal
from accord.errors import AccordError
from accord.journal.hub.store import HubStore
from accord.journal.parts import PartedStore
from accord.journal.shared import PARTS
from accord.observe import Observer
from accord.project import Project
from accord.settings.secret import Secret

_SOCKET_PATH_BYTES_MAX = 100  # what fits into an address of the operating system


def cores() -> int:
    """How many this process may use: no more than it is allowed to run on, nor than the quota of its control group."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, _cores_of_group() or allowed))


def _cores_of_group() -> int:
    """As the control group's quota says (cgroup v2 ``cpu.max``: quota and period in microseconds), rounded up; 0: no quota."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
        return 0 if quota == "max" else -(-int(quota) // int(period))
    except (OSError, ValueError):
        return 0


def run_workers(
    project: Project,
    workers: int,
    observer: Observer,
    address: str = "",
    *,
    site: Callable[[Engine], Site] | None = None,
) -> int:
    """``workers`` 0: one for each core; every one of them serves the pages of ``site``. Until SIGTERM or SIGINT; the exit status.

    Raises OSError when the address cannot be had, AccordError when the kind of journal
    cannot be shared by workers."""
    store = _parted(project)
    settings = settings_of(project, address)
    token = settings.api_token or Secret(secrets.token_urlsafe(24))
    settings = msgspec.structs.replace(settings, api_token=token, tells_state=False)
    settings.state_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    listener = bound_socket(settings.host, settings.port)
    with listener, _meeting_place(settings.state_folder) as meeting_place:
        listener.listen(BACKLOG)
        shown = address_of(settings.host, listener)
        settings = msgspec.structs.replace(settings, port=int(shown.rpartition(":")[2]))
        member_secret = Secret(secrets.token_urlsafe(32))

        def work(number: int, to_hub: socket.socket, ready: Callable[[], None]) -> None:
            member = MemberSettings(
                name=f"worker {number}", address=f"unix:{meeting_place / str(number)}", secret=member_secret
            )
            hub_store = HubStore(to_hub, on_lost=lambda: os._exit(1))
            own = msgspec.structs.replace(settings, member=member)
            engine = Engine(project, own, hub_store, observer=observer, listener=listener)
            engine.site = site
            uvloop.run(_run(engine, ready))

        supervisor = Supervisor(
            workers or min(PARTS, cores()),
            lambda control: write_journal(store, control),
            work,
            observer,
            drain_s=settings.drain_s,
            on_ready=lambda: tell_state(settings.state_folder, "http://" + shown, token.reveal()),
        )
        calm_collector()
        try:
            return supervisor.run()
        finally:
            (settings.state_folder / STATE_FILE).unlink(missing_ok=True)


async def _run(engine: Engine, ready: Callable[[], None]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await engine.start()
    ready()
    stopped, failed = asyncio.ensure_future(stop.wait()), asyncio.ensure_future(engine.failed.wait())
    await asyncio.wait((stopped, failed), return_when=asyncio.FIRST_COMPLETED)
    for one in (stopped, failed):
        one.cancel()
    await engine.stop()
    if engine.failure is not None:
        raise engine.failure


def _parted(project: Project) -> PartedStore:
    spec = project.environment.spec
    if spec.store.kind not in ("sqlite", "memory"):
        raise AccordError(
            f"The workers of one machine share a journal in a file; this project's is of kind {spec.store.kind}.",
            mend="Start `accord up` several times instead, each with an --address of its own.",
            code="engine.workers-store",
        )
    return cast(PartedStore, store_of(project, spec))


@contextlib.contextmanager
def _meeting_place(state_folder: Path) -> Iterator[Path]:
    """A folder for the workers' sockets to each other, readable by their owner only."""
    folder = state_folder / "workers"
    if len(os.fsencode(folder.absolute())) < _SOCKET_PATH_BYTES_MAX:
        folder.mkdir(mode=0o700, exist_ok=True)
    else:
        folder = Path(tempfile.mkdtemp(prefix="accord-"))
    try:
        yield folder.absolute()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
