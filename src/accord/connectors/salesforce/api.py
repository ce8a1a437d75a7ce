"""One request to the REST API, and what its answer comes to: the one place where Salesforce's errors get their meaning.

Sources: Salesforce, "REST API Developer Guide": status codes and error responses, API usage header (``Sforce-Limit-Info``), sObject
Collections; "SOAP API Developer Guide": core data types, status codes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec

from accord.connectors.salesforce.settings import SalesforceSettings
from accord.errors import AccordError
from accord.record import Outcome, Reconnect, Reject, Retry
from accord.sdk.auth import open_auth, secrets_of
from accord.sdk.budget import Budget, nobody_asks
from accord.sdk.errors_http import ErrorRule, ErrorRules, utc_now
from accord.sdk.http import HttpClient, HttpFailed, HttpRequest, HttpResponse, encode_json
from accord.sdk.rate_headers import BudgetReader
from accord.sdk.tokens import TokenFailed

USED_UP_S = 300.0  # the daily limit is a rolling 24 hours: a little of it comes back all the time
CODE = "0.errorCode"

TRANSIENT = (
    "UNABLE_TO_LOCK_ROW",
    "SERVER_UNAVAILABLE",
    "QUERY_TIMEOUT",
    "REQUEST_RUNNING_TOO_LONG",
    "UNKNOWN_EXCEPTION",
)
QUOTA_SPENT = ("ExceededQuota", "EXCEEDEDQUOTA")  # of bulk jobs in 24 hours
GONE = ("ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY")  # of a record that is to be deleted

RULES = (
    ErrorRule(
        status=403, at=CODE, equals="REQUEST_LIMIT_EXCEEDED", then="throttle", after=dt.timedelta(seconds=USED_UP_S)
    ),
    ErrorRule(
        status="4xx",
        at=CODE,
        equals=list(QUOTA_SPENT),
        then="throttle",
        after=dt.timedelta(seconds=USED_UP_S),
    ),
    ErrorRule(status="4xx", at=CODE, equals=list(TRANSIENT), then="retry", in_doubt=False),
    ErrorRule(
        status=403,
        at=CODE,
        equals=["API_DISABLED_FOR_ORG", "API_CURRENTLY_DISABLED", "ORG_LOCKED", "LOGIN_MUST_USE_SECURITY_TOKEN"],
        then="reconnect",
    ),
)
USAGE = BudgetReader(("salesforce",))


class Stopped(AccordError):
    """A request did not succeed; ``outcome`` says what that means."""

    code = "connector.stopped"

    def __init__(self, outcome: Retry | Reconnect | Reject) -> None:
        self.outcome = outcome
        super().__init__(outcome.reason)


class Api:
    """``tell``: hears how many API calls are left of those of 24 hours."""

    def __init__(
        self, settings: SalesforceSettings, http: HttpClient, tell: Callable[[Budget], None] = nobody_asks
    ) -> None:
        self._http = http
        self._tell = tell
        self._base = settings.base_address
        self._data = settings.base_address + settings.data_path
        self._auth = open_auth(settings.auth, http)
        self.rules = ErrorRules(RULES, secrets=secrets_of(settings))
        self._timeout_s = settings.timeout.total_seconds()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        changes: bool = False,
        is_check: bool = False,
    ) -> Any:
        """The JSON of a success (None when empty). ``path`` below the data path; one that begins with /services is whole. Raises
        Stopped."""
        sent = encode_json(body) if body is not None else b""
        response = await self.exchange(method, path, query=query, body=sent, changes=changes, is_check=is_check)
        if not response.body:
            return None
        try:
            return response.json()
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise _stopped(Retry("the answer is no JSON", in_doubt=changes)) from None

    async def exchange(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        content_type: str = "application/json",
        accept: str = "application/json",
        changes: bool = False,
        is_check: bool = False,
        timeout_s: float | None = None,
        may_be_gone: bool = False,
    ) -> HttpResponse:
        """A success, or with ``may_be_gone`` also a 404. Raises Stopped."""
        url = (self._base if path.startswith("/services/") else self._data) + path
        request = HttpRequest(
            method=method,
            url=f"{url}?{urlencode(query)}" if query else url,
            headers={"accept": accept, **({"content-type": content_type} if body else {})},
            body=body,
            timeout_s=timeout_s or self._timeout_s,
        )
        try:
            authorized = await self._auth.authorize(request)
            response = await self._http.send(authorized)
            if response.status == 401 and await self._auth.renew(authorized):
                response = await self._http.send(await self._auth.authorize(request))
        except HttpFailed as error:
            raise _stopped(self.rules.failed(error, changes=changes)) from error
        except TokenFailed as error:
            refused = (
                Reject(error.what, code="connector.unauthorized") if is_check and error.is_refused else error.outcome
            )
            raise _stopped(refused) from error
        for budget in USAGE.read(response.headers, utc_now()):
            self._tell(budget)
        if may_be_gone and response.status == 404:
            return response
        outcome = self.rules.judge(response, changes=changes, is_check=is_check)
        if outcome is not None:
            raise _stopped(outcome)
        return response

    async def query(
        self, soql: str, *, with_deleted: bool = False, records_max: int | None = None
    ) -> tuple[list[Any], bool]:
        """Records of a query, page after page up to about ``records_max``, and whether that is all. Raises Stopped."""
        answer = await self.ask("GET", "/queryAll" if with_deleted else "/query", query={"q": soql})
        records: list[Any] = list(answer["records"])
        while not answer["done"] and (records_max is None or len(records) < records_max):
            answer = await self.ask("GET", answer["nextRecordsUrl"])
            records += answer["records"]
        return records, bool(answer["done"])

    async def collection(
        self, method: str, path: str, records: Sequence[Any], query: Mapping[str, str] | None = None
    ) -> list[Any]:
        """One result per record, in their order. Raises Stopped."""
        body = None if query is not None else {"allOrNone": False, "records": records}
        results = await self.ask(method, path, query=query, body=body, changes=True)
        if not isinstance(results, list) or len(results) != len(records):
            raise Stopped(Retry("the answer does not tell what became of each record", in_doubt=True))
        return results

    def refused(self, result: Mapping[str, Any]) -> Retry | Reject:
        """What the errors of one record of a collection come to."""
        errors = result.get("errors") or [{}]
        first = errors[0]
        code = str(first.get("statusCode", ""))
        told = "; ".join(f"{one.get('statusCode', '')}: {one.get('message', '')}" for one in errors[:3])
        reason = self.rules.clean(told)
        if code in TRANSIENT:
            return Retry(reason)
        fields = first.get("fields") or [""]
        return Reject(reason, path=str(fields[0]))


def _stopped(outcome: Outcome) -> Stopped:
    if not isinstance(outcome, Retry | Reconnect | Reject):
        return Stopped(Retry(f"an answer that stands for {type(outcome).__name__}", in_doubt=True))
    return Stopped(outcome)
