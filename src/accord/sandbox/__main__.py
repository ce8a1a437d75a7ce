"""One stand-in as a process: ``python -m accord.sandbox NAME CONFIG``; says ``ready`` on stdout, ends when stdin closes."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import sys
from pathlib import Path

import msgspec
import uvloop

from accord.sandbox.launcher import SYSTEMS
from accord.sandbox.system import Config, System


async def _serve(kind: type[System], config: Config) -> None:
    system = kind(config)

    def on_parent_gone() -> None:
        if not os.read(sys.stdin.fileno(), 1024):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            os.kill(os.getpid(), signal.SIGTERM)

    def on_ready() -> None:
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), on_parent_gone)
        sys.stdout.write("ready\n")
        sys.stdout.flush()

    await system.run(on_ready)


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] not in SYSTEMS:
        sys.stderr.write(f"usage: python -m accord.sandbox {{{','.join(SYSTEMS)}}} CONFIG\n")
        return 2
    config = msgspec.json.decode(Path(arguments[1]).read_bytes(), type=Config)
    kind: type[System] = importlib.import_module(f"accord.sandbox.{arguments[0]}").SYSTEM
    uvloop.run(_serve(kind, config))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
