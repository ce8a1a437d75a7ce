"""Commands on pages that are marked for it run as they stand, and show what the page says they show.

Before a ``console`` block stands ``<!-- runs -->``, or ``<!-- runs in the background -->`` for one that goes on while the rest
of the page runs. A line after a ``$`` line must be in the output, ``…`` standing for anything.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"<!-- (runs(?: in the background)?) -->\n```console\n(.*?)```", re.DOTALL)
PAGES = [p for p in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if BLOCK.search(p.read_text("utf-8"))]
LOOKS = ("cat ", "accord messages", "accord status", "accord dead list")  # may be asked again until it is so
WITHIN_S = 30.0


class Terminal:
    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.at = home / "here"
        self.at.mkdir()
        scripts = home / "bin"
        scripts.mkdir()
        command = scripts / "accord"
        command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m accord "$@"\n')
        command.chmod(0o755)
        path = f"{scripts}:{os.environ['PATH']}"
        self.environment = {"HOME": str(home), "PATH": path, "ACCORD_ADDRESS": f"127.0.0.1:{self.port}"}
        self.engine: subprocess.Popen[bytes] | None = None

    def types(self, line: str, expected: list[str]) -> None:
        if line.startswith("cd "):
            self.at = self.at / line[3:]
            return
        deadline = time.monotonic() + (WITHIN_S if line.startswith(LOOKS) else 0)
        while True:
            done = subprocess.run(
                line,
                shell=True,
                cwd=self.at,
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            missing = [wanted for wanted in expected if not _shows(wanted, done.stdout)]
            if done.returncode == 0 and not missing:
                return
            assert time.monotonic() < deadline, f"$ {line}\n{done.stdout}\n{done.stderr}\nmissing: {missing}"
            time.sleep(0.05)

    def starts(self, line: str) -> None:
        self.engine = subprocess.Popen(shlex.split(line), cwd=self.at, env=self.environment)
        deadline = time.monotonic() + WITHIN_S
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2):
                    return
            except OSError:
                assert self.engine.poll() is None and time.monotonic() < deadline, "it did not get ready"
                time.sleep(0.05)


def _shows(wanted: str, output: str) -> bool:
    """A line of the output holds the parts between the ellipses, in this order."""
    pattern = re.compile(".*".join(re.escape(part) for part in wanted.split("…")))
    return any(pattern.search(line) for line in output.splitlines())


@pytest.fixture
def terminal(tmp_path):
    opened = Terminal(tmp_path)
    yield opened
    if opened.engine is not None and opened.engine.poll() is None:
        opened.engine.send_signal(signal.SIGTERM)
        try:
            assert opened.engine.wait(WITHIN_S) == 0
        finally:
            opened.engine.kill()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_runs_as_it_stands(page, terminal):
    for how, text in BLOCK.findall(page.read_text("utf-8")):
        commands = [part.split("\n") for part in re.split(r"^\$ ", text, flags=re.MULTILINE) if part.strip()]
        for line, *shown in commands:
            if "background" in how:
                terminal.starts(line)
            else:
                terminal.types(line, [wanted for wanted in shown if wanted.strip()])


def test_the_first_steps_are_among_them():
    assert "getting-started.md" in [page.name for page in PAGES]
