"""A bulk flow's steps over frames: what columns are sure of.

``Drafts`` notes, while the flow is compiled, what each step does; ``ColumnPlan`` is the plan of it, when a frame is to be mapped.
The plan gives what each target gets of the rows it is sure of. All others (refused, waiting for a cross-reference, of a step without
column form) are told by their index, and go through the ordinary flow, which knows the reason or the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from accord.errors import Faults
from accord.flow.bulk.write import BulkWriteSpec
from accord.flow.step import RunStep, StepContext, StepKind
from accord.mapping.contract import Contract, compile_contract
from accord.mapping.environment import Environment
from accord.mapping.expression import Expression, compile_expression
from accord.mapping.mapping import Mapping
from accord.mapping.scope import Scope
from accord.record import Entity

if TYPE_CHECKING:
    import polars

    from accord.mapping.columns.parts import Resolve

_MESSAGE = re.compile(r"\bmessage\b")


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """One step: ``contract`` (validate), ``tests`` (filter), ``values`` (set), ``mapping`` (map), or a write to ``target`` at ``path``.
    ``why_not``: it has no column form."""

    path: str
    contract: Contract | None = None
    test: tuple[Expression, Scope] | None = None
    values: dict[str, tuple[Expression, Scope]] | None = None
    mapping: Mapping | None = None
    target: Entity | None = None
    why_not: str = ""


class Sure(msgspec.Struct, frozen=True):
    """``portions``: by path of a write, the target's frame and the index of each of its rows in what was given. ``filtered`` rows ended
    quietly; ``others`` (indexes, ascending) are not in any of these."""

    portions: dict[str, tuple[polars.DataFrame, polars.Series]]
    filtered: int
    others: list[int]


class Drafts:
    """Collects the drafts of a flow. ``noting`` wraps the steps it may have."""

    def __init__(self) -> None:
        self.found: list[Draft] = []

    def noting(self, kinds: dict[str, StepKind]) -> dict[str, StepKind]:
        return {key: msgspec.structs.replace(kind, compile=self._noting(kind)) for key, kind in kinds.items()}

    def _noting(self, kind: StepKind) -> Callable[[Any, StepContext], RunStep | None]:
        def compile_step(spec: Any, at: StepContext) -> RunStep | None:
            is_outer = not at.static_prefix
            draft = self._draft(kind.key, spec, at) if is_outer and not at.state.is_unknown else None
            step = kind.compile(spec, at)
            if step is not None and is_outer:
                self.found.append(draft or Draft(path=at.path, why_not="it has no column form"))
            return step

        return compile_step

    def _draft(self, key: str, spec: Any, at: StepContext) -> Draft | None:
        if at.node.get("when") is not None:
            return Draft(path=at.path, why_not="'when'")
        parts = at.parts
        if key == "validate" and spec.validate in parts.entities:
            entity = parts.entities[spec.validate]
            return Draft(path=at.path, contract=compile_contract(entity, parts.functions, Faults()))
        if key == "filter":
            found = _expression(spec.filter.value, at)
            return Draft(path=at.path, test=found) if found else None
        if key == "set":
            values = {name: _expression(node.value, at) for name, node in spec.set.items() if node.is_scalar}
            known = {name: value for name, value in values.items() if value is not None}
            is_whole = len(known) == sum(1 for _ in spec.set.items())
            return Draft(path=at.path, values=known) if is_whole else None
        if key == "map":
            return Draft(path=at.path, mapping=parts.mappings.get(spec.map))
        if key == "write":
            return _write_draft(spec, at)
        return Draft(path=at.path, why_not=f"'{key}'")


def _write_draft(spec: BulkWriteSpec, at: StepContext) -> Draft | None:
    target = at.parts.entities.get(spec.write)
    if spec.with_ is not None:
        return Draft(path=at.path, why_not="'with' (a mapping has one)")
    if spec.mapping and spec.mapping not in at.parts.mappings:
        return None
    mapping = at.parts.mappings[spec.mapping] if spec.mapping else None
    return Draft(path=at.path, target=target, mapping=mapping)


def _expression(value: Any, at: StepContext) -> tuple[Expression, Scope] | None:
    """Numbers and booleans as they are written in YAML are left to the rows."""
    if not isinstance(value, str) or _MESSAGE.search(value):
        return None
    scope = at.scope
    found = compile_expression(value, scope, Faults(), at.place())
    return (found, scope) if found is not None else None


class ColumnPlan:
    """``row_only``: what is done row by row, and why; with ``is_row_only`` that is everything. Not for several threads at once."""

    def __init__(self, contract: Contract, drafts: tuple[Draft, ...]) -> None:
        from accord.mapping.columns import compile_contract_columns

        self.row_only: dict[str, str] = {}
        self._first = compile_contract_columns(contract)
        self._steps: list[tuple[Draft, Any]] = []
        self._values: dict[str, dict[str, Any]] = {}
        self._note("the record", self._first.row_only)
        whys = {draft.path: draft.why_not for draft in drafts if draft.why_not}
        whys |= {d.path: "it reads message.*" for d in drafts if d.mapping is not None and _reads_message(d.mapping)}
        self.is_row_only = bool(whys)
        self.row_only |= {path: f"{why}: the whole flow goes row by row" for path, why in whys.items()}
        if not whys:
            is_first = not contract.types_only  # then it is what the flow validates first
            left = drafts[1:] if is_first and drafts and drafts[0].contract is not None else drafts
            self._steps = [(draft, self._compiled(draft)) for draft in left]

    def _compiled(self, draft: Draft) -> Any:
        from accord.mapping.columns import (
            compile_contract_columns,
            compile_expression_columns,
            compile_mapping_columns,
        )

        if draft.contract is not None:
            contract = compile_contract_columns(draft.contract)
            self._note(draft.path, contract.row_only)
            return contract
        if draft.test is not None:
            test = compile_expression_columns(*draft.test)
            self._note(draft.path, (test.row_only,))
            return test
        if draft.values is not None:
            values = {name: compile_expression_columns(*value) for name, value in draft.values.items()}
            self._note(draft.path, [f"{name}: {one.row_only}" for name, one in values.items() if one.row_only])
            return values
        if draft.mapping is not None:
            mapping = compile_mapping_columns(draft.mapping)
            self._note(draft.path, [f"{name}: {why}" for name, why in mapping.row_only.items()])
            return mapping
        return None

    def _note(self, path: str, reasons: Any) -> None:
        found = [reason for reason in reasons if reason]
        if found:
            self.row_only[path] = "; ".join(found)

    def run(self, frame: polars.DataFrame, environment: Environment, resolve: Resolve) -> Sure:
        """Every row of ``frame`` (in the source's fields) is in the portions, filtered, or among the others."""
        import polars as pl

        if self.is_row_only or not frame.height:
            return Sure({}, 0, list(range(frame.height)))
        unsure = _Unsure(frame.height)
        checked = self._first.check(frame)
        unsure.add(checked.rejects, None)
        current, index = checked.frame, checked.kept
        portions: dict[str, tuple[pl.DataFrame, pl.Series]] = {}
        filtered: list[pl.Series] = []
        for draft, step in self._steps:
            if draft.contract is not None:
                checked = step.check(current)
                unsure.add(checked.rejects, index)
                current, index = checked.frame, index.gather(checked.kept)
            elif draft.test is not None:
                found = step.evaluate(current, environment, resolve=resolve)
                unsure.add((*found.rejects, *found.waiting), index)
                is_true = found.values.fill_null(value=False)
                if not portions:  # a row that was written before has passed
                    filtered.append(index.filter(~is_true))
                current, index = current.filter(is_true), index.filter(is_true)
            elif draft.values is not None:
                made = {name: one.evaluate(current, environment, resolve=resolve) for name, one in step.items()}
                for one in made.values():
                    unsure.add((*one.rejects, *one.waiting), index)
                current = current.with_columns([one.values.alias(name) for name, one in made.items()])
            else:
                out, at = self._mapped(draft, step, current, index, unsure, environment, resolve)
                if draft.target is not None:
                    portions[draft.path] = (out, at)
                else:
                    current, index = out, at
        return unsure.without(portions, filtered)

    def _mapped(
        self,
        draft: Draft,
        step: Any,
        frame: polars.DataFrame,
        index: polars.Series,
        unsure: _Unsure,
        environment: Environment,
        resolve: Resolve,
    ) -> tuple[polars.DataFrame, polars.Series]:
        if draft.mapping is not None:
            mapped = step.apply(frame, environment, resolve=resolve)
            unsure.add((*mapped.rejects, *mapped.waiting), index)
            return mapped.frame, index.gather(mapped.kept)
        assert draft.target is not None
        import polars as pl

        from accord.mapping.columns.dtypes import schema_of

        schema = schema_of(draft.target.fields)
        columns = [pl.col(n) if n in frame.columns else pl.lit(None, dtype=schema[n]).alias(n) for n in schema]
        return frame.select(columns), index


class _Unsure:
    """Rows that columns gave up, by their index in the whole frame."""

    def __init__(self, height: int) -> None:
        self._height = height
        self._rows: set[int] = set()

    def add(self, given_up: Any, index: polars.Series | None) -> None:
        """``index``: where the rows of the present frame stand in the whole."""
        rows = [one.row for one in given_up]
        if rows:
            self._rows.update(rows if index is None else index.gather(rows).to_list())

    def without(
        self, portions: dict[str, tuple[polars.DataFrame, polars.Series]], filtered: list[polars.Series]
    ) -> Sure:
        import polars as pl

        if not self._rows:
            return Sure(portions, sum(len(one) for one in filtered), [])
        others = sorted(self._rows)
        bad = pl.Series(others, dtype=pl.UInt32).implode()
        kept = {}
        for path, (frame, index) in portions.items():
            good = ~index.is_in(bad)
            kept[path] = (frame.filter(good), index.filter(good))
        count = sum(int((~one.is_in(bad)).sum()) for one in filtered)
        return Sure(kept, count, others)


def _reads_message(mapping: Mapping) -> bool:
    """Its tests do not count: they may give one."""
    return bool(_MESSAGE.search(repr((mapping.spec.fields, mapping.spec.uses))))
