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
from accord.flow.steps.split import ITEM, PARENT
from accord.mapping.contract import Contract, compile_contract
from accord.mapping.environment import Environment
from accord.mapping.expression import Expression, compile_expression
from accord.mapping.mapping import Mapping, compile_mapping
from accord.mapping.scope import Scope
from accord.mapping.spec import MappingSpec, read_group
from accord.record import Entity, Field
from accord.record.types import List, Object
from accord.settings.node import Node

if TYPE_CHECKING:
    import polars

    from accord.mapping.columns.parts import Resolve

_MESSAGE = re.compile(r"\bmessage\b")
_OF_PARENT = re.compile(rf"\b{PARENT}\b(?:\.(\w+))?")


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """One step: ``contract`` (validate), ``tests`` (filter), ``values`` (set), ``mapping`` (map), a write to ``target`` at ``path``, or
    a split into ``items`` with the writes of each in ``inner``. ``why_not``: it has no column form."""

    path: str
    contract: Contract | None = None
    test: tuple[Expression, Scope] | None = None
    values: dict[str, tuple[Expression, Scope]] | None = None
    mapping: Mapping | None = None
    target: Entity | None = None
    items: tuple[Expression, Scope] | None = None
    inner: tuple[Draft, ...] = ()
    why_not: str = ""


class Made(msgspec.Struct, frozen=True):
    """What one write gets: the target's frame, the index of each of its rows in what was given, and of rows made of items which
    item of the list each was."""

    frame: polars.DataFrame
    index: polars.Series
    item: polars.Series | None = None

    def filter(self, good: polars.Series) -> Made:
        return Made(
            self.frame.filter(good), self.index.filter(good), self.item.filter(good) if self.item is not None else None
        )


class Sure(msgspec.Struct, frozen=True):
    """``portions`` by path of a write. ``filtered`` rows ended quietly; ``others`` (indexes, ascending) are not in any of these."""

    portions: dict[str, Made]
    filtered: int
    others: list[int]


class Drafts:
    """Collects the drafts of a flow. ``noting`` wraps the steps it may have."""

    def __init__(self) -> None:
        self.found: list[Draft] = []
        self._inner: dict[str, list[Draft]] = {}  # by the path of the split they stand in

    def noting(self, kinds: dict[str, StepKind]) -> dict[str, StepKind]:
        return {key: msgspec.structs.replace(kind, compile=self._noting(kind)) for key, kind in kinds.items()}

    def _noting(self, kind: StepKind) -> Callable[[Any, StepContext], RunStep | None]:
        def compile_step(spec: Any, at: StepContext) -> RunStep | None:
            draft = self._draft(kind.key, spec, at) if not at.state.is_unknown else None
            step = kind.compile(spec, at)
            if step is None:
                return None
            draft = draft or Draft(path=at.static_prefix + at.path, why_not="it has no column form")
            if at.static_prefix:
                self._inner.setdefault(at.static_prefix, []).append(draft)
            else:
                self.found.append(self._whole(draft))
            return step

        return compile_step

    def _whole(self, draft: Draft) -> Draft:
        """A split with what its steps came to."""
        if draft.items is None:
            return draft
        inner = self._inner.get(f"{draft.path}[].", [])
        other = next((one for one in inner if one.why_not or one.target is None), None)
        if other is not None:
            why = other.why_not or "a step other than 'write'"
            return Draft(path=draft.path, why_not=f"'split' with {why}")
        return msgspec.structs.replace(draft, inner=tuple(inner))

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
        if key == "split" and not at.static_prefix and not at.as_name:
            found = _expression(spec.split.value, at)
            return Draft(path=at.path, items=found) if found and isinstance(found[0].field.type, List) else None
        return Draft(path=at.path, why_not=f"'{key}'")


def _write_draft(spec: BulkWriteSpec, at: StepContext) -> Draft | None:
    target, path = at.parts.entities.get(spec.write), at.static_prefix + at.path
    if spec.with_ is not None:
        mapping = _with_as_mapping(spec.with_, target, at) if target is not None else None
        return Draft(path=path, target=target, mapping=mapping) if mapping is not None else None
    if spec.mapping and spec.mapping not in at.parts.mappings:
        return None
    mapping = at.parts.mappings[spec.mapping] if spec.mapping else None
    if mapping is not None and mapping.names:
        return Draft(path=path, why_not="a mapping that uses earlier results")
    return Draft(path=path, target=target, mapping=mapping)


