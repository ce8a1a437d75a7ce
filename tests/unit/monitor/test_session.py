"""Who may look and who may act: hosts, cookies, forms."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from accord.engine.operators import passwords
from accord.engine.operators.passwords import hash_password
from accord.engine.operators.roles import Actor, Role
from accord.engine.operators.users import FAILURES_PER_ADDRESS_MAX, Throttle, Users
from accord.monitor.session import COOKIE, SESSION_S, TOKEN, Sessions
from accord.settings.monitor import UserSpec
from accord.settings.secret import Secret


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
    assert sessions.visitor({}).actor is None
    assert asyncio.run(sessions.sign_in("", "wrong", "")) is None
    visitor = asyncio.run(sessions.sign_in("", "token", ""))
    assert visitor is not None and visitor.is_new
    headers = {"cookie": f"other=1; {COOKIE}={visitor.cookie}"}
    found = sessions.visitor(headers)
    assert found.actor == TOKEN
    assert found.form == visitor.form
    assert sessions.visitor({"cookie": f"{COOKIE}={visitor.cookie}x"}).actor is None
    assert Sessions("token", is_local=False, now=time).visitor(headers).actor == TOKEN, "it survives a restart"
    assert Sessions("other", is_local=False, now=time).visitor(headers).actor is None
    time.now += SESSION_S + 1
    assert sessions.visitor(headers).actor is None


def test_tokens_cannot_be_guessed_fast() -> None:
    time = Time()
    sessions = Sessions("token", Users((), Throttle(time)), is_local=False, now=time)
    for _ in range(FAILURES_PER_ADDRESS_MAX):
        assert asyncio.run(sessions.sign_in("", "wrong", "10.0.0.1")) is None
    assert asyncio.run(sessions.sign_in("", "token", "10.0.0.1")) is None
    time.now += 61
    assert asyncio.run(sessions.sign_in("", "token", "10.0.0.1")) is not None


def user(password: str, role: str) -> UserSpec:
    return UserSpec(name="ada", password_hash=Secret(hash_password(password)), role=role)  # type: ignore[arg-type]


def test_a_users_session_has_the_role_of_today_and_ends_with_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "COST", 2)
    ada = user("first", "admin")
    visitor = asyncio.run(Sessions("t", Users([ada]), is_local=True, asks_who=True).sign_in("ada", "first", ""))
    assert visitor is not None
    headers = {"cookie": f"{COOKIE}={visitor.cookie}"}

    def role(*declared: UserSpec) -> str:
        actor = Sessions("t", Users(declared), is_local=True, asks_who=True).visitor(headers).actor
        return actor.role.name if actor is not None else ""

    assert role(ada) == "ADMIN"
    assert role(msgspec.structs.replace(ada, role="viewer")) == "VIEWER"
    assert role(user("second", "admin")) == ""
    assert role() == ""


def test_nobody_is_local_where_users_are_declared() -> None:
    local = Sessions("t", is_local=True).visitor({})
    assert local.actor is not None
    asking = Sessions("t", is_local=True, asks_who=True)
    assert asking.visitor({}).actor is None
    assert asking.visitor({"cookie": f"{COOKIE}={local.cookie}"}).actor is None


def test_forms_show_by_role() -> None:
    sessions = Sessions("t", is_local=False)
    shown = {
        role: [
            word
            for word in ("messages/1/cancel", "flows/f/pause")
            if sessions.opened(Actor("a", role, "oidc")).form.may(f"/monitor/{word}")
        ]
        for role in Role
    }
    assert shown == {
        Role.VIEWER: [],
        Role.OPERATOR: ["flows/f/pause"],
        Role.ADMIN: ["messages/1/cancel", "flows/f/pause"],
    }


def test_a_form_belongs_to_its_visitor_and_its_site() -> None:
    sessions = Sessions("token", is_local=True)
    one, other = sessions.visitor({}), sessions.visitor({})
    host = {"host": "127.0.0.1:8400"}
    assert sessions.is_form_ours(one, one.form, host)
    assert sessions.is_form_ours(one, one.form, {**host, "origin": "http://127.0.0.1:8400"})
    assert not sessions.is_form_ours(one, other.form, host)
    assert not sessions.is_form_ours(one, "", host)
    assert not sessions.is_form_ours(one, one.form, {**host, "origin": "https://evil.example"})
