"""What a bulk flow file may say, and the faults of those that say something else."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.flow.conftest import MAPPINGS, SYSTEMS, PaperKind, nodes

from accord.errors import Faults
from accord.flow.bulk.compile import BulkFlow
from accord.flow.bulk.rows import RowOutcome, run_rows
from accord.flow.bulk.write import LOAD_HEADER
from accord.project.load import assemble
from accord.project.sources import Sources
from accord.sdk.bulk import CHUNK_ROWS, LoadMode
from accord.sdk.connector import WriteMode
from accord.settings.node import Node

TO_BOOKS = "flow: f\non: manual\nread: shop.orders\nsteps:\n"
WRITE = "  - {write: books.invoices, mapping: order-to-invoice}\n"
MORE = (
    SYSTEMS
    + """
- system: lake
  connector: paper
  entities:
    whole: {key: id, offers: [append, replace, delete_missing, upsert, history], fields: {id: integer}}
    facts: {offers: [append, replace], fields: {id: integer}}
"""
)


def compiled(text: str) -> tuple[BulkFlow | None, Faults]:
    faults = Faults()
    project = assemble(
        Sources(
            project=Node.of({"name": "tests"}),
            systems=nodes(MORE, "systems.yaml"),
            mappings=nodes(MAPPINGS, "mappings.yaml"),
            flows=nodes(text, "flow.yaml"),
        ),
        "",
        faults,
        variables={},
        connectors={"paper": PaperKind()},
    )
    assert project is not None
    return project.bulk_flows.get("f"), faults


def good(text: str) -> BulkFlow:
    flow, faults = compiled(text)
    assert flow is not None, [str(fault) for fault in faults.errors]
    return flow


def fault_of(text: str) -> tuple[str, int, str]:
    flow, faults = compiled(text)
    assert flow is None
    (fault,) = faults.errors
    return fault.code, fault.place.line, f"{fault.what} {fault.mend}"


def test_defaults_and_the_flow_for_one_record():
    flow = good(TO_BOOKS + WRITE)
    assert (flow.spec.read.chunk, flow.spec.read.cursor, flow.spec.schedules) == (CHUNK_ROWS, "", ())
    (write,) = flow.writes
    assert (write.mode, write.row_mode, write.is_native, write.path) == (
        LoadMode.UPSERT,
        WriteMode.UPSERT,
        False,
        "0.write",
    )
    (effect,) = flow.flow.effects
    assert (effect.mode, effect.guarantee) == ("upsert", "exactly-once by idempotency key")


def test_everything_said():
    text = """flow: f
on: [manual, {schedule: "0 2 * * *", zone: Europe/Paris}]
read: {entity: shop.orders, cursor: id, overlap: 100, chunk: 20, full_every: 7d}
stop_after: 1% rejects
steps:
  - validate: shop.orders
  - filter: total > 1
  - {write: lake.whole, with: {id: id}, mode: delete_missing, deleted_share_max: 0.5}
