"""What every bulk target must do, as checks to run against a real one.

A ``BulkSubject`` gives connections to one table (or folder) of records ``{id: integer, name: string?, amount: decimal?, day: date?,
at: datetime?, ok: boolean?, extra: json?}`` with key ``id``, and reads what it shows. Each check begins with an empty one.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol, cast

from accord.record import Entity, Reject
from accord.record import types as t
from accord.record.columns import schema_of
from accord.record.types import Field
from accord.sdk.bulk import BulkTarget, Chunk, Load, LoadMode, LoadSpec
from accord.sdk.connector import Connection, LoadFailed

if TYPE_CHECKING:
    import polars

FIELDS = {
    "id": Field(type=t.Integer()),
    "name": Field(type=t.String(), nullable=True),
    "amount": Field(type=t.Decimal(), nullable=True),
    "day": Field(type=t.Date(), nullable=True),
    "at": Field(type=t.DateTime(), nullable=True),
    "ok": Field(type=t.Boolean(), nullable=True),
    "extra": Field(type=t.Json(), nullable=True),
}
NOON = dt.datetime(2026, 3, 29, 12, 0, 0, 123456, tzinfo=dt.UTC)


class BulkSubject(Protocol):
    entity: Entity
    run: str  # distinguishes the loads of one check from those of another
    modes: frozenset[LoadMode]
    is_strict: bool  # the target refuses a second row of the same id in append

    def connection(self) -> contextlib.AbstractAsyncContextManager[Connection]: ...

    async def shown(self) -> list[dict[str, Any]]:
        """All records as typed values, by id; versions of a history with ``valid_from``, ``valid_to`` and ``is_current``."""
        ...


def record(id: int, name: str | None = "n", **more: Any) -> dict[str, Any]:
    return {"id": id, "name": name, "amount": None, "day": None, "at": None, "ok": None, "extra": None, **more}


def frame(records: Sequence[dict[str, Any]]) -> polars.DataFrame:
    import polars as pl

    return pl.DataFrame(list(records), schema=schema_of(FIELDS))


@contextlib.asynccontextmanager
async def load(subject: BulkSubject, mode: LoadMode, id: str, **more: Any) -> AsyncIterator[Load]:
    async with subject.connection() as connection:
        spec = LoadSpec(id=f"{id} {subject.run}", mode=mode, key=("id",), fields=tuple(FIELDS), **more)
        made = cast(BulkTarget, connection).load(subject.entity, spec)
        try:
            await made.begin()
            yield made
        finally:
            await made.leave()


async def loaded(subject: BulkSubject, mode: LoadMode, id: str, *chunks: Sequence[dict[str, Any]], **more: Any) -> Any:
    """A whole load; what ``finish`` said."""
    async with load(subject, mode, id, **more) as made:
        for number, records in enumerate(chunks):
            written = await made.write(Chunk(number, frame(records)))
            assert (written.rows, written.rejects) == (len(records), ()), written
        return await made.finish()


async def names(subject: BulkSubject) -> list[tuple[int, str]]:
    return [(one["id"], one["name"]) for one in await subject.shown()]


async def check_values_return_as_they_were(subject: BulkSubject) -> None:
    records = [
        record(
            1, 'Ærøskøbing, "quoted"\nsecond line; 日本 \U0001f600', amount=Decimal("12345678901234567.89"), ok=True
        ),
        record(2, "", amount=Decimal("0.0000000001"), day=dt.date(1, 1, 1), at=NOON, ok=False),
        record(3, None),
        record(2**63 - 1, "\\.", amount=Decimal("-0.5"), day=dt.date(9999, 12, 31), extra='{"a":[1,2.50,null,"x"]}'),
        record(-(2**63), "\\N", at=dt.datetime(1970, 1, 1, tzinfo=dt.UTC), extra='"text"'),
    ]
    await loaded(subject, LoadMode.APPEND, "values", records)
    expected = sorted(records, key=lambda one: one["id"])
    found = await subject.shown()
    assert found == expected, f"{found} instead of {expected}"


async def check_a_chunk_is_written_once(subject: BulkSubject) -> None:
    async with load(subject, LoadMode.APPEND, "once") as first:
        assert not (await first.write(Chunk(0, frame([record(1), record(2)]), "an attempt"))).was_there
    async with load(subject, LoadMode.APPEND, "once") as again:  # as after a kill: nothing but the load's name is known
        if again.tells:
            known = await again.known(0)
            assert known is not None
            assert (known.rows, known.was_there, known.attempt) == (2, True, "an attempt")
            assert await again.known(1) is None
        repeated = await again.write(Chunk(0, frame([record(1), record(2)])))
        assert (repeated.rows, repeated.was_there) == (2, True)
        await again.write(Chunk(1, frame([record(3)])))
        await again.finish()
        await again.finish()
    assert [id for id, _ in await names(subject)] == [1, 2, 3]


async def check_an_empty_load_changes_nothing(subject: BulkSubject) -> None:
    await loaded(subject, LoadMode.APPEND, "some", [record(1)])
    for mode in sorted(subject.modes & {LoadMode.APPEND, LoadMode.UPSERT}):
        await loaded(subject, mode, f"empty {mode}", [])
        await loaded(subject, mode, f"none {mode}")
    assert await names(subject) == [(1, "n")]


async def check_upsert_counts_and_the_last_of_a_key_wins(subject: BulkSubject) -> None:
    await loaded(subject, LoadMode.APPEND, "base", [record(n, "old") for n in range(10)])
    changes = [record(1, "old"), record(2, "first"), record(2, "last"), record(11, "new")]
    told = await loaded(subject, LoadMode.UPSERT, "change", changes, [record(11, "newer")])
    found = dict(await names(subject))
    assert (found[1], found[2], found[11], len(found)) == ("old", "last", "newer", 11)
    if told.inserted is not None:
        assert (told.inserted, told.updated, told.unchanged) == (1, 2, 1)
    again = await loaded(subject, LoadMode.UPSERT, "change again", [record(2, "last"), record(11, "newer")])
    if again.updated is not None:
        assert (again.inserted, again.updated, again.unchanged) == (0, 0, 2)


async def check_replace_shows_all_at_once(subject: BulkSubject) -> None:
    await loaded(subject, LoadMode.APPEND, "base", [record(1, "old"), record(2, "old")])
    async with load(subject, LoadMode.REPLACE, "swap") as made:
        await made.write(Chunk(0, frame([record(2, "new")])))
        assert await names(subject) == [(1, "old"), (2, "old")]
    async with load(subject, LoadMode.REPLACE, "swap") as made:  # killed between the chunks
        assert (await made.write(Chunk(0, frame([record(2, "new")])))).was_there
        await made.write(Chunk(1, frame([record(3, "new")])))
        await made.finish()
        assert await names(subject) == [(2, "new"), (3, "new")]
        await made.finish()
    assert await names(subject) == [(2, "new"), (3, "new")]
    await loaded(subject, LoadMode.REPLACE, "with none")
    assert await names(subject) == []


async def check_an_abandoned_replace_leaves_the_old(subject: BulkSubject) -> None:
    await loaded(subject, LoadMode.APPEND, "base", [record(1, "old")])
    async with load(subject, LoadMode.REPLACE, "given up") as made:
        await made.write(Chunk(0, frame([record(2, "new")])))
        await made.abandon()
    assert await names(subject) == [(1, "old")]


async def check_missing_rows_are_deleted_within_the_guard(subject: BulkSubject) -> None:
    await loaded(subject, LoadMode.APPEND, "base", [record(n, "old") for n in range(10)])
    async with load(subject, LoadMode.DELETE_MISSING, "too many", deleted_share_max=0.2) as made:
        await made.write(Chunk(0, frame([record(n, "old") for n in range(7)])))
        try:
            await made.finish()
        except LoadFailed as failed:
            assert isinstance(failed.outcome, Reject), failed.outcome
            assert "3 of 10" in failed.outcome.reason, failed.outcome
        else:
            raise AssertionError("the guard did not stop the load")
        await made.abandon()
    assert len(await names(subject)) == 10
    kept = [record(n, "new" if n == 0 else "old") for n in range(9)]
    told = await loaded(subject, LoadMode.DELETE_MISSING, "fewer", kept[:5], kept[5:], deleted_share_max=0.2)
    assert await names(subject) == [(one["id"], one["name"]) for one in kept]
    assert told.deleted in (1, None)


async def check_history_keeps_versions(subject: BulkSubject) -> None:
    days = [dt.datetime(2026, 1, day, tzinfo=dt.UTC) for day in (1, 2, 3)]
    for number, (day, name) in enumerate(zip(days, ("a", "b", "b"), strict=True)):
        records = [record(1, name), record(2, "same")]
        told = await loaded(subject, LoadMode.HISTORY, f"day {number}", records, started=day.isoformat())
        assert (told.inserted, told.updated) == ((2, 0), (0, 1), (0, 0))[number], told
    found = [
        (one["id"], one["name"], one["valid_from"], one["valid_to"], one["is_current"]) for one in await subject.shown()
    ]
    assert sorted(found, key=lambda one: one[:3]) == [
        (1, "a", days[0], days[1], False),
        (1, "b", days[1], None, True),
        (2, "same", days[0], None, True),
    ]


async def check_refused_rows_stand_alone(subject: BulkSubject) -> None:
    """Only where ``is_strict``."""
    records = [record(n) for n in range(100)]
    records[7] = record(3, "twice")
    records[50] = record(90, "comes first")
    async with load(subject, LoadMode.APPEND, "strict") as made:
        written = await made.write(Chunk(0, frame(records)))
        assert [reject.row for reject in written.rejects] == [7, 90], written
        assert written.rows == 98
        assert all(reject.path in ("id", "") and reject.reason for reject in written.rejects), written
        again = await made.write(Chunk(0, frame(records)))
        assert (again.was_there, again.rejects) == (True, written.rejects)
        await made.finish()
    assert len(await names(subject)) == 98


ANY = (check_values_return_as_they_were, check_a_chunk_is_written_once, check_an_empty_load_changes_nothing)
OF_MODE = {
    LoadMode.UPSERT: (check_upsert_counts_and_the_last_of_a_key_wins,),
    LoadMode.REPLACE: (check_replace_shows_all_at_once, check_an_abandoned_replace_leaves_the_old),
    LoadMode.DELETE_MISSING: (check_missing_rows_are_deleted_within_the_guard,),
    LoadMode.HISTORY: (check_history_keeps_versions,),
}
CHECKS = {
    check.__name__: check for checks in (ANY, *OF_MODE.values(), (check_refused_rows_stand_alone,)) for check in checks
}


def is_for(name: str, modes: frozenset[LoadMode], *, is_strict: bool) -> bool:
    """Whether a target with these modes has to pass the check."""
    if name == check_refused_rows_stand_alone.__name__:
        return is_strict
    return all(mode in modes for mode, checks in OF_MODE.items() if CHECKS[name] in checks)
