"""``accord up``"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from accord.cli.options import project_options
from accord.errors import AccordError

if TYPE_CHECKING:
    from accord.engine.engine import Engine

PORT_MAX = 65_535
WORKERS_MAX = 64  # as many as a journal has parts


def _address(context: click.Context, parameter: click.Parameter, value: str) -> str:
    host, _, port = value.rpartition(":")
    if value and not (host and port.isascii() and port.isdigit() and int(port) <= PORT_MAX):
        raise click.BadParameter(f"'{value}' is not like 127.0.0.1:8400 (port 0 takes a free one)")
    return value


def _workers(context: click.Context, parameter: click.Parameter, value: str) -> int:
    """0 for ``auto``."""
    if value == "auto":
        return 0
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= WORKERS_MAX):
        raise click.BadParameter(f"'{value}' is neither a number from 1 to {WORKERS_MAX} nor auto")
    return int(value)


@click.command("up")
@project_options
@click.option("--address", default="", callback=_address, help="host:port to listen on, instead of the declared one.")
@click.option(
    "--log", "log", type=click.Choice(["text", "json"]), default="text", show_default=True, help="The log's form."
)
@click.option("--verbose", is_flag=True, help="Log debug events too.")
@click.option(
    "--workers",
    default="1",
    show_default=True,
    callback=_workers,
    metavar="N|auto",
    help="Run in so many processes on one address and one journal in a file; auto: one for each core.",
)
def command(folder: Path, environment: str, address: str, log: str, verbose: bool, workers: int) -> None:
    """Run the project, until SIGTERM or Ctrl-C.

    Then nothing new is taken, running messages settle and the journal closes. The log goes to standard error. Secrets and
    environment variables must be there. Where the journal can be taken over (store of kind jetstream) and another engine has it, this
    one stands by until that one ends.
    """
    from accord.monitor import monitor_of
    from accord.observe import Level, Observer
    from accord.project import load_project

    observer = Observer(level=Level.DEBUG if verbose else Level.INFO, as_json=log == "json")
    project = load_project(folder, environment)
    if workers != 1:
        from accord.engine.workers.run import run_workers

        with _telling_address(address or project.environment.spec.address):
            sys.exit(run_workers(project, workers, observer, address, site=monitor_of))
    import uvloop

    from accord.engine.build import engine_of

    engine = engine_of(project, observer=observer, address=address, may_stand_by=True, is_member=True)
    engine.site = monitor_of
    uvloop.run(run(engine))


@contextlib.contextmanager
def _telling_address(where: str) -> Iterator[None]:
    """An address that cannot be had is the operator's to mend."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
            raise
        why = "is taken by another program" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        mend = "Stop what listens there, or give another with --address (port 0 takes a free one)."
        raise AccordError(f"The address {where} {why}.", mend=mend, code="cli.address") from error


async def run(engine: Engine) -> None:
    """Until a signal. Raises AccordError when the address cannot be had, or when the engine has stopped working by itself."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with _telling_address(f"{engine.settings.host}:{engine.settings.port}"):
        if not await _started(engine, stop):
            return
    from accord.engine.collector import calm_collector

    calm_collector()
    lost = asyncio.create_task(engine.journal.wait_lost())
    stopped = asyncio.create_task(stop.wait())
    failed = asyncio.create_task(engine.failed.wait())
    await asyncio.wait([lost, stopped, failed], return_when=asyncio.FIRST_COMPLETED)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)  # a second Ctrl-C ends at once; the journal bears it
    await engine.stop()
    stopped.cancel()
    failed.cancel()
    if engine.failure is not None:
        raise engine.failure
    if lost.done():
        raise lost.result()  # another engine has the journal: whoever watches this process starts it again, to stand by
    lost.cancel()


async def _started(engine: Engine, stop: asyncio.Event) -> bool:
    """False when it was stopped before it was ready, as one is that stands by."""
    start = asyncio.create_task(engine.start())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([start, stopped], return_when=asyncio.FIRST_COMPLETED)
    if start.done():
        stopped.cancel()
        await start
        return True
    while not start.done():
        start.cancel()  # again: before Python 3.12 a wait that ends at the same moment may swallow it
        await asyncio.wait([start], timeout=1)
    return False