"""
    flow = good(text)
    assert (flow.overlap, flow.spec.read.chunk, len(flow.spec.schedules)) == (100, 20, 1)
    (write,) = flow.writes
    assert (write.mode, write.incremental_mode, write.is_native) == (LoadMode.DELETE_MISSING, LoadMode.UPSERT, True)
    assert write.deleted_share_max == 0.5
    stop = flow.spec.stop_after
    assert stop is not None
    assert [stop.is_passed(n, 1000) for n in (10, 11)] == [False, True]
    assert [effect.guarantee for effect in flow.flow.effects] == ["exactly-once by chunk"]


def test_a_faulty_target_is_told_once():
    assert [
        fault.code
        for fault in compiled(TO_BOOKS + "  - {write: books.invoixes, mapping: order-to-invoice}\n")[1].errors
    ] == ["flow.unknown-entity"]


def test_a_cursor_that_is_a_time_has_an_overlap_by_default():
    systems_time = "flow: f\non: manual\nread: {entity: shop.orders, cursor: id}\nsteps:\n"
    assert good(systems_time + WRITE).overlap == 0


@pytest.mark.parametrize(
    ("text", "code", "line", "said"),
    [
        (TO_BOOKS + WRITE + "  - call: store.stock\n    with: {sku: '\"a\"'}\n", "flow.bulk-step", 6, "'call'"),
        (TO_BOOKS + WRITE + "  - validat: shop.orders\n", "flow.unknown-step", 6, "validate"),
        (TO_BOOKS + "  - filter: total > 1\n", "flow.bulk-no-write", 5, "writes nowhere"),
        (TO_BOOKS + "  - {write: books.invoices, mapping: order-to-invoice, mode: replace}\n", "flow.not-writable", 5, "append, upsert"),
        (TO_BOOKS + "  - {write: books.invoices, mapping: order-to-invoice, as: x}\n", "flow.unknown-key", 5, "'as'"),
        (TO_BOOKS + "  - {write: books.invoices, mapping: order-to-invoice, on_error: {then: stop}}\n", "flow.bulk-step", 5, "on_error"),
        (TO_BOOKS.replace("shop.orders", "{entity: shop.orders, cursor: idd}") + WRITE, "flow.bad-cursor", 3, "'id'"),
        (TO_BOOKS.replace("shop.orders", "{entity: shop.orders, cursor: note}") + WRITE, "flow.bad-cursor", 3, "whole number"),
        (TO_BOOKS.replace("shop.orders", "{entity: shop.orders, cursor: id, overlap: 5m}") + WRITE, "flow.bad-cursor", 3, "number"),
        (TO_BOOKS.replace("shop.orders", "{entity: shop.orders, partitions: 2}") + WRITE, "flow.bad-partitions", 3, "one snapshot"),
        (TO_BOOKS.replace("shop.orders", "{entity: shop.orders, cursor: id, partitions: 2}") + WRITE, "flow.bad-partitions", 3, "cursor"),
        (TO_BOOKS.replace("shop.orders", "{entity: shop.orders, overlap: 5m}") + WRITE, "flow.bad-cursor", 3, "cursor"),
        (TO_BOOKS.replace("shop.orders", "store.orders") + WRITE, "flow.unknown-entity", 3, "store"),
        (TO_BOOKS.replace("shop.orders", "{entity: shop.orders, chunks: 5}") + WRITE, "settings.unknown-key", 3, "chunk"),
        (TO_BOOKS.replace("manual", "{webhook: shop.orders}") + WRITE, "flow.bulk-start", 2, "schedule"),
        (TO_BOOKS.replace("on:", "stop_after: some\non:") + WRITE, "flow.bad-stop-after", 2, "1% rejects"),
        (
            TO_BOOKS.replace("shop.orders", "{entity: shop.orders, cursor: id}")
            + "  - {write: lake.whole, with: {id: id}, mode: delete_missing}\n",
            "flow.bulk-mode",
            5,
            "full_every",
        ),
        (TO_BOOKS + "  - {write: lake.facts, with: {id: id}, mode: upsert}\n", "flow.not-writable", 5, "append, replace"),
        (
            TO_BOOKS + "  - split: lines\n    steps: [{write: lake.facts, with: {id: quantity}, mode: replace}]\n",
            "flow.bulk-mode",
            6,
            "split",
        ),
    ],
)  # fmt: skip
def test_faults_have_their_line_and_what_to_write_instead(text, code, line, said):
    assert fault_of(text)[:2] == (code, line)
    assert said in fault_of(text)[2]


def run(flow: BulkFlow, messages: list[Any], keys: dict[Any, str] | None = None) -> list[RowOutcome]:
    running = run_rows(flow.flow, messages)
    try:
        queries = next(running)
        while True:
            queries = running.send({query: (keys or {}).get(query) for query in queries})
    except StopIteration as end:
        outcomes: list[RowOutcome] = end.value
        return outcomes


def test_rows_write_are_refused_or_filtered(message):
    flow = good(
        TO_BOOKS
        + "  - filter: total > 1\n"
        + WRITE
        + "  - split: lines\n    steps: [{write: books.lines, with: {sku: sku}}]\n"
    )
    body = {
        "id": 7,
        "total": 12.5,
        "customer": {"id": 3},
        "lines": [{"sku": "A", "quantity": 2}, {"sku": "B", "quantity": 1}],
    }
    rows = [message(body | change) for change in ({}, {"total": 0}, {"total": "x"}, {"id": 8, "customer": {"id": 4}})]
    known = {("shop.customers", "3", "crm.clients"): "C-3"}
    first, filtered, refused, last = run(flow, rows, known)
    assert [(w.path, w.target) for w in first.writes] == [
        ("1.write", "1.write"),
        ("2.split[0].0.write", "2.split[].0.write"),
        ("2.split[1].0.write", "2.split[].0.write"),
    ]
    assert (first.writes[0].record["number"], first.writes[0].record["client"]) == ("R7", "C-3")
    assert (filtered.is_filtered, filtered.writes) == (True, ())
    assert (refused.step, refused.problems[0].path, refused.writes) == ("start", "total", ())
    assert last.writes[0].record["client"] is None


def test_a_target_that_is_only_loaded_refuses_a_single_record(message, drive):
    flow = good(TO_BOOKS + "  - {write: lake.whole, with: {id: id}, mode: history}\n")
    assert flow.writes[0].row_mode is None
    driven = drive(flow.flow.run(message()))
    assert driven.rejected.problem.code == "flow.bulk-only"
    (outcome,) = run(flow, [message(headers={LOAD_HEADER: "1"})])
    assert outcome.writes[0].record == {"id": 7}
