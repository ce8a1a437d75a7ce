"""Idempotency keys are kept with the work; seeded data is the same everywhere."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from accord.sandbox.catalogue import RATES, buyer, exchange, products, variants
from accord.sandbox.http_server import Refusal, Request, Response
from accord.sandbox.store import Store


def post(body: bytes) -> Request:
    return Request("POST", "/things", "", {}, body)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state.db", "CREATE TABLE IF NOT EXISTS things (name TEXT);")


def test_the_same_key_gets_the_first_answer(store: Store) -> None:
    def work() -> Response:
        store.db.execute("INSERT INTO things VALUES ('x')")
        return Response(201, b"made")

    first = store.once("things", "k1", post(b"a"), work)
    again = store.once("things", "k1", post(b"a"), work)
    assert (first.status, first.body) == (again.status, again.body) == (201, b"made")
    assert store.number("SELECT count(*) FROM things") == 1
    with pytest.raises(Refusal) as refused:
        store.once("things", "k1", post(b"b"), work)
    assert refused.value.status == 422
    store.close()


def test_refused_work_leaves_neither_work_nor_key(store: Store) -> None:
    def refuse() -> Response:
        store.db.execute("INSERT INTO things VALUES ('half')")
        raise Refusal(409, "no", "no")

    with pytest.raises(Refusal):
        store.once("things", "k", post(b"a"), refuse)
    assert store.number("SELECT count(*) FROM things") == 0
    assert store.once("things", "k", post(b"a"), lambda: Response(201, b"later")).body == b"later"
    store.close()


def test_a_reopened_store_remembers(store: Store) -> None:
    store.once("things", "k", post(b"a"), lambda: Response(201, b"made"))
    store.close()
    reopened = Store(store.path, store.schema)
    assert reopened.once("things", "k", post(b"a"), lambda: Response(500)).body == b"made"
    reopened.close()


def test_the_catalogue_is_seeded_and_its_skus_are_unique() -> None:
    assert products(7) == products(7)
    assert products(7) != products(8)
    skus = [variant.sku for variant in variants(7)]
    assert len(skus) == len(set(skus)) > 50
    assert all(variant.price == variant.price.quantize(Decimal("0.01")) > 0 for variant in variants(7))


def test_buyers_write_their_names_in_many_scripts() -> None:
    people = [buyer(7, number) for number in range(300)]
    assert len({person.email for person in people}) == 300
    text = "".join(person.first_name + person.last_name for person in people)
    assert any("֐" <= c <= "ۿ" for c in text), "right-to-left"
    assert any(c > "\U0001f000" for c in text), "emoji"
    assert any(c in "éëüłŁ" for c in text), "accents"
    assert {person.currency for person in people} == set(RATES)


def test_money_is_exchanged_exactly_at_the_places_of_the_currency() -> None:
    assert exchange(Decimal("10.05"), "EUR") == Decimal("10.05")
    assert exchange(Decimal("10.05"), "JPY") == Decimal("1641")
    assert exchange(Decimal("10.05"), "USD") == Decimal("10.93")
