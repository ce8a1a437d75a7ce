"""What a system file says about a database: settings, entity settings, operations."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

import msgspec

from accord.settings.node import Node
from accord.settings.secret import Secret
from accord.settings.setting_types import Size

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?$")]
NO_NODE = Node(None)


class SqlOperation(msgspec.Struct, frozen=True, kw_only=True):
    """A named statement or procedure for ``call``. ``:name`` in ``query`` is the argument ``name``.

    ``must_change``: a run that changes no row is rejected and undone (stock that is not there). ``rows``: what is answered:
    ``all`` (a list), ``one`` (an object, or nothing) or ``count`` (``{"rows": n}``); by default all for read-only ones.
    """

    query: str = ""
    procedure: str = ""
    takes: Node = NO_NODE
    gives: Node | None = None
    read_only: bool = False
    must_change: bool = False
    rows: str = ""
    rows_max: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000  # an answer is held in memory and journaled
    summary: str = ""

    def __post_init__(self) -> None:
        if bool(self.query) == bool(self.procedure):
            raise ValueError("an operation needs either `query` or `procedure`")
        if self.rows not in ("", "all", "one", "count"):
            raise ValueError("`rows` must be one of all, one, count")
        if self.read_only and self.must_change:
            raise ValueError("`must_change` and `read_only` exclude each other")


class SqlChanges(msgspec.Struct, frozen=True, kw_only=True):
    """How changes are captured from a database's log. ``slot`` and ``publication`` (PostgreSQL): ``accord_`` and the system's name
    unless given. ``server_id`` (MariaDB, MySQL): by which the server knows this reader, another one for each; 0: made of the system's
    name. ``cascades``: whether foreign keys may change rows, which the binary log does not tell.

    ``lag_max``: bytes of log not read yet (PostgreSQL: that the server keeps for the slot); above it an event warns, or
    (``above_lag: snapshot``) what is behind is given up and everything begins again with a snapshot. ``on_lost``: what to do when the
    log does not hold what was not read yet. ``snapshot: false``: only changes from now on.
    """

    slot: Annotated[str, msgspec.Meta(pattern=r"^([a-z0-9_]{1,63})?$")] = ""
    publication: Annotated[str, msgspec.Meta(pattern=r"^([a-z0-9_]{1,63})?$")] = ""
    server_id: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 0
    cascades: Literal["stop", "accept"] = "stop"
    snapshot: bool = True
    lag_max: Size = 2 * 2**30  # bytes: a tenth of a small server's disk
    above_lag: Literal["warn", "snapshot"] = "warn"
    on_lost: Literal["stop", "snapshot"] = "stop"


class SqlSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``url`` is SQLAlchemy's (``postgresql+psycopg://user@host/database``); a relative SQLite path is inside the project."""

    url: Secret | str
    password: Secret | None = None
    connections_max: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4  # threads and connections; SQLite always uses one
    connect_timeout: dt.timedelta = dt.timedelta(seconds=10)
    statement_timeout: dt.timedelta = dt.timedelta(seconds=30)  # a statement, and a wait for a lock, ends after this
    connection_age_max: dt.timedelta = dt.timedelta(minutes=30)
    effects_table: Name = "accord_effects"
    effects_kept: dt.timedelta = dt.timedelta(days=90)  # older effect ids are pruned at the start
    read_only: bool = False  # no writes, no transactional operations, no effects table
    zone: str = "UTC"  # what datetimes without a zone mean in this database
    write_items_max: Annotated[int, msgspec.Meta(ge=1, le=5000)] = 500
    operations: dict[str, SqlOperation] = {}
    changes: SqlChanges = SqlChanges()


class SqlChild(msgspec.Struct, frozen=True, kw_only=True):
    """A list field kept as rows of another table. ``parent_key``: the column there that holds the entity's key.

    ``position``: a column that takes the row's number (1, 2, …) and gives the order on reading.
    """

    table: Name
    parent_key: str
    position: str = ""
    columns: dict[str, str] = {}
    scaled: dict[str, int] = {}


class SqlEntity(msgspec.Struct, frozen=True, kw_only=True):
    """Further keys of an entity. ``table`` defaults to the entity's name; ``query`` instead makes it read-only."""

    table: Name | None = None
    query: str = ""
    cursor: str = ""  # the field that grows with every change: a version, an id, a time of change
    overlap: dt.timedelta | int = 0  # each read starts this far back, for rows committed late
    children: dict[str, SqlChild] = {}
    columns: dict[str, str] = {}  # field: column, where they differ
    scaled: dict[str, int] = {}  # decimals kept as whole numbers: {total: 2} stores 12.34 as 1234
    page_rows: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 500

    def __post_init__(self) -> None:
        if self.table and self.query:
            raise ValueError("`query` and `table` exclude each other")
        if self.query and self.children:
            raise ValueError("`children` need a `table`")
