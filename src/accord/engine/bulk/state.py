"""What the journal keeps of a bulk flow: its runs, how far the present one is, and where the next one reads on.

It is kept as cursors, which every store has, and which move in the transaction of the rejects: one for the flow's state, one for
the list of runs that have ended, one for what an operator asked for.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

import msgspec

from accord.journal.group import Journal
from accord.record import Cursor, Entity
from accord.record.types import Date, DateTime

RUN_HEADER = "accord-run"  # on a reject: the run it comes from
ROW_HEADER = "accord-row"
RUNS_KEPT = 30  # ended runs of a flow that are remembered
State = Literal["running", "stopped", "failed", "done", "abandoned"]
OPEN: tuple[State, ...] = ("running", "stopped", "failed")  # taken up again, never begun anew


class WriteCounts(msgspec.Struct, kw_only=True):
    """Of one target. ``given``: rows handed to it; ``refused`` ones became rejects. ``checksum``: sum over the rows written, in
    any order. The rest is what the target itself counts, None where it cannot tell."""

    path: str
    target: str
    mode: str
    given: int = 0
    written: int = 0
    refused: int = 0
    checksum: str = "0"
    inserted: int | None = None
    updated: int | None = None
    unchanged: int | None = None
    deleted: int | None = None


class RunRecord(msgspec.Struct, kw_only=True):
    """One run. ``rows`` = ``passed`` + ``rejected`` + ``filtered`` + ``known``. ``known``: read before, in the overlap. ``again``: rejects
    that are dead letters already. ``position``: the connector's, behind the last chunk. ``chunk``: the next one's number. ``seconds`` at
    work. ``settling``: files read to their end whose source may not have heard
    so yet. ``quality``: how its data differs from the last runs'. ``changes``: of the source's columns.
    ``waiting``: why it does nothing just now, ``waiting_since`` when that began.
    ``expected``: about how many rows there are, by the last whole run; 0 when nobody knows."""

    id: str
    flow: str
    started: dt.datetime
    state: State = "running"
    ended: dt.datetime | None = None
    is_whole: bool = True
    since: Any = None
    cursor: Any = None
    position: Any = None
    chunk: int = 0
    is_read_out: bool = False
    rows: int = 0
    passed: int = 0
    rejected: int = 0
    filtered: int = 0
    known: int = 0
    again: int = 0
    writes: list[WriteCounts] = []
    seconds: float = 0.0
    resumed: int = 0
    expected: int = 0
    settling: list[str] = []
    waiting: str = ""
    waiting_since: dt.datetime | None = None
    quality: list[str] = []
    changes: list[str] = []
    code: str = ""
    error: str = ""

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    def copied(self) -> RunRecord:
        copies = [msgspec.structs.replace(one) for one in self.writes]
        return msgspec.structs.replace(self, writes=copies, settling=list(self.settling))

    def restore(self, before: RunRecord) -> None:
        for name in self.__struct_fields__:
            setattr(self, name, getattr(before, name))

    def differences(self) -> list[str]:
        """What does not add up; empty when source = written + rejected + filtered."""
        found = []
        if self.rows != self.passed + self.rejected + self.filtered + self.known:
            found.append(
                f"{self.rows} rows read, but {self.passed} passed + {self.rejected} rejected + {self.filtered} filtered"
                f" + {self.known} known"
            )
        for one in self.writes:
            if one.given != one.written + one.refused:
                found.append(f"{one.target}: {one.given} given, but {one.written} written + {one.refused} refused")
            if one.mode == "append" and one.inserted is not None and one.inserted != one.written:
                found.append(f"{one.target}: {one.written} written, but it counts {one.inserted} inserted")
        return found


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk that is on its way to the targets. ``id``: of this attempt at it. ``passed`` to ``rejected``: by the steps; ``refused``: a
    digest of the rejected rows. ``given``, ``checksums`` and ``orders`` (checksums that heed the order): of each target. ``position``,
    ``is_last``, ``ended``: what is so behind it. ``largest``: of its cursor values, and ``seen`` the identities of its rows within the
    overlap, each with its cursor value."""

    id: str
    number: int
    rows: int
    passed: int
    known: int
    filtered: int
    rejected: int
    refused: str = ""
    given: tuple[int, ...]
    checksums: tuple[str, ...]
    orders: tuple[str, ...] = ()
    position: Any
    is_last: bool
    ended: tuple[str, ...]
    largest: Any = None
    seen: tuple[tuple[Any, str], ...] = ()


class BulkState(msgspec.Struct, kw_only=True):
    """``run``: the present or last one; ``begun``: its chunks without a checkpoint that targets may have, in their order.
    ``watermark``: the largest cursor value of all runs that are done; ``whole``: when everything was last read; ``expected`` rows then.
    ``position``: where a source that only tells changes goes on. ``asked``: number of the last word that was heard."""

    run: RunRecord | None = None
    begun: list[Begun] = []
    watermark: Any = None
    whole: dt.datetime | None = None
    expected: int = 0
    position: Any = None
    asked: int = 0


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's word: ``number`` grows with each. ``fresh``: an open run is given up first. ``accept``: go on whatever the rejects."""

    number: int
    word: Literal["run", "stop"]
    fresh: bool = False
    accept: bool = False


def state_cursor(flow: str) -> str:
    return f"bulk:{flow}"


def runs_cursor(flow: str) -> str:
    return f"bulk:{flow}:runs"


def asked_cursor(flow: str) -> str:
    return f"bulk:{flow}:asked"


def seen_cursor(flow: str) -> str:
    return f"bulk:{flow}:seen"


async def read_state(journal: Journal, flow: str) -> BulkState:
    raw = await journal.reads.cursor(state_cursor(flow))
    return msgspec.json.decode(raw, type=BulkState) if raw else BulkState()


async def read_runs(journal: Journal, flow: str) -> list[RunRecord]:
    """Ended runs, the newest first."""
    raw = await journal.reads.cursor(runs_cursor(flow))
    return msgspec.json.decode(raw, type=list[RunRecord]) if raw else []


async def read_asked(journal: Journal, flow: str) -> Asked | None:
    raw = await journal.reads.cursor(asked_cursor(flow))
    return msgspec.json.decode(raw, type=Asked) if raw else None


def cursor_of(name: str, value: Any) -> Cursor:
    return Cursor(name, msgspec.json.encode(value))


def typed(value: Any, entity: Entity, field: str) -> Any:
    """A cursor value as JSON kept it, in the field's type again; None stays."""
    if value is None:
        return None
    match entity.fields[field].type:
        case DateTime():
            return msgspec.convert(value, dt.datetime)
        case Date():
            return msgspec.convert(value, dt.date)
        case _:
            return value
