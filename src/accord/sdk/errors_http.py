"""From a status, a body or a broken connection to an outcome: the one place where HTTP errors get their meaning.

Defaults, when no rule of the connector says otherwise (decision 0050):

| status | outcome |
|---|---|
| 2xx | success |
| 401 (after one renewal of the token) | Reconnect: the credentials fail for everything, nothing is given up for it |
| 402, 423 | Reconnect: the account is suspended or locked |
| 408, 425 | Retry, in doubt |
| 429 | Retry, throttled, after what the headers say |
| 500 and other 5xx | Retry, in doubt for requests that change something |
| 502, 503, 504 | Reconnect, in doubt for requests that change something, after Retry-After |
| 1xx, 3xx | Reject: redirects are not followed |
| other 4xx (400, 403, 404, 409, 410, 422 …) | Reject with the body's message |
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import msgspec

from accord.record import Done, Outcome, Reconnect, Reject, Retry
from accord.sdk.bodies import value_at
from accord.sdk.http import HttpFailed, HttpResponse
from accord.sdk.rate_headers import retry_after_s

MESSAGE_LENGTH_MAX = 300
THROTTLE_S = 1.0  # wait after a 429 that does not say how long

_MAIL = re.compile(r"[\w.+\-]{1,64}@[\w\-]+(?:\.[\w\-]+)+")
_CODES = {
    401: "connector.unauthorized",
    403: "connector.forbidden",
    404: "connector.not-found",
    410: "connector.not-found",
}


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class ErrorRule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of an API's own. It applies when everything it names fits; the first that applies decides.

    ``status``: 409, "4xx", or a list of them. ``at``: a path in the JSON body; ``equals`` (one value or several) or
    ``contains`` compare the value there. ``message`` and ``path``: where in the body the reason and the field at fault are.
    ``then: done`` says that the error means it was done already (``was_there``).
    """

    then: Literal["done", "retry", "reject", "reconnect", "throttle"]
    status: int | str | list[int | str] = "4xx"
    at: str = ""
    equals: str | int | bool | list[str | int] | None = None
    contains: str = ""
    after: dt.timedelta | None = None
    in_doubt: bool | None = None
    message: str = ""
    path: str = ""
    code: str = "connector.rejected"

    def __post_init__(self) -> None:
        for status in self.statuses():
            if not re.fullmatch(r"[1-5](\d\d|xx)", str(status)):
                raise ValueError(f"`status` must be a status like 409 or a class like 4xx, not '{status}'")
        if (self.equals is not None or self.contains) and not self.at:
            raise ValueError("`at` is missing: `equals` and `contains` compare the value at a path of the body")

    def statuses(self) -> Sequence[int | str]:
        return self.status if isinstance(self.status, list) else (self.status,)


