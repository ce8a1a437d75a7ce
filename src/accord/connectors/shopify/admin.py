"""One request to the GraphQL Admin API, and what its answer comes to.

Three layers can fail, each translated here and nowhere else: HTTP (status, broken connection), GraphQL (``errors`` with a code
under ``extensions``), and the mutation itself (``userErrors``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from accord.connectors.shopify.cost import CostBucket, throttled_s
from accord.connectors.shopify.documents import document
from accord.connectors.shopify.inputs import record_path
from accord.connectors.shopify.settings import ShopifySettings
from accord.errors import AccordError
from accord.record import Outcome, Reconnect, Reject, Retry
from accord.sdk.auth import secrets_of
from accord.sdk.budget import Budget, nobody_asks
from accord.sdk.errors_http import ErrorRule, ErrorRules
from accord.sdk.http import HttpClient, HttpFailed, HttpRequest, encode_json

# 404: no such shop or API version; it fails for everything alike, so no record is given up for it
RULES = (ErrorRule(status=404, then="reconnect"),)
TRANSIENT = ("IDEMPOTENCY_CONCURRENT_REQUEST", "SERVICE_UNAVAILABLE")
KEY_SPENT = "IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED"


class Stopped(AccordError):
    """A request did not succeed; ``outcome`` says what that means. ``user_code`` is the code of a userError, if it was one."""

    code = "connector.stopped"

    def __init__(
        self, outcome: Retry | Reconnect | Reject, user_code: str = "", *, is_user_error: bool = False
    ) -> None:
        self.outcome = outcome
        self.user_code = user_code
        self.is_user_error = is_user_error
        super().__init__(outcome.reason)


class Admin:
    """``tell``: hears what is left of the query-cost bucket."""

    def __init__(
        self, settings: ShopifySettings, http: HttpClient, tell: Callable[[Budget], None] = nobody_asks
    ) -> None:
        self._http = http
        self._tell = tell
        self._url = settings.graphql_address
        self._headers = {
            "content-type": "application/json",
            "accept": "application/json",
            "x-shopify-access-token": settings.access_token.reveal(),
        }
        seconds = settings.timeout.total_seconds()
        self._timeout_s = seconds if seconds != 30.0 else None
        self._rules = ErrorRules(RULES, secrets=secrets_of(settings))
        self._bucket = CostBucket()
        self._prefixes: dict[str, bytes] = {}

    async def run(self, name: str, variables: dict[str, Any], *, changes: bool = False, is_check: bool = False) -> Any:
        """``data`` of the answer. Raises Stopped. ``changes``: the document is a mutation."""
        wait_s = self._bucket.wait_s(name, time.monotonic())
        if wait_s:
            raise Stopped(Retry("the query-cost bucket is used up", after_s=wait_s, throttled=True))
        request = HttpRequest(
            method="POST",
            url=self._url,
            headers=self._headers,
            body=self._body(name, variables),
            timeout_s=self._timeout_s,
        )
        try:
            response = await self._http.send(request)
        except HttpFailed as error:
            raise _stopped(self._rules.failed(error, changes=changes)) from error
        outcome = self._rules.judge(response, changes=changes, is_check=is_check)
        if outcome is not None:
            raise _stopped(outcome)
        try:
            body = response.json()
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Stopped(Retry("the shop's answer is no JSON", in_doubt=changes)) from None
        self._bucket.learn(name, body, time.monotonic())
        if (budget := self._bucket.budget()) is not None:
            self._tell(budget)
        return self._data(body, changes)

    async def mutate(self, name: str, variables: dict[str, Any]) -> Any:
        """The payload of a mutation without userErrors. Raises Stopped."""
        data = await self.run(name, variables, changes=True)
        payload = next(iter(data.values()), None)
        if not isinstance(payload, dict):
            raise Stopped(Retry("the shop's answer holds no result", in_doubt=True))
        errors = payload.get("userErrors")
        if errors:
            raise self._user_error(errors)
        return payload

    def _body(self, name: str, variables: dict[str, Any]) -> bytes:
        prefix = self._prefixes.get(name)
        if prefix is None:
            prefix = self._prefixes[name] = b'{"query":' + encode_json(document(name)) + b',"variables":'
        return prefix + encode_json(variables) + b"}"

    def _data(self, body: Any, changes: bool) -> Any:
        if not isinstance(body, dict):
            raise Stopped(Retry("the shop's answer is no GraphQL", in_doubt=changes))
        errors = body.get("errors")
        if errors:
            raise Stopped(self._graphql_error(body, errors, changes))
        data = body.get("data")
        if not isinstance(data, dict):
            raise Stopped(Retry("the shop's answer holds no data", in_doubt=changes))
        return data

    def _graphql_error(self, body: Any, errors: Any, changes: bool) -> Retry | Reconnect | Reject:
        first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
        extensions = first.get("extensions")
        code = str(extensions.get("code", "")) if isinstance(extensions, dict) else ""
        said = first.get("message") or (errors if isinstance(errors, str) else "")
        reason = self._rules.clean(f"{code}: {said}" if code else str(said) or "GraphQL error")
        match code:
            case "THROTTLED":
                return Retry(reason, after_s=throttled_s(body), throttled=True)
            case "INTERNAL_SERVER_ERROR" | "TIMEOUT":
                return Retry(reason, in_doubt=changes)
            case "SHOP_INACTIVE":
                return Reconnect(reason)
            case "ACCESS_DENIED":
                return Reject(reason, code="connector.forbidden")
            case _:
                return Reject(reason)

    def _user_error(self, errors: Any) -> Stopped:
        first = errors[0] if isinstance(errors, list) and isinstance(errors[0], dict) else {}
        code = str(first.get("code") or "")
        said = "; ".join(str(e.get("message", "")) for e in errors[:5] if isinstance(e, dict))
        reason = self._rules.clean(f"{code}: {said}" if code else said)
        if code in TRANSIENT:
            return Stopped(Retry(reason, in_doubt=True), code, is_user_error=True)
        return Stopped(Reject(reason, path=record_path(first.get("field"))), code, is_user_error=True)


def _stopped(outcome: Outcome) -> Stopped:
    if isinstance(outcome, Retry | Reconnect | Reject):
        return Stopped(outcome)
    return Stopped(Retry(f"unexpected outcome {type(outcome).__name__}", in_doubt=True))
