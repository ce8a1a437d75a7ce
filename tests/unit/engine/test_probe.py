"""The connection test, and the last troubles of a system: what they tell, and that they keep secrets."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from accord.engine import probe as room
from accord.engine.probe import TROUBLES_MAX, SystemCheck, Troubles, probe, without_secrets
from accord.record import Done, Outcome, Reconnect, Reject, Retry
from accord.sdk.connector import Connection
from accord.settings.secret import Secret


class Login(msgspec.Struct, frozen=True):
    password: Secret
    roles: list[Secret]


class Settings(msgspec.Struct, frozen=True):
    url: Secret
    login: Login


SETTINGS = Settings(Secret("postgresql://ada:p%40ssword@db/books"), Login(Secret("hunter22"), [Secret("of-a-list")]))


class Answering(Connection):
    def __init__(self, answer: Outcome | Exception) -> None:
        self._answer = answer

    async def check(self) -> Outcome:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


class Silent(Connection):
    async def check(self) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError


def told(connection: Connection) -> SystemCheck:
    return asyncio.run(probe("books", connection, SETTINGS))


def test_a_test_says_what_the_system_said() -> None:
    assert told(Answering(Done())).ok is True
    refused = told(Answering(Reject("401 for hunter22", code="connector.auth")))
    assert (refused.ok, refused.reason) == (False, "401 for ***")
    assert told(Answering(Reconnect("refused"))).reason == "refused"
    assert told(Answering(ValueError("hunter22"))).reason == "the connector failed: ValueError"
    assert told(Connection()).ok is None


def test_a_system_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "TEST_S", 0.01)
    assert told(Silent()).reason == "no answer within 0.01 s"


def test_no_secret_is_told_however_deep_it_lies() -> None:
    text = "postgresql://ada:p%40ssword@db/books p%40ssword p@ssword hunter22 of-a-list books"
    assert without_secrets(text, SETTINGS) == "*** *** *** *** *** books"


def test_the_last_troubles_are_kept_newest_first() -> None:
    troubles = Troubles()
    for number in range(TROUBLES_MAX + 5):
        troubles.add(Retry(f"busy {number}"))
    troubles.add(Reject("there is no ada@example.com", code="connector.rejected", path="email"))
    troubles.add(Reconnect("refused hunter22"))
    found = troubles.told(SETTINGS)
    assert len(found) == TROUBLES_MAX
    assert [one.reason for one in found[:3]] == ["refused ***", "connector.rejected email", f"busy {TROUBLES_MAX + 4}"]
    assert [one.kind for one in found[:3]] == ["reconnect", "reject", "retry"]
