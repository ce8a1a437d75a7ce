"""Columns and rows are one meaning: what columns are sure of is what the rows give, and the rest is left to them."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from tests.unit.flow.bulk.test_compile import good, run

from accord.flow.bulk.compile import BulkFlow
from accord.mapping.columns.dtypes import frame_of, records_of
from accord.mapping.environment import Environment
from accord.sdk.http import encode_json

HEAD = "flow: f\non: manual\nread: shop.orders\nsteps:\n"
WRITE = "  - {write: books.invoices, mapping: order-to-invoice}\n"
FLOWS = {
    "write": HEAD + WRITE,
    "validated": HEAD + "  - validate: shop.orders\n" + WRITE,
    "filtered": HEAD + "  - filter: total > 3\n" + WRITE,
    "set": HEAD
    + "  - set: {total: total * 2 + decimal(id), note: email}\n  - validate: shop.orders\n  - filter: note != null\n"
    + WRITE,
    "mapped": HEAD + "  - map: order-to-client\n  - write: crm.clients\n" + "  - filter: name != null\n",
    "two": HEAD + WRITE + "  - filter: note != null\n  - {write: crm.clients, mapping: order-to-client}\n",
}
FLOWS |= {
    "split": HEAD
    + WRITE
    + "  - split: lines\n    steps: [{write: crm.clients, with: {id: text(parent.id), name: sku + '/' + text(quantity)}}]\n",
    "split in two": HEAD
    + "  - set: {total: total + decimal(id)}\n  - filter: note != null\n"
    + "  - split: lines\n    steps: [{write: books.lines, with: {sku: sku}}, {write: books.lines, with: {sku: require(parent.email)}}]\n"
    + WRITE,
    "with": HEAD + "  - {write: crm.clients, with: {id: text(id), name: 'coalesce(email, text(total))'}}\n" + WRITE,
}
NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
KEYS = {("shop.customers", "1", "crm.clients"): "C-1"}


def orders() -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "email": None if number % 3 == 0 else f"ä{number}@example.com",
            "total": None if number == 7 else Decimal(number - 4) / 4,
            "note": None if number % 4 else "n",
            "customer": None if number == 9 else {"id": number % 3},
            "lines": [{"sku": f"A{n}", "quantity": n} for n in range(number % 3)],
            "tags": None,
        }
        for number in range(20)
    ]


def in_columns(flow: BulkFlow) -> tuple[dict[str, dict[int, list[dict[str, Any]]]], int, list[int]]:
    frame, unfit = frame_of(orders(), flow.source.fields)
    assert unfit == []
    ask = lambda entity, to, keys: {key: KEYS.get((entity, key, to)) for key in keys}  # noqa: E731
    sure = flow.columns().run(frame, Environment(NOW, {}, {}), ask)
    targets = {write.path: write.entity.fields for write in flow.writes}
    made: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for path, one in sure.portions.items():
        found = made.setdefault(path, {})
        for index, record in zip(one.index.to_list(), records_of(one.frame, targets[path]), strict=True):
            found.setdefault(index, []).append(record)
        if one.item is not None:
            assert one.item.to_list() == [n for records in found.values() for n in range(len(records))]
    return made, sure.filtered, sure.others


@pytest.mark.parametrize("name", FLOWS)
def test_what_columns_are_sure_of_is_what_rows_give(name, message):
    flow = good(FLOWS[name])
    made, filtered, others = in_columns(flow)
    outcomes = run(flow, [message(encode_json(order)) for order in orders()], KEYS)
    sure = [index for index in range(20) if index not in others]
    assert filtered == sum(outcomes[index].is_filtered for index in sure)
    assert not any(outcomes[index].is_rejected for index in sure)
    for write in flow.writes:
        by_rows: dict[int, list[dict[str, Any]]] = {}
        for index in sure:
            for one in outcomes[index].writes:
                if one.target == write.path:
                    record = {name: one.record.get(name) for name in write.entity.fields}
                    by_rows.setdefault(index, []).append(record)
        assert made.get(write.path, {}) == by_rows
    assert {7, 9} <= set(others)
    assert len(sure) > 10


def test_what_has_no_column_form_goes_row_by_row_and_is_told():
    plan = good(
        HEAD + "  - split: lines\n    steps: [{filter: quantity > 1}, {write: books.lines, with: {sku: sku}}]\n"
    ).columns()
    assert plan.is_row_only
    assert plan.row_only == {"0.split": "'split' with a step other than 'write': the whole flow goes row by row"}
    when = good(
        HEAD + "  - split: lines\n    steps: [{write: books.lines, with: {sku: sku}, when: quantity > 1}]\n"
    ).columns()
    assert when.row_only == {"0.split": "'split' with 'when': the whole flow goes row by row"}
    assert good(FLOWS["split"]).columns().row_only == {}
    assert good(FLOWS["two"]).columns().row_only == {}


SHOWS_TOTAL = "  - {write: crm.clients, with: {id: text(id), name: text(total)}}\n"


@pytest.mark.parametrize(
    ("steps", "shown"),
    [
        (WRITE, set()),
        (SHOWS_TOTAL, {"total"}),
        ("  - filter: text(total) != '1.50'\n" + WRITE, {"total"}),
        ("  - set: {note: text(total)}\n" + WRITE, {"total"}),
        ("  - set: {total: total * 2}\n" + WRITE, set()),
        ("  - set: {total: total * 2}\n" + SHOWS_TOTAL, {"total"}),  # computed, so all that has a form
        ("  - split: lines\n    steps: [{write: crm.clients, with: {id: sku, name: text(parent.total)}}]\n", {"total"}),
    ],
)
def test_what_a_later_step_shows_is_asked_of_the_source(steps, shown):
    assert good(HEAD + steps).as_written() == shown
