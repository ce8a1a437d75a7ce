"""What a plan computes before its own expressions: islands of row form, and cross-references, each as a column of its own."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import polars as pl

from accord.errors import NOWHERE, Faults
from accord.mapping.columns.column import MIXED, Column, NoColumn, source
from accord.mapping.columns.dtypes import records_of, series_of, values_of
from accord.mapping.environment import Environment
from accord.mapping.expression import compile_expression
from accord.mapping.scope import Scope
from accord.mapping.syntax import parse_expression
from accord.record.types import Boolean, Date, DateTime, Enum, Field, Integer, String

Resolve: TypeAlias = Callable[[str, str, Sequence[str]], Mapping[str, str | None]]
Evaluate: TypeAlias = Callable[[Mapping[str, Any], Mapping[str, Any], Environment], Any]

PREFIX = "\x00"  # no field's name begins so
HEIGHT_NAME = f"{PREFIX}height"
HEIGHT = pl.int_range(pl.len()).alias(HEIGHT_NAME)  # beside literals, which alone would make one row
_REPEATING = (String, Enum, Integer, Date, DateTime, Boolean)


class Island(msgspec.Struct, frozen=True):
    """A part that is evaluated row by row, on the columns ``fields`` only. ``why``: what has no column form."""

    column: str
    text: str
    fields: tuple[str, ...]
    field: Field
    evaluate: Evaluate
    why: str

    def run(self, frame: pl.DataFrame, fields: Mapping[str, Field], environment: Environment) -> list[pl.Series]:
        """The values, and where the row form refused or the column cannot hold them."""
        refused: set[int] = set()
        values = self._values(frame, fields, environment, refused)
        made, unfit = series_of(values, self.field.type)
        odd = [False] * frame.height
        for index in (*refused, *unfit):
            odd[index] = True
        return [made.alias(self.column), pl.Series(f"{self.column}?", odd, dtype=pl.Boolean)]

    def _values(
        self, frame: pl.DataFrame, fields: Mapping[str, Field], environment: Environment, refused: set[int]
    ) -> list[Any]:
        used = {name: fields[name] for name in self.fields}
        if len(used) == 1:
            ((name, field),) = used.items()
            if isinstance(field.type, _REPEATING):
                return self._by_value(name, values_of(frame[name], field.type), environment, refused)
        values: list[Any] = []
        for index, record in enumerate(records_of(frame.select(list(used)), used) if used else [{}] * frame.height):
            values.append(self._one(record, environment, index, refused))
        return values

    def _by_value(self, name: str, column: list[Any], environment: Environment, refused: set[int]) -> list[Any]:
        known: dict[Any, tuple[Any, bool]] = {}
        values: list[Any] = []
        for index, value in enumerate(column):
            found = known.get(value)
            if found is None:
                made = self._one({name: value}, environment, index, refused)
                found = known[value] = (made, index in refused)
            if found[1]:
                refused.add(index)
            values.append(found[0])
        return values

    def _one(self, record: dict[str, Any], environment: Environment, index: int, refused: set[int]) -> Any:
        try:
            value = self.evaluate(record, {}, environment)
        except Exception:  # noqa: BLE001 - whatever it is, the row form of the whole says why
            refused.add(index)
            return None
        if value is None and not self.field.nullable:
            refused.add(index)
        return value


class Reference(msgspec.Struct, frozen=True):
    """A cross-reference of every row: ``key`` gives the keys."""

    column: str
    entity: str
    to: str
    key: pl.Expr


class Pin(msgspec.Struct, frozen=True):
    """A value used several times."""

    column: str
    value: pl.Expr


class Parts:
    """Collected while a plan is compiled, in the order in which they must run."""

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self.fields = fields
        self.steps: list[Island | Reference | Pin] = []
        self.required: set[str] = set()
        self.results: set[str] = set()
        self.uses_environment = False
        self._known: dict[str, Column] = {}
        self._pins: dict[str, str] = {}

    @property
    def islands(self) -> list[Island]:
        return [step for step in self.steps if isinstance(step, Island)]

    def result(self, name: str) -> str:
        """The column of an earlier result."""
        self.results.add(name)
        return f"{PREFIX}{name}"

    def island(self, scope: Scope, text: str, field: Field, why: str) -> Column:
        """A part of an expression as a column of its own. Raises NoColumn when it needs more than the record and the clock."""
        known = self._known.get(text)
        if known is not None:
            return known
        if reads_results([text], scope):
            raise NoColumn("earlier results")
        made = compile_expression(text, scope, Faults())
        if made is None or made.uses_refs:
            raise NoColumn("a part that cannot stand alone")
        self.uses_environment = self.uses_environment or made.uses_environment
        self._known[text] = self.add(text, [text], made.field, made.evaluate, why)
        return self._known[text]

    def forget(self) -> None:
        """Steps were taken back: nothing is known of them any more."""
        columns = {step.column for step in self.steps}
        self._known = {text: made for text, made in self._known.items() if made.value.meta.output_name() in columns}
        self._pins = {key: column for key, column in self._pins.items() if column in columns}

    def pin(self, key: str, value: pl.Expr) -> pl.Expr:
        """The value as a column of its own; the same for the same key."""
        column = self._pins.get(key)
        if column is None:
            column = self._pins[key] = f"{PREFIX}pin{len(self.steps)}"
            self.steps.append(Pin(column, value))
        return pl.col(column)

    def add(self, text: str, texts: Sequence[str], field: Field, evaluate: Evaluate, why: str) -> Column:
        """An island of any row form."""
        column = f"{PREFIX}island{len(self.steps)}"
        names = tuple(names_in(texts, self.fields))
        self.required |= {name for name in names if not self.fields[name].nullable}
        self.steps.append(Island(column, text, names, field, evaluate, why))
        made = source(pl.col(column), field.type, field.nullable, 0)
        zone = MIXED if isinstance(field.type, DateTime) else made.zone
        return msgspec.structs.replace(made, odd=pl.col(f"{column}?"), zone=zone, is_plain=False)

    def reference(self, entity: str, to: str, key: pl.Expr, odd: pl.Expr | None) -> Column:
        """The answers to a cross-reference; odd where the answer is not known yet."""
        column = f"{PREFIX}ref{len(self.steps)}"
        self.steps.append(Reference(column, entity, to, key))
        missing = pl.col(f"{column}?")
        return Column(
            value=pl.col(column), type=String(), nullable=True, odd=missing if odd is None else odd | missing
        )  # fmt: skip

    def run(self, frame: pl.DataFrame, environment: Environment, resolve: Resolve | None) -> pl.DataFrame:
        """The frame with the parts' columns."""
        for step in self.steps:
            if isinstance(step, Pin):
                frame = frame.with_columns(step.value.alias(step.column))
            elif isinstance(step, Island):
                frame = frame.with_columns(step.run(frame, self.fields, environment))
            else:
                frame = frame.with_columns(_resolved(step, frame, environment, resolve))
        return frame


