"""Jobs of Bulk API 2.0: made, asked how far they are, their rows sent and fetched.

Source: Salesforce, "Bulk API 2.0 and Bulk API Developer Guide": Create a Job, Upload Job Data, Upload Complete, Job States, Get Results for
a Query Job, Get Job Failed and Unprocessed Record Results, Prepare CSV Files (upload at most 100 MB), Limits (jobs are deleted seven days
after their end).
"""

from __future__ import annotations

import enum
import zlib
from typing import Any, Literal, NamedTuple

import msgspec

from accord.connectors.salesforce.api import Api, Stopped
from accord.record import Reject, Retry
from accord.sdk import polling
from accord.sdk.http import BODY_SIZE_BYTES_MAX, encode_json

CSV = "text/csv; charset=UTF-8"
TRANSFER_S = 600.0  # for the rows of one set: tens of megabytes over a slow line
POLL_S_MAX = 30.0  # a job of hours costs 120 calls an hour of the daily 100,000 and more


class Kind(enum.StrEnum):
    """What a job does; its path."""

    QUERY = "/jobs/query"
    INGEST = "/jobs/ingest"


class JobState(NamedTuple):
    """``error`` is told of jobs that failed; counts are of rows so far."""

    state: str
    error: str = ""
    processed: int = 0
    failed: int = 0

    @property
    def has_failed(self) -> bool:
        return self.state in ("Failed", "Aborted")

    @property
    def is_done(self) -> bool:
        return self.state == "JobComplete"


class ResultSet(NamedTuple):
    """``following``: the locator of the next set, '' at the end."""

    csv: bytes
    rows: int
    following: str


def poll_s(asked: int) -> float:
    """How long to wait after having asked so many times."""
    return polling.poll_s(asked, POLL_S_MAX)


class Jobs:
    """Raises Stopped from every method."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def query(self, soql: str, *, with_deleted: bool) -> str:
        operation = "queryAll" if with_deleted else "query"
        return await self._make(Kind.QUERY, {"operation": operation, "query": soql})

    async def ingest(self, object_: str, operation: str, external_id: str) -> str:
        asked = {"object": object_, "operation": operation, "contentType": "CSV"}
        if operation == "upsert":
            asked["externalIdFieldName"] = external_id
        return await self._make(Kind.INGEST, asked)

    async def _make(self, kind: Kind, asked: dict[str, str]) -> str:
        told = await self._api.ask("POST", kind, body={**asked, "columnDelimiter": "COMMA", "lineEnding": "LF"})
        return str(told["id"])

    async def state(self, kind: Kind, job: str) -> JobState | None:
        """None when there is no such job any more."""
        response = await self._api.exchange("GET", f"{kind}/{job}", may_be_gone=True)
        if response.status == 404:
            return None
        try:
            told: dict[str, Any] = msgspec.json.decode(response.body, type=dict[str, Any])
            return JobState(
                told["state"],
                self._api.rules.clean(str(told.get("errorMessage") or "")),
                int(told.get("numberRecordsProcessed", 0)),
                int(told.get("numberRecordsFailed", 0)),
            )
        except (msgspec.DecodeError, KeyError, ValueError) as error:
            raise Stopped(Retry(f"the state of job {job} cannot be read")) from error

    async def results(self, job: str, locator: str, rows: int) -> ResultSet | None:
        """One set of a query's rows; None when there is no such job any more."""
        query = {"maxRecords": str(rows), **({"locator": locator} if locator else {})}
        path = f"{Kind.QUERY}/{job}/results"
        response = await self._api.exchange(
            "GET", path, query=query, accept="text/csv", timeout_s=TRANSFER_S, may_be_gone=True
        )
        if response.status == 404:
            return None
        following = response.headers.get("sforce-locator", "")
        count = response.headers.get("sforce-numberofrecords", "")
        if not count.isdigit():
            raise Stopped(Retry(f"the answer does not tell how many rows of job {job} it holds"))
        return ResultSet(_unpacked(response.body), int(count), "" if following == "null" else following)

    async def upload(self, job: str, rows: bytes) -> None:
        path = f"{Kind.INGEST}/{job}/batches"
        await self._api.exchange("PUT", path, body=rows, content_type=CSV, changes=True, timeout_s=TRANSFER_S)

    async def close(self, job: str) -> None:
        """All rows are there: Salesforce may begin."""
        await self._turn(Kind.INGEST, job, "UploadComplete")

    async def abort(self, kind: Kind, job: str) -> None:
        await self._turn(kind, job, "Aborted")

    async def _turn(self, kind: Kind, job: str, state: str) -> None:
        await self._api.exchange("PATCH", f"{kind}/{job}", body=encode_json({"state": state}), changes=True)

    async def answers(self, job: str, which: Literal["failedResults", "unprocessedrecords"]) -> bytes:
        path = f"{Kind.INGEST}/{job}/{which}/"
        return _unpacked((await self._api.exchange("GET", path, accept="text/csv", timeout_s=TRANSFER_S)).body)


def _unpacked(body: bytes) -> bytes:
    """Results come compressed; an HTTP client may have undone that."""
    if not body.startswith(b"\x1f\x8b"):
        return body
    try:
        unpacker = zlib.decompressobj(wbits=31)
        found = unpacker.decompress(body, BODY_SIZE_BYTES_MAX * 4)
    except zlib.error as error:
        raise Stopped(Retry("the compressed rows cannot be unpacked")) from error
    if not unpacker.eof:
        whole = "one set of rows is too large unpacked: give `chunk` of the flow's `read` fewer rows"
        raise Stopped(Reject(whole, code="connector.answer-too-large"))
    return found
