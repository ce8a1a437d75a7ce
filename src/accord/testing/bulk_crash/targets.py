"""What is loaded into: each with the modes it offers, made ready before a load and read after it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa

from accord.sdk.bulk import LoadMode
from accord.testing.bulk_crash.source import TOTAL_MAX, Row, Shown

if TYPE_CHECKING:
    import polars

_NAMES = ("number", "name", "total")
_FIELDS = "{number: string, name: string, total: decimal}"
_OWN = ("accord_effects", "accord_effects_of_loads", "accord_loads")  # what Accord keeps in a database


class Target(Protocol):
    """``refuses``: the modes in which the target's own limit makes single rows rejects. A ``load`` has a name and a project folder."""

    name: str

    @property
    def modes(self) -> Sequence[LoadMode]: ...

    @property
    def refuses(self) -> frozenset[LoadMode]: ...

    def system(self, load: str, mode: LoadMode) -> str:
        """The system file `warehouse`, with an entity `orders`."""
        ...

    def prepare(self, load: str, folder: Path, mode: LoadMode, rows: Iterable[Row]) -> None: ...

    def shown(self, load: str, folder: Path, mode: LoadMode) -> tuple[list[Shown], list[str]]:
        """The rows, sorted, and the names of what should not be there any more."""
        ...

    def forget(self, load: str) -> None: ...


def targets_of(names: Sequence[str], postgresql: str = "", mariadb: str = "") -> list[Target]:
    """``postgresql``, ``mariadb``: SQLAlchemy addresses of servers where databases may be made."""
    urls = {"postgresql": postgresql, "mariadb": mariadb}
    made: list[Target] = []
    for name in names:
        if name in urls:
            made.append(ServerTarget(name, urls[name]))
        elif name == "sqlite":
            made.append(SqliteTarget())
        elif name == "duckdb":
            made.append(DuckdbTarget())
        else:
            made.append(FilesTarget(name))
    return made


TARGETS = ("postgresql", "mariadb", "sqlite", "duckdb", "parquet", "csv", "jsonl")


class _Tables:
    """Databases the sql connector loads."""

    name: str
    modes: Sequence[LoadMode] = tuple(LoadMode)

    @property
    def refuses(self) -> frozenset[LoadMode]:
        """The stage of a history has no constraints of its own but in PostgreSQL."""
        return frozenset(LoadMode).difference(() if self.name == "postgresql" else (LoadMode.HISTORY,))

    def url(self, load: str, folder: Path | None) -> sa.URL:
        raise NotImplementedError

    def system(self, load: str, mode: LoadMode) -> str:
        url = self.url(load, None).render_as_string(hide_password=False)
        return (
            f'system: warehouse\nconnector: sql\nsettings: {{url: "{url}"}}\n'
            f"entities:\n  orders: {{key: number, fields: {_FIELDS}}}\n"
        )

    def prepare(self, load: str, folder: Path, mode: LoadMode, rows: Iterable[Row]) -> None:
        # history and append know no unique key
        key = "" if mode in (LoadMode.APPEND, LoadMode.HISTORY) else " PRIMARY KEY"
        check = f" CHECK (total < {TOTAL_MAX})" if mode in self.refuses else ""
        money, instant, text = self._types()
        columns = f"number {text} NOT NULL{key}, name {text} NOT NULL, total {money} NOT NULL{check}"
        versions = f", valid_from {instant} NOT NULL, valid_to {instant} NULL, is_current BOOLEAN NOT NULL"
        values: list[dict[str, Any]] = [{"number": row[0], "name": row[1], "total": str(row[2])} for row in rows]
        is_history = mode is LoadMode.HISTORY
        names, given = ", ".join(_NAMES), ":number, :name, :total"
        if is_history:
            names, given = f"{names}, valid_from, is_current", f"{given}, '2020-01-01 00:00:00', :yes"
            values = [{**one, "yes": True} for one in values]
        with self._connected(load, folder) as db:
            db.execute(sa.text(f"CREATE TABLE orders ({columns}{versions if is_history else ''})"))
            db.execute(sa.text(f"INSERT INTO orders ({names}) VALUES ({given})"), values)  # noqa: S608 (its own words)
            db.commit()

    def _types(self) -> tuple[str, str, str]:
        return {
            "postgresql": ("NUMERIC(18,4)", "TIMESTAMPTZ", "TEXT"),
            "mariadb": ("DECIMAL(18,4)", "DATETIME(6)", "VARCHAR(60)"),
        }.get(self.name, ("NUMERIC", "TEXT", "TEXT"))

    def shown(self, load: str, folder: Path, mode: LoadMode) -> tuple[list[Shown], list[str]]:
        current = "is_current" if mode is LoadMode.HISTORY else "1"
        with self._connected(load, folder) as db:
            found = db.execute(sa.text(f"SELECT number, name, total, {current} FROM orders")).all()  # noqa: S608 (its own words)
            left = set(sa.inspect(db).get_table_names()).difference(_OWN, ("orders",))
        return _sorted(found), sorted(left)

    @contextlib.contextmanager
    def _connected(self, load: str, folder: Path | None) -> Any:
        engine = sa.create_engine(self.url(load, folder), poolclass=sa.NullPool)
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()


