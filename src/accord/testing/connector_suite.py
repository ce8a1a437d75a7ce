"""The conformance suite every connector passes: what it declares is what it does.

A connector's author describes one running system as a ``Subject`` (settings, samples, a way to look behind the connector's
back) and hands over a function that makes a fresh one. The suite reads the declared capabilities and runs every check that
they call for. What a connector cannot do yet is declared as a ``Gap``; a gap that no longer exists fails, so the list stays true.

    async with make() as subject: ...              # make is an async context manager: a fresh system for each check
    report = asyncio.run(run_suite(make))
    assert not report.failures, report.table()
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

from accord.engine.http import PooledHttpClient
from accord.record import Entity
from accord.sdk.connector import Connection, ConnectorKind, Context, WriteMode
from accord.sdk.http import InboundRequest

CHECK_TIMEOUT_S = 60.0

Record: TypeAlias = dict[str, Any]


@dataclasses.dataclass(kw_only=True)
class EntityCase:
    """One entity to test with. Every function looks at or changes the system behind the connector's back.

    ``records``: at least three, valid, with different keys, as typed Python values. A key the system assigns itself may be
    left out for writing (then ``identify`` names a field that tells records apart).
    """

    entity: str
    records: Sequence[Record]
    stored: Callable[[], Awaitable[list[Record]]] | None = None  # what the system holds now
    seed: Callable[[Sequence[Record]], Awaitable[None]] | None = (
        None  # put records there, for read, get, update, delete
    )
    touch: Callable[[Record], Awaitable[None]] | None = (
        None  # change this record at the system: read_changes must see it
    )
    changed: Callable[[Record], Record] | None = (
        None  # the record to write with mode update or upsert over a stored one
    )
    refused: Record | None = None  # the system refuses this one for good
    identify: str = ""  # field that tells records apart; the entity's first key field when empty
    modes: Sequence[WriteMode] | None = None  # modes to test when not all declared ones fit this case


@dataclasses.dataclass(kw_only=True)
class CallCase:
    """One operation to call. ``effects`` tells how often it was carried out (or any value that shows a second time)."""

    operation: str
    arguments: Record
    effects: Callable[[], Awaitable[Any]] | None = None
    refused: Record | None = None


@dataclasses.dataclass(kw_only=True)
class WebhookCase:
    """A genuine request, what it must become, and how to sign another body (None: the scheme signs nothing)."""

    request: InboundRequest
    entity: str
    topic: str
    event_id: str = ""
    sign: Callable[[bytes], InboundRequest] | None = None
    signature_header: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gap:
    """A check that does not pass, and whose it is: ``ours`` (to be built), ``theirs`` (the system cannot), ``never`` (by design)."""

    check: str
    whose: Literal["ours", "theirs", "never"]
    why: str


@dataclasses.dataclass(kw_only=True)
class Subject:
    """A running system, seen by the suite. ``unreachable`` and ``garbage`` are settings for an address where nobody listens
    and for one whose answers are nonsense; without them those checks do not apply. ``lose_answers``: while entered, the
    system does the work but its answers are lost."""

    kind: ConnectorKind
    settings: Any
    entities: Mapping[str, Entity]
    folder: Path
    cases: Sequence[EntityCase] = ()
    calls: Sequence[CallCase] = ()
    webhooks: Sequence[WebhookCase] = ()
    unreachable: Any = None
    garbage: Any = None
    lose_answers: Callable[[], AbstractAsyncContextManager[None]] | None = None
    gaps: Sequence[Gap] = ()
    system: str = "subject"

    @asynccontextmanager
    async def connected(self, settings: Any = None) -> AsyncIterator[Connection]:
        """An open connection (to ``settings`` if given), closed at the end together with its HTTP client."""
        http = PooledHttpClient(timeout_s=5.0)
        state = self.folder / ".accord-suite"
        state.mkdir(exist_ok=True)
        context = Context(system=self.system, http=http, folder=self.folder, state_folder=state)
        connection = self.kind.connect(self.settings if settings is None else settings, self.entities, context)
        try:
            await connection.open()
            yield connection
        finally:
            await connection.close()
            await http.close()


Maker: TypeAlias = Callable[[], AbstractAsyncContextManager[Subject]]


class NotApplicable(Exception):
    """The subject does not declare, or the author does not provide, what a check needs."""


class Status(enum.StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    GAP = "gap"
    NOT_APPLICABLE = "not applicable"


@dataclasses.dataclass(frozen=True)
class Result:
    check: str
    status: Status
    why: str = ""


@dataclasses.dataclass(frozen=True)
class Report:
    """One result per check, in the suite's order."""

    results: tuple[Result, ...]

    @property
    def failures(self) -> tuple[Result, ...]:
        return tuple(r for r in self.results if r.status is Status.FAILED)

    @property
    def gaps(self) -> tuple[Result, ...]:
        return tuple(r for r in self.results if r.status is Status.GAP)

    @property
    def passed(self) -> frozenset[str]:
        return frozenset(r.check for r in self.results if r.status is Status.PASSED)

    def table(self) -> str:
        width = max((len(r.check) for r in self.results), default=0)
        return "\n".join(f"{r.check:<{width}}  {r.status:<14}  {r.why}".rstrip() for r in self.results)


Check: TypeAlias = Callable[[Subject], Awaitable[None]]
CHECKS: dict[str, Check] = {}


def check(function: Check) -> Check:
    """Registers a check under its function's name."""
    CHECKS[function.__name__] = function
    return function


def check_names() -> tuple[str, ...]:
    """Names of all checks, for parametrised tests."""
    _load_checks()
    return tuple(CHECKS)


async def run_check(name: str, make: Maker) -> Result:
    """Runs one check on a fresh subject; never raises for what the connector does."""
    _load_checks()
    async with make() as subject:
        unknown = [g.check for g in subject.gaps if g.check not in CHECKS]
        if unknown:
            raise ValueError(f"a gap names the unknown check {unknown[0]}; known: {', '.join(CHECKS)}")
        gap = next((g for g in subject.gaps if g.check == name), None)
        try:
            await asyncio.wait_for(CHECKS[name](subject), CHECK_TIMEOUT_S)
        except NotApplicable as error:
            if gap:
                return Result(name, Status.GAP, f"{gap.whose}: {gap.why}")
            return Result(name, Status.NOT_APPLICABLE, str(error))
        except AssertionError as error:
            if gap:
                return Result(name, Status.GAP, f"{gap.whose}: {gap.why}")
            return Result(name, Status.FAILED, str(error) or _where(error))
        except Exception as error:  # noqa: BLE001 (whatever a connector raises is the finding)
            why = f"{type(error).__name__}: {error} ({_where(error)})"
            return Result(name, Status.GAP, f"{gap.whose}: {gap.why}") if gap else Result(name, Status.FAILED, why)
        if gap:
            return Result(name, Status.FAILED, f"declared as a gap ({gap.why}) but it passes: remove the gap")
        return Result(name, Status.PASSED)


async def run_suite(make: Maker) -> Report:
    """Runs every check, each on a fresh subject."""
    return Report(tuple([await run_check(name, make) for name in check_names()]))


def _where(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} {frame.line}"


def _load_checks() -> None:
    """Importing the modules registers their checks; done late because they import this one."""
    import accord.testing.connector_checks_edges
    import accord.testing.connector_checks_reading
    import accord.testing.connector_checks_writing  # noqa: F401