def _with_as_mapping(node: Node, target: Entity, at: StepContext) -> Mapping | None:
    """``with:`` as a mapping of the record, the record outside a split being its field ``parent``, with what is read of it only."""
    texts = [child.value for _, child in node.items() if isinstance(child.value, str)]
    if len(texts) < sum(1 for _ in node.items()) or any(_MESSAGE.search(text) for text in texts):
        return None
    fields = dict(at.state.fields)
    if at.state.is_item:
        read = {found for text in texts for found in _OF_PARENT.findall(text)}
        outer = at.state.names[PARENT].type
        if "" in read or PARENT in fields or not isinstance(outer, Object) or not read <= outer.fields.keys():
            return None
        if read:
            fields[PARENT] = Field(type=Object({name: outer.fields[name] for name in sorted(read)}))
    source = Entity(name=f"flow.{at.path}", fields=fields)
    faults = Faults()
    spec = MappingSpec(name=at.path, source=source.name, target=target.name, fields=read_group(node, faults))
    known = {**at.parts.entities, source.name: source}
    made = compile_mapping(spec, known, at.parts.functions, at.parts.lookups, faults)
    return None if faults.errors else made


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
        every = [*drafts, *(one for draft in drafts for one in draft.inner)]
        whys |= {d.path: "it reads message.*" for d in every if d.mapping is not None and _reads_message(d.mapping)}
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
        if draft.items is not None:
            items = compile_expression_columns(*draft.items)
            self._note(draft.path, (items.row_only,))
            return items, [(one, self._compiled(one)) for one in draft.inner]
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
        portions: dict[str, Made] = {}
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
            elif draft.items is not None:
                items, inner = step
                found = items.evaluate(current, environment, resolve=resolve)
                unsure.add((*found.rejects, *found.waiting), index)
                frame, row, item = _exploded(current, found.values, inner)
                at = index.gather(row)
                for one, how in inner:
                    out, kept = self._mapped(one, how, frame, unsure, at, environment, resolve)
                    portions[one.path] = Made(out, at.gather(kept), item.gather(kept))
            else:
                out, kept = self._mapped(draft, step, current, unsure, index, environment, resolve)
                if draft.target is not None:
                    portions[draft.path] = Made(out, index.gather(kept))
                else:
                    current, index = out, index.gather(kept)
        return unsure.without(portions, filtered)

    def _mapped(
        self,
        draft: Draft,
        step: Any,
        frame: polars.DataFrame,
        unsure: _Unsure,
        index: polars.Series,
        environment: Environment,
        resolve: Resolve,
    ) -> tuple[polars.DataFrame, polars.Series]:
        """The target's frame and which of the rows it has."""
        import polars as pl

        if draft.mapping is not None:
            mapped = step.apply(frame, environment, resolve=resolve)
            unsure.add((*mapped.rejects, *mapped.waiting), index)
            return mapped.frame, mapped.kept
        assert draft.target is not None
        from accord.mapping.columns.dtypes import schema_of

        schema = schema_of(draft.target.fields)
        columns = [pl.col(n) if n in frame.columns else pl.lit(None, dtype=schema[n]).alias(n) for n in schema]
        return frame.select(columns), pl.int_range(frame.height, dtype=pl.UInt32, eager=True)


def _exploded(
    frame: polars.DataFrame, lists: polars.Series, inner: list[tuple[Draft, Any]]
) -> tuple[polars.DataFrame, polars.Series, polars.Series]:
    """A row per item: its fields, and ``parent`` with what any of the writes reads of it; which row each is of, and which item of its
    list."""
    import polars as pl

    lengths = lists.list.len().fill_null(0)
    row = pl.int_range(len(lists), dtype=pl.UInt32, eager=True).repeat_by(lengths).explode().drop_nulls()
    first = (lengths.cum_sum() - lengths).gather(row)
    item = pl.int_range(len(row), dtype=pl.UInt32, eager=True) - first
    values = lists.filter(lengths > 0).explode()
    out = values.struct.unnest() if isinstance(values.dtype, pl.Struct) else values.alias(ITEM).to_frame()
    sources = [draft.mapping.source.fields.get(PARENT) for draft, _ in inner if draft.mapping is not None]
    read = sorted({name for field in sources if field and isinstance(field.type, Object) for name in field.type.fields})
    if read:
        out = out.with_columns(frame.select(read).to_struct(PARENT).gather(row))
    return out, row, item


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

    def without(self, portions: dict[str, Made], filtered: list[polars.Series]) -> Sure:
        import polars as pl

        if not self._rows:
            return Sure(portions, sum(len(one) for one in filtered), [])
        others = sorted(self._rows)
        bad = pl.Series(others, dtype=pl.UInt32).implode()
        kept = {path: made.filter(~made.index.is_in(bad)) for path, made in portions.items()}
        count = sum(int((~one.is_in(bad)).sum()) for one in filtered)
        return Sure(kept, count, others)


def _reads_message(mapping: Mapping) -> bool:
    """Its tests do not count: they may give one."""
    return bool(_MESSAGE.search(repr((mapping.spec.fields, mapping.spec.uses))))
