"""Accord itself: the same project on each store."""

from __future__ import annotations

import functools
import importlib.util
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import ClassVar

from realtime.contender import Contender
from realtime.orders import SECRET

PROJECT = Path(__file__).parent / "project"


@functools.cache
def options_of_up() -> str:
    return subprocess.run(
        [sys.executable, "-m", "accord.cli.main", "up", "--help"], capture_output=True, text=True
    ).stdout


@functools.cache
def store_kinds() -> str:
    from accord.settings.project_file import StoreSpec

    return str(StoreSpec.__annotations__["kind"])


class Accord(Contender):
    name = "accord"
    title = "Accord, SQLite"
    ready_within_s = 60.0
    store = ""
    options: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def version(cls) -> str:
        done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=PROJECT, capture_output=True, text=True)
        return done.stdout.strip()

    @property
    def project(self) -> Path:
        return self.folder / "project"

    def journal_url(self) -> str:
        return ""

    def prepare(self) -> None:
        shutil.copytree(PROJECT, self.project)
        file = self.project / "accord.yaml"
        file.write_text(file.read_text().replace("# store here", self.store))
        self.url = self.journal_url()

    def commands(self) -> list[list[str | Path]]:
        return [[sys.executable, "-m", "accord.cli.main", "up", "--project", self.project, *self.options]]

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "ACCORD_ADDRESS": self.host,
            "SINK": f"http://{self.target}",
            "ACCORD_SECRET_TOKEN": "t",
            "ACCORD_SECRET_HOOK": SECRET,
            "ACCORD_SECRET_JOURNAL": self.url,
        }

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.host}/readyz", timeout=1):
                return True
        except OSError:
            return False


class AccordWorkers(Accord):
    name = "accord-workers"
    title = "Accord, SQLite, --workers 2"
    options = ("--workers", "2")

    @classmethod
    def missing(cls) -> str:
        return "" if "--workers" in options_of_up() else "`accord up` has no --workers here"


class AccordPostgresql(Accord):
    name = "accord-postgresql"
    title = "Accord, PostgreSQL"
    store = "store: {kind: postgresql, url: '${secret:journal}'}"

    def journal_url(self) -> str:
        return self.postgresql()


class AccordJetstream(Accord):
    name = "accord-jetstream"
    title = "Accord, JetStream, one server"
    size = 1

    @classmethod
    def missing(cls) -> str:
        if "jetstream" not in store_kinds():
            return "stores have no kind jetstream here"
        if importlib.util.find_spec("nats") is None:
            return "needs the extra jetstream (nats-py)"
        return "" if shutil.which("nats-server") else "needs the package nats-server (apt-get install)"

    def prepare(self) -> None:
        urls = ", ".join(self.nats(self.size))
        self.store = f"store: {{kind: jetstream, servers: [{urls}], replicas: {self.size}}}"
        super().prepare()


class AccordJetstream3(AccordJetstream):
    name = "accord-jetstream-3"
    title = "Accord, JetStream, three servers on these cores"
    size = 3
