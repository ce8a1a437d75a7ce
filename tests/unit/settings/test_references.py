"""``${env:…}`` and ``${secret:…}`` in settings."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import Faults, SettingsError
from accord.settings.decode import Size, decode
from accord.settings.node import Node
from accord.settings.references import Environment, Resolver, find_references
from accord.settings.secret import Secret
from accord.settings.secrets import ProviderChain, VariableSecrets

VARIABLES = {
    "HOST": "shop.example",
    "PORT": "8400",
    "EMPTY": "",
    "ACCORD_SECRET_TOKEN": "s3cret-value",
    "RATE": "1.50",
    "SIZE": "5MB",
}


def resolver(*, needs_secrets: bool = True) -> Resolver:
    return Resolver(Environment(VARIABLES, ProviderChain([VariableSecrets(VARIABLES)]), needs_secrets=needs_secrets))


def resolve(value: Any, *, needs_secrets: bool = True) -> tuple[Any, list[str]]:
    faults = Faults()
    node = resolver(needs_secrets=needs_secrets).resolve(Node.of(value), faults)
    return node.plain(), [f"{fault.severity} {fault.code}" for fault in faults.found]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("https://${env:HOST}/api", "https://shop.example/api"),
        ("${env:HOST}:${env:PORT}", "shop.example:8400"),
        ("${env:ABSENT:-fallback}", "fallback"),
        ("${env:EMPTY:-fallback}", "fallback"),
        ("${env:ABSENT:-}", ""),
        ("${env:HOST:-fallback}", "shop.example"),
        ("$${env:HOST}", "${env:HOST}"),
        ("cost $5 {x}", "cost $5 {x}"),
    ],
)
def test_texts(text: str, value: str) -> None:
    assert resolve({"a": [text]}) == ({"a": [value]}, [])


def test_a_text_with_a_secret_is_a_secret_as_a_whole() -> None:
    value, faults = resolve({"a": "${secret:token}", "b": "Bearer ${secret:token}"})
    assert faults == [] and isinstance(value["a"], Secret) and isinstance(value["b"], Secret)
    assert (value["a"].reveal(), value["b"].reveal()) == ("s3cret-value", "Bearer s3cret-value")
    assert "s3cret" not in f"{value!r} {value['b']}" and value["b"].name == "token"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("${env:ABSENT}", "env-missing"),
        ("${env:EMPTY}", "env-missing"),
        ("${secret:absent}", "secret-missing"),
        ("${evn:HOST}", "bad-reference"),
        ("${HOST}", "bad-reference"),
        ("${env:9}", "bad-reference"),
        ("${secret:../etc/passwd}", "bad-reference"),
        ("${env:HOST", "bad-reference"),
        ("${}", "bad-reference"),
    ],
)
def test_what_cannot_be_resolved_is_one_fault_and_decode_adds_none(text: str, code: str) -> None:
    class Target(msgspec.Struct):
        port: int

    faults = Faults()
    node = resolver().resolve(Node.of({"port": text}), faults)
    assert decode(node, Target, faults) is None
    assert [fault.code for fault in faults.found] == [f"settings.{code}"]


def test_where_secrets_are_not_at_hand_a_project_can_still_be_checked() -> None:
    value, faults = resolve({"a": "${secret:absent}"}, needs_secrets=False)
    assert isinstance(value["a"], Secret) and faults == ["warning settings.secret-missing"]


def test_a_given_text_takes_the_type_its_setting_asks_for() -> None:
    class Target(msgspec.Struct):
        port: int
        rate: Decimal
        name: str
        size: Size
        maybe: int | None = None

    faults = Faults()
    data = {
        "port": "${env:PORT}",
        "rate": "${env:RATE}",
        "name": "${env:PORT}",
        "size": "${env:SIZE}",
        "maybe": "${env:PORT}",
    }
    value = decode(resolver().resolve(Node.of(data), faults), Target, faults)
    assert faults.found == []
    assert value == Target(port=8400, rate=Decimal("1.50"), name="8400", size=5_000_000, maybe=8400)
    written = decode(Node.of({"port": "8400", "rate": 1, "name": "a", "size": "1B"}), Target, faults)
    assert written is None and faults.found[0].code == "settings.wrong-type"


def test_a_provider_that_fails_is_a_fault_with_its_own_code() -> None:
    class Locked:
        title = "a locked box"

        def get(self, name: str) -> str | None:
            raise SettingsError("the box is locked.", mend="Unlock it.", code="settings.keyring-unavailable")

        def names(self) -> None:
            return None

    faults = Faults()
    Resolver(Environment({}, ProviderChain([Locked()]))).resolve(Node.of(["${secret:a}", "${secret:b}"]), faults)
    assert [f.code for f in faults.found] == ["settings.keyring-unavailable"] * 2
    assert "'a' cannot be read: the box is locked. Unlock it." in str(faults.found[0])


def test_references_are_listed_with_their_kind() -> None:
    node = Node.of({"a": "${env:HOST} ${secret:token}", "b": ["$${env:NOT}", {"c": "${secret:other}"}]})
    assert [(r.kind, r.name) for r in find_references(node)] == [
        ("env", "HOST"),
        ("secret", "token"),
        ("secret", "other"),
    ]


@given(st.text("${}:-envscrtHOSTABtoken ", max_size=40))
@settings(max_examples=300, deadline=None)
def test_no_text_makes_the_resolver_fail_and_no_fault_shows_a_secret(text: str) -> None:
    faults = Faults()
    node = resolver().resolve(Node.of(text), faults)
    assert isinstance(node.value, str | Secret)
    assert "s3cret-value" not in f"{node!r} {faults.found}"
