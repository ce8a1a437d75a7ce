"""The org: its doors, and what stands behind each."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from accord.sandbox import clock
from accord.sandbox.catalogue import buyer
from accord.sandbox.crm import soql
from accord.sandbox.crm.errors import Refused
from accord.sandbox.crm.jobs import QUERY_JOBS_DAILY, Jobs
from accord.sandbox.crm.jobs import SCHEMA as JOBS_SCHEMA
from accord.sandbox.crm.objects import OBJECTS, ObjectSpec, described, listed
from accord.sandbox.crm.records import SCHEMA as RECORDS_SCHEMA
from accord.sandbox.crm.records import Records, object_of
from accord.sandbox.crm.tokens import SCHEMA as TOKENS_SCHEMA
from accord.sandbox.crm.tokens import Tokens
from accord.sandbox.http_server import Refusal, Request, Response, json_response
from accord.sandbox.system import System, setting

VERSIONS = ("59.0", "60.0", "61.0", "62.0", "63.0", "64.0", "65.0")
COLLECTION_MAX = 200
DAILY_CALLS = 100_000
BATCH_MAX = 2_000
_BATCH = re.compile(r"batchSize\s*=\s*(\d+)", re.IGNORECASE)
_decode = msgspec.json.Decoder().decode


class Crm(System):
    """Settings: ``accounts`` seeded (10), ``token_lifetime_s`` (7,200), ``daily_calls``; of bulk jobs ``job_waits_s`` (0.1),
    ``job_works_s`` (0.2) and ``daily_query_jobs``."""

    SCHEMA = (
        RECORDS_SCHEMA
        + TOKENS_SCHEMA
        + JOBS_SCHEMA
        + "CREATE TABLE IF NOT EXISTS calls (id INTEGER PRIMARY KEY AUTOINCREMENT);"
    )
    STATE = {
        spec.name: f"SELECT number, body FROM records WHERE object = '{spec.name}' AND is_deleted = 0 ORDER BY number"  # noqa: S608
        for spec in OBJECTS.values()
    }

    def prepare(self) -> None:
        config = self.config
        scheme = "https" if self.settings.get("tls") else "http"
        self.address = f"{scheme}://{config.host}:{config.ports['main']}"
        self.records = Records(self.store, lambda: clock.now().replace(microsecond=0))
        lifetime_s = setting(self.settings, "token_lifetime_s", 7_200.0)
        self.tokens = Tokens(self.store, config.credentials, self.address, lifetime_s)
        self.daily_calls = int(setting(self.settings, "daily_calls", DAILY_CALLS))
        self.jobs = Jobs(
            self.store,
            self.records,
            setting(self.settings, "job_waits_s", 0.1),
            setting(self.settings, "job_works_s", 0.2),
            int(setting(self.settings, "daily_query_jobs", QUERY_JOBS_DAILY)),
        )
        self.owner_router.add("POST", "/_sandbox/jobs/fail", self.jobs.plan_failure)
        self.owner_router.add("POST", "/_sandbox/sessions/end", self._end_sessions)
        self.owner_router.add("POST", "/_sandbox/public-key", self._register_key)
        self.router.add("POST", "/services/oauth2/token", self.tokens.give)
        self.router.add("GET", "/services/data", self._versions)
        for method, path, work in (
            ("GET", "/", self._resources),
            ("GET", "/limits", self._limits),
            ("GET", "/sobjects", self._objects),
            ("GET", "/sobjects/{object}", self._basic),
            ("GET", "/sobjects/{object}/describe", self._describe),
            ("POST", "/sobjects/{object}", self._create),
            ("GET", "/sobjects/{object}/{id}", self._get),
            ("PATCH", "/sobjects/{object}/{id}", self._update),
            ("DELETE", "/sobjects/{object}/{id}", self._delete),
            ("GET", "/sobjects/{object}/{field}/{value}", self._get_external),
            ("PATCH", "/sobjects/{object}/{field}/{value}", self._upsert),
            ("DELETE", "/sobjects/{object}/{field}/{value}", self._delete_external),
            ("GET", "/query", self._query),
            ("GET", "/queryAll", self._query),
            ("GET", "/query/{locator}", self._more),
            ("POST", "/composite/sobjects", self._create_many),
            ("PATCH", "/composite/sobjects", self._update_many),
            ("DELETE", "/composite/sobjects", self._delete_many),
            ("PATCH", "/composite/sobjects/{object}/{field}", self._upsert_many),
            *self.jobs.routes(),
        ):
            for slash in ("", "/") if path != "/" else ("",):
                self.router.add(method, "/services/data/v{version}" + path + slash, self._guarded(work))

    def seed(self) -> None:
        for number in range(int(setting(self.settings, "accounts", 10))):
            person = buyer(self.config.seed, number)
            name = f"{person.first_name} {person.last_name}"
            account = {
                "Name": name, "Type": "Prospect", "Email__c": person.email, "Phone": person.phone, "Shop_Id__c": None,
                "BillingStreet": person.address1, "BillingCity": person.city, "BillingCountry": person.country,
                "BillingPostalCode": person.zip,
            }  # fmt: skip
            id_ = self.records.create(OBJECTS["account"], account)
            contact = {
                "FirstName": person.first_name,
                "LastName": person.last_name,
                "Email": person.email,
                "AccountId": id_,
            }
            self.records.create(OBJECTS["contact"], contact)

    # --- the door

    def _guarded(self, work: Callable[[Request], Response]) -> Callable[[Request], Response]:
        """Session, version and daily limit first; errors as Salesforce words them; calls counted."""

        def answer(request: Request) -> Response:
            try:
                if not self.tokens.is_valid(request.headers.get("authorization", "")):
                    raise Refused("INVALID_SESSION_ID", "Session expired or invalid", status=401)
                if request.parameters["version"] not in VERSIONS:
                    raise Refused("NOT_FOUND", "The requested resource does not exist", status=404)
                used = int(self.store.db.execute("INSERT INTO calls DEFAULT VALUES").lastrowid or 0)
                if used > self.daily_calls:
                    raise Refused("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", status=403)
                with self.store.transaction():
                    response = work(request)
            except Refused as refused:
                return refused.response()
            usage = (("Sforce-Limit-Info", f"api-usage={used}/{self.daily_calls}"),)
            return msgspec.structs.replace(response, headers=response.headers + usage)

        return answer

    async def gate(self, request: Request) -> Response:
        """The login server is a machine of its own: an org that loses answers does not lose tokens."""
        response = await super().gate(request)
        is_login = request.path == "/services/oauth2/token"
        return msgspec.structs.replace(response, lost=False) if is_login and response.lost else response

    def refuse(self, refusal: Refusal) -> Response:
        code, status = {
            503: ("SERVER_UNAVAILABLE", 503),
            429: ("REQUEST_LIMIT_EXCEEDED", 403),
        }.get(refusal.status, ("UNKNOWN_EXCEPTION", refusal.status))
        return msgspec.structs.replace(
            Refused(code, refusal.args[0], status=status).response(), headers=refusal.headers
        )

    def _end_sessions(self, request: Request) -> Response:
        self.tokens.end_all()
        return Response(204)

    def _register_key(self, request: Request) -> Response:
        """The certificate of the connected app, as a PEM public key."""
        self.store.keep_fact("public_key", request.body.decode())
        return Response(204)

    # --- what the org has

    def _versions(self, request: Request) -> Response:
        return json_response([{"label": f"v{v}", "url": f"/services/data/v{v}", "version": v} for v in VERSIONS])

    def _resources(self, request: Request) -> Response:
        base = _base(request)
        return json_response(
            {name: f"{base}/{name}" for name in ("limits", "sobjects", "query", "queryAll", "composite", "jobs")}
        )

    def _limits(self, request: Request) -> Response:
        used = self.store.number("SELECT max(id) FROM calls")
        left = max(0, self.daily_calls - used)
        return json_response({"DailyApiRequests": {"Max": self.daily_calls, "Remaining": left}, **self.jobs.limits()})

    def _objects(self, request: Request) -> Response:
        told = [listed(spec, _base(request)) for spec in OBJECTS.values()]
        return json_response({"encoding": "UTF-8", "maxBatchSize": COLLECTION_MAX, "sobjects": told})

    def _basic(self, request: Request) -> Response:
        return json_response({"objectDescribe": listed(self._object(request), _base(request)), "recentItems": []})

    def _describe(self, request: Request) -> Response:
        return json_response(described(self._object(request), _base(request)))

    def _object(self, request: Request) -> ObjectSpec:
        return object_of(request.parameters["object"])

    # --- one record

    def _create(self, request: Request) -> Response:
        return json_response(
            {"id": self.records.create(self._object(request), _body(request)), "success": True, "errors": []}, 201
        )

    def _get(self, request: Request) -> Response:
        return self._shown(request, request.parameters["id"])

    def _get_external(self, request: Request) -> Response:
        return self._shown(request, self._external(request) or "")

    def _shown(self, request: Request, id_: str) -> Response:
        spec = self._object(request)
        record = self.records.get(id_)
        if record is None or not id_.startswith(spec.prefix):
            raise Refused("NOT_FOUND", "Provided external ID field does not exist or is not accessible: Id", status=404)
        wanted = request.query.get("fields", "")
        names = [name.strip() for name in wanted.split(",")] if wanted else list(spec.fields)
        url = f"{_base(request)}/sobjects/{spec.name}/{record['Id']}"
        shown = {name: record.get(name) for name in names if name in spec.fields}
        return json_response({"attributes": {"type": spec.name, "url": url}, **shown, "Id": record["Id"]})

    def _update(self, request: Request) -> Response:
        self.records.update(self._object(request), request.parameters["id"], _body(request))
        return Response(204)

    def _delete(self, request: Request) -> Response:
        self.records.delete(request.parameters["id"], self._object(request))
        return Response(204)

    def _external(self, request: Request) -> str | None:
        given = request.parameters
        return self.records.by_external(self._object(request), given["field"], unquote(given["value"]))

    def _upsert(self, request: Request) -> Response:
        given = request.parameters
        id_, created = self.records.upsert(
            self._object(request), given["field"], unquote(given["value"]), _body(request)
        )
        return json_response({"id": id_, "success": True, "errors": [], "created": created}, 201 if created else 200)

    def _delete_external(self, request: Request) -> Response:
        id_ = self._external(request)
        if id_ is None:
            raise Refused("NOT_FOUND", "The requested resource does not exist", status=404)
        self.records.delete(id_)
        return Response(204)

    # --- queries

    def _query(self, request: Request) -> Response:
        return self._page(request, request.query.get("q", ""), 0, with_deleted=request.path.rstrip("/").endswith("All"))

    def _more(self, request: Request) -> Response:
        """A locator holds the query itself, so it outlives the process."""
        try:
            start, flag, text = unquote(request.parameters["locator"]).split("-", 2)
            return self._page(request, bytes.fromhex(text).decode(), int(start), with_deleted=flag == "all")
        except (ValueError, UnicodeDecodeError):
            raise Refused("INVALID_QUERY_LOCATOR", "invalid query locator") from None

    def _page(self, request: Request, text: str, start: int, *, with_deleted: bool) -> Response:
        try:
            query = soql.parse(text)
        except soql.MalformedQuery as error:
            raise Refused("MALFORMED_QUERY", str(error)) from None
        rows = self.records.select(query, with_deleted=with_deleted)
        if query.is_count:
            return json_response({"totalSize": len(rows), "done": True, "records": []})
        asked = _BATCH.search(request.headers.get("sforce-query-options", ""))
        size = min(BATCH_MAX, max(200, int(asked[1]))) if asked else BATCH_MAX
        base = _base(request)
        page = [_with_urls(row, base) for row in rows[start : start + size]]
        is_done = start + size >= len(rows)
        answer: dict[str, Any] = {"totalSize": len(rows), "done": is_done, "records": page}
        if not is_done:
            locator = f"{start + size}-{'all' if with_deleted else 'live'}-{text.encode().hex()}"
            answer["nextRecordsUrl"] = f"{base}/query/{quote(locator)}"
        return json_response(answer)

    # --- collections

    def _create_many(self, request: Request) -> Response:
        def create(record: dict[str, Any]) -> dict[str, Any]:
            return {"id": self.records.create(_type_of(record), record)}

        return self._collection(_body(request), create)

    def _update_many(self, request: Request) -> Response:
        def update(record: dict[str, Any]) -> dict[str, Any]:
            id_ = record.get("id") or record.get("Id")
            if not isinstance(id_, str):
                raise Refused("MISSING_ARGUMENT", "Id not specified in an update call")
            self.records.update(_type_of(record), id_, record)
            return {"id": id_}

        return self._collection(_body(request), update)

    def _upsert_many(self, request: Request) -> Response:
        spec, field = self._object(request), request.parameters["field"]
        body = _body(request)
        values = [str(one.get(field)).lower() for one in body.get("records", ()) if isinstance(one, dict)]

        def upsert(record: dict[str, Any]) -> dict[str, Any]:
            value = record.get(field)
            if value in (None, ""):
                raise Refused("MISSING_ARGUMENT", f"{field} not specified")
            if values.count(str(value).lower()) > 1:
                raise Refused("DUPLICATE_VALUE", f"Duplicate external id specified: {value}", (field,))
            id_, created = self.records.upsert(spec, field, str(value), record)
            return {"id": id_, "created": created}

        return self._collection(body, upsert)

    def _delete_many(self, request: Request) -> Response:
        ids = [id_ for id_ in request.query.get("ids", "").split(",") if id_]

        def delete(record: dict[str, Any]) -> dict[str, Any]:
            self.records.delete(record["id"])
            return {"id": record["id"]}

        is_whole = request.query.get("allOrNone", "false") == "true"
        return self._collection({"allOrNone": is_whole, "records": [{"id": id_} for id_ in ids]}, delete)

    def _collection(self, body: dict[str, Any], work: Callable[[dict[str, Any]], dict[str, Any]]) -> Response:
        records = body.get("records")
        if not isinstance(records, list) or not all(isinstance(one, dict) for one in records):
            raise Refused("JSON_PARSER_ERROR", "records is no list of objects")
        if len(records) > COLLECTION_MAX:
            raise Refused(
                "EXCEEDED_ID_LIMIT",
                f"record limit reached. cannot submit more than {COLLECTION_MAX} records into this call",
            )
        results: list[dict[str, Any]] = []
        for record in records:
            self.store.db.execute("SAVEPOINT one")
            try:
                results.append({**work(record), "success": True, "errors": []})
            except Refused as refused:
                self.store.db.execute("ROLLBACK TO one")
                results.append({"success": False, "errors": [refused.told()]})
            self.store.db.execute("RELEASE one")
        if body.get("allOrNone") is True and not all(result["success"] for result in results):
            raise _RolledBack(results)
        return json_response(results)


class _RolledBack(Refused):
    """Nothing of a collection is kept; its answer still tells each record's part."""

    def __init__(self, results: list[dict[str, Any]]) -> None:
        super().__init__("ALL_OR_NONE_OPERATION_ROLLED_BACK", "Record rolled back because not all records were valid")
        self._results = results

    def response(self) -> Response:
        told = [{"success": False, "errors": [self.told()]} if one["success"] else one for one in self._results]
        return Response(200, msgspec.json.encode(told))


def _base(request: Request) -> str:
    return f"/services/data/v{request.parameters['version']}"


def _body(request: Request) -> dict[str, Any]:
    try:
        body = _decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused("JSON_PARSER_ERROR", f"The body is no JSON: {error}") from None
    if not isinstance(body, dict):
        raise Refused("JSON_PARSER_ERROR", "The body is no object")
    return body


def _type_of(record: dict[str, Any]) -> ObjectSpec:
    attributes = record.get("attributes")
    if not isinstance(attributes, dict) or not isinstance(attributes.get("type"), str):
        raise Refused("INVALID_TYPE", "The attributes map of a record needs its type")
    return object_of(attributes["type"])


def _with_urls(row: dict[str, Any], base: str) -> dict[str, Any]:
    """The ``attributes`` of a row and of its parents tell where each record is."""
    shown: dict[str, Any] = {}
    for name, value in row.items():
        if name == "attributes":
            shown[name] = {"type": value["type"], "url": f"{base}/sobjects/{value['type']}/{value['id']}"}
        else:
            shown[name] = _with_urls(value, base) if isinstance(value, dict) else value
    return shown