def _resolved(
    step: Reference, frame: pl.DataFrame, environment: Environment, resolve: Resolve | None
) -> list[pl.Series]:
    keys = frame.select(HEIGHT, key=step.key)["key"]
    wanted: list[str] = keys.drop_nulls().unique(maintain_order=True).to_list()
    known = known_refs(step.entity, step.to, wanted, environment, resolve)
    old = pl.Series(list(known), dtype=pl.String)
    new = pl.Series(list(known.values()), dtype=pl.String)
    found = keys.replace_strict(old, new, default=None, return_dtype=pl.String) if known else pl.Series(
        "", [None] * len(keys), dtype=pl.String)  # fmt: skip
    missing = keys.is_not_null() & ~keys.is_in(old.implode()).fill_null(value=False)
    return [found.alias(step.column), missing.alias(f"{step.column}?")]


def known_refs(
    entity: str, to: str, keys: Sequence[str], environment: Environment, resolve: Resolve | None
) -> dict[str, str | None]:
    """The answers that are known: first the environment's, then the resolver's, asked once for all keys."""
    known = {key: environment.refs[entity, key, to] for key in keys if (entity, key, to) in environment.refs}
    rest = [key for key in keys if key not in known]
    return known | dict(resolve(entity, to, rest)) if rest and resolve is not None else known


def names_of(texts: Sequence[str]) -> set[str]:
    """Every name the expressions mention."""
    trees = [parse_expression(text, Faults(), NOWHERE) for text in texts]
    return {node.id for tree in trees if tree is not None for node in ast.walk(tree) if isinstance(node, ast.Name)}


def reads_results(texts: Sequence[str], scope: Scope) -> bool:
    """Whether an expression may read an earlier result."""
    return bool(names_of(texts) & (set(scope.names) - set(scope.fields)))


def names_in(texts: Sequence[str], fields: Mapping[str, Any]) -> list[str]:
    """The record's fields the expressions may read; all of them when one reads the record as a whole."""
    found = names_of(texts)
    return list(fields) if {"record", "parent", "item"} & found else [name for name in fields if name in found]


__all__ = ["PREFIX", "Island", "Parts", "Reference", "known_refs", "names_in", "names_of", "reads_results"]
