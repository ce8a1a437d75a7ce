"""What flows, their steps and the systems did over the last two days, in a small file beside the journal.

Every SAMPLE_S seconds what was counted since the last sample is written: rows of SAMPLE_S for an hour, and of a minute for KEPT_S, which
are added up from the former. What did nothing has no row. Each process writes rows of its own (``origin``); readers add them up. The
file never waits for the disk: a power cut may cost it, and then it begins anew.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from accord.engine.clock import Clock
from accord.engine.side_file import SideFile
from accord.errors import JournalError
from accord.observe.metrics import HistogramView, Metrics

SAMPLE_S, ROLLED_S = 10, 60  # seconds that one row covers
FINE_S, KEPT_S = 3_600, 48 * 3_600
SERIES_MAX = 1_000  # rows of one sample: flows, steps and systems that did something in it; more are left out
POINTS_MAX = 120  # of one answer
SCHEMA = """
CREATE TABLE IF NOT EXISTS store (id TEXT NOT NULL);
INSERT INTO store SELECT lower(hex(randomblob(8))) WHERE NOT EXISTS (SELECT 1 FROM store);
CREATE TABLE IF NOT EXISTS samples (
  period INT, kind TEXT, name TEXT, at INT, part TEXT, origin TEXT, done INT, failed INT, retried INT, open INT, times TEXT,
  PRIMARY KEY (period, kind, name, at, part, origin)) WITHOUT ROWID;
"""

Kind = Literal["flow", "step", "system"]


class Span(msgspec.Struct, kw_only=True):
    """What happened in one span of time. ``at``: its beginning, seconds since 1970. ``done``, ``failed``, ``retried``: messages of a flow
    (retried: attempts that will be repeated), tries of a step, requests to a system. ``open``: messages not settled, at most.
    ``times``: how long each took, by bucket of ``metrics.BOUNDS_S``. ``part``: the path of a step."""

    at: int
    part: str = ""
    done: int = 0
    failed: int = 0
    retried: int = 0
    open: int = 0
    times: dict[int, int] = {}

    def add(self, other: Span) -> None:
        """Of the same time, another process's: open messages are counted by each of them."""
        self.done += other.done
        self.failed += other.failed
        self.retried += other.retried
        self.open = max(self.open, other.open)
        self.times = dict(Counter(self.times) + Counter(other.times))

    def quantile_s(self, share: float) -> float | None:
        return HistogramView(sum(self.times.values()), 0.0, self.times).quantile(share)

    @property
    def is_empty(self) -> bool:
        return not (self.done or self.failed or self.retried or self.open or self.times)


