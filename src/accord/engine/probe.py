"""The connection test of a system, and its last troubles: what an operator asks of a system that does not do what it should.

What is told never holds a secret of the system's settings: connectors must not put one into a reason, and here it would be masked.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from accord.engine.masking import MASK
from accord.errors import AccordError
from accord.record import Done, Outcome, Reconnect, Reject, Retry
from accord.sdk.connector import Connection
from accord.settings.secret import Secret

TEST_S = 10.0  # for a system to answer a test; longer than any that is well, shorter than a person waits
TROUBLES_MAX = 20  # kept of each system
REASON_LENGTH_MAX = 500
SECRET_LENGTH_MIN = 4  # shorter ones would mask words


class SystemCheck(msgspec.Struct, frozen=True, kw_only=True):
    """``ok`` None: its connector has no test. ``reason``: why not, '' when it is well."""

    system: str
    ok: bool | None
    reason: str
    took_s: float


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """A request that failed. ``kind``: retry, reconnect or reject; of a reject only its code is told, since its reason may quote the
    record."""

    at: dt.datetime
    kind: str
    reason: str


class Troubles:
    """The last of one system, newest last."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, Outcome]] = deque(maxlen=TROUBLES_MAX)

    def add(self, outcome: Outcome) -> None:
        self._kept.append((time.time(), outcome))

    def told(self, settings: Any) -> list[Trouble]:
        """Newest first; secrets of ``settings`` masked."""
        return [
            Trouble(
                at=dt.datetime.fromtimestamp(at, dt.UTC),
                kind=type(outcome).__name__.lower(),
                reason=without_secrets(_reason(outcome), settings),
            )
            for at, outcome in reversed(self._kept)
        ]


async def probe(system: str, connection: Connection, settings: Any) -> SystemCheck:
    """Asks a connection whether address and credentials work, for at most TEST_S. Never raises."""
    if type(connection).check is Connection.check:
        return SystemCheck(system=system, ok=None, reason="its connector has no connection test", took_s=0.0)
    began_s = time.monotonic()
    try:
        async with asyncio.timeout(TEST_S):
            outcome = await connection.check()
        ok, reason = isinstance(outcome, Done), "" if isinstance(outcome, Done) else getattr(outcome, "reason", "")
    except TimeoutError:
        ok, reason = False, f"no answer within {TEST_S:g} s"
    except AccordError as error:
        ok, reason = False, str(error)
    except Exception as error:  # noqa: BLE001 (a connector's defect is an answer too)
        ok, reason = False, f"the connector failed: {type(error).__name__}"
    took_s = round(time.monotonic() - began_s, 3)
    return SystemCheck(system=system, ok=ok, reason=without_secrets(reason, settings), took_s=took_s)


def without_secrets(text: str, settings: Any) -> str:
    """Also without the password of an address that is a secret."""
    for secret in sorted(set(_secrets(settings)), key=len, reverse=True):
        if len(secret) >= SECRET_LENGTH_MIN:
            text = text.replace(secret, MASK)
    return text[:REASON_LENGTH_MAX]


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, Secret):
        whole = value.reveal()
        yield whole
        password = urlsplit(whole).password if "://" in whole else None
        if password:
            yield password
            yield unquote(password)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _secrets(getattr(value, name))
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _secrets(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _secrets(one)


def _reason(outcome: Outcome) -> str:
    match outcome:
        case Retry(reason=reason) | Reconnect(reason=reason):
            return reason
        case Reject(code=code, path=path):
            return f"{code} {path}".strip()
    return type(outcome).__name__.lower()
