"""``${env:NAME}``, ``${env:NAME:-default}`` and ``${secret:NAME}`` in the texts of settings.

``$${`` writes ``${``. A text with a secret anywhere in it becomes a Secret as a whole (``Bearer ${secret:token}``), so it cannot
show itself. A text that is one ``${env:…}`` takes the type its setting asks for (``port: ${env:PORT}``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from accord.errors import Faults, Place, SettingsError, did_you_mean
from accord.settings.node import Node
from accord.settings.secret import Secret
from accord.settings.secrets.provider import ProviderChain
from accord.settings.text import STAND_IN, GivenText, MissingText, StandInText

_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_ENV = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_SECRET = re.compile(r"secret:([A-Za-z][A-Za-z0-9_.-]{0,99})")


class Environment:
    """What references resolve to. ``needs_secrets`` False: a missing secret is a warning and stands for an empty Secret, and a
    missing variable for ``STAND_IN``, so that a project can be checked and tested where its values are not (in CI)."""

    def __init__(self, variables: Mapping[str, str], secrets: ProviderChain, *, needs_secrets: bool = True) -> None:
        self.variables = variables
        self.secrets = secrets
        self.needs_secrets = needs_secrets


class Reference(msgspec.Struct, frozen=True):
    """``kind``: env | secret."""

    kind: str
    name: str
    place: Place


class Resolver:
    """Replaces references; each secret is fetched once per resolver."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._secrets: dict[str, str | SettingsError | None] = {}

    def resolve(self, node: Node, faults: Faults) -> Node:
        """The same tree with every reference replaced. What could not be resolved is a fault here, and none again in ``decode``."""
        match node.value:
            case dict():
                values = {key: self.resolve(child, faults) for key, child in node.value.items()}
                return Node(values, node.place, node.key_places)
            case list():
                return Node([self.resolve(child, faults) for child in node.value], node.place)
            case str() if "${" in node.value:
                return Node(self._text(node.value, node.place, faults), node.place)
            case _:
                return node

    def _text(self, text: str, place: Place, faults: Faults) -> str | Secret:
        parts: list[str] = []
        secret_name = ""
        is_whole = True
        is_stand_in = False
        end = 0
        for match in _REFERENCE.finditer(text):
            parts.append(text[end : match.start()])
            end = match.end()
            if match[0] == "$${":
                parts.append("${")
                continue
            value = self._value(match[1], place, faults)
            if value is None and not self._environment.needs_secrets and _ENV.fullmatch(match[1] or ""):
                is_stand_in = True
                parts.append(STAND_IN if match.start() == 0 else "1")
            elif value is None:
                is_whole = False
            elif isinstance(value, Secret):
                secret_name = value.name
                parts.append(value.reveal())
            else:
                parts.append(value)
        whole = "".join([*parts, text[end:]])
        if not is_whole:
            return MissingText(text)
        if secret_name:
            return Secret(whole, secret_name)
        if not re.fullmatch(r"\$\{[^{}]*\}", text):
            return whole
        return StandInText(whole) if is_stand_in else GivenText(whole)

    def _value(self, inner: str | None, place: Place, faults: Faults) -> str | Secret | None:
        if inner is None:
            faults.add(
                "settings.bad-reference", place, "A reference `${` is not closed.", "Close it with }, or write $${."
            )
        elif match := _ENV.fullmatch(inner):
            value = self._environment.variables.get(match[1]) or match[2]
            if value is None:
                mend = f"Set it, or give a default: ${{env:{match[1]}:-value}}."
                severity = "error" if self._environment.needs_secrets else "warning"
                what = f"The environment variable {match[1]} is not set."
                faults.add("settings.env-missing", place, what, mend, severity=severity)
            return value
        elif match := _SECRET.fullmatch(inner):
            return self._secret(match[1], place, faults)
        else:
            kind = inner.partition(":")[0]
            mend = did_you_mean(kind, ("env", "secret")) if kind not in ("env", "secret") else ""
            mend = (
                f"{mend} Write ${{env:NAME}}, ${{env:NAME:-default}} or ${{secret:name}}; $${{ for a plain ${{.".strip()
            )
            faults.add("settings.bad-reference", place, f"`${{{inner[:60]}}}` is no reference.", mend)
        return None

    def _secret(self, name: str, place: Place, faults: Faults) -> Secret | None:
        if name not in self._secrets:
            try:
                self._secrets[name] = self._environment.secrets.get(name)
            except SettingsError as error:
                self._secrets[name] = error
        value = self._secrets[name]
        if isinstance(value, str):
            return Secret(value, name)
        severity = "error" if self._environment.needs_secrets else "warning"
        if isinstance(value, SettingsError):
            what = f"The secret '{name}' cannot be read: {value.what}"
            faults.add(value.code, place, what, value.mend, severity=severity)
        else:
            what = f"There is no secret '{name}' (asked: {self._environment.secrets.title})."
            mend = f"Store it with `accord secret set {name}`."
            faults.add("settings.secret-missing", place, what, mend, severity=severity)
        return None if self._environment.needs_secrets else Secret("", name)


def find_references(node: Node) -> Iterator[Reference]:
    """Every well-formed reference below a node, with its place, in order."""
    for _key, child in node.items():
        yield from find_references(child)
    for child in node.elements():
        yield from find_references(child)
    if isinstance(node.value, str):
        for match in _REFERENCE.finditer(node.value):
            if env := _ENV.fullmatch(match[1] or ""):
                yield Reference("env", env[1], node.place)
            elif secret := _SECRET.fullmatch(match[1] or ""):
                yield Reference("secret", secret[1], node.place)