class History:
    """``counts``: (flow, state) → messages in the journal; asked at every sample."""

    def __init__(
        self, path: Path, metrics: Metrics, counts: Callable[[], Awaitable[Mapping[tuple[str, str], int]]], clock: Clock
    ) -> None:
        self._file = SideFile(path, SCHEMA, synchronous="OFF")
        self._metrics = metrics
        self._counts = counts
        self._clock = clock
        self._origin = secrets.token_hex(4)
        self._before: dict[tuple[Kind, str, str], Span] = {}
        self._rolled_until = 0  # seconds since 1970; 0: what an earlier process left may have to be rolled up

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(SAMPLE_S)
            with contextlib.suppress(JournalError):  # away for the moment: the picture has a gap
                await self.sample(await self._counts())

    async def sample(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Writes what was counted since the last one."""
        now = int(self._clock.now().timestamp())
        at = now // SAMPLE_S * SAMPLE_S
        rows = self._rows(at, counts)
        try:
            await self._file.run(lambda db: self._write(db, now, rows))
        except sqlite3.DatabaseError as error:
            if not str(error).startswith(("database disk image", "file is not a database")):
                raise
            await self._file.discard()  # cut off by a power cut; only pictures are lost

    def _rows(self, at: int, counts: Mapping[tuple[str, str], int]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for (kind, name, part), total in self._totals(counts).items():
            before = self._before.get((kind, name, part), Span(at=0))
            times = {bucket: n - before.times.get(bucket, 0) for bucket, n in total.times.items()}
            span = Span(
                at=at,
                part=part,
                done=total.done - before.done,
                failed=total.failed - before.failed,
                retried=total.retried - before.retried,
                open=total.open,
                times={bucket: n for bucket, n in times.items() if n},
            )
            self._before[kind, name, part] = total
            if not span.is_empty and len(rows) < SERIES_MAX:
                rows.append(_row(SAMPLE_S, kind, name, self._origin, span))
        return rows

    def _totals(self, counts: Mapping[tuple[str, str], int]) -> dict[tuple[Kind, str, str], Span]:
        view = self._metrics.view()
        found: dict[tuple[Kind, str, str], Span] = {}
        for (flow, state), number in counts.items():
            if state in ("ready", "waiting", "held"):
                found.setdefault(("flow", flow, ""), Span(at=0)).open += number
        for name, one in view.flows.items():
            span = found.setdefault(("flow", name, ""), Span(at=0))
            span.done, span.failed = one.attempts.get("done", 0), one.attempts.get("dead", 0)
            span.retried, span.times = one.attempts.get("waiting", 0), one.duration.buckets
            for path, histogram in one.steps.items():
                found["step", name, path] = Span(at=0, done=histogram.count, times=histogram.buckets)
        for name, system in view.systems.items():
            done = system.requests.get("done", 0)
            failed = sum(system.requests.values()) - done
            found["system", name, ""] = Span(at=0, done=done, failed=failed, times=system.duration.buckets)
        return found

    def _write(self, db: sqlite3.Connection, now: int, rows: Sequence[tuple[Any, ...]]) -> None:
        db.executemany("INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        minute = now // ROLLED_S * ROLLED_S
        if minute <= self._rolled_until:
            return
        own = self._origin if self._rolled_until else ""
        _roll_up(db, self._rolled_until or minute - FINE_S, minute, own)
        self._rolled_until = minute
        for period, kept_s in ((SAMPLE_S, FINE_S + ROLLED_S), (ROLLED_S, KEPT_S)):
            db.execute("DELETE FROM samples WHERE period = ? AND at < ?", (period, now - kept_s))

    async def read(self, kind: Kind, name: str, since_s: int) -> dict[str, list[Span]]:
        """By the id of the file: spans that have something in them, oldest first, each as long as ``span_s(since_s)``."""
        now = int(self._clock.now().timestamp())
        return await self._file.run(lambda db: _read(db, kind, name, now - since_s, span_s(since_s)))

    async def close(self) -> None:
        """After a last sample."""
        await self._file.close()


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One span as it is shown: counts, and quantiles of how long things took (None: nothing did)."""

    at: int
    done: int
    failed: int
    retried: int
    open: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None


class HistoryView(msgspec.Struct, frozen=True, kw_only=True):
    """``points``: oldest first, each of ``span_s`` seconds; spans in which nothing happened are left out. ``steps``: of a flow, the whole
    time as one point by the path of each effect that was tried."""

    kind: Kind
    name: str
    since: int
    until: int
    span_s: int
    points: list[Point]
    steps: dict[str, Point]


def point_of(span: Span) -> Point:
    return Point(
        at=span.at,
        done=span.done,
        failed=span.failed,
        retried=span.retried,
        open=span.open,
        p50_s=span.quantile_s(0.5),
        p95_s=span.quantile_s(0.95),
        p99_s=span.quantile_s(0.99),
    )


def by_part(spans: Iterable[Span]) -> dict[str, Point]:
    """Spans of many times as one of each part."""
    found: dict[str, Span] = {}
    for span in spans:
        found.setdefault(span.part, Span(at=span.at, part=span.part)).add(span)
    return {part: point_of(span) for part, span in sorted(found.items())}


def span_s(since_s: int) -> int:
    """Seconds that one span covers, so that there are POINTS_MAX of them at most: a multiple of what a row covers."""
    period = SAMPLE_S if since_s <= FINE_S else ROLLED_S
    return -(-since_s // (POINTS_MAX * period)) * period


def together(found: Iterable[Sequence[Span]]) -> list[Span]:
    """Several files' spans, added up by time and part, oldest first."""
    spans: dict[tuple[int, str], Span] = {}
    for one in found:
        for span in one:
            same = spans.setdefault((span.at, span.part), Span(at=span.at, part=span.part))
            same.add(span)
    return [spans[at] for at in sorted(spans)]


def _row(period: int, kind: str, name: str, origin: str, span: Span) -> tuple[Any, ...]:
    times = msgspec.json.encode(span.times).decode()
    return (period, kind, name, span.at, span.part, origin, span.done, span.failed, span.retried, span.open, times)


def _roll_up(db: sqlite3.Connection, since: int, until: int, origin: str) -> None:
    """Rows of a minute from those of the minutes in [since, until); of one origin ('': of all). Doing it again changes nothing."""
    where = "period = ? AND at >= ? AND at < ?" + (" AND origin = ?" if origin else "")
    given = (SAMPLE_S, since // ROLLED_S * ROLLED_S, until, *((origin,) if origin else ()))
    found: dict[tuple[str, str, str, str, int], Span] = {}
    columns = "kind, name, origin, at, part, done, failed, retried, open, times"
    for kind, name, origin_, *rest in db.execute(f"SELECT {columns} FROM samples WHERE {where}", given):  # noqa: S608 (constants)
        span = _span(rest)
        at = span.at // ROLLED_S * ROLLED_S
        found.setdefault((kind, name, origin_, span.part, at), Span(at=at, part=span.part)).add(span)
    rows = [_row(ROLLED_S, kind, name, origin_, span) for (kind, name, origin_, _, _), span in found.items()]
    db.executemany("INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def _read(db: sqlite3.Connection, kind: str, name: str, since: int, length: int) -> dict[str, list[Span]]:
    store = db.execute("SELECT id FROM store").fetchone()[0]
    period = SAMPLE_S if length < ROLLED_S else ROLLED_S
    sql = (
        "SELECT at, part, done, failed, retried, open, times FROM samples"
        " WHERE period = ? AND kind = ? AND name = ? AND at >= ?"
    )
    spans = [_span(row) for row in db.execute(sql, (period, kind, name, since // length * length))]
    for span in spans:
        span.at = span.at // length * length
    return {store: together([spans])}


def _span(row: Sequence[Any]) -> Span:
    at, part, done, failed, retried, open_, times = row
    return Span(
        at=at,
        part=part,
        done=done,
        failed=failed,
        retried=retried,
        open=open_,
        times=msgspec.json.decode(times, type=dict[int, int]),
    )
