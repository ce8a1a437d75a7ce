"""A flow as a whole: start, key, version, undo, effects."""

from __future__ import annotations

import msgspec
import pytest

from accord.record import Done, Reject


def test_a_record_of_the_wrong_type_is_refused_at_the_start(flow_of, message, drive):
    flow = flow_of("  - log: text(id)\n")
    driven = drive(flow.run(message({"id": "seven", "total": 1, "customer": {"id": 1}, "lines": []})))
    assert driven.rejected.step == "start"
    assert driven.rejected.problem.path == "id"


def test_validate_first_applies_the_whole_contract_and_tells_its_own_path(flow_of, message, drive):
    bad = {"id": 1, "total": -1, "customer": {"id": 1}, "lines": []}
    assert drive(flow_of("  - log: text(id)\n").run(message(bad))).rejected is None
    refused = drive(flow_of("  - validate: shop.orders\n").run(message(bad))).rejected
    assert (refused.step, refused.problem.path) == ("0.validate", "total")


def test_validate_later_checks_the_record_as_it_is_then(flow_of, message, drive):
    flow = flow_of("  - set: {total: total - 100}\n  - validate: shop.orders\n")
    assert drive(flow.run(message())).rejected.step == "1.validate"


def test_garbage_is_refused_not_raised(flow_of, message, drive):
    assert drive(flow_of("  - log: text(id)\n").run(message(b"{nonsense"))).rejected.step == "start"


def test_a_body_that_holds_only_an_id_is_fetched_first(flow_of, message, drive):
    flow = flow_of("  - log: text(total)\n")
    record = {"id": 9, "total": 3, "customer": {"id": 1}, "lines": []}
    driven = drive(flow.run(message(b"{}", headers={"accord-fetch": "9"})), {"start.fetch": Done(record)})
    assert driven.paths == ["start.fetch", "0.log"]
    assert driven.commands[0].key == "9"


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        ("", b'{"id": 7, "other": [1, 2]}', "7"),
        ("", b'{"id": null}', "fallback"),
        ("", b'{"id": "A 7"}', "A 7"),
        ("", b'{"id": ""}', "fallback"),
        ("", b'{"id": true}', "fallback"),
        ("", b'{"id": 0}', "0"),
        ("", b'{"id": 7.5}', "fallback"),
        ("", b"{}", "fallback"),
        ("", b"{not json", "fallback"),
        ("", b"[1]", "fallback"),
        ("key: customer.id\n", b'{"customer": {"id": 12}}', "12"),
        ("key: customer.id\n", b'{"customer": null}', "fallback"),
        (
            "key: 'upper(coalesce(note, \"none\"))'\n",
            b'{"id":1,"total":1,"customer":{"id":1},"lines":[],"note":"ab"}',
            "AB",
        ),
        ("key: upper(note)\n", b'{"id":1,"total":1,"customer":{"id":1},"lines":[]}', "fallback"),
        ("key: upper(note)\n", b'{"id":"no number"}', "fallback"),
    ],
)
def test_key_of_never_raises_and_falls_back(flow_of, head, body, expected):
    assert flow_of("  - log: text(id)\n", head).key_of(body, "fallback") == expected


def test_the_version_follows_the_declaration_and_what_it_uses(build):
    text = "flow: f\non: {webhook: shop.orders, topic: orders/create}\nsteps:\n  - write: books.invoices\n    mapping: order-to-invoice\n"
    first, _ = build(text)
    again, _ = build("\n\n" + text)
    assert first.version == again.version
    told, _ = build("summary: the same\n" + text)
    assert told.version == first.version
    changed, _ = build(text.replace("orders/create}", "orders/create}\nkey: total"))
    assert changed.version != first.version
    from_mapping, faults = build(
        text,
        mappings="- {mapping: order-to-invoice, from: shop.orders, to: books.invoices, fields: {number: text(id), total: total}}",
    )
    assert from_mapping is not None, faults.found
    assert from_mapping.version != first.version


UNDO = """
  - call: store.decrease
    with: {sku: '"A"', by: id}
    as: stock
    undo:
      call: store.increase
      with: {sku: '"A"', by: stock.left}
  - set: {id: id + 1}
  - split: lines
    steps:
      - write: books.lines
        with: {sku: sku}
        undo:
          call: store.increase
          with: {sku: sku, by: parent.id}
  - write: books.invoices
    mapping: order-to-invoice
    undo:
      write: books.invoices
      mode: delete
      with: {number: '"never"'}
"""


def test_undo_runs_what_was_done_in_reverse_with_the_names_of_then(flow_of, message, drive):
    flow = flow_of(UNDO.replace("    mapping: order-to-invoice\n", "    with: {number: text(id), total: total}\n"))
    done = {"0.call": Done({"left": 40}), "2.split[1].0.write": Done(None), "2.split[0].0.write": Done(None)}
    driven = drive(flow.undo(message(), done))
    assert driven.paths == ["undo/2.split[1].0.write", "undo/2.split[0].0.write", "undo/0.call"]
    assert [c.arguments for c in driven.commands] == [
        {"sku": "B", "by": 8},
        {"sku": "A", "by": 8},
        {"sku": "A", "by": 40},
    ]


