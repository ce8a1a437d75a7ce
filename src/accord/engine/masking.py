"""Records as they may be shown: declared fields only, personal values masked. For listings, pages and logs.

``Masker`` knows the personal values of one message, so that it finds them again where nothing is declared: in what systems were sent and
answered, in reasons, in free JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from accord.record import Entity, Field, Object
from accord.record.types import Json, List
from accord.sdk.http import decode_json

MASK = "***"
KNOWN_MAX = 2_000  # personal values of one message that are searched for; with more, undeclared texts are masked whole
LENGTH_MIN = 3  # characters of a value, or a word of it, that is searched for: shorter ones stand everywhere by chance
_WORDS = re.compile(r"\w+")
_SECRET_NAMES = re.compile(
    r"pass(word|phrase|wd)?$|secret|token|authori[sz]ation|api[-_]?key|credential|signature|cookie|session|assertion",
    re.I,
)


def masked_body(body: bytes, entity: Entity | None) -> Any:
    """The record with personal values masked, wherever else they stand too, and undeclared fields left out (they may hold anything); a
    text that tells only the size when it is no JSON or its entity is unknown."""
    return masked_with(body, entity)[0]


def masked_with(body: bytes, entity: Entity | None) -> tuple[Any, Masker]:
    """The masked record, and what masks the other texts of the message."""
    masker = Masker()
    try:
        value = decode_json(body)
    except msgspec.DecodeError:
        return f"({len(body)} bytes that are not JSON)", masker
    if entity is None:
        return f"({len(body)} bytes)", masker
    masker.learn(value, entity.fields)
    return masker.record(value, entity.fields), masker


def _masked_fields(value: Any, fields: Mapping[str, Field]) -> Any:
    if not isinstance(value, dict):
        return MASK
    return {name: _masked(value[name], field) for name, field in fields.items() if name in value}


def _masked(value: Any, field: Field) -> Any:
    if value is None:
        return None
    if field.personal:
        return MASK
    match field.type:
        case Object(fields=fields):
            return _masked_fields(value, fields)
        case List(item=Object(fields=fields)) if isinstance(value, list):
            return [_masked_fields(item, fields) for item in value]
        case _:
            return value


class Masker:
    """``names``: of fields that are personal wherever they stand (``personal_names``)."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(map(_plain, names))
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def learn(self, value: Any, fields: Mapping[str, Field]) -> None:
        """Remembers the personal values of a record with these fields."""
        if isinstance(value, dict):
            for name, field in fields.items():
                self.learn_value(value.get(name), field)

    def learn_value(self, value: Any, field: Field) -> None:
        if field.personal:
            self._remember(value)
            return
        match field.type:
            case Object(fields=fields):
                self.learn(value, fields)
            case List(item=Object(fields=fields)) if isinstance(value, list):
                for item in value:
                    self.learn(item, fields)
            case Json():
                self._learn_free(value)
            case _:
                pass

    def _learn_free(self, value: Any) -> None:
        """What stands under a personal name in free JSON."""
        if isinstance(value, dict):
            for name, inner in value.items():
                if _plain(str(name)) in self._names:
                    self._remember(inner)
                else:
                    self._learn_free(inner)
        elif isinstance(value, list):
            for inner in value:
                self._learn_free(inner)

    def _remember(self, value: Any) -> None:
        if isinstance(value, dict | list | tuple):
            for inner in value.values() if isinstance(value, dict) else value:
                self._remember(inner)
            return
        if value is None or isinstance(value, bool):
            return
        text = str(value).strip()
        if len(text) >= LENGTH_MIN:
            self._known.add(text.casefold())
            self._known.update(word for word in _WORDS.findall(text.casefold()) if len(word) >= LENGTH_MIN)
            self._pattern = None

    def record(self, value: Any, fields: Mapping[str, Field]) -> Any:
        """A record with these fields: personal ones masked, undeclared ones left out, and known personal values masked everywhere."""
        return self._searched(_masked_fields(value, fields), by_name=False)

    def value(self, value: Any, field: Field) -> Any:
        return self._searched(_masked(value, field), by_name=isinstance(field.type, Json))

    def free(self, value: Any) -> Any:
        """Data nobody declared: masked by the names of its fields and by the values known."""
        return self._searched(value, by_name=True)

    def text(self, text: str) -> str:
        if not self._known:
            return text
        if len(self._known) > KNOWN_MAX:
            return MASK
        if self._pattern is None:
            ordered = sorted(self._known, key=len, reverse=True)
            self._pattern = re.compile("|".join(rf"(?<!\w){re.escape(one)}(?!\w)" for one in ordered), re.I)
        return self._pattern.sub(MASK, text)

    def _searched(self, value: Any, *, by_name: bool) -> Any:
        match value:
            case dict():
                return {
                    name: MASK
                    if by_name and inner is not None and self._is_hidden(str(name))
                    else self._searched(inner, by_name=by_name)
                    for name, inner in value.items()
                }
            case list() | tuple():
                return [self._searched(inner, by_name=by_name) for inner in value]
            case str():
                return self.text(value)
            case bool() | None:
                return value
            case _:
                return MASK if str(value).casefold() in self._known else value

    def _is_hidden(self, name: str) -> bool:
        return _plain(name) in self._names or is_secret_name(name)


def is_secret_name(name: str) -> bool:
    """Whether what stands under this name gives access to something."""
    return _SECRET_NAMES.search(name) is not None


def personal_names(entities: Iterable[Entity]) -> set[str]:
    """Names of all fields marked personal, nested ones included."""
    found: set[str] = set()
    for entity in entities:
        _collect(entity.fields, found)
    return found


def _collect(fields: Mapping[str, Field], found: set[str]) -> None:
    for name, field in fields.items():
        if field.personal:
            found.add(name)
        match field.type:
            case Object(fields=inner) | List(item=Object(fields=inner)):
                _collect(inner, found)
            case _:
                pass


def _plain(name: str) -> str:
    """One form of a field's name however it is written: ``firstName``, ``first_name``."""
    return re.sub(r"[^0-9a-z]", "", name.casefold())
