"""``tests:`` beside a flow, run with no system."""

from __future__ import annotations

import pytest

from accord.flow.flowtests import run_flow_tests

HEAD = """
flow: f
on: {webhook: shop.orders, topic: orders/create}
on_error: {attempts: 3}
steps:
  - validate: shop.orders
  - filter: message.topic == "orders/create"
  - call: store.decrease
    with: {sku: '"A"', by: 1}
    as: stock
    undo: {call: store.increase, with: {sku: '"A"', by: stock.left}}
  - write: books.invoices
    mapping: order-to-invoice
    as: invoice
  - call: store.message
    with: {to: '"all"', subject: invoice.number}
  - respond: {status: 202, body: {number: invoice.number}}
tests:
"""
ORDER = "{id: 7, total: 12.50, customer: {id: 3}, lines: []}"


def results(build, tests):
    flow, faults = build(HEAD + tests)
    assert flow is not None, faults.found
    return run_flow_tests(flow)


PASSING = f"""
  - name: an order becomes an invoice
    given: {ORDER}
    topic: orders/create
    references: [{{entity: shop.customers, key: "3", to: crm.clients, is: C-9}}]
    answers: {{stock: {{left: 4}}, books.invoices: {{number: R7-1}}}}
    expect:
      writes: [{{to: books.invoices, mode: create, record: {{number: R7, total: 12.5, client: C-9}}}}]
      calls:
        - {{to: store.decrease, with: {{sku: A, by: 1}}}}
        - {{to: store.message, with: {{subject: R7-1}}}}
      links: [{{from: shop.orders, key: "7", to: books.invoices}}]
      response: {{status: 202, body: {{number: R7-1}}}}
      sends: []
  - name: a bad total is refused
    given: {{id: 7, total: -1, customer: {{id: 3}}, lines: []}}
    expect: {{writes: [], rejects: {{step: 0.validate, path: total}}}}
  - name: another topic ends quietly
    given: {ORDER}
    topic: orders/paid
    expect: {{stopped: true, calls: []}}
  - name: failing twice is no matter, a refused invoice is undone
    given: {ORDER}
    topic: orders/create
    answers:
      2.call: {{fail: 2, then: {{left: 9}}}}
      3.write: {{reject: period closed, path: day}}
    expect:
      rejects: {{step: 3.write, reason: period closed, path: day}}
      undone: [{{to: store.increase, with: {{sku: A, by: 9}}}}]
  - name: an undo that fails is told
    given: {ORDER}
    topic: orders/create
    answers: {{stock: {{left: 9}}, 3.write: {{reject: closed}}, undo/2.call: {{reject: locked}}}}
    expect: {{rejects: {{step: 3.write, reason: "closed; undo failed at undo/2.call: locked"}}, undone: []}}
  - name: failing as often as the policy tries gives up
    given: {ORDER}
    topic: orders/create
    answers: {{store.decrease: {{fail: 3}}}}
    expect: {{rejects: {{step: 2.call, code: flow.attempts-exhausted}}, undone: []}}
"""


def test_declared_tests_pass(build):
    found = results(build, PASSING)
    assert [(r.name, [str(d) for d in r.differences], r.problem) for r in found if not r.is_passed] == []
    assert len(found) == 6


@pytest.mark.parametrize(
    ("expect", "path", "shown"),
    [
        ("{writes: [{to: books.invoices, record: {total: 13}}]}", "writes[0].record.total", "expected 13, got 12.50"),
        ("{writes: []}", "writes[0]", "expected nothing"),
        ("{calls: [{to: store.decrease}]}", "calls[1]", "expected nothing"),
        ("{stopped: true}", "stopped", "expected true, got false"),
        ("{rejects: {step: 0.validate}}", "rejects", "got null"),
        ("{response: {status: 200}}", "response.status", "expected 200, got 202"),
        ("{record: {id: 8}}", "record.id", "expected 8, got 7"),
    ],
)
def test_differences_are_shown_field_by_field(build, expect, path, shown):
    test = f"\n  - {{given: {ORDER}, topic: orders/create, answers: {{stock: {{left: 1}}}}, expect: {expect}}}\n"
    (result,) = results(build, test)
    assert not result.is_passed
    assert (result.differences[0].path, result.problem) == (path, "")
    assert shown in str(result.differences[0])


def test_a_refusal_nobody_expected_fails_the_test(build):
    (result,) = results(build, "\n  - {given: {id: x}, expect: {writes: []}}\n")
    assert result.differences[0].path == "rejects"
    assert "0.validate" in result.differences[0].actual


def test_an_answer_that_must_be_declared_and_one_that_nothing_asks_for(build):
    text = (
        "flow: f\non: {webhook: shop.orders, topic: orders/create}\nsteps:\n"
        "  - enrich: store.stock\n    with: {sku: '\"A\"'}\ntests:\n"
        f"  - {{given: {ORDER}, expect: {{}}}}\n"
        f"  - {{given: {ORDER}, answers: {{0.enrich: {{left: 1}}, crm.clients: {{id: x}}}}, expect: {{}}}}\n"
    )
    flow, faults = build(text)
    assert flow is not None, faults.found
    missing, unused = run_flow_tests(flow)
    assert "store.stock" in missing.problem
    assert "crm.clients" in unused.problem


def test_a_test_of_the_wrong_shape_is_a_fault_of_the_flow(build):
    flow, faults = build(HEAD + f"  - {{given: {ORDER}, expect: {{writs: []}}, answers: {{stock: {{fail: often}}}}}}\n")
    assert flow is None
    assert {f.code for f in faults.errors} == {"settings.unknown-key", "flow.bad-test"}
    assert "'writes'" in str(faults.errors[0])


def test_given_may_be_a_file(build):
    tests = """
  - {given: order.json, topic: x, expect: {stopped: true}}
  - {given: missing.json, expect: {}}
  - {given: broken.json, expect: {}}
"""
    flow, faults = build(HEAD + tests)
    assert flow is not None, faults.found
    files = {"order.json": b'{"id": 7, "total": 1, "customer": {"id": 3}, "lines": []}', "broken.json": b"{"}

    def read(name: str) -> bytes:
        if name not in files:
            raise FileNotFoundError(2, "no such file", name)
        return files[name]

    good, missing, broken = run_flow_tests(flow, read)
    assert good.is_passed, good
    assert "missing.json" in missing.problem
    assert "broken.json" in broken.problem
    assert "no folder" in run_flow_tests(flow)[0].problem
