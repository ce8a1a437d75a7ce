"""``accord up``"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from accord.cli.options import project_options

if TYPE_CHECKING:
    from accord.engine.engine import Engine
    from accord.observe import Observer


@click.command("up")
@project_options
@click.option("--address", default="", help="host:port to listen on, instead of the declared one.")
@click.option("--log", "log", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--verbose", is_flag=True, help="Log debug events too.")
def command(folder: Path, environment: str, address: str, log: str, verbose: bool) -> None:
    """Run the project in this process, until SIGTERM or Ctrl-C: then nothing new is taken and running messages settle."""
    import uvloop

    from accord.observe import Level, Observer

    observer = Observer(level=Level.DEBUG if verbose else Level.INFO, as_json=log == "json")
    uvloop.run(_run(engine_for(folder, environment, observer, address)))


def engine_for(folder: Path, environment: str, observer: Observer | None = None, address: str = "") -> Engine:
    """The engine of a project that passes its check. Raises DeclarationError."""
    from accord.engine.build import engine_of
    from accord.project import load_project

    return engine_of(load_project(folder, environment), observer=observer, address=address)


async def _run(engine: Engine) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await engine.start()
    await stop.wait()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)  # a second Ctrl-C ends at once; the journal bears it
    await engine.stop()
