"""Status, body and broken connection to outcome."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from accord.record import Done, Reconnect, Reject, Retry
from accord.sdk.errors_http import MESSAGE_LENGTH_MAX, ErrorRule, ErrorRules, message_of
from accord.sdk.http import HttpFailed, HttpResponse, encode_json
from accord.sdk.rate_headers import retry_after_s

NOW = dt.datetime(2026, 11, 1, 12, 0, tzinfo=dt.UTC)


def answer(status: int, body: Any = None, **headers: str) -> HttpResponse:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status=status, headers=told, body=b"" if body is None else encode_json(body))


def judge(response: HttpResponse, *rules: ErrorRule, changes: bool = True, is_check: bool = False) -> Any:
    return ErrorRules(rules, secrets=["s3cret-value"], now=lambda: NOW).judge(
        response, changes=changes, is_check=is_check
    )


@pytest.mark.parametrize(
    ("status", "kind", "in_doubt"),
    [
        (200, None, None),
        (204, None, None),
        (301, Reject, None),
        (400, Reject, None),
        (401, Reconnect, False),
        (402, Reconnect, False),
        (403, Reject, None),
        (404, Reject, None),
        (408, Retry, True),
        (409, Reject, None),
        (410, Reject, None),
        (422, Reject, None),
        (423, Reconnect, False),
        (425, Retry, True),
        (429, Retry, False),
        (500, Retry, True),
        (501, Retry, True),
        (502, Reconnect, True),
        (503, Reconnect, True),
        (504, Reconnect, True),
        (599, Retry, True),
    ],
)
def test_defaults(status: int, kind: Any, in_doubt: bool | None) -> None:
    outcome = judge(answer(status))
    assert outcome is None if kind is None else type(outcome) is kind
    assert getattr(outcome, "in_doubt", None) is in_doubt
    if isinstance(outcome, Retry | Reconnect):
        assert not judge(answer(status), changes=False).in_doubt


def test_429_is_throttled_for_as_long_as_told() -> None:
    assert judge(answer(429, retry_after="7")) == Retry("the system answered 429", 7.0, throttled=True)
    assert judge(answer(429, retry_after="Sun, 01 Nov 2026 12:00:30 GMT")).after_s == 30.0
    assert judge(answer(429)).after_s == 1.0
    assert judge(answer(503, retry_after="120")).after_s == 120.0


def test_a_check_tells_wrong_credentials_apart() -> None:
    assert judge(answer(401), is_check=True) == Reject("the system answered 401", code="connector.unauthorized")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Sun, 01 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "99999999999"}, 86400.0),
        ({"ratelimit-reset": "12"}, 12.0),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 9)}, 9.0),
        ({"x-ratelimit-reset": str((int(NOW.timestamp()) + 9) * 1000)}, 9.0),
        ({"ratelimit": '"default";r=0;t=33'}, 33.0),
        ({"ratelimit": "limit=100, remaining=0, reset=5"}, 5.0),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"message": "no stock"}, "no stock"),
        ({"error": "invalid_grant", "error_description": "expired"}, "expired"),
        ({"error": {"code": 3, "message": "bad sku"}}, "bad sku"),
        ({"errors": {"name": ["can't be blank"], "sku": ["too long"]}}, "name: can't be blank; sku: too long"),
        ({"errors": [{"detail": "first"}, {"title": "second"}]}, "first; second"),
        ({"type": "about:blank", "title": "Not Found", "detail": "No item"}, "No item"),
        ([{"loc": ["body", "by"], "msg": "x", "message": "wrong"}], "wrong"),
        (7, ""),
        (None, ""),
    ],
)
def test_where_messages_stand(body: Any, message: str) -> None:
    assert message_of(body) == message


def test_the_field_at_fault() -> None:
    assert judge(answer(422, {"errors": {"price": ["negative"]}})).path == "price"
    assert judge(answer(422, {"errors": [{"pointer": "/data/price", "detail": "x"}]})).path == "data.price"
    assert judge(answer(422, {"detail": [{"loc": ["body", "by"]}], "field": "by"})).path == "by"


def test_reasons_are_short_and_clean() -> None:
    said = "the key s3cret-value of ada.l@example.co.uk\nfailed " + "x" * 1000
    reason = judge(answer(400, {"message": said})).reason
    assert reason.startswith("400: the key *** of ***@*** failed xx")
    assert len(reason) <= MESSAGE_LENGTH_MAX


def test_html_says_nothing() -> None:
    page = HttpResponse(status=500, headers={"content-type": "text/html"}, body=b"<html>Oops</html>")
    assert judge(page).reason == "the system answered 500"
    plain = HttpResponse(status=500, headers={"content-type": "text/plain"}, body=b"disk full")
    assert judge(plain).reason == "500: disk full"


def test_rules_in_order() -> None:
    duplicate = ErrorRule(status=409, at="error.code", equals="duplicate", then="done")
    busy = ErrorRule(
        status=409, at="error.code", equals=["busy", "locked"], then="retry", after=dt.timedelta(seconds=3)
    )
    rest = ErrorRule(status="4xx", at="error.code", contains="quota", then="throttle")
    rules = (duplicate, busy, rest)
    body = {"error": {"code": "duplicate"}}
    assert judge(answer(409, body), *rules) == Done(body, was_there=True)
    assert judge(answer(409, {"error": {"code": "locked"}}), *rules).after_s == 3.0
    assert judge(answer(403, {"error": {"code": "quota_day"}}), *rules).throttled
    assert isinstance(judge(answer(409, {"error": {"code": "other"}}), *rules), Reject)


def test_a_rule_may_find_errors_in_a_success() -> None:
    rule = ErrorRule(status=200, at="ok", equals=False, then="reject", message="why", path="field")
    assert judge(answer(200, {"ok": True}), rule) is None
    assert judge(answer(200, {"ok": False, "why": "no", "field": "sku"}), rule) == Reject("200: no", path="sku")


@pytest.mark.parametrize("bad", [{"status": 42}, {"status": "4x"}, {"equals": "x"}])
def test_wrong_rules(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"`(status|at)`"):
        ErrorRule(then="done", **bad)


@pytest.mark.parametrize(
    ("kind", "in_doubt", "wanted"),
    [
        ("connect", False, Reconnect("x")),
        ("timeout", True, Retry("x", in_doubt=True, timed_out=True)),
        ("reset", True, Reconnect("x", in_doubt=True)),
        ("invalid", False, Reject("x", code="connector.bad-request")),
        ("too-large", True, Retry("x", in_doubt=True)),
    ],
)
def test_no_answer(kind: str, in_doubt: bool, wanted: Any) -> None:
    assert ErrorRules().failed(HttpFailed("x", kind=kind, in_doubt=in_doubt), changes=True) == wanted


def test_a_read_is_never_in_doubt() -> None:
    assert ErrorRules().failed(HttpFailed("x", kind="reset", in_doubt=True), changes=False) == Reconnect("x")
