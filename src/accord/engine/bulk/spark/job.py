"""What a process of the cluster does with a part: reads it, takes it through the flow's steps, and puts the chunks into files.

The flow is compiled here anew from its declarations, since compiled flows cannot be sent; rows then go exactly the way they go in an
engine. So there is one meaning of a mapping, wherever it runs.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import pickle
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from accord.engine.bulk.mapping import Mapped, Mapper, Portion, Staged
from accord.engine.bulk.reading import Read, with_nulls
from accord.engine.bulk.spark.envelope import NoKey, key_here, opened
from accord.engine.bulk.writing import sum_of
from accord.errors import AccordError
from accord.flow.bulk.compile import BulkFlow
from accord.mapping.environment import Query
from accord.project.load import load_project
from accord.record import Outcome, Reject
from accord.sdk.connector import ReadFailed
from accord.sdk.spread import ReadPart, Stager


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """``files``: the project's declarations and functions by path; ``variables``: those of the process that they refer to.
    ``folder``: where chunks are put, the same place for all processes. ``nulls``: fields the source has no more. ``stagers``: of the flow's
    writes; None where the engine writes."""

    files: Mapping[str, bytes]
    environment: str
    variables: Mapping[str, str]
    flow: str
    run: str
    time: dt.datetime
    nulls: frozenset[str]
    folder: Path
    stagers: tuple[Stager | None, ...] = ()


class Task(msgspec.Struct, frozen=True):
    part: ReadPart
    is_last: bool


class Worked(msgspec.Struct, frozen=True):
    """``chunks``: files with a pickled Mapped each, in order; whoever started the job reads and removes them. ``notes``: for the source's
    connection. ``failed``: why the part could not be read to its end, or a chunk not be staged; its chunks are good up to there."""

    chunks: tuple[str, ...]
    notes: dict[str, str]
    failed: Outcome | None = None


def work(sealed_job: bytes, sealed_task: bytes) -> Worked:
    """Blocking. What is no trouble of the source is raised: Spark then tries the part on another process."""
    try:
        key = key_here("a worker of the Spark cluster")
        job, task = opened(key, "job", sealed_job), opened(key, "task", sealed_task)
    except NoKey as error:
        return Worked((), {}, Reject(str(error), code=error.code))
    return worked(job, task)


def worked(job: Job, task: Task) -> Worked:
    """As ``work``."""
    chunks: list[str] = []
    notes: dict[str, str] = {}
    try:
        for one in _mapped(job, task, notes):
            mapped = _staged(one, job.stagers)
            path = (
                job.folder / f"{uuid.uuid4().hex}.chunk"
            )  # never that of an attempt which Spark gave up and which still runs
            path.write_bytes(pickle.dumps(mapped, protocol=pickle.HIGHEST_PROTOCOL))
            chunks.append(path.name)
    except ReadFailed as failed:
        return Worked(tuple(chunks), notes, failed.outcome)
    return Worked(tuple(chunks), notes)


def _staged(mapped: Mapped, stagers: Sequence[Stager | None]) -> Mapped:
    """What lies beside a target need not come back to the engine. Raises LoadFailed."""
    if not any(stagers):
        return mapped
    portions = tuple(map(_staged_portion, mapped.portions, stagers))
    return msgspec.structs.replace(mapped, portions=portions)


def _staged_portion(portion: Portion, stager: Stager | None) -> Portion:
    if stager is None or not portion.rows:
        return portion
    staged = Staged(portion.rows, sum_of(portion.frame), stager.stage(portion.frame))
    return msgspec.structs.replace(portion, frame=portion.frame.clear(), staged=staged)


def _mapped(job: Job, task: Task, notes: dict[str, str]) -> Iterator[Mapped]:
    flow = _flow_of(job)
    with asyncio.Runner() as runner:
        mapper = runner.run(_mapper(flow, job))
        for read in _reads(task, notes):
            yield runner.run(mapper.map(with_nulls(read, flow.source, job.nulls)))


async def _mapper(flow: BulkFlow, job: Job) -> Mapper:
    return Mapper(flow, _no_references, job.run, job.time)


async def _no_references(queries: Sequence[Query]) -> Sequence[str | None]:
    raise AccordError("ref() cannot be asked where Spark works", mend="Use engine: polars.", code="flow.spark-ref")


def _reads(task: Task, notes: dict[str, str]) -> Iterator[Read]:
    """Of the batches only the very last one of the source is marked."""
    before: Read | None = None
    for batch in task.part.batches(notes):
        if before is not None:
            yield before
        before = Read(msgspec.structs.replace(batch, is_last=False))
    if before is not None:
        batch = msgspec.structs.replace(before.batch, is_last=task.is_last)
        yield Read(batch, task.part.ended)


_flows: dict[tuple[str, str], BulkFlow] = {}  # by run and flow: the process works on many parts


def _flow_of(job: Job) -> BulkFlow:
    key = (job.run, job.flow)
    if key not in _flows:
        with tempfile.TemporaryDirectory(prefix="accord-spark-") as name:
            write_files(Path(name), job.files)
            project = load_project(name, job.environment, resolve_secrets=False, variables=job.variables)
        _flows.clear()
        _flows[key] = project.bulk_flows[job.flow]
    return _flows[key]


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
