"""What comes in by HTTP, good and bad, through a real engine into a real database."""

from __future__ import annotations

import concurrent.futures
import gzip
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journeys.hooks_project import HooksProject, encode, order


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HooksProject]:
    with HooksProject(tmp_path_factory.mktemp("hooks")) as project:
        yield project


_ids = iter(range(1_000, 1_000_000))


def test_a_wrong_signature_is_refused_and_nothing_stored(running: HooksProject) -> None:
    before = running.messages()
    for signature in ("", "AAAA", "x" * 10_000, "Zm9v"):
        status, answer = running.hook(encode(order(next(_ids))), signature=signature)
        assert status == 401, answer
    assert running.messages() == before


def test_a_body_of_ten_megabytes_is_refused(running: HooksProject) -> None:
    before = running.messages()
    status, _ = running.hook(b'{"id":1,"note":"' + b"x" * 10_000_000 + b'"}')
    assert status in (413, 0)  # 0: the server closed while the client was still sending
    assert running.messages() == before
    assert running.get("/healthz")[0] == 200


def test_an_order_reaches_the_database_exactly(running: HooksProject) -> None:
    id = next(_ids)
    assert running.hook(encode(order(id, total_price="1234567.8900")))[0] == 200
    running.wait_settled()
    assert running.rows(f"SELECT name, status, total, currency FROM orders WHERE id={id}") == [
        (f"#{id}", "paid", "1234567.8900", "EUR")
    ]


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"total_price": "abc"}, "total_price"),
        ({"total_price": -1}, "total_price"),
        ({"total_price": "1e400000"}, "total_price"),
        ({"total_price": 10**40}, "total_price"),
        ({"total_price": None}, "total_price"),
        ({"currency": "XXZ"}, "currency"),
        ({"email": "no mail"}, "email"),
        ({"updated_at": "yesterday"}, "updated_at"),
        ({"updated_at": "2026-05-01T10:00:00"}, "updated_at"),
        ({"name": 7}, "name"),
        ({"line_items": []}, "line_items"),
        ({"line_items": [{"sku": "A", "quantity": 0, "price": 1}]}, "line_items[0].quantity"),
        ({"line_items": "none"}, "line_items"),
        ({"id": "seven"}, "id"),
    ],
)
def test_bad_data_becomes_a_dead_letter_that_names_the_field(
    running: HooksProject, changes: dict[str, Any], path: str
) -> None:
    body = encode({**order(next(_ids)), **changes})
    status, _ = running.hook(body, id=f"bad-{random.random()}")
    assert status == 200
    running.wait_settled()
    (letter,) = [one for one in running.api("dead-letters?payload=1&limit=1000") if one["payload"] == body.decode()][
        -1:
    ]
    assert path in {problem["path"] for problem in letter["problems"]}
    assert "ada@example.com" not in json.dumps(letter["record"])


@pytest.mark.parametrize(
    "body", [b"", b"{", b"not json", b"\xff\xfe", b"[" * 100_000, b'{"id":1,"id":2', b"null", b"[]", b'"x"']
)
def test_signed_nonsense_is_kept_as_a_dead_letter(running: HooksProject, body: bytes) -> None:
    before = running.api("status")["flows"][0]["dead"]
    assert running.hook(body, id=f"nonsense-{random.random()}")[0] == 200
    assert running.wait_settled()["dead"] == before + 1


def test_all_missing_fields_are_told_at_once(running: HooksProject) -> None:
    running.hook(b'{"id": 5}', id="missing-fields")
    running.wait_settled()
    letter = next(one for one in running.api("dead-letters?payload=1&limit=1000") if one["payload"] == '{"id": 5}')
    assert {"name", "updated_at", "currency", "total_price", "line_items"} <= {p["path"] for p in letter["problems"]}


@pytest.mark.parametrize(
    "name", ["🛒 émoji", "طلب رقم ٥", "注文", "O'Neil; DROP TABLE orders;--", "a\u0000b", "\u202eright-to-left"]
)
def test_names_of_the_world_arrive_as_they_are(running: HooksProject, name: str) -> None:
    id = next(_ids)
    assert running.hook(encode(order(id, name=name)))[0] == 200
    running.wait_settled()
    assert running.rows(f"SELECT name FROM orders WHERE id={id}") == [(name,)]


def test_ten_thousand_line_items(running: HooksProject) -> None:
    id = next(_ids)
    items = [{"sku": f"S{n}", "quantity": 1 + n % 9, "price": "0.01"} for n in range(10_000)]
    assert running.hook(encode(order(id, line_items=items)))[0] == 200
    running.wait_settled()
    assert running.rows(f"SELECT count(*), sum(pieces) FROM order_lines WHERE order_id={id}") == [
        (10_000, sum(item["quantity"] for item in items))
    ]


def test_the_same_webhook_a_hundred_times_has_the_effects_of_one(running: HooksProject) -> None:
    id = next(_ids)
    body = encode(order(id, financial_status="unique-status"))
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(lambda _: running.hook(body, id="one-event")[0], range(100)))
    assert statuses == [200] * 100
    running.wait_settled()
    assert running.rows("SELECT count(*) FROM log WHERE status='unique-status'") == [(1,)]


def test_a_dead_letter_is_mended_and_replayed(running: HooksProject) -> None:
    id = next(_ids)
    running.hook(encode(order(id, currency="???")), id=f"to-mend-{id}")
    running.wait_settled()
    letter = next(one for one in running.api("dead-letters?limit=1000") if one["key"] == str(id))
    running.api(f"dead-letters/{letter['seq']}/replay", "POST", encode(order(id)))
    running.wait_settled()
    assert running.rows(f"SELECT currency FROM orders WHERE id={id}") == [("EUR",)]


def test_strange_requests_do_no_harm(running: HooksProject) -> None:
    assert running.get("/none")[0] == 404
    assert running.get("/hooks/shop")[0] == 405
    assert running.request("POST", "/hooks/nobody", b"{}", {})[0] == 404
    assert running.request("POST", "/hooks/books", b"{}", {})[0] == 404
    assert running.get("/api/status")[0] == 401
    assert running.get("/api/status", authorization="Bearer wrong")[0] == 401
    assert (
        running.hook(gzip.compress(encode(order(next(_ids)))))[0] == 200
    )  # signed bytes that are no JSON: a dead letter
    assert running.get("/readyz")[0] == 200


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=st.binary(max_size=300) | ANY_JSON.map(encode) | st.builds(lambda change: encode({**order(3), **change}), st.dictionaries(
    st.sampled_from(["id", "name", "total_price", "line_items", "currency", "updated_at"]), ANY_JSON, max_size=3)))  # fmt: skip
def test_whatever_is_sent_is_kept_and_harms_nothing(running: HooksProject, body: bytes) -> None:
    """Every genuine body is accepted, and ends as done or as a dead letter; the engine goes on."""
    before = running.api("status")["flows"][0]
    assert running.hook(body, id=f"any-{next(_ids)}")[0] == 200
    after = running.wait_settled()
    assert after["done"] + after["dead"] == before["done"] + before["dead"] + 1
