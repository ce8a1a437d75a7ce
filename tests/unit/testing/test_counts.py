"""What the laboratory calls lost, duplicated and out of order."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from accord.journal.stores.sqlite import SqliteStore
from accord.journal.stores.sqlite_schema import MIGRATIONS, version_of
from accord.journal.stores.sqlite_verify import verify
from accord.testing.crash import Tally, tally
from accord.testing.crash.downgrade import downgrade

SENT = {"a": [1, 2, 3], "b": [10]}


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        ({"a": [1, 2, 3], "b": [10]}, Tally(sent=4, recorded=4)),
        ({"a": [1, 3], "b": [10]}, Tally(sent=4, recorded=3, lost=1)),
        ({"a": [1, 2, 3]}, Tally(sent=4, recorded=3, lost=1)),
        ({"a": [1, 2, 2, 3], "b": [10]}, Tally(sent=4, recorded=5, duplicated=1)),
        ({"a": [1, 3, 2], "b": [10]}, Tally(sent=4, recorded=4, out_of_order=1)),
        ({"a": [1, 2, 3, 1], "b": [10]}, Tally(sent=4, recorded=5, duplicated=1, out_of_order=1)),
        ({"a": [1, 2, 3, 4], "b": [10], "c": [7]}, Tally(sent=4, recorded=5, unknown=2)),
    ],
)
def test_what_is_counted(seen: dict[str, list[int]], wanted: Tally) -> None:
    assert tally(SENT, seen) == wanted


def test_written_by_key_the_same_again_is_no_duplicate_but_an_older_one_is() -> None:
    assert tally(SENT, {"a": [1, 2, 2, 3], "b": [10]}, repeat_is_same=True) == Tally(sent=4, recorded=4)
    found = tally(SENT, {"a": [1, 2, 3, 2], "b": [10]}, repeat_is_same=True)
    assert (found.duplicated, found.out_of_order) == (1, 1)


def test_without_an_order_only_what_is_there_counts() -> None:
    assert tally(SENT, {"a": [3, 1, 2], "b": [10]}, is_ordered=False) == Tally(sent=4, recorded=4)


def test_a_journal_can_be_put_back_one_layout_and_comes_forward_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    store = SqliteStore(path)
    store.open()
    store.close()
    downgrade(path)
    with sqlite3.connect(path) as db:
        assert version_of(db) == len(MIGRATIONS) - 1
    db.close()
    store = SqliteStore(path)
    store.open()
    store.close()
    assert verify(path) == []
