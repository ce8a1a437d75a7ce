"""What compiling a flow knew of each of its steps: for looking at a message's way, never for running it."""

from __future__ import annotations

import msgspec

from accord.errors import NOWHERE, Place
from accord.mapping.mapping import Mapping
from accord.record import Field


class StepShape(msgspec.Struct, frozen=True, kw_only=True):
    """``kind``: its key. ``before`` and ``after``: the record's fields around it, with their marks; ``names`` what earlier steps gave,
    itself included. ``mapping``: the one it applies. ``written``: its own lines, by dotted key."""

    kind: str
    before: dict[str, Field]
    after: dict[str, Field]
    names: dict[str, Field]
    mapping: Mapping | None = None
    written: dict[str, str] = {}
    place: Place = NOWHERE
