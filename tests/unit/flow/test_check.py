"""Static checks that the broken project does not show."""

from __future__ import annotations

import pytest

WEBHOOK = "{webhook: shop.orders, topic: orders/create}"
USES = """
- mapping: uses
  from: shop.orders
  to: books.lines
  uses: {invoice: books.invoices}
  fields: {sku: invoice.number}
"""

CASES = {
    "flow.two-sources": ("[{webhook: shop.orders}, {webhook: shop.customers}]", "- log: text(id)", "shop.customers"),
    "flow.type-changes": (WEBHOOK, "- map: order-to-client\n  when: total > 1", "map"),
    "flow.untyped-merge": (WEBHOOK, "- enrich: store.facts\n  with: {sku: '\"a\"'}", "store.facts"),
    "flow.unknown-name": (WEBHOOK, "- write: books.lines\n  mapping: uses", "invoice"),
    "flow.nullable": (
        WEBHOOK,
        "- write: books.invoices\n  mapping: order-to-invoice\n  when: total > 1\n  as: invoice\n"
        "- write: books.lines\n  mapping: uses",
        "invoice",
    ),
    "flow.wrong-type": (
        WEBHOOK,
        "- call: store.decrease\n  with: {sku: '\"a\"', by: 1}\n  as: invoice\n- write: books.lines\n  mapping: uses",
        "invoice",
    ),
    "flow.bad-guarantee": (WEBHOOK, "- write: books.lines\n  with: {sku: '\"a\"'}\n  guarantee: twice", "twice"),
    "flow.guarantee": (
        WEBHOOK,
        "- write: books.lines\n  with: {sku: '\"a\"'}\n  guarantee: once",
        "paper has no memory",
    ),
    "flow.bad-version": (WEBHOOK, "- dedupe: id\n  newest: total", "total"),
    "flow.not-in-split": (WEBHOOK, "- split: lines\n  steps:\n    - respond: {body: sku}", "respond"),
    "flow.two-records": (
        WEBHOOK,
        "- write: books.invoices\n  mapping: order-to-invoice\n  with: {number: '\"a\"', total: total}",
        "with",
    ),
    "flow.unknown-argument": (WEBHOOK, "- enrich: crm.clients\n  key: text(id)\n  with: {a: id}\n  as: c", "key"),
    "flow.missing-argument": (WEBHOOK, "- enrich: crm.clients\n  as: c", "crm.clients"),
    "flow.bad-argument": (WEBHOOK, "- call: store.increase\n  with: sku", "sku"),
    "flow.bad-undo": (WEBHOOK, "- write: books.lines\n  with: {sku: '\"a\"'}\n  undo: nothing", "nothing"),
    "flow.bad-route": (WEBHOOK, "- route: everywhere", "everywhere"),
    "flow.name-clash": (
        WEBHOOK,
        "- call: store.stock\n  with: {sku: '\"a\"'}\n  as: s\n- call: store.stock\n  with: {sku: '\"a\"'}\n  as: s",
        "'s'",
    ),
    "flow.no-steps": (WEBHOOK, "- split: lines\n  steps: later", "later"),
    "flow.too-many-steps": (WEBHOOK, "- log: text(id)\n" * 501, "500"),
    "flow.unknown-key": (WEBHOOK, "- filter: total > 1\n  as: x", "as"),
    "flow.bad-expression": (WEBHOOK, "- filter: {total: 1}", "a mapping"),
    "flow.wrong-record": (WEBHOOK, "- set: {id: text(id)}\n- map: order-to-client", "no entity any more"),
    "flow.cannot-trigger": ("{files: crm.clients}", "- log: id", "crm.clients"),
}


def with_steps(on: str, steps: str) -> str:
    return f"flow: f\non: {on}\nsteps:\n" + "\n".join("  " + line for line in steps.splitlines()) + "\n"


@pytest.mark.parametrize(("code", "case"), CASES.items(), ids=CASES)
def test_a_fault_is_found_with_its_line_and_offender(build, code, case):
    on, steps, offender = case
    flow, faults = build(with_steps(on, steps), more_mappings=USES)
    assert flow is None
    found = [f for f in faults.errors if f.code == code]
    assert found, [str(f) for f in faults.errors]
    assert offender in found[0].what + found[0].mend
    assert found[0].place.file == "flow.yaml"
    assert found[0].place.line >= 2
    assert {f.code for f in faults.errors} == {code}, [str(f) for f in faults.errors]


def test_personal_data_in_a_log_line_is_a_warning(build):
    flow, faults = build(with_steps(WEBHOOK, "- log: email"))
    assert flow is not None
    assert [(f.code, f.severity) for f in faults.found if f.code.startswith("flow.")] == [
        ("flow.personal-log", "warning")
    ]


def test_a_mapping_reads_earlier_results(build, message, drive):
    steps = (
        "- write: books.invoices\n  mapping: order-to-invoice\n  as: invoice\n- write: books.lines\n  mapping: uses\n"
    )
    flow, faults = build(with_steps(WEBHOOK, steps), more_mappings=USES)
    assert flow is not None, faults.found
    driven = drive(flow.run(message()))
    assert driven.commands[-1].record == {"sku": "R7"}


def test_what_follows_an_unknown_step_is_still_checked(build):
    _, faults = build(with_steps(WEBHOOK, "- fitler: total > 1\n- write: books.invoicess\n- filter: totl > 1"))
    assert [(f.code, f.place.line) for f in faults.errors] == [
        ("flow.unknown-step", 4),
        ("flow.unknown-entity", 5),
        ("mapping.unknown-name", 6),
    ]
