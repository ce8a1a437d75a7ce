"""Single expressions in columns: conditions of filters, values of ``set``."""

from __future__ import annotations

from typing import Any

import msgspec
import polars as pl

from accord.errors import Problem, RecordError
from accord.mapping.columns.column import Column, NoColumn
from accord.mapping.columns.compiler import ColumnCompiler
from accord.mapping.columns.contract import Reject, null_rows
from accord.mapping.columns.dtypes import dtype_of, records_of, schema_of, series_of
from accord.mapping.columns.mapping import TOO_WIDE, Waiting
from accord.mapping.columns.parts import HEIGHT, Parts, Resolve, known_refs
from accord.mapping.environment import Environment
from accord.mapping.expression import Expression
from accord.mapping.scope import Scope


class Evaluated(msgspec.Struct, frozen=True):
    """``values`` has an entry for every row, in the column's type of the expression; null where the row was rejected or waits."""

    values: pl.Series
    rejects: tuple[Reject, ...] = ()
    waiting: tuple[Waiting, ...] = ()


class ColumnExpression:
    """``row_only`` says what has no column form; empty when everything has."""

    def __init__(self, expression: Expression, scope: Scope) -> None:
        self.expression = expression
        self.scope = scope
        self.row_only = ""
        self._plan: tuple[Parts, Column | None] | None = None
        self._environment: Environment | None = None
        self._planned(Environment(message={"id": "", "key": "", "source": "", "topic": "", "headers": {}}))

    def evaluate(
        self, frame: pl.DataFrame, environment: Environment | None = None, *, resolve: Resolve | None = None
    ) -> Evaluated:
        """The value of every row, or its problems as the row form words them. ``resolve`` as for mappings."""
        environment = environment if environment is not None else Environment()
        dtype = dtype_of(self.expression.field.type)
        schema = schema_of(self.scope.fields)
        full = frame.with_columns(pl.lit(None, dtype=schema[n]).alias(n) for n in schema if n not in frame.columns)
        values, suspects = self._in_columns(full, environment, resolve, dtype)
        if suspects is None:
            return Evaluated(values)
        return self._with_rows(full, values, suspects, environment, resolve)

    def _in_columns(
        self, full: pl.DataFrame, environment: Environment, resolve: Resolve | None, dtype: pl.DataType
    ) -> tuple[pl.Series, pl.Series | None]:
        parts, column = self._planned(environment)
        nothing = pl.Series("value", [None] * full.height, dtype=dtype)
        everything = pl.repeat(value=True, n=full.height, eager=True)
        if not full.height or column is None:
            return nothing, everything if full.height else None
        try:
            ready = parts.run(full, environment, resolve)
            odd = column.odd if column.odd is not None else pl.lit(value=False)
            made = ready.select(HEIGHT, value=column.value.cast(dtype), odd=odd.fill_null(value=False))
        except pl.exceptions.PolarsError:
            return nothing, everything
        missing = null_rows(full, sorted(parts.required))
        suspects = made["odd"] if missing is None else made["odd"] | missing
        return made["value"], suspects if suspects.any() else None

    def _with_rows(
        self,
        full: pl.DataFrame,
        values: pl.Series,
        suspects: pl.Series,
        environment: Environment,
        resolve: Resolve | None,
    ) -> Evaluated:
        rows = suspects.arg_true().to_list()
        records = records_of(full[rows], self.scope.fields)
        made: list[Any] = []
        rejects: list[Reject] = []
        waiting: list[Waiting] = []
        for row, record in zip(rows, records, strict=True):
            value = None
            try:
                value, missing = self._row(record, environment, resolve)
            except RecordError as error:
                rejects.append(Reject(row, error.problems))
            else:
                if missing:
                    waiting.append(Waiting(row, missing))
            made.append(value)
        series, unfit = series_of(made, self.expression.field.type)
        rejects += [Reject(rows[index], (Problem("mapping.too-wide", "", TOO_WIDE),)) for index in unfit]
        rejects.sort(key=lambda reject: reject.row)
        places = pl.Series(rows, dtype=pl.UInt32)
        return Evaluated(_replaced(values, places, series), tuple(rejects), tuple(waiting))

    def _row(
        self, record: dict[str, Any], environment: Environment, resolve: Resolve | None
    ) -> tuple[Any, tuple[tuple[str, str, str], ...]]:
        refs = dict(environment.refs)
        while True:
            given = Environment(environment.now, environment.message, refs)
            value = self.expression.evaluate(record, {}, given)
            new = {
                (entity, key, to): answer
                for entity, key, to in given.missing
                for answer in known_refs(entity, to, [key], environment, resolve).values()
            }
            if not new:
                return value, tuple(given.missing)
            refs.update(new)

    def _planned(self, environment: Environment) -> tuple[Parts, Column | None]:
        plan = self._plan
        if plan is not None and (environment is self._environment or not plan[0].uses_environment):
            return plan
        parts = Parts(self.scope.fields)
        column: Column | None = None
        try:
            column, _ = ColumnCompiler(self.scope, parts, environment).expression(self.expression.text)
        except NoColumn as error:
            self.row_only = error.why
        else:
            self.row_only = "; ".join(island.why for island in parts.islands)
        self._plan, self._environment = (parts, column), environment
        return self._plan


def _replaced(values: pl.Series, places: pl.Series, new: pl.Series) -> pl.Series:
    """The values with some of them replaced, for every type of column."""
    rest = (~pl.int_range(len(values), dtype=pl.UInt32, eager=True).is_in(places.implode())).arg_true().cast(pl.UInt32)
    joined = pl.concat([values.gather(rest), new.alias(values.name)])
    return joined.gather(pl.concat([rest, places]).arg_sort())


def compile_expression_columns(expression: Expression, scope: Scope) -> ColumnExpression:
    """The column form of an expression that was compiled in ``scope`` without ``expected``."""
    return ColumnExpression(expression, scope)
