"""What a system file says about a DuckDB file."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import msgspec

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$")]
LEDGER = "accord_loads"
EFFECTS = "accord_effects"


class DuckdbSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``file``: the database, a path inside the project. ``memory_max``: what DuckDB may use, in its own words (``512MB``); beyond it
    goes to disk. ``kept``: how long ids of effects and chunks are kept; a repeat after that is not recognised."""

    file: str
    memory_max: Annotated[str, msgspec.Meta(pattern=r"^\d+ ?(MB|GB|MiB|GiB)$")] = "512MB"
    threads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    kept: dt.timedelta = dt.timedelta(days=90)
    create: bool = True  # tables and schemas that are missing are made from the entity's fields


class DuckdbEntity(msgspec.Struct, frozen=True, kw_only=True):
    table: Name | None = None  # the entity's name where it is left out
