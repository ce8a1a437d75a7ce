"""A supervisor whose first writer is killed before it has read what it was sent; its second one reads until its end.

usage: deaf_writer_project.py FOLDER      Workers that are ready, and the second writer, leave a file in FOLDER.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from accord.engine.workers.supervisor import Supervisor
from accord.observe import Observer

FOLDER = Path(sys.argv[1])


def write_journal(control: socket.socket) -> None:
    is_second = (FOLDER / "2.ready").exists()
    control.send(b"o")
    if is_second:
        (FOLDER / "second").touch()
        while control.recv(1):
            pass
        return
    while not (FOLDER / "2.ready").exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


def work(number: int, to_hub: socket.socket, ready: Callable[[], None]) -> None:
    ready()
    (FOLDER / f"{number}.ready").touch()
    signal.pause()


if __name__ == "__main__":
    sys.exit(Supervisor(2, write_journal, work, Observer(as_json=True), drain_s=5.0).run())
