"""Engines without the wait for their imports: a process that has loaded `accord up` forks one for each line it reads.

A line is ``{"arguments": […], "environment": {…}, "log": "file"}``; the answers are the child's pid, and its exit code (negative for
a signal) once it has ended. The child is a process like any other: own journal, own sockets, own death. Arguments name more modules
to load.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.metadata
import os
import sys

import msgspec

from accord.observe import crash_points

PROGRAM = "accord.cli.main"
_LOADED = (
    *("accord.cli.up", "accord.engine.build", "accord.project", "uvloop", "httptools"),
    *("pyreqwest.client", "sqlalchemy.dialects.sqlite", "rich.console"),
)


class Order(msgspec.Struct):
    arguments: list[str]
    environment: dict[str, str]
    log: str


def main() -> None:
    for name in (PROGRAM, *_LOADED, *sys.argv[1:]):
        importlib.import_module(name)
    with contextlib.suppress(ImportError):  # its driver is an extra
        importlib.import_module("accord.journal.stores.postgresql_member")
    with contextlib.suppress(ImportError):
        importlib.import_module("accord.journal.stores.jetstream")
    for group in ("accord.connectors", "accord.steps"):
        for entry_point in importlib.metadata.entry_points(group=group):
            entry_point.load()
    gc.freeze()
    for line in sys.stdin.buffer:
        order = msgspec.json.decode(line, type=Order)
        child = os.fork()
        if child == 0:
            _become(order)
        _say(child)
        _say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def _become(order: Order) -> None:
    code = 70
    try:
        os.environ.update(order.environment)
        log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 2)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(2, 1)
        crash_points.arm(os.environ.get(crash_points.VARIABLE, ""))
        sys.argv = ["accord", *order.arguments]
        importlib.import_module(PROGRAM).main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
