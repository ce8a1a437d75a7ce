"""Who may look and who may act: hosts, cookies, forms."""

from __future__ import annotations

import pytest

from accord.monitor.session import COOKIE, FAILURES_MAX, SESSION_S, Sessions


class Time:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1:8400", True),
        ("localhost:8400", True),
        ("LOCALHOST", True),
        ("[::1]:8400", True),
        ("evil.example:8400", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
    ],
)
def test_a_loopback_engine_answers_to_its_own_names_only(host: str, is_ours: bool) -> None:
    assert Sessions("token", is_local=True).is_host_ours(host) is is_ours
    assert Sessions("token", is_local=False).is_host_ours(host), "elsewhere the token protects"


def test_elsewhere_the_token_is_asked_for_and_its_cookie_ends() -> None:
    time = Time()
    sessions = Sessions("token", is_local=False, now=time)
    assert not sessions.visitor({}).is_signed_in
    assert sessions.sign_in("wrong") is None
    visitor = sessions.sign_in("token")
    assert visitor is not None and visitor.is_new
    headers = {"cookie": f"other=1; {COOKIE}={visitor.cookie}"}
    assert sessions.visitor(headers).is_signed_in
    assert not sessions.visitor({"cookie": f"{COOKIE}={visitor.cookie}x"}).is_signed_in
    assert Sessions("token", is_local=False, now=time).visitor(headers).is_signed_in, "it survives a restart"
    assert not Sessions("other", is_local=False, now=time).visitor(headers).is_signed_in
    time.now += SESSION_S + 1
    assert not sessions.visitor(headers).is_signed_in


def test_tokens_cannot_be_guessed_fast() -> None:
    time = Time()
    sessions = Sessions("token", is_local=False, now=time)
    for _ in range(FAILURES_MAX):
        assert sessions.sign_in("wrong") is None
    assert sessions.sign_in("token") is None
    time.now += 61
    assert sessions.sign_in("token") is not None


def test_a_form_belongs_to_its_visitor_and_its_site() -> None:
    sessions = Sessions("token", is_local=True)
    one, other = sessions.visitor({}), sessions.visitor({})
    host = {"host": "127.0.0.1:8400"}
    assert sessions.is_form_ours(one, one.form, host)
    assert sessions.is_form_ours(one, one.form, {**host, "origin": "http://127.0.0.1:8400"})
    assert not sessions.is_form_ours(one, other.form, host)
    assert not sessions.is_form_ours(one, "", host)
    assert not sessions.is_form_ours(one, one.form, {**host, "origin": "https://evil.example"})