class ErrorRules:
    """Judges answers and failures of one system. ``secrets`` never appear in a reason."""

    def __init__(
        self,
        rules: Iterable[ErrorRule] = (),
        *,
        secrets: Iterable[str] = (),
        now: Callable[[], dt.datetime] = utc_now,
    ) -> None:
        self._rules = tuple((frozenset(map(str, rule.statuses())), rule) for rule in rules)
        self._looks_at_success = any(s[0] == "2" for statuses, _ in self._rules for s in statuses)
        self._secrets = tuple(s for s in secrets if len(s) >= 4)
        self._now = now

    def judge(self, response: HttpResponse, *, changes: bool, is_check: bool = False) -> Outcome | None:
        """None for success. ``changes``: the request may have changed something, so a lost answer leaves it in doubt.
        ``is_check``: somebody asks whether address and credentials work, so 401 is the answer: Reject."""
        status = response.status
        if 200 <= status < 300 and not self._looks_at_success:
            return None
        body = _body_of(response)
        for statuses, rule in self._rules:
            if (str(status) in statuses or f"{status // 100}xx" in statuses) and _fits(rule, body):
                return self._ruled(rule, response, body, changes)
        if 200 <= status < 300:
            return None
        if is_check and status == 401:
            return Reject(self._reason(response, body, ""), code=_CODES[401])
        return self._default(response, body, changes)

    def failed(self, error: HttpFailed, *, changes: bool) -> Outcome:
        """The outcome of an exchange without a whole answer."""
        reason = self.clean(error.what)
        in_doubt = error.in_doubt and changes
        if error.kind == "invalid":
            return Reject(reason, code="connector.bad-request")
        if error.kind == "too-large":
            return Reject(reason, code="connector.answer-too-large") if not changes else Retry(reason, in_doubt=True)
        if error.kind == "timeout":
            return Retry(reason, in_doubt=in_doubt, timed_out=True)
        return Reconnect(reason, in_doubt=in_doubt)

    def clean(self, text: str) -> str:
        """``text`` on one line, bounded, without the system's secrets and mail addresses."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = _MAIL.sub("***@***", " ".join(text.split()))
        return text if len(text) <= MESSAGE_LENGTH_MAX else text[: MESSAGE_LENGTH_MAX - 2] + " …"

    def _ruled(self, rule: ErrorRule, response: HttpResponse, body: Any, changes: bool) -> Outcome:
        reason = self._reason(response, body, rule.message)
        after_s = rule.after.total_seconds() if rule.after else retry_after_s(response.headers, self._now())
        in_doubt = rule.in_doubt if rule.in_doubt is not None else changes and response.status >= 500
        match rule.then:
            case "done":
                return Done(body, was_there=True)
            case "retry":
                return Retry(reason, after_s, in_doubt)
            case "throttle":
                return Retry(reason, after_s if after_s is not None else THROTTLE_S, throttled=True)
            case "reconnect":
                return Reconnect(reason, after_s, in_doubt)
            case _:
                at = value_at(body, rule.path) if rule.path else None
                return Reject(reason, path=self.clean(str(at)) if at is not None else _field_of(body), code=rule.code)

    def _default(self, response: HttpResponse, body: Any, changes: bool) -> Outcome:
        status = response.status
        reason = self._reason(response, body, "")
        after_s = retry_after_s(response.headers, self._now())
        if status == 429:
            return Retry(reason, after_s if after_s is not None else THROTTLE_S, throttled=True)
        if status in (401, 402, 423):
            return Reconnect(reason, after_s)
        if status in (408, 425):
            return Retry(reason, after_s, in_doubt=changes, timed_out=status == 408)
        if status in (502, 503, 504):
            return Reconnect(reason, after_s, in_doubt=changes)
        if status >= 500:
            return Retry(reason, after_s, in_doubt=changes)
        return Reject(reason, path=self.clean(_field_of(body)), code=_CODES.get(status, "connector.rejected"))

    def _reason(self, response: HttpResponse, body: Any, message_path: str) -> str:
        found = value_at(body, message_path) if message_path else None
        message = str(found) if found is not None else message_of(body)
        if not message and response.headers.get("content-type", "").startswith("text/plain"):
            message = response.body[: MESSAGE_LENGTH_MAX * 2].decode("utf-8", "replace")
        return self.clean(f"{response.status}: {message}" if message else f"the system answered {response.status}")


def message_of(body: Any) -> str:
    """The human sentence in an error body, from where APIs commonly put it (problem+json, error, errors, message)."""
    if isinstance(body, str):
        return body
    if isinstance(body, list):
        return "; ".join(filter(None, (message_of(item) for item in body[:5])))
    if not isinstance(body, dict):
        return ""
    for name in ("detail", "message", "error_description", "error_message", "description", "error", "title", "reason"):
        found = message_of(body.get(name))
        if found:
            return found
    errors = body.get("errors")
    if isinstance(errors, dict):
        return "; ".join(f"{name}: {message_of(said) or said}" for name, said in list(errors.items())[:5])
    return message_of(errors)


def _field_of(body: Any) -> str:
    """The field at fault, where an error body names it in a common way."""
    errors = body.get("errors") if isinstance(body, dict) else body
    if isinstance(errors, dict) and errors:
        return str(next(iter(errors)))
    first = errors[0] if isinstance(errors, list) and errors else body
    if not isinstance(first, dict):
        return ""
    for name in ("field", "path", "param", "pointer", "loc"):
        at = first.get(name)
        if isinstance(at, list) and at:
            return ".".join(str(part) for part in at if part not in ("body", "query"))
        if isinstance(at, str) and at:
            return at.strip("/").replace("/", ".")
    return ""


def _body_of(response: HttpResponse) -> Any:
    if not response.body or len(response.body) > 1_000_000:
        return None
    try:
        return response.json()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _fits(rule: ErrorRule, body: Any) -> bool:
    if not rule.at:
        return True
    value = value_at(body, rule.at)
    if rule.equals is not None:
        wanted = rule.equals if isinstance(rule.equals, list) else [rule.equals]
        return value in wanted
    if rule.contains:
        return value is not None and rule.contains in str(value)
    return value is not None
