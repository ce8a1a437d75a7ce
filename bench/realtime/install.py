"""Installs peers from PyPI and npm into ``bench/.peers`` (not in git), once; says why when it cannot."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

from realtime.contender import BENCH

PEERS = BENCH / ".peers"
WITHIN_S = 900.0
NODE = "node@24"  # newer than many distributions have


def _run(command: list[str | Path], cwd: Path, env: dict[str, str] | None = None) -> str:
    """'' or why it failed."""
    try:
        done = subprocess.run(
            [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=WITHIN_S
        )
    except subprocess.TimeoutExpired:
        return f"{command[0]} took longer than {WITHIN_S:.0f} s"
    return "" if done.returncode == 0 else f"{command[0]}: {done.stderr.strip()[-200:]}"


@functools.cache
def python() -> str:
    """Why the virtual environment of the Python peers could not be made; '' when it is there."""
    mark = PEERS / "venv/installed"
    wanted = (BENCH / "peers/requirements.txt").read_text()
    if mark.exists() and mark.read_text() == wanted:
        return ""
    print("installing the Python peers", flush=True)
    PEERS.mkdir(exist_ok=True)
    if why_not := _run([sys.executable, "-m", "venv", PEERS / "venv"], PEERS):
        return why_not
    pip = [PEERS / "venv/bin/python", "-m", "pip", "--disable-pip-version-check", "-q", "install"]
    if why_not := _run([*pip, "-r", BENCH / "peers/requirements.txt"], PEERS):
        return why_not
    mark.write_text(wanted)
    return ""


@functools.cache
def version_of(package: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([PEERS / "venv/bin/python", "-c", code], capture_output=True, text=True).stdout.strip()


@functools.cache
def npm(name: str, package: str, *options: str) -> str:
    """Installs a package and a Node of its own, each into a folder; '' or why not."""
    if shutil.which("npm") is None:
        return "needs npm"
    wanted = " ".join((NODE, package, *options))
    mark = PEERS / name / "installed"
    if mark.exists() and mark.read_text() == wanted:
        return ""
    for folder, what, more in ((PEERS / "node", NODE, ()), (PEERS / name, package, options)):
        if (folder / "installed").exists() and folder.name == "node":
            continue
        print(f"installing {what}", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}')
        command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", *more, what]
        if why_not := _run([*command], folder, node_environment()):
            return why_not
        (folder / "installed").write_text(wanted)
    return ""


def node() -> Path:
    return PEERS / "node/node_modules/.bin/node"


def node_environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{node().parent}:{os.environ['PATH']}"}
