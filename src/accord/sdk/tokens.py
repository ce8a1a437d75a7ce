"""One access token for all requests of a connection: fetched once, renewed before it expires or when it is refused.

Invariants: at most one fetch is under way; a token that was refused is never given again; of many requests refused with the
same token only the first one fetches, the others take what it brought.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from urllib.parse import urlencode

import msgspec

from accord.errors import ConnectorError
from accord.record import Outcome, Reconnect, Reject
from accord.sdk.errors_http import ErrorRules
from accord.sdk.http import HttpClient, HttpFailed, HttpRequest, HttpResponse

EXPIRY_MARGIN_S = 30.0  # renew so long before the end, or at half the lifetime of shorter-lived tokens
LIFETIME_S = 3600.0  # when the server does not say (RFC 6749 recommends that it does)


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``assertion`` is made anew for each request, where the scheme wants one."""

    address: str
    headers: dict[str, str]
    form: dict[str, str]
    assertion: Callable[[], str] | None = None


class TokenFailed(ConnectorError):
    """No token could be had; ``outcome`` says what the request that wanted it comes to. That request was never sent.
    ``is_refused``: the token address answered and refused the client, as opposed to being away."""

    code = "connector.token-failed"

    def __init__(self, outcome: Outcome, *, is_refused: bool = False) -> None:
        self.outcome = outcome
        self.is_refused = is_refused
        super().__init__(str(getattr(outcome, "reason", outcome)))


class _TokenAnswer(msgspec.Struct):
    access_token: str
    expires_in: float | str | None = None
    refresh_token: str | None = None


class TokenCache:
    def __init__(
        self,
        request: TokenRequest,
        http: HttpClient,
        rules: ErrorRules,
        now: Callable[[], dt.datetime],
        keep_refresh_token: Callable[[str], None] | None = None,
    ) -> None:
        self._request = request
        self._http = http
        self._rules = rules
        self._now = now
        self._keep_refresh_token = keep_refresh_token
        self._lock = asyncio.Lock()
        self._token = ""
        self._renew_at = now()

    async def token(self) -> str:
        """A token good for some seconds more. Raises TokenFailed."""
        if self._token and self._now() < self._renew_at:
            return self._token
        async with self._lock:
            if not self._token or self._now() >= self._renew_at:
                await self._fetch()
            return self._token

    async def renew(self, refused: str) -> None:
        """Fetches a token unless another request has done so since ``refused`` was in use. Raises TokenFailed."""
        async with self._lock:
            if self._token == refused or not self._token:
                await self._fetch()

    async def _fetch(self) -> None:
        self._token = ""
        form = self._request.form
        if self._request.assertion is not None:
            form = {**form, "assertion": self._request.assertion()}
        body = urlencode(form).encode()
        request = HttpRequest(method="POST", url=self._request.address, headers=self._request.headers, body=body)
        try:
            response = await self._http.send(request)
        except HttpFailed as error:
            outcome = self._rules.failed(error, changes=False)
            raise TokenFailed(outcome) from error
        answer = self._read(response)
        lifetime_s = float(answer.expires_in or LIFETIME_S)
        margin_s = min(EXPIRY_MARGIN_S, lifetime_s / 2)
        self._token = answer.access_token
        self._renew_at = self._now() + dt.timedelta(seconds=lifetime_s - margin_s)
        if answer.refresh_token and "refresh_token" in self._request.form:
            self._request.form["refresh_token"] = answer.refresh_token
            if self._keep_refresh_token is not None:
                self._keep_refresh_token(answer.refresh_token)

    def _read(self, response: HttpResponse) -> _TokenAnswer:
        judged = self._rules.judge(response, changes=False, is_check=True)
        if isinstance(judged, Reject):
            # wrong client, revoked grant: it fails for every request alike, so none of them is given up for it
            raise TokenFailed(Reconnect(f"no access token: {judged.reason}"), is_refused=True)
        if judged is not None:
            raise TokenFailed(judged)
        try:
            answer = msgspec.json.decode(response.body, type=_TokenAnswer, strict=False)
            float(answer.expires_in or 0)
        except (msgspec.DecodeError, ValueError) as error:
            raise TokenFailed(Reconnect("the token address gave an answer without an access_token")) from error
        return answer