def test_in_an_undo_the_answer_of_what_was_done_is_present_and_typed(flow_of, message, drive):
    """``result.left`` is an integer that is there, though the step may be passed over; so is its name."""
    steps = """
  - call: store.decrease
    with: {sku: '"A"', by: id}
    as: stock
    on_error: {then: continue}
    undo: {call: store.increase, with: {sku: '"A"', by: result.left + stock.left}}
"""
    driven = drive(flow_of(steps).undo(message(), {"0.call": Done({"left": 40})}))
    assert [c.arguments for c in driven.commands] == [{"sku": "A", "by": 80}]
    assert drive(flow_of(steps).undo(message(), {"0.call": Done({"left": "?"})})).rejected.step == "undo/0.call"


def test_undo_of_a_partly_done_split_undoes_only_what_happened(flow_of, message, drive):
    flow = flow_of(UNDO.replace("    mapping: order-to-invoice\n", "    with: {number: text(id), total: total}\n"))
    driven = drive(flow.undo(message(), {"0.call": Done({"left": 1}), "2.split[1].0.write": Done(None)}))
    assert driven.paths == ["undo/2.split[1].0.write", "undo/0.call"]
    assert drive(flow.undo(message(), {})).commands == []


def test_undo_stops_where_a_record_was_refused(flow_of, message, drive):
    flow = flow_of(
        "  - call: store.decrease\n    with: {sku: '\"A\"', by: 1}\n"
        "    undo: {call: store.increase, with: {sku: '\"A\"', by: 1}}\n"
        "  - set: {total: total - 100}\n  - validate: shop.orders\n"
    )
    assert drive(flow.run(message())).rejected.step == "2.validate"
    assert drive(flow.undo(message(), {"0.call": Done({"left": 1})})).paths == ["undo/0.call"]


def test_every_effect_has_its_computed_guarantee(flow_of):
    flow = flow_of(UNDO)
    found = {effect.path: effect.guarantee for effect in flow.effects}
    assert found == {
        "0.call": "exactly-once by idempotency key",
        "undo/0.call": "exactly-once by idempotency key",
        "2.split[].0.write": "at-least-once: paper has no memory",
        "undo/2.split[].0.write": "exactly-once by idempotency key",
        "3.write": "exactly-once by idempotency key",
        "undo/3.write": "exactly-once by idempotency key",
    }
    assert flow.systems == {"shop", "store", "books"}
    assert flow.source == "shop.orders"


def test_running_twice_asks_the_same(flow_of, message, drive):
    flow = flow_of(UNDO)
    first, second = (drive(flow.run(message()), {"0.call": Done({"left": 1})}).commands for _ in range(2))
    assert msgspec.structs.asdict(first[0]) == msgspec.structs.asdict(second[0])
    assert [repr(c) for c in first] == [repr(c) for c in second]


def test_a_schedule_gives_its_time(build, message, drive):
    flow, faults = build(
        'flow: nightly\non: {schedule: "0 2 * * *", zone: Europe/Paris}\nsteps:\n  - log: text(scheduled_at)\n'
    )
    assert flow is not None, faults.found
    body = b'{"scheduled_at": "2026-03-01T02:00:00Z"}'
    assert "2026" in drive(flow.run(message(body))).commands[0].text
    assert flow.source == ""


def test_undo_goes_past_an_effect_that_was_refused_and_passed_over(flow_of, message, drive):
    flow = flow_of(
        "  - call: store.increase\n    with: {sku: '\"A\"', by: 1}\n    on_error: {then: continue}\n"
        "  - call: store.decrease\n    with: {sku: '\"A\"', by: 1}\n"
        "    undo: {call: store.increase, with: {sku: '\"A\"', by: 1}}\n"
    )
    assert drive(flow.undo(message(), {"1.call": Done({"left": 1})})).paths == ["undo/1.call"]


def test_steps_inside_inherit_the_policy_of_the_step_around_them(flow_of, message, drive):
    flow = flow_of(
        "  - split: lines\n    on_error: {attempts: 3}\n    steps:\n"
        "      - call: store.increase\n        with: {sku: sku, by: 1}\n        on_error: {then: continue}\n"
        "      - call: store.increase\n        with: {sku: sku, by: 2}\n"
    )
    driven = drive(flow.run(message()))
    policies = [c.commands[0].policy for c in driven.commands]
    assert [(p.attempts, p.then) for p in policies] == [(3, "continue"), (3, "dead-letter")]


def test_undo_of_a_split_whose_item_was_refused_undoes_the_other_items_too(flow_of, message, drive):
    flow = flow_of(
        "  - split: lines\n    steps:\n"
        "      - call: store.decrease\n        with: {sku: sku, by: quantity}\n        as: stock\n"
        "        undo: {call: store.increase, with: {sku: sku, by: quantity}}\n"
        "      - set: {share: 'integer(require(parent.note))'}\n"
    )
    done = {f"0.split[{i}].0.call": Done({"left": 1}) for i in range(2)}
    assert drive(flow.run(message()), done).rejected.step == "0.split[0].1.set"
    assert drive(flow.undo(message(), done)).paths == ["undo/0.split[1].0.call", "undo/0.split[0].0.call"]


def test_an_undo_that_is_refused_says_so(flow_of, message, drive):
    flow = flow_of(
        "  - call: store.decrease\n    with: {sku: '\"A\"', by: 1}\n"
        "    undo: {call: store.increase, with: {sku: '\"A\"', by: 1}}\n"
    )
    done = {"0.call": Done({"left": 1})}
    refused = drive(flow.undo(message(), done), {"undo/0.call": Reject("no such sku")}).rejected
    assert (refused.step, refused.problem.reason) == ("undo/0.call", "no such sku")
    gone = drive(flow.undo(message(headers={"accord-fetch": "7"}), done), {"start.fetch": Reject("gone")}).rejected
    assert gone.step == "start.fetch"
