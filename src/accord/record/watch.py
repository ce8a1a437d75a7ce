"""What an entity's contract says of the whole: how its source may change its shape, and how its data may change from run to run."""

from __future__ import annotations

import enum

import msgspec


class ShapePolicy(enum.StrEnum):
    """What happens when a source shows another shape than the one that was agreed on."""

    EVOLVE = "evolve"  # reported, the run goes on
    FREEZE = "freeze"  # no row moves
    REJECT_ROW = "reject_row"  # reported; rows that no longer satisfy the contract become rejects
    NULL_VALUE = "null_value"  # reported; a field that is missing is null


class SchemaChange(msgspec.Struct, frozen=True, kw_only=True):
    """``new``: a column that was not there; ``missing``: the column of a declared field is gone; ``retyped``: its type changed."""

    new: ShapePolicy = ShapePolicy.EVOLVE
    missing: ShapePolicy = ShapePolicy.FREEZE
    retyped: ShapePolicy = ShapePolicy.REJECT_ROW


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """How far a bulk run may differ from the last ones before it is told. ``volume``: share of their median rows (0.5: half more or
    less); ``nulls``: of a field, as a share of the rows (0.05: five points); None: not looked at. ``new_values``: a value that no
    field of few values had before."""

    volume: float | None = None
    nulls: float | None = None
    new_values: bool = False
