"""Roles, passwords, throttled guesses, and the audit trail that cannot be changed."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import sqlite3
from pathlib import Path

import pytest

from accord.engine.operators import passwords
from accord.engine.operators.access import described
from accord.engine.operators.audit import Audit, AuditEntry, newest_first
from accord.engine.operators.passwords import hash_password, is_password
from accord.engine.operators.roles import Actor, Role, role_needed
from accord.engine.operators.users import FAILURES_PER_ADDRESS_MAX, Throttle, Users
from accord.settings.monitor import UserSpec
from accord.settings.secret import Secret

ADA = Actor("ada", Role.OPERATOR, "password")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that cost little."""
    monkeypatch.setattr(passwords, "COST", 2)


def users_of(password: str, role: str = "operator", throttle: Throttle | None = None) -> Users:
    return Users([UserSpec(name="ada", password_hash=Secret(hash_password(password)), role=role)], throttle)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "path", "query", "role"),
    [
        ("GET", "messages/7", {}, Role.VIEWER),
        ("GET", "dead-letters", {"payload": "1"}, Role.OPERATOR),
        ("GET", "dead/7", {"reveal": "1"}, Role.OPERATOR),
        ("GET", "audit", {}, Role.ADMIN),
        ("POST", "flows/orders/pause", {}, Role.OPERATOR),
        ("POST", "dead/7/replay", {}, Role.OPERATOR),
        ("POST", "dead-letters/7/discard", {}, Role.ADMIN),
        ("POST", "messages/cancel", {}, Role.ADMIN),
        ("DELETE", "anything", {}, Role.OPERATOR),
    ],
)
def test_what_a_role_may_do(method: str, path: str, query: dict[str, str], role: Role) -> None:
    assert role_needed(method, path.split("/"), query) is role


def test_a_password_is_known_by_its_hash_only() -> None:
    hashed = hash_password("correct horse battery")
    assert hashed.startswith("scrypt:32768:8:3:")
    assert "horse" not in hashed
    assert is_password("correct horse battery", hashed)
    assert not is_password("correct horse batterx", hashed)
    assert hash_password("correct horse battery") != hashed, "each has its own salt"
    for wrong in ("", "secret", "scrypt:1:8:3:AA==:AA==", "scrypt:x:8:3:AA==:AA==", "scrypt:4294967296:8:3:AA==:AA=="):
        with pytest.raises(ValueError, match="hash-password"):
            is_password("x", wrong)


@pytest.mark.usefixtures("quick")
def test_users_sign_in_and_cannot_be_guessed_fast() -> None:
    now = [0.0]
    users = users_of("right", throttle=Throttle(lambda: now[0]))

    async def check() -> None:
        assert await users.sign_in("ada", "right", "10.0.0.1") == ADA
        assert await users.sign_in("nobody", "right", "10.0.0.1") is None
        for _ in range(FAILURES_PER_ADDRESS_MAX):
            assert await users.sign_in("ada", "wrong", "10.0.0.2") is None
        assert await users.sign_in("ada", "right", "10.0.0.2") is None, "too many wrong ones"
        assert await users.sign_in("ada", "right", "10.0.0.3") == ADA, "from elsewhere one may"
        now[0] = 61.0
        assert await users.sign_in("ada", "right", "10.0.0.2") == ADA
        proof = "Basic " + base64.b64encode(b"ada:right").decode()
        assert await users.basic(proof, "") == ADA
        assert await users.basic(proof, "") == ADA
        for wrong in ("Basic !", "Basic " + base64.b64encode(b"ada:wrong").decode(), "Basic"):
            assert await users.basic(wrong, "") is None

    asyncio.run(check())


def test_the_trail_is_kept_and_never_changed(tmp_path: Path) -> None:
    now = [1_000_000.0]
    unwritten: list[AuditEntry] = []
    path = tmp_path / "audit.db"

    async def check() -> None:
        kept = dt.timedelta(days=1)
        audit = Audit(path, kept, lambda entry, _: unwritten.append(entry), lambda: now[0])
        await asyncio.gather(*(audit.record(ADA, "replay", f"messages/{n}", "done", "10.0.0.1") for n in range(20)))
        await audit.close()
        again = Audit(path, kept, lambda entry, _: unwritten.append(entry), lambda: now[0])
        now[0] += 60
        await again.record(Actor("bo", Role.ADMIN, "oidc"), "cancel", "messages/1", "done", "")
        (entries,) = (await again.entries()).values()
        assert [entry.actor for entry in entries] == ["bo"] + ["ada"] * 20
        assert {entry.object for entry in entries[1:]} == {f"messages/{n}" for n in range(20)}
        assert entries[0].role == "admin"
        (older,) = (await again.entries(before=entries[0].at.timestamp(), limit=5)).values()
        assert [entry.actor for entry in older] == ["ada"] * 5
        (chosen,) = (await again.entries(action="cancel")).values()
        assert len(chosen) == 1
        assert newest_first([chosen, older], 2)[0] == chosen[0]
        await again.close()
        with (
            contextlib.closing(sqlite3.connect(path)) as db,
            pytest.raises(sqlite3.IntegrityError, match="append-only"),
        ):
            db.execute("UPDATE audit SET actor = 'somebody else'")
        now[0] += 2 * 86_400
        later = Audit(path, kept, lambda entry, _: unwritten.append(entry), lambda: now[0])
        await later.record(ADA, "pause", "flows/orders", "done", "")
        (left,) = (await later.entries()).values()
        assert [entry.action for entry in left] == ["pause"], "its time has passed"
        await later.close()

    asyncio.run(check())
    assert not unwritten


def test_what_cannot_be_kept_is_told(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    path.write_bytes(b"no database" * 100)
    told: list[str] = []

    async def check() -> None:
        audit = Audit(path, dt.timedelta(days=1), lambda entry, error: told.append(f"{entry.action}: {error}"))
        await audit.record(ADA, "replay", "messages/1", "done", "")
        await audit.close()

    asyncio.run(check())
    assert told == ["replay: file is not a database"]


def test_actions_are_told_by_word_and_object() -> None:
    assert described(["messages", "7", "cancel"], {}) == ("cancel", "messages/7")
    assert described(["messages", "pause"], {"flow": "orders", "state": "held"}) == (
        "pause",
        "messages flow=orders state=held",
    )
