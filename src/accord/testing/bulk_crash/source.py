"""What is loaded: seeded orders, one in a hundred of them bad, from a table or from CSV files; and what must become of them. Pure but for
``Orders.put``."""

from __future__ import annotations

import contextlib
import csv
import random
import sqlite3
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

from accord.sdk.bulk import LoadMode

Row: TypeAlias = "tuple[str, str, Decimal]"  # number, name, total as the target shows them
Shown: TypeAlias = "tuple[str, str, Decimal, bool]"  # and whether it is the present version

SOURCES = ("table", "files")
TOTAL_MAX = 1_000_000  # the target's own limit
TOO_MUCH = TOTAL_MAX * 2
LEFTOVERS = [
    ("Z1", "kept before", Decimal(1)),
    ("Z2", "kept before", Decimal("2.5")),
]  # in the target, not at the source
_SHOP = "CREATE TABLE orders (id INTEGER PRIMARY KEY, name TEXT NOT NULL, total NUMERIC NOT NULL)"
_NAMES = ("plain", "Zoë", 'a "quoted" one', "with, comma", "ﬁne ✓", "semi;colon", "it's")


class Orders:
    """``refused``: bad rows that only the target refuses, besides those that do not satisfy their contract; together 1 % of all."""

    def __init__(self, count: int, seed: int) -> None:
        chance = random.Random(seed)
        bad = chance.sample(range(1, count + 1), max(2, count // 100))
        self.malformed = frozenset(bad[::2])
        self.too_much = frozenset(bad[1::2])
        self.rows = [(n, chance.choice(_NAMES), self._total(n, chance)) for n in range(1, count + 1)]

    def _total(self, number: int, chance: random.Random) -> Decimal:
        if number in self.malformed:
            return Decimal(-1)
        return Decimal(TOO_MUCH) if number in self.too_much else Decimal(chance.randrange(4_000)) / 4

    def put(self, folder: Path, source: str) -> None:
        """The orders where project ``folder`` reads them."""
        if source == "files":
            half = len(self.rows) // 2
            _write_csv(folder / "share/in/a.csv", self.rows[:half])
            _write_csv(folder / "share/in/b.csv", self.rows[half:])
            return
        with contextlib.closing(sqlite3.connect(folder / "shop.db")) as db, db:
            db.execute(_SHOP)
            db.executemany(
                "INSERT INTO orders VALUES (?, ?, ?)", [(n, name, str(total)) for n, name, total in self.rows]
            )

    def rejected(self, *, refuses: bool) -> list[str]:
        """Keys of the rejects. ``refuses``: the target keeps to its limit."""
        return sorted(str(n) for n in (self.malformed | self.too_much if refuses else self.malformed))

    def good(self, *, refuses: bool) -> list[Row]:
        bad = self.malformed | self.too_much if refuses else self.malformed
        return [(f"R{n}", name, total) for n, name, total in self.rows if n not in bad]

    def before(self, mode: LoadMode) -> list[Row]:
        """What the target holds when the load begins: rows the load overwrites, finds as they are, and does not know."""
        if mode is LoadMode.APPEND:
            return list(LEFTOVERS)
        old = [(f"R{n}", name, Decimal(7) if n % 2 else total) for n, name, total in self.rows[::5]]
        return [*(row for row in old if 0 <= row[2] < TOTAL_MAX), *LEFTOVERS]

    def expected(self, mode: LoadMode, *, refuses: bool) -> list[Shown]:
        good, before = self.good(refuses=refuses), self.before(mode)
        if mode is LoadMode.APPEND:
            return sorted(_present([*before, *good]))
        if mode in (LoadMode.REPLACE, LoadMode.DELETE_MISSING):
            return sorted(_present(good))
        fresh = {row[0]: row for row in good}
        kept = {row[0]: row for row in before}
        now = sorted(_present((kept | fresh).values()))
        if mode is LoadMode.UPSERT:
            return now
        ended = [(*row, False) for row in before if fresh.get(row[0], row) != row]
        return sorted([*now, *ended])


def _present(rows: Iterable[Row]) -> list[Shown]:
    return [(*row, True) for row in rows]


def _write_csv(path: Path, rows: list[tuple[int, str, Decimal]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(("id", "name", "total"))
        out.writerows(rows)
