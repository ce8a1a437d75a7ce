"""Arrival, positions, moving, crashes in between, and nothing outside the folder."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.connectors.files.share import pages_of, records, share

from accord.record import Reconnect
from accord.sdk.connector import ReadFailed

TEXT = st.characters(codec="utf-8", exclude_characters="\x00\r")
TWO = {"id": "integer", "name": "string"}


def test_reading_on_from_every_position_gives_exactly_the_rest(tmp_path: Path) -> None:
    files = share(tmp_path)
    for number in range(3):
        rows = "".join(f'{number * 10 + i},"line\n{i}"\n' for i in range(7))
        path = files.put(f"o{number}.csv", "id,name\n" + rows)
        os.utime(path, (1000 + number, 1000 + number))

    async def scene() -> None:
        entity = files.entity(pattern="*.csv", fields=TWO, page_rows=2)
        async with files.open() as connection:
            pages = await pages_of(connection, entity)
            whole = records(pages)
            assert [r["id"] for r in whole] == [n * 10 + i for n in range(3) for i in range(7)]
            ids = [name for page in pages for name in page.event_ids]
            assert len(set(ids)) == 21
            for index, page in enumerate(pages):
                rest = await pages_of(connection, entity, page.position)
                seen = records(pages[: index + 1])
                assert seen + records(rest) == whole
                assert [n for p in rest for n in p.event_ids] == ids[len(seen) :]
            assert [p.name for p in pages if p.is_last] == ["o0.csv", "o1.csv", "o2.csv"]

    asyncio.run(scene())


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.text(TEXT, max_size=12), max_size=9),
    page_rows=st.integers(1, 4),
)
def test_any_text_comes_back_from_csv(
    tmp_path_factory: pytest.TempPathFactory, values: list[str], page_rows: int
) -> None:
    import csv

    files = share(tmp_path_factory.mktemp("any"))
    with (files.root / "o.csv").open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(["id", "name"])
        writer.writerows(enumerate(values))

    async def scene() -> None:
        entity = files.entity(pattern="*.csv", fields=TWO, page_rows=page_rows, trim=False)
        async with files.open() as connection:
            pages = await pages_of(connection, entity)
            assert [r["name"] for r in records(pages)] == values
            for index, page in enumerate(pages):
                rest = await pages_of(connection, entity, page.position)
                assert records(pages[: index + 1]) + records(rest) == records(pages)

    asyncio.run(scene())


def test_settled_files_move_and_never_overwrite(tmp_path: Path) -> None:
    files = share(tmp_path)

    async def scene() -> None:
        entity = files.entity(pattern="in/*.csv", fields=TWO)
        async with files.open() as connection:
            for number in range(3):
                files.put("in/o.csv", f"id,name\n{number},a\n")
                (page,) = await pages_of(connection, entity)
                await connection.settled(entity, page.name, rejected=False)
                await connection.settled(entity, page.name, rejected=False)  # idempotent
                assert await pages_of(connection, entity, page.position) == []
            files.put("in/o.csv", "no,header\n1,2\n")
            (page,) = await pages_of(connection, entity)
            await connection.settled(entity, page.name, rejected=False)
        done = sorted(p.relative_to(files.root).as_posix() for p in files.root.rglob("*") if p.is_file())
        assert done == [
            "processed/in/o-1.csv",
            "processed/in/o-2.csv",
            "processed/in/o.csv",
            "rejected/in/o.csv",
            "rejected/in/o.csv.reason.txt",
        ]
        assert "lacks the column" in (files.root / "rejected/in/o.csv.reason.txt").read_text()

    asyncio.run(scene())


def test_a_crash_between_accepting_and_moving_is_repaired(tmp_path: Path) -> None:
    files = share(tmp_path)
    files.put("o.csv", "id,name\n1,a\n")

    async def scene() -> None:
        entity = files.entity(pattern="*.csv", fields=TWO)
        async with files.open() as connection:
            (page,) = await pages_of(connection, entity)
        async with files.open() as connection:
            (again,) = await pages_of(connection, entity, page.position)
            assert (again.records, again.name, again.is_last) == ([], "o.csv", True)
            (files.root / "processed").mkdir()
            os.link(files.root / "o.csv", files.root / "processed/o.csv")  # and one between link and unlink
            await connection.settled(entity, again.name, rejected=False)
        assert [p.name for p in files.root.rglob("*.csv")] == ["o.csv"] and (files.root / "processed/o.csv").exists()

    asyncio.run(scene())


def test_kept_files_are_read_once_and_stay(tmp_path: Path) -> None:
    files = share(tmp_path)
    os.utime(files.put("a.csv", "id,name\n1,a\n"), (1000, 1000))

    async def scene() -> None:
        entity = files.entity(pattern="*.csv", fields=TWO, keep=True)
        async with files.open() as connection:
            (first,) = await pages_of(connection, entity)
            await connection.settled(entity, first.name, rejected=False)
            assert await pages_of(connection, entity, first.position) == []
            files.put("b.csv", "id,name\n2,b\n")
            (second,) = await pages_of(connection, entity, first.position)
            assert [r["id"] for r in second.records] == [2]
            assert await pages_of(connection, entity, second.position) == []
        assert sorted(p.name for p in files.root.iterdir()) == ["a.csv", "b.csv"]

    asyncio.run(scene())


def test_a_new_file_of_the_same_name_is_new(tmp_path: Path) -> None:
    files = share(tmp_path)
    os.utime(files.put("o.csv", "id,name\n1,a\n2,b\n"), (1000, 1000))

    async def scene() -> None:
        entity = files.entity(pattern="*.csv", fields=TWO, page_rows=1)
        async with files.open() as connection:
            first = await pages_of(connection, entity)
            os.utime(files.put("o.csv", "id,name\n3,c\n4,d\n"), (2000, 2000))
            for page in first:
                later = await pages_of(connection, entity, page.position)
                assert [r["id"] for r in records(later)] == [3, 4]
                assert not {n for p in later for n in p.event_ids} & {n for p in first for n in p.event_ids}

    asyncio.run(scene())


def test_a_growing_file_has_not_arrived(tmp_path: Path) -> None:
    files = share(tmp_path)
    path = files.put("o.csv", "id,name\n")
    stop = threading.Event()

    def grow() -> None:
        with path.open("a") as out:
            for number in range(1000):
                out.write(f"{number},x\n")
                out.flush()
                if stop.wait(0.01):
                    return

    async def scene() -> None:
        entity = files.entity(pattern="*.csv", fields=TWO)
        async with files.open(stable=dt.timedelta(milliseconds=200)) as connection:
            writer = threading.Thread(target=grow)
            writer.start()
            try:
                assert await pages_of(connection, entity) == []
            finally:
                stop.set()
                writer.join()
            for _ in range(5):
                found = records(await pages_of(connection, entity))
                if found:
                    break
            assert len(found) == len(path.read_text().splitlines()) - 1

    asyncio.run(scene())


def test_nothing_outside_the_folder_is_read_or_written(tmp_path: Path) -> None:
    files = share(tmp_path)
    outside = tmp_path / "secret"
    outside.mkdir()
    (outside / "s.csv").write_text("id,name\n1,secret\n")
    (files.root / "link.csv").symlink_to(outside / "s.csv")
    (files.root / "in").symlink_to(outside)
    files.put("good.csv", "id,name\n2,good\n")

    async def scene() -> None:
        async with files.open() as connection:
            for pattern in ("*.csv", "in/*.csv", "**/*.csv"):
                found = records(await pages_of(connection, files.entity(pattern=pattern, fields=TWO)))
                assert all(r["name"] == "good" for r in found), pattern
            from accord.connectors.files.folder import Outside

            with pytest.raises(Outside):
                await connection.settled(files.entity(pattern="*.csv"), "../secret/s.csv", rejected=False)
            with pytest.raises(Outside):
                await connection.settled(files.entity(pattern="*.csv"), "in/s.csv", rejected=False)
        assert (outside / "s.csv").exists()

    asyncio.run(scene())


def test_a_folder_that_is_not_mounted_is_reconnect(tmp_path: Path) -> None:
    files = share(tmp_path)
    files.root.rmdir()

    async def scene() -> None:
        async with files.open() as connection:
            assert isinstance(await connection.check(), Reconnect)
            with pytest.raises(ReadFailed) as failed:
                await pages_of(connection, files.entity(pattern="*.csv"))
            assert isinstance(failed.value.outcome, Reconnect)

    asyncio.run(scene())
