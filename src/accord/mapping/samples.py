"""Runs the example tests that stand beside a mapping and says field by field what differs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from accord.errors import NOWHERE, Faults, Place, RecordError
from accord.mapping.contract import Contract, compile_contract
from accord.mapping.environment import Environment
from accord.mapping.mapping import Mapping
from accord.mapping.spec import TestSpec
from accord.mapping.support import text
from accord.mapping.walker import Walker
from accord.record.types import Field, Json, List, Object
from accord.settings.node import Node, parse_yaml

NOW = dt.datetime(2024, 1, 1, 12, 0, tzinfo=dt.UTC)


class Difference(msgspec.Struct, frozen=True):
    """One field that is not as expected; ``expected`` and ``got`` as text, 'null' for no value."""

    path: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.path or '(record)'}: expected {self.expected}, got {self.got}"


class TestResult(msgspec.Struct, frozen=True, kw_only=True):
    """``error`` says why the test could not be run or was rejected unexpectedly (or not at all)."""

    __test__ = False

    mapping: str
    name: str
    place: Place = NOWHERE
    differences: tuple[Difference, ...] = ()
    error: str = ""

    @property
    def is_passed(self) -> bool:
        return not self.differences and not self.error


def run_tests(mapping: Mapping, read: Callable[[str], bytes] | None = None) -> list[TestResult]:
    """Runs every test of a mapping. ``read`` gives the bytes of a file named by ``given`` (raising OSError)."""
    contract = compile_contract(mapping.source, None, Faults(), types_only=True)
    return [_run(mapping, test, contract, read) for test in mapping.spec.tests]


def _run(mapping: Mapping, test: TestSpec, contract: Contract, read: Callable[[str], bytes] | None) -> TestResult:
    differences: list[Difference] = []
    error = ""
    try:
        record = _given(test, contract, read)
        made = mapping.apply(record, _plain(test.names), _environment(test))
        if test.rejects is not None:
            error = f"expected a rejection of '{test.rejects}', but the mapping gave a record"
        else:
            expected = test.exactly or test.expect
            assert expected is not None
            differences = list(_compare(mapping.target.type, expected, made, "", test.exactly is not None))
    except RecordError as rejected:
        if test.rejects is None:
            error = f"rejected: {rejected.what}"
        elif not any(test.rejects in (p.path, p.code) or test.rejects in p.reason for p in rejected.problems):
            error = f"expected a rejection of '{test.rejects}', but it was: {rejected.what}"
    except (OSError, LookupError) as failed:
        error = f"the test cannot be run: {failed}"
    return TestResult(
        mapping=mapping.name, name=test.name, place=test.place, differences=tuple(differences), error=error
    )


def _given(test: TestSpec, contract: Contract, read: Callable[[str], bytes] | None) -> dict[str, Any]:
    if test.given.is_map:
        return contract.check(test.given.plain())
    name = str(test.given.value)
    if read is None:
        raise LookupError(f"'{name}' cannot be read here")
    raw = read(name)
    if not name.endswith((".yaml", ".yml")):
        return contract.decode(raw)
    faults = Faults()
    node = parse_yaml(raw.decode("utf-8", "replace"), name, faults)
    if node is None or faults.errors:
        raise LookupError(f"'{name}' is not valid YAML")
    return contract.check(node.plain())


def _environment(test: TestSpec) -> Environment:
    given = _plain(test.message)
    time = given.get("time")
    now = dt.datetime.fromisoformat(time) if isinstance(time, str) else NOW
    message = {"id": "test", "key": "", "source": "", "topic": "", "headers": {}, **given, "time": now}
    environment = Environment(now, message)
    known = _plain(test.refs)
    environment.refs = _Answers(known)
    return environment


class _Answers(dict[tuple[str, str, str], str | None]):
    """``refs`` of a test: ``{crm.clients: {"7": C-7}}``; what is not named there has no cross-reference."""

    def __init__(self, known: dict[str, Any]) -> None:
        super().__init__()
        self._known = known

    def __contains__(self, query: object) -> bool:
        return True

    def __getitem__(self, query: tuple[str, str, str]) -> str | None:
        _, key, to = query
        answer = (self._known.get(to) or {}).get(key)
        return None if answer is None else str(answer)


def _plain(node: Node | None) -> dict[str, Any]:
    value = node.plain() if node is not None else {}
    return value if isinstance(value, dict) else {}


def _compare(type_: Any, expected: Node, got: Any, path: str, exactly: bool) -> Iterator[Difference]:
    match type_:
        case Object(fields=fields) if expected.is_map and isinstance(got, dict):
            yield from _compare_fields(fields, expected, got, path, exactly)
        case List(item=item) if expected.is_list and isinstance(got, list):
            wanted = expected.elements()
            if len(wanted) != len(got):
                yield Difference(path, f"{len(wanted)} items", f"{len(got)} items")
            for index, (one, other) in enumerate(zip(wanted, got, strict=False)):
                yield from _compare(item, one, other, f"{path}[{index}]", exactly)
        case _:
            wanted_value = _typed(type_, expected.plain())
            if wanted_value != got or (isinstance(wanted_value, bool) != isinstance(got, bool)):
                yield Difference(path, _shown(wanted_value), _shown(got))


def _compare_fields(
    fields: dict[str, Field], expected: Node, got: dict[str, Any], path: str, exactly: bool
) -> Iterator[Difference]:
    for name, child in expected.items():
        where = f"{path}.{name}" if path else name
        if name not in fields:
            yield Difference(where, _shown(child.plain()), "no such field")
        else:
            yield from _compare(fields[name].type, child, got.get(name), where, exactly)
    if exactly:
        for name, value in got.items():
            if value is not None and expected.get(name) is None:
                yield Difference(f"{path}.{name}" if path else name, "null", _shown(value))


def _typed(type_: Any, value: Any) -> Any:
    """An expected value read as the target's type; left as it is when that fails, so that the difference shows it."""
    if value is None or isinstance(type_, Json):
        return value
    walker = Walker(is_wire=False, types_only=True)
    made = walker.typed(type_, value, "", False)
    return value if walker.problems else made


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict | list):
        return msgspec.json.encode(value).decode()
    return repr(value) if isinstance(value, str) else text(value)
