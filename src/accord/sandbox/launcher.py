"""Starts stand-ins as child processes, each on its own ports, and stops only those.

The launcher binds every port and keeps it bound without listening, so that no other program takes it while a stand-in is
down or restarts (Linux lets a second socket with SO_REUSEADDR listen there). A child ends by itself when the launcher dies:
it watches a pipe.
"""

from __future__ import annotations

import os
import random
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import msgspec

from accord.sandbox.control import Known, Listing, SandboxError, ask, objects, read_listing

SYSTEMS = ("shop", "inventory", "shipping", "accounting", "mail", "crm", "marketing", "helpdesk")
CREDENTIALS: dict[str, tuple[str, ...]] = {
    "shop": ("access_token", "webhook_secret"),
    "inventory": ("token",),
    "shipping": ("api_key", "webhook_secret"),
    "accounting": (),
    "mail": ("username", "password"),
    "marketing": ("token",),
    "helpdesk": ("api_key", "webhook_secret"),
    "crm": ("client_id", "client_secret", "username"),
}
READY_WITHIN_S = 30.0
STOP_WITHIN_S = 10.0
ORDERS_AT_ONCE_MAX = 500


class Sandbox:
    """Stand-ins in ``folder``; the same seed gives the same data and credentials. Not for use by several threads.

    ``settings`` are per system, e.g. ``{"shipping": {"dispatch_after_s": 0.5}}``; see docs/guides/sandbox.md.
    ``ports`` fixes main ports (``{"shop": 8101}``); others are free ones. State in the folder survives; ``fresh`` drops it.
    """

    def __init__(
        self,
        folder: Path | str,
        systems: Sequence[str] = SYSTEMS,
        seed: int = 7,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        ports: Mapping[str, int] | None = None,
    ) -> None:
        unknown = [name for name in systems if name not in SYSTEMS]
        if unknown:
            raise SandboxError(
                f"There is no stand-in {', '.join(unknown)}.",
                mend=f"Known: {', '.join(SYSTEMS)}.",
                code="sandbox.unknown-system",
            )
        self.folder = Path(folder).resolve()
        self.names = tuple(dict.fromkeys(systems))
        self.seed = seed
        self.settings = {name: dict((settings or {}).get(name, {})) for name in self.names}
        self.wanted_ports = dict(ports or {})
        self.systems: dict[str, Known] = {}
        self._held: list[socket.socket] = []
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._ready: set[str] = set()

    # --- life

    def start(self) -> Sandbox:
        """Starts every child; ``wait_ready`` waits for them. Raises SandboxError when the folder is in use."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._refuse_second()
        for name in self.names:
            self._configure(name)
        listing = Listing(self.seed, os.getpid(), self.systems)
        _write_private(self.folder / "systems.json", msgspec.json.format(msgspec.json.encode(listing), indent=2))
        _write_private(self.folder / "sandbox.env", self.environment_text().encode())
        for name in self.names:
            self._launch(name)
        return self

    def wait_ready(self, within_s: float = READY_WITHIN_S) -> Sandbox:
        """Raises SandboxError when a child ends or is not ready in time; its log says why."""
        deadline = time.monotonic() + within_s
        for name in self.names:
            if name not in self._ready:
                self._wait_child(name, deadline)
        return self

    def stop(self) -> None:
        """SIGTERM to every child of this launcher, SIGKILL to those that do not end in time; frees the ports."""
        for child in self._children.values():
            if child.poll() is None:
                child.terminate()
        for name in list(self._children):
            self._reap(name, STOP_WITHIN_S)
        for held in self._held:
            held.close()
        self._held.clear()
        if self.systems:
            (self.folder / "systems.json").unlink(missing_ok=True)

    def kill(self, name: str) -> None:
        """SIGKILL: the process is gone at once, its state stays."""
        self._children[name].kill()
        self._reap(name, STOP_WITHIN_S)

    def restart(self, name: str) -> None:
        """Ends the process if it runs, starts it again on the same ports with the same state, and waits until ready."""
        if name in self._children:
            self._children[name].terminate()
            self._reap(name, STOP_WITHIN_S)
        self._launch(name)
        self._wait_child(name, time.monotonic() + READY_WITHIN_S)

    def __enter__(self) -> Sandbox:
        try:
            return self.start().wait_ready()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def ended(self) -> dict[str, int]:
        """Children that ended by themselves: name to exit code."""
        codes = {name: child.poll() for name, child in self._children.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def pid(self, name: str) -> int:
        return self._children[name].pid

    # --- use

    def address(self, name: str) -> str:
        return self.systems[name].address

    def credentials(self, name: str) -> dict[str, str]:
        return self.systems[name].credentials

    def fault(self, name: str, **fault: Any) -> dict[str, float]:
        """Sets faults (fields of FaultRequest: ``down=True, for_s=20``); the faults now in force."""
        found: dict[str, float] = ask(self.systems[name], "POST", "fault", fault)["faults"]
        return found

    def clear(self, name: str = "") -> None:
        """Ends all faults of one system, or of all."""
        for each in [name] if name else self.names:
            self.fault(each, clear=True)

    def reset(self, name: str = "") -> None:
        """Drops the state of one system, or of all, and seeds again. Registered webhooks are dropped too."""
        for each in [name] if name else self.names:
            ask(self.systems[each], "POST", "reset", {})

    def health(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = ask(self.systems[name], "GET", "health")
        return found

    def counts(self, name: str) -> dict[str, int]:
        found: dict[str, int] = ask(self.systems[name], "GET", "state")["counts"]
        return found

    def objects(self, name: str, kind: str) -> Iterator[dict[str, Any]]:
        """All objects of a kind, read in pages."""
        return objects(self.systems[name], kind)

    def state(self, name: str) -> dict[str, list[dict[str, Any]]]:
        """Every kind with all its objects; for many objects use ``objects``."""
        kinds = ask(self.systems[name], "GET", "state")["kinds"]
        return {kind: list(self.objects(name, kind)) for kind in kinds}

    def place_orders(self, count: int, rate: float | None = None, **options: Any) -> list[dict[str, Any]]:
        """Random but seeded orders placed in the shop, ``rate`` a second (None: as fast as it can): id, name, total of each."""
        placed: list[dict[str, Any]] = []
        while len(placed) < count:
            portion = min(
                count - len(placed), ORDERS_AT_ONCE_MAX if rate is None else max(1, int(rate * 5)), ORDERS_AT_ONCE_MAX
            )
            body = {"count": portion, "rate": rate, **options}
            placed += ask(self.systems["shop"], "POST", "orders", body, timeout_s=120.0)["orders"]
        return placed

    # --- what a project needs

    def environment(self) -> dict[str, str]:
        """Addresses and credentials as environment variables: SHOP_ADDRESS, ACCOUNTING_URL, MAIL_PORT …; credentials also as
        a project's secrets: ``${secret:shop_access_token}`` is ACCORD_SECRET_SHOP_ACCESS_TOKEN."""
        found: dict[str, str] = {}
        for name, known in self.systems.items():
            found[f"{name}_address".upper()] = known.address
            for key, value in known.credentials.items():
                found[f"{name}_{key}".upper()] = found[f"ACCORD_SECRET_{name}_{key}".upper()] = value
            if known.database:
                found["ACCOUNTING_URL"] = known.database
            if known.smtp:
                found["MAIL_HOST"], _, found["MAIL_PORT"] = known.smtp.rpartition(":")
        return found

    def environment_text(self) -> str:
        return "".join(f"{name}={value}\n" for name, value in sorted(self.environment().items()))

    # --- inside

    def _refuse_second(self) -> None:
        """Two launchers in one folder would share state files and overwrite each other's addresses."""
        path = self.folder / "systems.json"
        if not path.exists():
            return
        pid = read_listing(self.folder).pid
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return  # left behind by a launcher that was killed
        except PermissionError:
            pass  # alive, of another user
        mend = f"Stop process {pid}, or choose another folder; if {pid} is no sandbox, remove {path}."
        raise SandboxError(f"A sandbox already runs in {self.folder}.", mend=mend, code="sandbox.already-running")

    def _configure(self, name: str) -> None:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        ports = {"main": self._hold_port(self.wanted_ports.get(name, 0)), "control": self._hold_port(0)}
        if name == "mail":
            ports["smtp"] = self._hold_port(self.wanted_ports.get("smtp", 0))
        dice = random.Random(f"{self.seed}:credentials:{name}")
        credentials = {key: f"{name}-{dice.getrandbits(96):024x}" for key in CREDENTIALS[name]}
        host, settings = "127.0.0.1", self.settings[name]
        config = {
            "name": name, "folder": str(folder), "seed": self.seed, "ports": ports, "credentials": credentials,
            "settings": settings, "host": host,
        }  # fmt: skip
        _write_private(folder / "config.json", msgspec.json.encode(config))
        database = settings.get("database_url") or f"sqlite:///{folder / 'accounting.db'}"
        self.systems[name] = Known(
            f"{'https' if settings.get('tls') else 'http'}://{host}:{ports['main']}",
            f"http://{host}:{ports['control']}",
            credentials,
            smtp=f"{host}:{ports['smtp']}" if name == "mail" else "",
            database=database if name == "accounting" else "",
        )

    def _hold_port(self, port: int) -> int:
        held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            held.bind(("127.0.0.1", port))
        except OSError as fault:
            held.close()
            raise SandboxError(
                f"Port {port} is taken: {fault}.", mend="Choose another with --port.", code="sandbox.port-taken"
            ) from fault
        number: int = held.getsockname()[1]
        if sys.platform == "linux":
            self._held.append(held)
        else:
            held.close()
        return number

    def _launch(self, name: str) -> None:
        folder = self.folder / name
        with (folder / "log.txt").open("ab") as log:
            self._children[name] = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "accord.sandbox", name, str(folder / "config.json")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl+C reaches the launcher only, which stops its children in order
            )

    def _wait_child(self, name: str, deadline: float) -> None:
        child = self._children[name]
        if _line_within(child.stdout, deadline) == b"ready\n":
            self._ready.add(name)
            return
        log = (self.folder / name / "log.txt").read_text(errors="replace")[-1500:].strip()
        code = child.poll()
        why = f"ended with code {code}" if code is not None else "is not ready in time"
        raise SandboxError(
            f"The stand-in {name} {why}: {log}", mend=f"See {self.folder / name / 'log.txt'}.", code="sandbox.not-ready"
        )

    def _reap(self, name: str, within_s: float) -> None:
        child = self._children.pop(name)
        self._ready.discard(name)
        try:
            child.wait(within_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


def _line_within(pipe: Any, deadline: float) -> bytes:
    """The first line of a pipe, or what came before it ended or the deadline passed."""
    source: BinaryIO = pipe
    ready, _, _ = select.select([source], [], [], max(0.0, deadline - time.monotonic()))
    return source.readline() if ready else b""


def _write_private(path: Path, content: bytes) -> None:
    """Replaces the file whole, readable by its owner only: it holds credentials."""
    temporary = path.with_suffix(path.suffix + ".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    temporary.replace(path)
