"""The conformance suite itself: it finds what is broken, and keeps its list of gaps true."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from accord.record import Done, Entity, Field, Outcome, Reject
from accord.record.types import Integer, String
from accord.sdk.connector import Capabilities, Connection, Idempotency, KindBase, Page, WriteItem, WriteMode
from accord.testing.connector_suite import EntityCase, Gap, Result, Status, Subject, check_names, run_check

THINGS = Entity(name="t.things", key=("id",), fields={"id": Field(type=Integer()), "name": Field(type=String())})
RECORDS = [{"id": n, "name": f"n{n}"} for n in range(1, 4)]


class Memory(Connection):
    """A system in memory that can be told to be wrong in one way."""

    def __init__(self, rows: list[dict[str, Any]], fault: str) -> None:
        self.rows, self.fault = rows, fault

    async def check(self) -> Outcome:
        return Reject("no") if self.fault == "check" else Done()

    async def read(self, entity: Entity, position: Any = None) -> AsyncIterator[Page]:
        start = int(position or 0)
        step = 2 if self.fault == "skips" else 1
        for at in range(start, len(self.rows), step):
            yield Page([self.rows[at]], at + (2 if self.fault == "resume" else 1))
        yield Page([], len(self.rows))

    async def get(self, entity: Entity, key: str) -> Outcome:
        found = [row for row in self.rows if str(row["id"]) == key]
        missing: Outcome = Done(None) if self.fault == "missing" else Reject("none")
        return Done(found[0]) if found else missing

    async def write(self, entity: Entity, mode: WriteMode, items: Sequence[WriteItem]) -> Outcome:
        (item,) = items
        if self.fault == "raises":
            raise ValueError("boom")
        if not item.record["name"]:
            return Reject("empty") if self.fault != "accepts" else Done(item.record)
        if self.fault == "twice" or item.record["id"] not in [row["id"] for row in self.rows]:
            self.rows.append(dict(item.record))
        return Done(item.record)


class MemoryKind(KindBase):
    name: ClassVar[str] = "memory"
    summary: ClassVar[str] = "rows in memory"
    settings: ClassVar[type[msgspec.Struct]] = msgspec.defstruct("None_", [])

    def capabilities(self, settings: Any, entity: Entity) -> Capabilities:
        means = {} if settings == "undeclared" else {WriteMode.UPSERT: Idempotency.UPSERT}
        return Capabilities(read=True, get=True, write=frozenset({WriteMode.UPSERT}), idempotency=means)

    def connect(self, settings: Any, entities: Any, context: Any) -> Memory:
        return Memory(ROWS[str(context.folder)], settings)


ROWS: dict[str, list[dict[str, Any]]] = {}


def run(check: str, fault: str, folder: Path, gaps: Sequence[Gap] = ()) -> Result:
    rows = ROWS[str(folder)] = []

    async def stored() -> list[dict[str, Any]]:
        return list(rows)

    async def seed(records: Sequence[dict[str, Any]]) -> None:
        rows.extend(map(dict, records))

    @asynccontextmanager
    async def make() -> AsyncIterator[Subject]:
        refused = {"id": 9, "name": ""}
        case = EntityCase(entity="things", records=RECORDS, stored=stored, seed=seed, refused=refused)
        entities = {"things": THINGS}
        yield Subject(kind=MemoryKind(), settings=fault, entities=entities, folder=folder, cases=[case], gaps=gaps)

    return asyncio.run(run_check(check, make))


@pytest.mark.parametrize("check", check_names())
def test_a_right_connector_passes(check: str, tmp_path: Path) -> None:
    assert run(check, "", tmp_path).status in (Status.PASSED, Status.NOT_APPLICABLE)


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("undeclared", "declares_consistently"),
        ("check", "check_finds_the_system"),
        ("skips", "reads_everything"),
        ("resume", "reads_on_from_every_position"),
        ("missing", "getting_a_missing_record_is_a_reject"),
        ("twice", "repeats_do_nothing_twice"),
        ("accepts", "refusals_are_rejects"),
        ("raises", "writes_new_records"),
    ],
)
def test_every_fault_is_found(fault: str, check: str, tmp_path: Path) -> None:
    result = run(check, fault, tmp_path)
    assert result.status is Status.FAILED and result.why


def test_gaps_are_listed_and_must_be_true(tmp_path: Path) -> None:
    gap = Gap(check="repeats_do_nothing_twice", whose="ours", why="to be built")
    assert run(gap.check, "twice", tmp_path, [gap]) == Result(gap.check, Status.GAP, "ours: to be built")
    stale = run(gap.check, "", tmp_path, [gap])
    assert stale.status is Status.FAILED and "remove the gap" in stale.why