class ServerTarget(_Tables):
    """A database of its own for each load."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self._url = sa.make_url(url)

    def url(self, load: str, folder: Path | None) -> sa.URL:
        return self._url.set(database=load)

    def prepare(self, load: str, folder: Path, mode: LoadMode, rows: Iterable[Row]) -> None:
        self._order(f"CREATE DATABASE {load}" + (" CHARACTER SET utf8mb4" if self.name == "mariadb" else ""))
        super().prepare(load, folder, mode, rows)

    def forget(self, load: str) -> None:
        self._order(f"DROP DATABASE {load}" + (" WITH (FORCE)" if self.name == "postgresql" else ""))

    def _order(self, statement: str) -> None:
        engine = sa.create_engine(self._url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()


class SqliteTarget(_Tables):
    name = "sqlite"

    def url(self, load: str, folder: Path | None) -> sa.URL:
        return sa.URL.create("sqlite", database=str(folder / "warehouse.db") if folder else "warehouse.db")

    def forget(self, load: str) -> None:
        """The file goes with the project."""


class DuckdbTarget:
    name = "duckdb"
    modes = tuple(LoadMode)
    refuses = frozenset({LoadMode.APPEND, LoadMode.UPSERT, LoadMode.DELETE_MISSING})

    def system(self, load: str, mode: LoadMode) -> str:
        return (
            "system: warehouse\nconnector: duckdb\nsettings: {file: warehouse.duckdb}\n"
            f"entities:\n  orders: {{key: number, fields: {_FIELDS}}}\n"
        )

    def prepare(self, load: str, folder: Path, mode: LoadMode, rows: Iterable[Row]) -> None:
        import duckdb

        check = f" CHECK (total < {TOTAL_MAX})" if mode in self.refuses else ""
        is_history = mode is LoadMode.HISTORY
        versions = ", valid_from TIMESTAMPTZ, valid_to TIMESTAMPTZ, is_current BOOLEAN" if is_history else ""
        more = ", TIMESTAMPTZ '2020-01-01 00:00:00+00', NULL, true" if is_history else ""
        with duckdb.connect(str(folder / "warehouse.duckdb")) as db:
            db.execute(f"CREATE TABLE orders (number VARCHAR, name VARCHAR, total DECIMAL(38,10){check}{versions})")
            db.executemany(f"INSERT INTO orders VALUES (?, ?, ?{more})", [list(row) for row in rows])  # noqa: S608 (its own words)

    def shown(self, load: str, folder: Path, mode: LoadMode) -> tuple[list[Shown], list[str]]:
        import duckdb

        current = "is_current" if mode is LoadMode.HISTORY else "true"
        with duckdb.connect(str(folder / "warehouse.duckdb")) as db:
            found = db.execute(f"SELECT number, name, total, {current} FROM orders").fetchall()  # noqa: S608 (its own words)
            tables = {name for (name,) in db.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        return _sorted(found), sorted(tables.difference(_OWN, ("orders",)))

    def forget(self, load: str) -> None:
        """The file goes with the project."""


class FilesTarget:
    """A data set; somebody else's file is in it beforehand."""

    modes = (LoadMode.APPEND, LoadMode.REPLACE)
    refuses: frozenset[LoadMode] = frozenset()

    def __init__(self, form: str) -> None:
        self.name = form

    def system(self, load: str, mode: LoadMode) -> str:
        return (
            "system: warehouse\nconnector: files\nsettings: {folder: lake}\n"
            f"entities:\n  orders: {{dataset: orders, format: {self.name}, key: number, fields: {_FIELDS}}}\n"
        )

    def prepare(self, load: str, folder: Path, mode: LoadMode, rows: Iterable[Row]) -> None:
        import polars as pl

        place = folder / "lake/orders"
        place.mkdir(parents=True)
        number, name, total = zip(*rows, strict=True)
        frame = pl.DataFrame(
            {"number": number, "name": name, "total": total},
            schema={"number": pl.String, "name": pl.String, "total": pl.Decimal(38, 10)},
        )
        path = place / f"before.{self.name}"
        if self.name == "parquet":
            frame.write_parquet(path)
        elif self.name == "csv":
            frame.write_csv(path)
        else:
            frame.with_columns(pl.col("total").cast(pl.String)).write_ndjson(path)

    def shown(self, load: str, folder: Path, mode: LoadMode) -> tuple[list[Shown], list[str]]:
        lake = folder / "lake"
        found: list[Any] = []
        for path in sorted((lake / "orders").glob(f"*.{self.name}")):
            if not path.name.startswith("."):
                found += [(*row, True) for row in self._read(path).select(_NAMES).iter_rows()]
        hidden = [path for path in lake.rglob(".*") if path.name != ".accord-loads"]
        return _sorted(found), sorted(path.relative_to(lake).as_posix() for path in hidden)

    def _read(self, path: Path) -> polars.DataFrame:
        import polars as pl

        if self.name == "parquet":
            return pl.read_parquet(path)
        if self.name == "csv":
            return pl.read_csv(path, infer_schema=False)
        return pl.read_ndjson(path)

    def forget(self, load: str) -> None:
        """The folder goes with the project."""


def _sorted(rows: Iterable[Sequence[Any]]) -> list[Shown]:
    return sorted(
        (number, name, Decimal(str(total)).normalize() + 0, bool(is_now)) for number, name, total, is_now in rows
    )
