"""Chunks from a Spark cluster, in the order of the source: parts go out in waves, chunks come back through a folder.

While the chunks of one wave are written to targets, the cluster works on the next. What is on disk is at most two waves.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import re
import shutil
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from accord.engine.bulk.mapping import Mapped
from accord.engine.bulk.spark.envelope import prepare_key, sealed
from accord.engine.bulk.spark.job import Job, Task, Worked, work
from accord.engine.bulk.spark.session import SparkFault, session_of
from accord.errors import AccordError
from accord.project import Project
from accord.project.snapshot import take_snapshot
from accord.record import Retry
from accord.sdk.connector import ReadFailed
from accord.sdk.spread import ReadPart, SpreadSource, Stager
from accord.settings.spark import SparkSpec

PARTS_PER_CORE = 2  # of a wave: enough that a slow part does not leave the other cores idle
_VARIABLE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)")


class SparkFeed:
    """``folder``: for chunks on their way; every process of the cluster must see it under this path."""

    def __init__(self, spec: SparkSpec, files: Mapping[str, bytes], environment: str, folder: Path) -> None:
        self._spec = spec
        self._files = files
        self._environment = environment
        self._folder = folder

    @classmethod
    def of(cls, project: Project, state_folder: Path) -> SparkFeed:
        """With the declarations as they are now."""
        snapshot = take_snapshot(project.folder)
        functions = sorted((project.folder / "functions").glob("*.py"))
        files = dict(snapshot.files) if snapshot is not None else {}
        files |= {path.relative_to(project.folder).as_posix(): path.read_bytes() for path in functions}
        return cls(project.environment.spec.spark, files, project.environment.name, _folder_of(project, state_folder))

    async def mapped(
        self,
        flow: str,
        run: str,
        time: Any,
        source: SpreadSource,
        parts: Sequence[ReadPart],
        nulls: frozenset[str],
        stagers: Sequence[Stager | None],
        *,
        at_once: int = 1,
    ) -> AsyncGenerator[Mapped, None]:
        """``stagers``: by which chunks are written beside their targets; None where this engine writes. ``at_once``: parts that are read at
        the same time; 1: as many as the cluster has cores. Raises ReadFailed, SparkFault."""
        if not self._files:
            raise SparkFault("A project that is not in a folder cannot be sent to Spark.", mend="Use engine: polars.")
        if not parts:
            return
        key = prepare_key(self._spec.master)
        context = (await asyncio.to_thread(session_of, self._spec)).sparkContext
        folder = self._folder / run
        await asyncio.to_thread(_emptied, folder)
        job = Job(
            files=self._files,
            environment=self._environment,
            variables=_variables(self._files),
            flow=flow,
            run=run,
            time=time,
            nulls=nulls,
            folder=folder,
            stagers=tuple(stagers),
        )
        sent = _Sent(run, flow, sealed(key, "job", job))
        tasks = [sealed(key, "task", Task(part, number == len(parts) - 1)) for number, part in enumerate(parts)]
        size = max(1, int(context.defaultParallelism)) * PARTS_PER_CORE
        waves = [tasks[start : start + size] for start in range(0, len(tasks), size)]
        coming = asyncio.ensure_future(asyncio.to_thread(_collected, context, sent, waves[0], at_once))
        try:
            for number in range(len(waves)):
                wave = await coming
                if number + 1 < len(waves):
                    coming = asyncio.ensure_future(
                        asyncio.to_thread(_collected, context, sent, waves[number + 1], at_once)
                    )
                for worked in wave:
                    source.heard(worked.notes)
                    for name in worked.chunks:
                        yield await asyncio.to_thread(_taken, folder / name)
                    if worked.failed is not None:
                        raise ReadFailed(worked.failed)
        finally:
            if not coming.done():
                await asyncio.to_thread(context.cancelJobGroup, run)
            await asyncio.gather(coming, return_exceptions=True)
            await asyncio.to_thread(shutil.rmtree, folder, True)


class _Sent(NamedTuple):
    """``job``: in its envelope."""

    run: str
    flow: str
    job: bytes


def _collected(context: Any, sent: _Sent, tasks: Sequence[bytes], at_once: int) -> list[Worked]:
    """One job of Spark: a task per part, or ``at_once`` tasks with several parts each.

    Raises ReadFailed for what has failed on every attempt.
    """
    context.setJobGroup(sent.run, f"accord {sent.flow}", interruptOnCancel=True)
    slices = len(tasks) if at_once == 1 else min(at_once, len(tasks))
    try:
        found: list[Worked] = context.parallelize(tasks, slices).map(partial(work, sent.job)).collect()
    except AccordError:
        raise
    except Exception as error:
        raise ReadFailed(Retry(f"Spark failed: {_reason(error)}")) from error
    return found


def _reason(error: Exception) -> str:
    """The exception of the Python process, which stands at the end of its traceback in the text of Java's."""
    lines = [line.strip() for line in str(error).splitlines()]
    python = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Fault): ", line)]
    return (python[-1] if python else (lines or [type(error).__name__])[0])[:300]


def _taken(path: Path) -> Mapped:
    found: Mapped = pickle.loads(path.read_bytes())  # noqa: S301 - written by a process of this run
    path.unlink()
    return found


def _emptied(folder: Path) -> None:
    """What a run that was killed has left is not needed any more."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)


def _variables(files: Mapping[str, bytes]) -> dict[str, str]:
    """Those variables of this process that the declarations name, and no others."""
    named = {name for content in files.values() for name in _VARIABLE.findall(content.decode("utf-8", "replace"))}
    return {name: os.environ[name] for name in sorted(named) if name in os.environ}


def _folder_of(project: Project, state_folder: Path) -> Path:
    chosen = project.environment.spec.spark.folder
    return (project.folder / chosen if chosen else state_folder / "spark").resolve()
