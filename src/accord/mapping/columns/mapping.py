"""Mappings in columns: one select for all fields; rows the columns cannot vouch for are mapped by the row form."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from collections.abc import Sequence
from typing import Any

import msgspec
import polars as pl

from accord.errors import Problem, RecordError
from accord.mapping.columns.assign import assign, assigned, kept_to
from accord.mapping.columns.column import Column, NoColumn, changed, depth_of, either
from accord.mapping.columns.compiler import ColumnCompiler
from accord.mapping.columns.contract import Reject, full_frame, null_rows
from accord.mapping.columns.dtypes import dtype_of, empty_frame, frame_of, records_of
from accord.mapping.columns.parts import (
    HEIGHT,
    HEIGHT_NAME,
    PREFIX,
    Evaluate,
    Parts,
    Resolve,
    known_refs,
    reads_results,
)
from accord.mapping.environment import Environment, Query
from accord.mapping.mapping import Mapping, compile_field
from accord.mapping.spec import Each, FieldSpec, Formula, Group
from accord.mapping.value import Value
from accord.mapping.written import texts_of
from accord.record.types import Field, List, Object

_ODD = f"{PREFIX}odd"
TOO_WIDE = "the value has more digits than a column holds; round() it, or map such records message by message"


class Waiting(msgspec.Struct, frozen=True):
    """A row whose cross-references are not known yet."""

    row: int
    missing: tuple[Query, ...]


class Mapped(msgspec.Struct, frozen=True):
    """``frame`` is in the target's schema; ``kept`` are the indexes of its rows in the frame that was given, ascending (UInt32).

    Every given row is kept, rejected, or waits for a cross-reference. ``suspects`` were mapped by the row form.
    """

    frame: pl.DataFrame
    kept: pl.Series
    rejects: tuple[Reject, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    suspects: int = 0


class _Plan(msgspec.Struct, frozen=True):
    parts: Parts
    columns: list[pl.Expr]
    odd: pl.Expr | None
    late: pl.Expr | None  # what is asked of the finished columns


class ColumnMapping:
    """``row_only`` tells, by field or expression, what has no column form; that part is made row by row, from its own columns only,
    and with ``is_row_only`` the whole mapping is. The message of an environment stands for all rows of a batch: a mapping that
    reads what differs from row to row (``message.id``) must go by rows. Not for several threads at once."""

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        self.row_only: dict[str, str] = {}
        self._plan: _Plan | None = None
        self._environment: Environment | None = None
        self.is_row_only = False
        self._planned(Environment(message={"id": "", "key": "", "source": "", "topic": "", "headers": {}}))

    def apply(
        self,
        frame: pl.DataFrame,
        environment: Environment | None = None,
        *,
        names: Dict[str, Sequence[Any]] | None = None,
        resolve: Resolve | None = None,
    ) -> Mapped:
        """Maps every row. ``names``: earlier results, a list with an entry per row. ``resolve(entity, to, keys)`` gives the answers
        to cross-references that the environment does not hold, asked once for all keys of a batch; a key it leaves out is not
        known yet."""
        environment = environment if environment is not None else Environment()
        full = full_frame(frame, self.mapping.source)
        made, suspects = self._in_columns(full, environment, bool(names), resolve)
        if suspects is None:
            return Mapped(made, pl.int_range(frame.height, dtype=pl.UInt32, eager=True))
        return self._with_rows(full, made, suspects, environment, names or {}, resolve)

    def _in_columns(
        self, full: pl.DataFrame, environment: Environment, has_names: bool, resolve: Resolve | None
    ) -> tuple[pl.DataFrame, pl.Series | None]:
        plan = self._planned(environment)
        everything = pl.repeat(value=True, n=full.height, eager=True)
        target = empty_frame(self.mapping.target.fields)
        if not full.height:
            return target, None
        if self.is_row_only or has_names:
            return target, everything
        try:
            ready = plan.parts.run(full, environment, resolve)
            odd = [plan.odd.fill_null(value=False).alias(_ODD)] if plan.odd is not None else []
            made = ready.select([HEIGHT, *plan.columns, *odd])
            made.drop_in_place(HEIGHT_NAME)
            late = made.select(odd=plan.late.fill_null(value=False))["odd"] if plan.late is not None else None
        except pl.exceptions.PolarsError:
            return target, everything
        suspects = made.drop_in_place(_ODD) if odd else None
        required = [name for name, field in self.mapping.target.fields.items() if not field.nullable]
        for more in (late, null_rows(full, sorted(plan.parts.required)), null_rows(made, required)):
            suspects = more if suspects is None else suspects if more is None else suspects | more
        return made, suspects if suspects is not None and suspects.any() else None

    def _with_rows(
        self,
        full: pl.DataFrame,
        made: pl.DataFrame,
        suspects: pl.Series,
        environment: Environment,
        names: Dict[str, Sequence[Any]],
        resolve: Resolve | None,
    ) -> Mapped:
        rows = suspects.arg_true().to_list()
        good, values, rejects, waiting = self._row_by_row(full, rows, environment, names, resolve)
        rescued, unfit = frame_of(values, self.mapping.target.fields)
        for index in reversed(unfit):
            rejects.append(Reject(good.pop(index), (self._too_wide(values[index]),)))
        sure = (~suspects).arg_true().cast(pl.UInt32)
        kept = pl.concat([sure, pl.Series(good, dtype=pl.UInt32)])
        frame = pl.concat([made.filter(~suspects) if made.height else made, rescued])
        order = kept.arg_sort()
        rejects.sort(key=lambda reject: reject.row)
        return Mapped(frame[order], kept[order], tuple(rejects), tuple(waiting), len(rows))

    def _row_by_row(
        self,
        full: pl.DataFrame,
        rows: list[int],
        environment: Environment,
        names: Dict[str, Sequence[Any]],
        resolve: Resolve | None,
    ) -> tuple[list[int], list[dict[str, Any]], list[Reject], list[Waiting]]:
        """Applies the row form; cross-references that turn out to be missing are resolved together and the rows tried again."""
        good: dict[int, dict[str, Any]] = {}
        rejects: list[Reject] = []
        records = dict(zip(rows, records_of(full[rows], self.mapping.source.fields), strict=True))
        refs: dict[Query, str | None] = dict(environment.refs)
        waiting: dict[int, tuple[Query, ...]] = {}
        pending = rows
        while pending:
            waiting = {}
            for row in pending:
                given = Environment(environment.now, environment.message, refs)
                try:
                    value = self.mapping.apply(records[row], {n: v[row] for n, v in names.items()}, given)
                except RecordError as error:
                    rejects.append(Reject(row, error.problems))
                    continue
                if given.missing:
                    waiting[row] = tuple(given.missing)
                else:
                    good[row] = value
            known = _resolved(waiting, environment, resolve)
            new = {query: answer for query, answer in known.items() if query not in refs}
            refs.update(new)
            pending = [row for row, missing in waiting.items() if any(query in new for query in missing)]
            if not pending:
                break
        late = [Waiting(row, missing) for row, missing in waiting.items()]
        order = sorted(good)
        return order, [good[row] for row in order], rejects, late

    def _too_wide(self, value: Dict[str, Any]) -> Problem:
        fields = self.mapping.target.fields
        path = next((n for n, f in fields.items() if frame_of([{n: value.get(n)}], {n: f})[1]), "")
        return Problem("mapping.too-wide", path, TOO_WIDE)

    def _planned(self, environment: Environment) -> _Plan:
        plan = self._plan
        if plan is not None and (environment is self._environment or not plan.parts.uses_environment):
            return plan
        parts = Parts(self.mapping.source.fields)
        columns: list[pl.Expr] = []
        odds: list[pl.Expr | None] = []
        late: list[pl.Expr | None] = []
        compiler = ColumnCompiler(self.mapping.scope, parts, environment)
        self.row_only = {}
        for name, field in self.mapping.target.fields.items():
            spec = self.mapping.spec.fields.fields.get(name)
            dtype = dtype_of(field.type)
            if spec is None:
                columns.append(pl.lit(None, dtype=dtype).alias(name))
                continue
            column = self._field(compiler, name, spec, field)
            columns.append(column.value.cast(dtype).alias(name))
            odds.append(column.odd)
            late.append(kept_to(field, pl.col(name)))
        for island in parts.islands:
            self.row_only.setdefault(island.text, island.why)
        self._plan = _Plan(parts, columns, either(*odds), either(*late))
        self._environment = environment
        return self._plan

    def _field(self, compiler: ColumnCompiler, name: str, spec: FieldSpec, field: Field) -> Column:
        before = list(compiler.parts.steps)
        try:
            return write_field(compiler, spec, field, is_outer=True)
        except NoColumn as error:
            compiler.parts.steps[:] = before
            compiler.parts.forget()
            return self._as_island(compiler, name, spec, field, error.why)

    def _as_island(self, compiler: ColumnCompiler, name: str, spec: FieldSpec, field: Field, why: str) -> Column:
        code, uses_refs, uses_environment = compile_field(self.mapping.scope, name, spec, field)
        texts = texts_of(spec)
        if uses_refs or reads_results(texts, self.mapping.scope):
            self.is_row_only = True
            self.row_only[name] = why
            return Column(value=pl.lit(None, dtype=dtype_of(field.type)), type=field.type)
        compiler.parts.uses_environment = compiler.parts.uses_environment or uses_environment
        self.row_only[name] = why
        evaluate: Evaluate = lambda record, names, environment: code.run(record, names, environment)[name]  # noqa: E731
        return compiler.parts.add(name, texts, field, evaluate, why)


def write_field(c: ColumnCompiler, spec: FieldSpec, field: Field, *, is_outer: bool = False) -> Column:
    """One target field: an expression, an object or a list; of an outer one the constraints are asked later. Raises NoColumn."""
    match spec:
        case Formula():
            column, _ = c.expression(spec.text, spec.place)
            return assigned(c, column, field) if is_outer else assign(c, column, field)
        case Group():
            if not isinstance(field.type, Object):
                raise NoColumn("writing json")
            return _group(c, spec, field.type)
        case Each():
            made = _each(c, spec, field)
            return made if is_outer else changed(made, odd=either(made.odd, kept_to(field, made.value)))


def _group(c: ColumnCompiler, spec: Group, type_: Object) -> Column:
    values: list[pl.Expr] = []
    odd: pl.Expr | None = None
    made: list[Column] = []
    for name, field in type_.fields.items():
        given = spec.fields.get(name)
        if given is None:
            values.append(pl.lit(None, dtype=dtype_of(field.type)).alias(name))
            continue
        column = write_field(c, given, field)
        values.append(column.value.cast(dtype_of(field.type)).alias(name))
        odd = either(odd, column.odd)
        made.append(column)
    if not values:
        raise NoColumn("an object without fields")
    return Column(value=pl.struct(values), type=type_, odd=odd, depth=depth_of(made))


def _each(c: ColumnCompiler, spec: Each, field: Field) -> Column:
    if not isinstance(field.type, List):
        raise NoColumn("writing json")
    base, value = c.expression(spec.each.text, spec.each.place)
    if base.is_null:
        raise NoColumn("a list that is null")
    return _walk(c, base, value, spec, field)


def _walk(c: ColumnCompiler, base: Column, value: Value, spec: Each, field: Field) -> Column:
    if base.type.is_item_nullable:
        solid = List(base.type.item)
        base = changed(base, value=base.value.list.drop_nulls(), type=solid)
    item = c.item_of(base)
    c.roots.append(item)
    c.typing.roots.append(
        Value(code="item", type=base.type.item, is_atom=True, personal=value.personal, sources=("item",))
    )
    assert isinstance(field.type, List)
    try:
        tests = [c.expression(spec.when.text, spec.when.place)[0]] if spec.when is not None else []
        what = spec.fields if spec.fields is not None else spec.value
        assert what is not None
        inner = write_field(c, what, Field(type=field.type.item, nullable=field.type.is_item_nullable))
    finally:
        c.roots.pop()
        c.typing.roots.pop()
    cast = changed(inner, value=inner.value.cast(dtype_of(field.type.item)))
    return c.walked(base, item, tests, cast, field.type)


def _resolved(
    waiting: Dict[int, tuple[Query, ...]], environment: Environment, resolve: Resolve | None
) -> dict[Query, str | None]:
    wanted: dict[tuple[str, str], dict[str, None]] = {}
    for missing in waiting.values():
        for entity, key, to in missing:
            wanted.setdefault((entity, to), {})[key] = None
    return {
        (entity, key, to): answer
        for (entity, to), keys in wanted.items()
        for key, answer in known_refs(entity, to, list(keys), environment, resolve).items()
    }


def compile_mapping_columns(mapping: Mapping) -> ColumnMapping:
    """The column form of a compiled mapping."""
    return ColumnMapping(mapping)


__all__ = ["ColumnMapping", "Mapped", "Waiting", "compile_mapping_columns", "write_field"]
