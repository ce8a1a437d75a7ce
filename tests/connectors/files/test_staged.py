"""Chunks of a data set that other processes write: the same files as the engine's own, each row once wherever a load was cut off."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import pickle
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.connectors.files.share import Share, share

from accord.connectors.files import dataset
from accord.record import Entity, Retry
from accord.record.columns import schema_of
from accord.sdk.bulk import Chunk, LoadMode, LoadSpec, Written
from accord.sdk.connector import LoadFailed
from accord.sdk.spread import SpreadLoad, Stager

SPEC = LoadSpec(id="run-0", mode=LoadMode.APPEND)
CHUNKS = [[(1, "DE"), (2, None), (3, "DE")], [(4, "a/b"), (5, "FR")]]


def entity_of(files: Share, form: str = "parquet") -> Entity:
    fields = {"id": "integer", "country": "string?"}
    return files.entity(fields=fields, dataset="sales", format=form, partition=["country"])


@contextlib.asynccontextmanager
async def loading(files: Share, entity: Entity, spec: LoadSpec = SPEC) -> AsyncIterator[Any]:
    async with files.open() as connection:
        load = connection.load(entity, spec)  # type: ignore[attr-defined]
        await load.begin()
        yield load
        await load.leave()


def frame_of(entity: Entity, number: int) -> pl.DataFrame:
    return pl.DataFrame(CHUNKS[number], schema=schema_of(entity.fields), orient="row")


async def staged(load: Any, entity: Entity, number: int, attempt: str = "a") -> Chunk:
    """As a process of a cluster gives it back."""
    assert isinstance(load, SpreadLoad)
    stager: Stager = pickle.loads(pickle.dumps(await load.stager()))
    held = pickle.loads(pickle.dumps(stager.stage(frame_of(entity, number))))
    return Chunk(number, frame_of(entity, number).clear(), attempt, held)


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def ids(root: Path) -> list[int]:
    return sorted(i for path in root.glob("sales/**/*.parquet") for i in pl.read_parquet(path, glob=False)["id"])


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("mode", [LoadMode.APPEND, LoadMode.REPLACE])
def test_files_and_markers_are_those_of_a_load_without_other_processes(
    tmp_path: Path, form: str, mode: LoadMode
) -> None:
    async def scene(name: str, *, spread: bool) -> dict[str, bytes]:
        (tmp_path / name).mkdir()
        files = share(tmp_path / name)
        entity = entity_of(files, form)
        async with loading(files, entity, LoadSpec(id="run-0", mode=mode)) as load:
            stager = await load.stager() if spread else None
            for number in range(2):
                frame = frame_of(entity, number)
                chunk = Chunk(number, frame, "a")
                if stager is not None:
                    chunk = Chunk(number, frame.clear(), "a", stager.stage(frame))
                    assert len(tree(files.root / "sales")) == (2 * number if mode is LoadMode.APPEND else 0)
                assert await load.write(chunk) == Written(frame.height)
                assert (await load.write(chunk)).was_there
            assert (await load.finish()).inserted == 5
        return tree(files.root)

    alone, together = asyncio.run(scene("alone", spread=False)), asyncio.run(scene("together", spread=True))
    assert together == alone
    assert len([name for name in alone if name.startswith("sales/country=")]) == 4


async def write_cut_off(load: Any, chunk: Chunk) -> None:
    """Its files are there, its marker is not."""

    def cut_off(path: Path, write: Any) -> None:
        raise OSError(errno.EIO, "cut off")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(dataset, "whole", cut_off)
        with pytest.raises(LoadFailed):
            await load.write(chunk)


def test_a_load_that_is_cut_off_before_its_marker_has_every_row_once(tmp_path: Path) -> None:
    files = share(tmp_path)
    entity = entity_of(files)

    async def scene() -> None:
        async with loading(files, entity) as load:
            chunk = await staged(load, entity, 0)
            await write_cut_off(load, chunk)
            assert ids(files.root) == [1, 2, 3] and await load.known(0) is None
        async with loading(files, entity) as load:
            assert not (await load.write(await staged(load, entity, 0, "b"))).was_there
        async with loading(files, entity) as load:
            again = await load.write(await staged(load, entity, 0, "c"))
            assert (again.was_there, again.attempt) == (True, "b")
            await load.write(await staged(load, entity, 1))
            await load.finish()

    asyncio.run(scene())
    assert ids(files.root) == [1, 2, 3, 4, 5]
    assert not [name for name in tree(files.root) if "staged" in name]


def test_a_chunk_that_was_cut_off_and_comes_with_other_rows_leaves_no_file_behind(tmp_path: Path) -> None:
    files = share(tmp_path)
    entity = entity_of(files)

    async def scene() -> None:
        async with loading(files, entity) as load:
            await load.write(Chunk(0, frame_of(entity, 0), "a"))
            await write_cut_off(load, Chunk(1, frame_of(entity, 1), "a"))
            assert ids(files.root) == [1, 2, 3, 4, 5]
        async with loading(files, entity) as load:
            assert ids(files.root) == [1, 2, 3]
            await load.write(Chunk(1, frame_of(entity, 1)[1:], "b"))
            await load.finish()

    asyncio.run(scene())
    assert ids(files.root) == [1, 2, 3, 5]


def test_what_a_killed_pass_has_staged_goes_and_its_processes_write_no_more(tmp_path: Path) -> None:
    files = share(tmp_path)
    entity = entity_of(files)

    async def scene() -> None:
        async with files.open() as connection:
            killed: Any = connection.load(entity, SPEC)  # type: ignore[attr-defined]
            await killed.begin()
            stager = await killed.stager()
            stager.stage(frame_of(entity, 0))
            assert len([name for name in tree(files.root) if "/staged/" in name]) == 2
            async with loading(files, entity) as load:
                assert tree(files.root) == {}
                chunk = await staged(load, entity, 1)
                with pytest.raises(LoadFailed) as caught:
                    stager.stage(frame_of(entity, 0))
                assert isinstance(caught.value.outcome, Retry)
                await load.write(chunk)
                await load.finish()

    asyncio.run(scene())
    assert ids(files.root) == [4, 5]
    assert not [name for name in tree(files.root) if "staged" in name]


def test_a_data_set_on_another_disk_gets_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = share(tmp_path)
    entity = entity_of(files)
    replace = Path.replace

    def across(self: Path, target: Path) -> Path:
        if "staged" in self.parts and "staged" not in target.parts:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return replace(self, target)

    async def scene() -> None:
        async with loading(files, entity) as load:
            chunk = await staged(load, entity, 0)
            monkeypatch.setattr(Path, "replace", across)
            await load.write(chunk)
            await load.finish()

    asyncio.run(scene())
    assert ids(files.root) == [1, 2, 3]
    assert not [name for name in tree(files.root) if "staged" in name or name.endswith(".tmp")]
