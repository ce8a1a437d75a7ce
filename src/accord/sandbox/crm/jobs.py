"""Bulk API 2.0: query and ingest jobs, which take their time on the stand-in's clock and are forgotten seven days after their end.

Source: Salesforce, "Bulk API 2.0 and Bulk API Developer Guide": Create a Job, Upload Job Data, Upload Complete, Job States, Get Results for
a Query Job (locators, ``Sforce-Locator``, ``Sforce-NumberOfRecords``; the body is always compressed), Get Job Failed, Successful and
Unprocessed Record Results, Limits. What is not told there, like the texts of errors, is worded as public bug reports quote it.
"""

from __future__ import annotations

import base64
import csv
import gzip
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from accord.sandbox import clock
from accord.sandbox.crm import job_rows, soql
from accord.sandbox.crm.errors import Refused
from accord.sandbox.crm.objects import ObjectSpec, record_id
from accord.sandbox.crm.records import Records, moment_text, object_of
from accord.sandbox.crm.tokens import USER
from accord.sandbox.http_server import Request, Response, json_response
from accord.sandbox.store import Store

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, kind TEXT NOT NULL, body BLOB NOT NULL);
"""
LIFESPAN_S = 7 * 86_400.0
QUERY_JOBS_DAILY = 10_000
UPLOAD_BYTES_MAX = 150_000_000
RESULTS_MAX = 50_000  # rows of one set of results unless told
_UNSUPPORTED = ("group by", "offset", "typeof", "count()")
ENDED = ("JobComplete", "Failed", "Aborted")


class Job(msgspec.Struct):
    """``told``: what the API shows. ``text``: the query, or what was uploaded. ``rows``: what was found. Of an ingest job: ``done`` and
    ``failed`` are rows with their answers, ``left`` those that were not processed."""

    id: str
    kind: str
    told: dict[str, Any]
    text: str = ""
    queued_until: float = 0.0
    works_until: float = 0.0
    ended_at: float = 0.0
    header: list[str] = []
    rows: list[list[str]] = []
    done: list[list[str]] = []
    failed: list[list[str]] = []
    left: list[list[str]] = []
    breaks: str = ""  # planned by the owner: the job fails with this message
    breaks_after: int = 0


class Jobs:
    """``waits_s``, ``works_s``: how long a job is queued, and worked on."""

    def __init__(self, store: Store, records: Records, waits_s: float, works_s: float, query_jobs: int) -> None:
        self._store, self._records = store, records
        self._waits_s, self._works_s = waits_s, works_s
        self._query_jobs = query_jobs
        self._dice = random.Random(3)

    def routes(self) -> tuple[tuple[str, str, Callable[[Request], Response]], ...]:
        ingest, query = "/jobs/ingest", "/jobs/query"
        return (
            ("POST", query, self._create_query),
            ("GET", query + "/{id}", lambda request: self._shown(request, "query")),
            ("PATCH", query + "/{id}", lambda request: self._turn(request, "query")),
            ("DELETE", query + "/{id}", lambda request: self._delete(request, "query")),
            ("GET", query + "/{id}/results", self._results),
            ("POST", ingest, self._create_ingest),
            ("GET", ingest + "/{id}", lambda request: self._shown(request, "ingest")),
            ("PUT", ingest + "/{id}/batches", self._upload),
            ("PATCH", ingest + "/{id}", lambda request: self._turn(request, "ingest")),
            ("DELETE", ingest + "/{id}", lambda request: self._delete(request, "ingest")),
            ("GET", ingest + "/{id}/successfulResults", lambda r: self._answers(r, "done", ["sf__Id", "sf__Created"])),
            ("GET", ingest + "/{id}/failedResults", lambda r: self._answers(r, "failed", ["sf__Id", "sf__Error"])),
            ("GET", ingest + "/{id}/unprocessedrecords", lambda r: self._answers(r, "left", [])),
            ("GET", ingest + "/{id}/unprocessedRecords", lambda r: self._answers(r, "left", [])),
        )

    def limits(self) -> dict[str, Any]:
        return {
            "DailyBulkV2QueryJobs": {"Max": self._query_jobs, "Remaining": self._query_jobs - self._queries_today()}
        }

    # --- for the owner

    def plan_failure(self, request: Request) -> Response:
        """``{"message": …, "after": rows, "kind": …}``: the next job that is worked on fails, ``after`` so many rows."""
        self._store.keep_fact("job breaks", request.body.decode())
        return Response(204)

    # --- making

    def _create_query(self, request: Request) -> Response:
        asked = _body(request)
        text, operation = asked.get("query"), asked.get("operation")
        if operation not in ("query", "queryAll") or not isinstance(text, str):
            raise Refused("INVALIDJOB", "operation and query are needed")
        if self._queries_today() >= self._query_jobs:
            raise Refused("ExceededQuota", "ExceededQuota : the number of query jobs per day is used up")
        if any(word in " ".join(text.lower().split()) for word in _UNSUPPORTED):
            raise Refused("API_ERROR", "Aggregate Relationships not supported in Bulk Query")
        query = _parsed(text)
        self._records.select(msgspec.structs.replace(query, limit=0))
        job = self._new("query", asked, "UploadComplete", object=query.object, operation=operation)
        job.text = text
        self._queue(job)
        return json_response(job.told)

    def _create_ingest(self, request: Request) -> Response:
        asked = _body(request)
        spec, operation = object_of(str(asked.get("object"))), asked.get("operation")
        if operation not in ("insert", "update", "upsert", "delete"):
            raise Refused("INVALIDJOB", "Operation is not supported")
        external = asked.get("externalIdFieldName")
        if operation == "upsert":
            if not isinstance(external, str):
                raise Refused("INVALIDJOB", "External ID was blank for upsert")
            if external.lower() != "id":
                self._records.by_external(spec, external, "-")
        job = self._new("ingest", asked, "Open", object=spec.name, operation=operation)
        if operation == "upsert":
            job.told["externalIdFieldName"] = external
        job.told["contentUrl"] = f"services/data/v{request.parameters['version']}/jobs/ingest/{job.id}/batches"
        self._keep(job)
        return json_response(job.told)

    def _new(self, kind: str, asked: dict[str, Any], state: str, **more: Any) -> Job:
        delimiter, line_end = asked.get("columnDelimiter", "COMMA"), asked.get("lineEnding", "LF")
        if delimiter not in job_rows.DELIMITERS or line_end not in job_rows.LINE_ENDS:
            raise Refused("INVALIDJOB", "columnDelimiter or lineEnding is unknown")
        number = self._store.number("SELECT max(number) FROM jobs") + 1
        now = moment_text(clock.now())
        told = {
            "id": record_id("750", number), **more, "createdById": USER, "createdDate": now, "systemModstamp": now, "state": state,
            "concurrencyMode": "Parallel", "contentType": "CSV", "apiVersion": 65.0, "lineEnding": line_end, "columnDelimiter": delimiter,
        }  # fmt: skip
        return Job(told["id"], kind, told)

    def _queue(self, job: Job) -> None:
        job.told["state"] = "UploadComplete"
        job.queued_until = clock.time() + self._waits_s
        job.works_until = job.queued_until + self._works_s
        planned = self._store.fact("job breaks")
        if planned:
            plan = msgspec.json.decode(planned)
            job.breaks, job.breaks_after = plan["message"], int(plan.get("after", 0))
            self._store.keep_fact("job breaks", "")
        self._keep(job)

    def _keep(self, job: Job) -> None:
        job.told["systemModstamp"] = moment_text(clock.now())
        sql = "INSERT INTO jobs (id, kind, body) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body"
        self._store.db.execute(sql, (job.id, job.kind, msgspec.json.encode(job)))

    # --- looking

    def _find(self, request: Request, kind: str) -> Job:
        """As it stands now: what was due has happened."""
        row = self._store.one("SELECT body FROM jobs WHERE id = ? AND kind = ?", request.parameters["id"], kind)
        job = msgspec.json.decode(row[0], type=Job) if row else None
        if job is not None and job.ended_at and clock.time() - job.ended_at > LIFESPAN_S:
            self._store.db.execute("DELETE FROM jobs WHERE id = ?", (job.id,))
            job = None
        if job is None:
            raise Refused("NOT_FOUND", "The requested resource does not exist", status=404)
        now = clock.time()
        if job.told["state"] == "UploadComplete" and now >= job.queued_until:
            job.told["state"] = "InProgress"
        if job.told["state"] == "InProgress" and now >= job.works_until:
            self._work(job)
            job.ended_at = now
        self._keep(job)
        return job

    def _shown(self, request: Request, kind: str) -> Response:
        return json_response(self._find(request, kind).told)

    def _queries_today(self) -> int:
        rows = self._store.all("SELECT body FROM jobs WHERE kind = 'query'")
        since = moment_text(clock.now().replace(hour=0, minute=0, second=0, microsecond=0))
        return sum(msgspec.json.decode(body)["told"]["createdDate"] >= since for (body,) in rows)

    def _results(self, request: Request) -> Response:
        job = self._find(request, "query")
        if job.told["state"] != "JobComplete":
            raise Refused("INVALIDJOBSTATE", "Results are there when the job is complete")
        try:
            given = request.query.get("locator", "")
            start = int(base64.b64decode(given + "=" * (-len(given) % 4))) if given else 0
            most = int(request.query.get("maxRecords") or RESULTS_MAX)
        except ValueError:
            raise Refused("INVALID_QUERY_LOCATOR", "invalid query locator") from None
        rows = job.rows[start : start + most]
        end = start + len(rows)
        locator = base64.b64encode(str(end).encode()).decode().rstrip("=") if end < len(job.rows) else "null"
        headers = (
            ("Sforce-Locator", locator),
            ("Sforce-NumberOfRecords", str(len(rows))),
            ("Content-Encoding", "gzip"),
        )
        return Response(200, gzip.compress(self._text(job, [job.header, *rows]), 1), "text/csv; charset=UTF-8", headers)

    def _answers(self, request: Request, which: str, more: Sequence[str]) -> Response:
        job = self._find(request, "ingest")
        if job.told["state"] not in ENDED:
            raise Refused("INVALIDJOBSTATE", "Results are there when the job has ended")
        rows = list(getattr(job, which))
        self._dice.shuffle(rows)  # "the order of records is not guaranteed"
        body = self._text(job, [[*more, *job.header], *rows])
        return Response(200, body, "text/csv; charset=UTF-8")

    def _text(self, job: Job, rows: Sequence[Sequence[str]]) -> bytes:
        return job_rows.write_rows(rows, job.told["columnDelimiter"], job.told["lineEnding"]).encode()

    # --- turning

    def _upload(self, request: Request) -> Response:
        job = self._find(request, "ingest")
        if job.told["state"] != "Open":
            raise Refused("INVALIDJOBSTATE", "Upload is allowed while the job is open")
        if job.text:
            raise Refused("CLIENT_INPUT_ERROR", "Found multiple contents for job: only one upload is allowed per job")
        if len(request.body) > UPLOAD_BYTES_MAX:
            raise Refused("CLIENT_INPUT_ERROR", "The data is larger than 150 MB")
        job.text = request.body.decode("utf-8")
        self._keep(job)
        return Response(201)

    def _turn(self, request: Request, kind: str) -> Response:
        job, state = self._find(request, kind), _body(request).get("state")
        if state == "Aborted":
            if job.told["state"] in ENDED:
                raise Refused("INVALIDJOBSTATE", "Aborting already Completed Job not allowed")
            job.told["state"], job.ended_at = "Aborted", clock.time()
            if kind == "ingest" and job.text:
                job.header, *job.left = job_rows.read_rows(job.text, job.told["columnDelimiter"])
            self._keep(job)
        elif state == "UploadComplete" and kind == "ingest":
            if job.told["state"] != "Open":
                raise Refused("INVALIDJOBSTATE", "The job is not open")
            self._queue(job)
        else:
            raise Refused("INVALIDJOB", f"A job cannot be turned to {state}")
        return json_response(job.told)

    def _delete(self, request: Request, kind: str) -> Response:
        job = self._find(request, kind)
        if job.told["state"] not in ENDED:
            raise Refused("INVALIDJOBSTATE", "Only jobs that have ended can be deleted")
        self._store.db.execute("DELETE FROM jobs WHERE id = ?", (job.id,))
        return Response(204)

    # --- working

    def _work(self, job: Job) -> None:
        try:
            if job.kind == "query":
                self._query(job)
            else:
                self._ingest(job)
            job.told["state"] = "JobComplete"
        except Refused as refused:
            job.told |= {"state": "Failed", "errorMessage": f"{refused.code} : {refused.message}"}
        job.told |= {"retries": 0, "totalProcessingTime": math.ceil(self._works_s * 1000)}
        if job.kind == "ingest":
            job.told |= {
                "numberRecordsProcessed": len(job.done) + len(job.failed),
                "numberRecordsFailed": len(job.failed),
            }

    def _query(self, job: Job) -> None:
        query = _parsed(job.text)
        job.header = list(query.columns)
        found = self._records.select(query, with_deleted=job.told["operation"] == "queryAll")
        if job.breaks:
            raise Refused("InternalServerError", job.breaks)
        job.rows = [job_rows.found_row(row, query.columns) for row in found]
        job.told["numberRecordsProcessed"] = len(job.rows)

    def _ingest(self, job: Job) -> None:
        try:
            header, *rows = job_rows.read_rows(job.text, job.told["columnDelimiter"])
        except (csv.Error, ValueError):
            raise Refused("InvalidBatch", "The CSV cannot be read, or is empty") from None
        job.header = [name.strip("\ufeff") for name in header]
        job.left = rows
        spec = object_of(job.told["object"])
        job_rows.check_header(spec, job.header)
        external = next(
            (i for i, n in enumerate(header) if n.lower() == job.told.get("externalIdFieldName", "").lower()), -1
        )
        times = Counter(row[external].lower() for row in rows if external >= 0)
        for count, row in enumerate(rows):
            if job.breaks and count == job.breaks_after:
                raise Refused("InternalServerError", job.breaks)
            job.left = rows[count + 1 :]
            self._store.db.execute("SAVEPOINT one")
            try:
                if external >= 0 and times[row[external].lower()] > 1:
                    raise Refused(
                        "DUPLICATE_VALUE", f"Duplicate external id specified: {row[external]}", (header[external],)
                    )
                id_, is_new = self._one(job, spec, row)
                job.done.append([id_, str(is_new).lower(), *row])
            except Refused as refused:
                self._store.db.execute("ROLLBACK TO one")
                job.failed.append(["", job_rows.refused_text(refused), *row])
            self._store.db.execute("RELEASE one")

    def _one(self, job: Job, spec: ObjectSpec, row: list[str]) -> tuple[str, bool]:
        """The record's id, and whether it is new. Raises Refused."""
        record = job_rows.record_of(spec, job.header, row)
        operation, external = job.told["operation"], job.told.get("externalIdFieldName", "")
        id_ = str(record.get("Id") or "")
        if operation == "insert":
            return self._records.create(spec, record), True
        if operation == "upsert" and external.lower() != "id":
            value = next((v for n, v in record.items() if n.lower() == external.lower()), None)
            if value in (None, ""):
                raise Refused("MISSING_ARGUMENT", f"{external} not specified")
            return self._records.upsert(spec, external, str(value), record)
        if not id_:
            raise Refused("MISSING_ARGUMENT", f"Id not specified in an {operation} call")
        if operation == "delete":
            self._records.delete(id_, spec)
        else:
            self._records.update(spec, id_, record)
        return id_, False


def _parsed(text: str) -> soql.Query:
    try:
        return soql.parse(text)
    except soql.MalformedQuery as error:
        raise Refused("MALFORMED_QUERY", str(error)) from None


def _body(request: Request) -> dict[str, Any]:
    try:
        return msgspec.json.decode(request.body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused("JSON_PARSER_ERROR", f"The body is no JSON object: {error}") from None
