"""Contracts in columns: one pass that says which rows certainly satisfy the contract; the row form reads the rest."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import polars as pl

from accord.errors import Problem, RecordError
from accord.mapping.columns.column import NoColumn, either
from accord.mapping.columns.compiler import ColumnCompiler
from accord.mapping.columns.constraints import broken_field
from accord.mapping.columns.dtypes import records_of, schema_of
from accord.mapping.columns.parts import HEIGHT, Parts
from accord.mapping.contract import Contract
from accord.mapping.environment import Environment
from accord.record import Entity


class Reject(msgspec.Struct, frozen=True):
    """A row that the row form refused. ``row``: its index in the frame that was given."""

    row: int
    problems: tuple[Problem, ...]


class Checked(msgspec.Struct, frozen=True):
    """``frame`` holds the rows that satisfy the contract, ``kept`` their indexes in the frame that was given, ascending (UInt32)."""

    frame: pl.DataFrame
    kept: pl.Series
    rejects: tuple[Reject, ...] = ()


class ColumnContract:
    """``row_only`` are the reasons why some of it has no column form, in words."""

    def __init__(self, contract: Contract, mask: list[pl.Expr], parts: Parts, row_only: tuple[str, ...]) -> None:
        self.contract = contract
        self.entity: Entity = contract.entity
        self.row_only = row_only
        self._mask = mask
        self._parts = parts

    def suspects(self, frame: pl.DataFrame) -> pl.Series | None:
        """True where the columns cannot vouch for a row; None when there is no such row."""
        if not frame.height:
            return None
        full = full_frame(frame, self.entity)
        if self.row_only:
            return pl.repeat(value=True, n=frame.height, eager=True)
        try:
            ready = self._parts.run(full, Environment(), None)
            found = ready.select(HEIGHT, suspect=_any(self._mask))["suspect"] if self._mask else None
        except pl.exceptions.PolarsError:
            return pl.repeat(value=True, n=frame.height, eager=True)
        missing = null_rows(full, [n for n, f in self.entity.fields.items() if not f.nullable])
        found = missing if found is None else found if missing is None else found | missing
        return found if found is not None and found.any() else None

    def check(self, frame: pl.DataFrame) -> Checked:
        """The good rows and the rejects; every row is in one of them. ``frame`` has the columns of the entity's fields; those that
        it lacks count as null."""
        suspects = self.suspects(frame)
        if suspects is None:
            return Checked(frame, pl.int_range(frame.height, dtype=pl.UInt32, eager=True))
        rows = suspects.arg_true().to_list()
        rejects: list[Reject] = []
        for row, record in zip(rows, records_of(frame[rows], self.entity.fields), strict=True):
            try:
                self.contract.check(record)
            except RecordError as error:
                rejects.append(Reject(row, error.problems))
        return self._without(frame, rejects)

    def _without(self, frame: pl.DataFrame, rejects: Sequence[Reject]) -> Checked:
        kept = pl.int_range(frame.height, dtype=pl.UInt32, eager=True)
        if not rejects:
            return Checked(frame, kept)
        bad = pl.Series([reject.row for reject in rejects], dtype=pl.UInt32)
        good = ~kept.is_in(bad.implode())
        return Checked(frame.filter(good), kept.filter(good), tuple(rejects))


def compile_contract_columns(contract: Contract) -> ColumnContract:
    """The column form of a compiled contract."""
    parts = Parts(contract.entity.fields)
    mask: list[pl.Expr] = []
    row_only: list[str] = []
    for name, field in contract.entity.fields.items():
        try:
            found = broken_field(
                msgspec.structs.replace(field, nullable=True), pl.col(name), types_only=contract.types_only
            )
        except NoColumn as error:
            row_only.append(f"{name}: {error.why}")
            continue
        if found is not None:
            mask.append(found)
    for rule, expression in contract.rules:
        try:
            column, _ = ColumnCompiler(contract.scope, parts, Environment()).expression(expression.text)
        except NoColumn as error:
            row_only.append(f"{rule.expression}: {error.why}")
            continue
        holds = either(~column.value.fill_null(value=False), column.odd)
        assert holds is not None
        mask.append(holds)
    return ColumnContract(contract, mask, parts, tuple(row_only))


def full_frame(frame: pl.DataFrame, entity: Entity) -> pl.DataFrame:
    """The frame with a null column for every field it lacks."""
    lacking = {n: dtype for n, dtype in schema_of(entity.fields).items() if n not in frame.columns}
    return frame.with_columns(pl.lit(None, dtype=d).alias(n) for n, d in lacking.items()) if lacking else frame


def null_rows(frame: pl.DataFrame, names: Sequence[str]) -> pl.Series | None:
    """Rows in which one of the columns is null; None when there is none."""
    found: pl.Series | None = None
    for name in names:
        if frame[name].null_count():
            missing = frame[name].is_null()
            found = missing if found is None else found | missing
    return found


def _any(mask: Sequence[pl.Expr]) -> pl.Expr:
    made = either(*mask)
    assert made is not None
    return made.fill_null(value=False)


__all__ = ["Checked", "ColumnContract", "Reject", "compile_contract_columns", "full_frame", "null_rows"]
