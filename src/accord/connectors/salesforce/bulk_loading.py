"""Loading in bulk: each chunk by an ingest job of Bulk API 2.0, or by collections of 200 where it is small.

A chunk is written once because its job's id is noted before Salesforce may begin: a chunk that comes again is not sent again, its job is
asked what became of it. Records are told apart by ``external_id``. Should the note be lost, an upsert writes the same again over
itself, and an insert is refused row by row: nothing is there twice.

Rows of one record go in jobs one after another, so the last wins. Rows that a job left unprocessed, or that failed on a lock, go in
another one, a few times; then they are rejects.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from accord.connectors.salesforce.api import TRANSIENT, Api, Stopped
from accord.connectors.salesforce.job_columns import NULL, csv_of, read_answers, written_table
from accord.connectors.salesforce.jobs import Jobs, JobState, Kind, poll_s
from accord.connectors.salesforce.reading import object_of
from accord.connectors.salesforce.settings import BULK_RECORDS_MIN, BulkUse, SalesforceEntity
from accord.connectors.salesforce.writing import COLLECTION_MAX, Collection
from accord.record import Done, Entity, Reject, Retry
from accord.sdk.bulk import Chunk, Loaded, LoadMode, LoadSpec, RowReject, Written
from accord.sdk.connector import LoadFailed, WriteItem, WriteMode
from accord.sdk.load_notes import LoadNotes
from accord.sdk.turns import turns

if TYPE_CHECKING:
    import polars as pl

UPLOAD_BYTES_MAX = 90_000_000  # of one job; Salesforce takes 100 MB
TRIES = 3  # jobs for the same rows
OPERATIONS = {LoadMode.APPEND: "insert", LoadMode.UPSERT: "upsert"}


class JobLoad:
    """See ``accord.sdk.bulk.Load``."""

    tells = False
    at_once = 1  # rows of one record may be in several chunks, and the last one wins

    def __init__(self, api: Api, entity: Entity, spec: LoadSpec, state_folder: Path) -> None:
        assert isinstance(entity.extra, SalesforceEntity), (
            "capabilities offer loads of entities with an external id only"
        )
        self._api, self._jobs = api, Jobs(api)
        self._entity, self._external, self._use = entity, entity.extra.external_id, entity.extra.bulk
        self._operation = OPERATIONS[spec.mode]
        self._notes = LoadNotes(state_folder / f"load-{spec.digest_of(entity)}.json")

    async def begin(self) -> None:
        await asyncio.to_thread(self._notes.read)

    async def write(self, chunk: Chunk) -> Written:
        try:
            if self._use is BulkUse.AUTO and chunk.frame.height <= BULK_RECORDS_MIN:
                return await self._by_collections(chunk)
            return await self._by_jobs(chunk)
        except Stopped as stopped:
            raise LoadFailed(stopped.outcome) from stopped
        except (KeyError, TypeError, ValueError, IndexError) as error:
            told = Retry(f"the org's answer lacks what was asked for ({type(error).__name__})", in_doubt=True)
            raise LoadFailed(told) from error

    async def known(self, number: int) -> Written | None:
        return None

    async def finish(self) -> Loaded:
        await asyncio.to_thread(self._notes.forget)
        return Loaded()

    async def abandon(self) -> None:
        await asyncio.to_thread(self._notes.forget)

    async def leave(self) -> None:
        return None

    # few rows

    async def _by_collections(self, chunk: Chunk) -> Written:
        note, mode, was_begun = f"{chunk.number}/collections", WriteMode.UPSERT, False
        if self._operation == "insert":
            mode, was_begun = WriteMode.CREATE, note in self._notes
            await asyncio.to_thread(self._notes.keep, note, "begun")
        items = [WriteItem("", record, in_doubt=was_begun) for record in chunk.frame.iter_rows(named=True)]
        rejects: list[RowReject] = []
        was_there = bool(items)
        for start in range(0, len(items), COLLECTION_MAX):
            outcomes = await Collection(self._api, self._entity, items[start : start + COLLECTION_MAX]).run(mode)
            for row, outcome in enumerate(outcomes, start):
                was_there = was_there and isinstance(outcome, Done) and outcome.was_there
                if isinstance(outcome, Retry):
                    raise Stopped(outcome)
                if isinstance(outcome, Reject):
                    rejects.append(RowReject(row, outcome.reason, outcome.path, outcome.code))
        return Written(len(items) - len(rejects), tuple(rejects), was_there)

    # many rows

    async def _by_jobs(self, chunk: Chunk) -> Written:
        table = written_table(chunk.frame, self._entity.fields, sets_null=self._operation == "upsert")
        rejects, good = self._unsendable(chunk.frame, table)
        was_there = f"{chunk.number}/0/0" in self._notes
        parts = [part for turn in self._turns(table, good) for part in _by_size(table, turn)]
        for at, rows in enumerate(parts):
            rejects += await self._part(f"{chunk.number}/{at}", table, rows)
        rejects.sort(key=lambda one: one.row)
        return Written(chunk.frame.height - len(rejects), tuple(rejects), was_there)

    def _unsendable(self, frame: pl.DataFrame, table: pl.DataFrame) -> tuple[list[RowReject], list[int]]:
        """Rows whose record cannot be told, or that hold a text which would be read as null; and the others."""
        import polars as pl

        rejects: dict[int, RowReject] = {}
        named = frame[self._external]
        for row in (named.is_null() | (named.cast(pl.String) == "")).arg_true().to_list():
            object_ = object_of(self._entity)
            reason = f"{self._external} is needed to say which {object_} is meant, and to recognise a repeat"
            rejects[row] = RowReject(row, reason, self._external)
        for name in table.columns:
            if name in frame.columns and frame[name].dtype == pl.String:
                for row in (frame[name] == NULL).arg_true().to_list():
                    reason = f"Salesforce reads the text {NULL} as no value: it cannot be loaded in bulk"
                    rejects.setdefault(row, RowReject(row, reason, name))
        return list(rejects.values()), [row for row in range(frame.height) if row not in rejects]

    def _turns(self, table: pl.DataFrame, rows: list[int]) -> list[list[int]]:
        """A record may stand in one job only once; texts are compared without regard to case."""
        if self._operation == "insert":
            return [rows] if rows else []
        named = table[self._external].str.to_lowercase().to_list()
        return turns([(named[row], row) for row in rows])

    async def _part(self, note: str, table: pl.DataFrame, rows: list[int]) -> list[RowReject]:
        rejects: list[RowReject] = []
        reason = ""
        for attempt in range(TRIES):
            at = f"{note}/{attempt}"
            job = await self._job(at, table, rows)
            state = await self._ended(job)
            refused, left = await self._answers(job, state, table, rows)
            if state.has_failed and state.processed == 0:
                await asyncio.to_thread(self._notes.drop, at)
                raise Stopped(_whole(job, state))
            is_last = attempt == TRIES - 1
            again = [] if is_last else [one.row for one in refused if one.reason.startswith(TRANSIENT)]
            rejects += [one for one in refused if one.row not in again]
            reason, rows = state.error, sorted({*left, *again})
            if not rows:
                return rejects
        told = f"Salesforce did not process it in {TRIES} jobs: {reason or 'it does not say why'}"
        return rejects + [RowReject(row, told) for row in rows]

    async def _job(self, note: str, table: pl.DataFrame, rows: list[int]) -> str:
        """The job of these rows, which Salesforce has been told to begin; the one noted, or a new one."""
        job = self._notes.get(note)
        if job:
            state = await self._jobs.state(Kind.INGEST, job)
            if state is not None and state.state != "Open":
                return job
            if state is None and self._operation == "insert":
                reason = f"what became of the rows of job {job} cannot be told any more: Salesforce has deleted it"
                raise Stopped(Reject(reason, code="connector.job-gone"))
            if state is not None:  # nothing of it was processed; whether all was uploaded is not known
                await self._jobs.abort(Kind.INGEST, job)
        job = await self._jobs.ingest(object_of(self._entity), self._operation, self._external)
        await self._jobs.upload(job, await asyncio.to_thread(lambda: csv_of(table[rows])))
        await asyncio.to_thread(self._notes.keep, note, job)
        await self._jobs.close(job)
        return job

    async def _ended(self, job: str) -> JobState:
        asked = 0
        while True:
            state = await self._jobs.state(Kind.INGEST, job)
            if state is None:
                raise Stopped(Retry(f"job {job} is gone", in_doubt=True))
            if state.is_done or state.has_failed:
                return state
            await asyncio.sleep(poll_s(asked))
            asked += 1

    async def _answers(
        self, job: str, state: JobState, table: pl.DataFrame, rows: list[int]
    ) -> tuple[list[RowReject], list[int]]:
        """What was refused, and what was not processed."""
        refused: list[RowReject] = []
        left: list[int] = []
        found = _Rows(table, rows, self._external)
        if state.failed or state.has_failed:
            for row in read_answers(await self._jobs.answers(job, "failedResults")):
                refused.append(_refusal(found.take(job, row), self._api.rules.clean(row["sf__Error"] or "")))
        if state.has_failed or state.processed < len(rows):
            left = [found.take(job, row) for row in read_answers(await self._jobs.answers(job, "unprocessedrecords"))]
        if state.processed + len(left) != len(rows) and (state.processed or left):
            reason = f"job {job} tells of {state.processed + len(left)} rows, and {len(rows)} were sent"
            raise Stopped(Reject(reason, code="connector.job-answers"))
        return refused, left


class _Rows:
    """Finds rows again by what Salesforce returns of them, in any order: all their values, or their external id."""

    def __init__(self, table: pl.DataFrame, rows: list[int], external: str) -> None:
        self._names, self._external = table.columns, external
        self._whole: dict[tuple[str, ...], list[int]] = defaultdict(list)
        self._named: dict[str, list[int]] = defaultdict(list)
        self._taken: set[int] = set()
        at = table.columns.index(external)
        for row, values in zip(rows, table[rows].iter_rows(), strict=True):
            self._whole[values].append(row)
            self._named[values[at]].append(row)

    def take(self, job: str, told: dict[str, str | None]) -> int:
        values = tuple(told.get(name) or "" for name in self._names)
        candidates: list[int] = [*self._whole.get(values, ()), *self._named.get(told.get(self._external) or "", ())]
        for row in candidates:
            if row not in self._taken:
                self._taken.add(row)
                return row
        raise Stopped(Reject(f"job {job} answers for a row that was never sent", code="connector.job-answers"))


def _by_size(table: pl.DataFrame, rows: list[int]) -> list[list[int]]:
    """Parts that are small enough for one upload."""
    if len(rows) > 1 and table[rows].estimated_size() + 3 * len(rows) * table.width > UPLOAD_BYTES_MAX:
        middle = len(rows) // 2
        return [*_by_size(table, rows[:middle]), *_by_size(table, rows[middle:])]
    return [rows]


def _refusal(row: int, error: str) -> RowReject:
    """``CODE:message:Field, Field --``."""
    reason, _, fields = error.rpartition(":")
    path = fields.removesuffix("--").strip().split(",")[0]
    return RowReject(row, reason or error, path)


def _whole(job: str, state: JobState) -> Reject | Retry:
    """A job none of whose rows was processed."""
    if state.state == "Aborted":
        return Reject(f"job {job} was aborted in Salesforce", code="connector.job-aborted")
    if "InvalidBatch" in state.error:
        return Reject(f"job {job} failed: {state.error}", code="connector.rejected")
    return Retry(f"job {job} failed: {state.error}")
