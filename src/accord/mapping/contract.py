"""Contracts: what a record must satisfy, compiled to one decoder that reads and validates JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal as PyDecimal
from typing import Any

import msgspec

from accord.errors import Faults, Place, Problem, RecordError
from accord.mapping.decoder import build_check, build_decoder
from accord.mapping.environment import Environment
from accord.mapping.expression import Expression, compile_expression
from accord.mapping.functions import FunctionTable
from accord.mapping.regex import matcher
from accord.mapping.scope import Scope
from accord.mapping.walker import FieldTests, Walker
from accord.record import Entity, Rule
from accord.record.types import Boolean, Field, List, Object, Type

_plain = msgspec.json.Decoder(float_hook=PyDecimal)


class Contract:
    """Both readings give a dict of typed values holding only declared fields, or raise RecordError with all problems."""

    def __init__(
        self, entity: Entity, rules: tuple[tuple[Rule, Expression], ...], scope: Scope, *, types_only: bool
    ) -> None:
        self.entity = entity
        self.types_only = types_only
        self.scope = scope
        self.rules = rules
        self._decoder = build_decoder(entity.fields)
        self._tests: dict[int, FieldTests] = {}
        self._is_good: Callable[[dict[str, Any]], bool] | None = build_check(
            entity.fields, [expression.text for _, expression in rules], scope, types_only=types_only
        )

    def decode(self, raw: bytes) -> dict[str, Any]:
        """Reads JSON bytes. Of a name that stands twice in an object the last counts. Raises RecordError, never anything else."""
        try:
            record = self._decoder.decode(raw)
            good = self._is_good is None or self._is_good(record)
        except Exception:  # noqa: BLE001 - whatever it is, the careful reading finds the reason
            good = False
        if not good:
            record = self._walk(_parse(raw), is_wire=True)
            self._ask_rules(record)
        return record

    def check(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Reads plain Python data (a database row, YAML): native dates and decimals are taken, floats are no decimals.
        Raises RecordError."""
        record = self._walk(value, is_wire=False)
        self._ask_rules(record)
        return record

    def _walk(self, value: Any, *, is_wire: bool) -> dict[str, Any]:
        walker = Walker(is_wire=is_wire, types_only=self.types_only, tests=self._tests)
        try:
            record = walker.record(self.entity.fields, value, "", False)
        except RecursionError:
            raise RecordError([Problem("record.malformed", "", "the record nests too deep")]) from None
        if walker.problems or record is None:
            raise RecordError(walker.problems)
        return record

    def _ask_rules(self, record: dict[str, Any]) -> None:
        problems: list[Problem] = []
        environment = Environment()
        for rule, expression in self.rules:
            try:
                holds = expression.evaluate(record, None, environment)
            except RecordError as error:
                problems.extend(
                    Problem("record.rule", p.path, f"a rule failed: {p.reason}", p.value) for p in error.problems
                )
                continue
            if not holds:
                problems.append(Problem("record.rule", "", rule.message or f"must be true: {rule.expression}"))
        if problems:
            raise RecordError(problems)


def compile_contract(
    entity: Entity, functions: FunctionTable | None, faults: Faults, *, types_only: bool = False
) -> Contract:
    """Compiles an entity's contract; faults are added for its rules. ``types_only``: types and presence, no constraints or rules."""
    _check_patterns(entity.fields, "", entity.place, faults)
    rules: list[tuple[Rule, Expression]] = []
    scope = Scope(entity.fields, {}, functions, entity=entity.name, key=entity.key)
    if not types_only:
        for rule in entity.rules:
            made = compile_expression(rule.expression, scope, faults, rule.place, Field(type=Boolean(), nullable=True))
            if made is not None and made.uses_environment:
                faults.add(
                    "mapping.rule",
                    rule.place,
                    f"The rule '{rule.expression}' needs the clock, the message or a cross-reference; a contract sees only the record.",
                    "Check it in the flow with a filter or route step.",
                )
            elif made is not None:
                rules.append((rule, made))
    return Contract(entity, tuple(rules), scope, types_only=types_only)


def problems_of(contract: Contract | None, raw: bytes) -> list[str]:
    """What is wrong with a record, in words for a person; without a contract only whether it is JSON."""
    try:
        if contract is None:
            msgspec.json.decode(raw)
        else:
            contract.decode(raw)
    except RecordError as error:
        return [str(problem) for problem in error.problems]
    except msgspec.DecodeError as error:
        return [f"(record): {error}"]
    return []


def _check_patterns(fields: Mapping[str, Field], path: str, place: Place, faults: Faults) -> None:
    for name, field in fields.items():
        where = f"{path}.{name}" if path else name
        if field.pattern is not None:
            try:
                matcher(field.pattern)
            except ValueError as error:
                faults.add(
                    "mapping.pattern",
                    place,
                    f"The pattern of '{where}' cannot be used: {error}.",
                    "Write it more simply.",
                )
        inner: Type = field.type
        while isinstance(inner, List):
            inner = inner.item
        if isinstance(inner, Object):
            _check_patterns(inner.fields, where, place, faults)


def _parse(raw: bytes) -> Any:
    try:
        return _plain.decode(raw)
    except RecursionError:
        reason = "the JSON nests too deep"
    except UnicodeDecodeError:
        reason = "the body is not UTF-8"
    except msgspec.DecodeError as error:
        reason = f"the body is not valid JSON: {error}"
    except Exception as error:  # noqa: BLE001 - a record must never crash its reader
        reason = f"the body cannot be read ({type(error).__name__})"
    raise RecordError([Problem("record.malformed", "", reason)])
