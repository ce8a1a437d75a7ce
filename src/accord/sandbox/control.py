"""The owner's side: what a launcher or a command in another terminal asks a running stand-in."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from accord.errors import AccordError


class SandboxError(AccordError):
    """The sandbox could not start, is not running, or refused what was asked."""

    code = "sandbox.error"


class Known(msgspec.Struct, frozen=True):
    """A running stand-in as written in ``systems.json``. ``address`` is what customers use."""

    address: str
    control: str
    credentials: dict[str, str]
    smtp: str = ""  # mail: host:port
    database: str = ""  # accounting: SQLAlchemy URL


class Listing(msgspec.Struct, frozen=True):
    """``systems.json``: what runs in a folder."""

    seed: int
    pid: int
    systems: dict[str, Known]


def read_listing(folder: Path) -> Listing:
    """Raises SandboxError when no sandbox was started in the folder."""
    path = folder / "systems.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Listing)
    except msgspec.DecodeError as fault:
        what = f"{path} cannot be read: {fault}."
        raise SandboxError(what, mend="Remove it and start the sandbox again.", code="sandbox.not-running") from fault
    except FileNotFoundError:
        raise SandboxError(
            f"No sandbox runs in {folder}.",
            mend="Start one: accord sandbox up (or name its folder: --folder).",
            code="sandbox.not-running",
        ) from None


def ask(known: Known, method: str, path: str, body: object = None, timeout_s: float = 30.0) -> Any:
    """One request to the owner's entrance; the decoded JSON. Raises SandboxError."""
    parts = urlsplit(known.control)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        payload = msgspec.json.encode(body) if body is not None else None
        connection.request(method, f"/_sandbox/{path}", payload, {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
    except OSError as fault:
        raise SandboxError(
            f"The stand-in at {known.control} does not answer: {fault}.",
            mend="See 'accord sandbox status'.",
            code="sandbox.not-running",
        ) from fault
    finally:
        connection.close()
    found = msgspec.json.decode(text)
    if response.status >= 400:
        raise SandboxError(found["error"]["message"], mend="See 'accord sandbox fault --help'.", code="sandbox.refused")
    return found


def objects(known: Known, kind: str) -> Iterator[dict[str, Any]]:
    """All objects of a kind, page by page."""
    after = ""
    while True:
        page = ask(known, "GET", f"state?kind={quote(kind)}&after={quote(after)}&limit=2000")
        yield from page["objects"]
        after = page["next"]
        if not after:
            return
