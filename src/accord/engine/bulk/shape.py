"""Whether a source has changed its shape since the last run, what that touches, and what its entity says to do.

What was seen is agreed on: the next run compares with it, as long as the entity is declared as it was. A field that may be null and
was never seen is no change.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from accord.engine.bulk.overlap import BulkFault
from accord.flow.bulk.compile import BulkFlow
from accord.record import Entity
from accord.record.watch import ShapePolicy
from accord.sdk.shape import Shape

CHANGES_MAX = 100  # told of one run
_WIDER = [
    ("TINYINT", "SMALLINT", "INTEGER", "BIGINT"),
    ("REAL", "DOUBLE PRECISION"),
    ("CHAR", "VARCHAR", "TEXT"),
    ("Int8", "Int16", "Int32", "Int64"),
    ("Float32", "Float64"),
    ("integer", "number"),
]
_ARGUMENTS = re.compile(r"(.+?)\(([0-9]+(?:, ?[0-9]+)*)\)")


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """``columns``: with types, of the last run that ended. ``declared``: digest of the entity then."""

    declared: str = ""
    columns: dict[str, str] = {}


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """``kind``: new, missing, retyped or widened."""

    place: str
    column: str
    kind: str
    was: str = ""
    now: str = ""

    def __str__(self) -> str:
        types = f" ({self.was} → {self.now})" if self.now and self.was else ""
        return f"{self.place}: column '{self.column}' is {self.kind}{types}"


def shape_cursor(flow: str) -> str:
    return f"bulk:{flow}:shape"


def declared(entity: Entity) -> str:
    text = repr((entity.fields, entity.on_schema_change))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def changes(entity: Entity, seen: Seen, shapes: Iterable[Shape]) -> list[Change]:
    before = seen.columns if seen.declared == declared(entity) else {}
    found: list[Change] = []
    for shape in shapes:
        place, now = shape.place, shape.columns
        found += [Change(place=place, column=name, kind="new") for name in now if before and name not in before]
        found += [
            Change(place=place, column=name, kind="missing")
            for name, field in entity.fields.items()
            if shape.is_whole and name not in now and (name in before or not field.nullable)
        ]
        for name, type_ in now.items():
            was = before.get(name, "")
            if was and type_ and was != type_:
                kind = "widened" if is_wider(was, type_) else "retyped"
                found.append(Change(place=place, column=name, kind=kind, was=was, now=type_))
    return found[:CHANGES_MAX]


def is_wider(was: str, now: str) -> bool:
    """Whether every value of the one type is one of the other."""
    (first, had), (second, has) = _parts(was), _parts(now)
    if first == second:
        return not has or (len(had) == len(has) and _holds(had, has))
    ladder = next((types for types in _WIDER if first in types and second in types), ())
    return bool(ladder) and ladder.index(second) > ladder.index(first) and (not has or not had or _holds(had, has))


def _holds(had: Sequence[int], has: Sequence[int]) -> bool:
    """Of DECIMAL(digits, places): the digits before the point as well."""
    whole = len(had) < 2 or has[0] - has[1] >= had[0] - had[1]
    return whole and all(new >= old for old, new in zip(had, has, strict=False))


def _parts(type_: str) -> tuple[str, list[int]]:
    type_ = type_.partition(" COLLATE ")[0]  # MySQL's texts say it
    match = _ARGUMENTS.fullmatch(type_)
    return (match[1], [int(part) for part in match[2].split(",")]) if match else (type_, [])


def told(flow: BulkFlow, found: Iterable[Change]) -> list[str]:
    """Each change with the mappings and targets it touches."""
    return [f"{one}{_touched(flow, one.column)}" for one in found]


def _touched(flow: BulkFlow, column: str) -> str:
    uses = sorted(
        {
            f"{mapping.target.name}.{path} (mapping {mapping.name})"
            for mapping in (shape.mapping for shape in flow.flow.shapes.values())
            if mapping is not None and mapping.source.name == flow.source.name
            for path, origin in mapping.origins().items()
            if any(re.split(r"[.\[]", source)[0] == column for source in origin.sources)
        }
    )
    return f"; flow {flow.name} reads it into {', '.join(uses)}" if uses else ""


def check(entity: Entity, found: Iterable[Change]) -> None:
    """Raises BulkFault when the entity lets no row move."""
    for one in found:
        says = getattr(entity.on_schema_change, one.kind, None)
        field = entity.fields.get(one.column)
        is_null = says is ShapePolicy.NULL_VALUE and field is not None and field.nullable
        if is_null or says not in (ShapePolicy.FREEZE, ShapePolicy.NULL_VALUE):
            continue
        mend = (
            f"Nothing was read. Mend the source; or declare what is so now in '{entity.name}'"
            f" (its fields, `headers` or `columns`, or `on_schema_change: {{{one.kind}: …}}`) and run again."
        )
        if says is ShapePolicy.NULL_VALUE:
            mend = f"Its field may not be null: declare it nullable (`{one.column}: type?`), or mend the source."
        raise BulkFault(f"The source has changed: {one}.", mend=mend, code="engine.bulk-shape")


def left_null(entity: Entity, shapes: Sequence[Shape]) -> frozenset[str]:
    """Fields that no table or file has any more and that are to be read as null. Where some have them, their reader tells them apart."""
    if entity.on_schema_change.missing is not ShapePolicy.NULL_VALUE or not shapes:
        return frozenset()
    if not all(shape.is_whole for shape in shapes):
        return frozenset()
    there = {name for shape in shapes for name in shape.columns}
    return frozenset(name for name, field in entity.fields.items() if field.nullable and name not in there)


def seen_of(entity: Entity, seen: Seen, shapes: Sequence[Shape]) -> Seen:
    """After a run. Columns of all its tables or files together; of samples, what was seen before stays."""
    before: Mapping[str, str] = seen.columns if seen.declared == declared(entity) else {}
    columns = {} if all(shape.is_whole for shape in shapes) else dict(before)
    for shape in shapes:
        columns |= {name: type_ or columns.get(name, "") for name, type_ in shape.columns.items()}
    return Seen(declared=declared(entity), columns=columns)
