"""One exchange with the API: credentials, one renewal after 401, hooks, rules, and telling what is left to use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from accord.connectors.http.hooks import Hooks
from accord.record import Outcome, Reject, Retry
from accord.sdk.auth import Authorizer
from accord.sdk.budget import Budget, nobody_asks
from accord.sdk.errors_http import ErrorRules, utc_now
from accord.sdk.http import HttpClient, HttpFailed, HttpRequest, HttpResponse
from accord.sdk.rate_headers import BudgetReader
from accord.sdk.tokens import TokenFailed

NO_JSON = "the system's answer is no JSON"


class Transport:
    def __init__(
        self,
        http: HttpClient,
        auth: Authorizer,
        rules: ErrorRules,
        hooks: Hooks,
        budgets: BudgetReader | None = None,
        tell: Callable[[Budget], None] = nobody_asks,
    ) -> None:
        self._http = http
        self._auth = auth
        self._hooks = hooks
        self._is_plain = auth.is_static and hooks.sign is None and hooks.answer is None
        self._budgets = budgets or BudgetReader()
        self._tell = tell
        self.rules = rules

    async def exchange(self, request: HttpRequest, *, changes: bool, is_check: bool = False) -> HttpResponse | Outcome:
        """The response when it is a success, else what it comes to. ``changes``: the request changes something.
        ``is_check``: refused credentials are a Reject, for a person who asks, instead of something to wait for."""
        response, outcome = await self.answer(request, changes=changes, is_check=is_check)
        if outcome is not None:
            return outcome
        assert response is not None, "what has no answer has an outcome"
        return response

    async def answer(
        self, request: HttpRequest, *, changes: bool, is_check: bool = False
    ) -> tuple[HttpResponse | None, Outcome | None]:
        """As ``exchange``: the response if one came, and what it comes to if that is no plain success."""
        try:
            response = await (self._http.send(request) if self._is_plain else self._send(request))
        except HttpFailed as error:
            return None, self.rules.failed(error, changes=changes)
        except TokenFailed as error:
            refused = is_check and error.is_refused
            return None, Reject(error.what, code="connector.unauthorized") if refused else error.outcome
        if self._budgets.is_told(response.headers):
            for budget in self._budgets.read(response.headers, utc_now()):
                self._tell(budget)
        return response, self.rules.judge(response, changes=changes, is_check=is_check)

    async def _send(self, request: HttpRequest) -> HttpResponse:
        authorized = await self._authorized(request)
        response = await self._http.send(authorized)
        if response.status == 401 and await self._auth.renew(authorized):
            response = await self._http.send(await self._authorized(request))
        return self._hooks.answer(response) if self._hooks.answer is not None else response

    async def _authorized(self, request: HttpRequest) -> HttpRequest:
        request = await self._auth.authorize(request)
        return self._hooks.sign(request) if self._hooks.sign is not None else request

    async def json(
        self, request: HttpRequest, read: Callable[[Any], Any], *, changes: bool
    ) -> tuple[Any, Outcome | None]:
        """What ``read`` makes of the answer's JSON, or the outcome that stands for it."""
        response = await self.exchange(request, changes=changes)
        if not isinstance(response, HttpResponse):
            return None, response
        body, outcome = decoded(response, changes=changes)
        return (read(body), None) if outcome is None else (None, outcome)


def decoded(response: HttpResponse, *, changes: bool) -> tuple[Any, Outcome | None]:
    """The body of a success as plain data: None when empty, text when the system says it is plain text.

    Anything else is not this API talking (a proxy's or a login page), so whether it was done is unknown."""
    if not response.body:
        return None, None
    try:
        return response.json(), None
    except (msgspec.DecodeError, UnicodeDecodeError):
        kind = response.headers.get("content-type", "")
        if kind.startswith("text/plain"):
            return response.body.decode("utf-8", "replace"), None
        return None, Retry(f"{NO_JSON} but {kind or 'of no declared type'}", in_doubt=changes)
