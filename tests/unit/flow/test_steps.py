"""What each step asks for, and under which path."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import msgspec

from accord.flow.commands import All, Call, Fetch, Mark, Note, Resolve, Respond, Wait, Write
from accord.flow.versions import version_text
from accord.record import Done, Reject
from accord.sdk.connector import WriteMode


def test_write_with_mapping_asks_for_references_first_and_links(flow_of, message, drive):
    flow = flow_of("  - write: books.invoices\n    mapping: order-to-invoice\n")
    driven = drive(flow.run(message()), {("shop.customers", "3", "crm.clients"): "C-9"})
    assert driven.commands == [
        Resolve((("shop.customers", "3", "crm.clients"),)),
        Write(
            path="0.write",
            entity="books.invoices",
            mode=WriteMode.CREATE,
            record={"number": "R7", "total": Decimal("12.5"), "client": "C-9"},
            link_from="shop.orders",
            link_key="7",
        ),
    ]
    assert driven.finished is not None
    assert driven.finished.record["id"] == 7


def test_the_result_of_a_write_is_the_record_and_what_the_target_adds(flow_of, message, drive):
    flow = flow_of(
        "  - write: books.invoices\n    with: {number: text(id), total: total}\n    as: invoice\n    link: false\n"
        "  - call: store.increase\n    with: {sku: 'invoice.number + coalesce(text(invoice.day), \"-\")', by: 1}\n"
    )
    driven = drive(flow.run(message()), {"0.write": Done({"number": "X1", "day": "2026-03-02"})})
    assert driven.commands[0].link_from == ""
    assert driven.commands[1].arguments == {"sku": "X12026-03-02", "by": 1}


def test_map_replaces_the_record_and_write_takes_it_as_it_is(flow_of, message, drive):
    flow = flow_of("  - map: order-to-client\n  - write: crm.clients\n")
    driven = drive(flow.run(message()))
    assert [c.record for c in driven.commands] == [{"id": "3", "name": "n"}]
    assert driven.commands[0].mode is WriteMode.UPSERT


def test_set_computes_all_fields_from_the_record_before_it(flow_of, message, drive):
    flow = flow_of("  - set: {total: total * 2, twice: total * 2}\n")
    record = drive(flow.run(message())).finished.record
    assert (record["total"], record["twice"]) == (Decimal("25.0"), Decimal("25.0"))


def test_filter_and_stop_end_the_message_quietly(flow_of, message, drive):
    flow = flow_of("  - filter: total > 100\n    reason: too small\n")
    assert drive(flow.run(message())).finished.stopped == "too small"
    stopped = drive(flow_of("  - stop: not today\n").run(message()))
    assert stopped.finished.stopped == "not today"


def test_a_null_condition_is_false(flow_of, message, drive):
    flow = flow_of("  - filter: note == 'x'\n")
    assert drive(flow.run(message())).finished.stopped.startswith("filter:")


ROUTE = """
  - route:
      - when: total > 100
        steps:
          - call: store.increase
            with: {sku: '"big"', by: 1}
      - when: total > 10
        steps:
          - set: {total: total + 1}
          - call: store.increase
            with: {sku: text(total), by: 1}
      - otherwise:
          - stop: small
  - call: store.increase
    with: {sku: text(total), by: 2}
"""


def test_route_takes_the_first_branch_and_keeps_its_changes_inside(flow_of, message, drive):
    driven = drive(flow_of(ROUTE).run(message()))
    assert driven.paths == ["0.route[1].1.call", "1.call"]
    assert [c.arguments["sku"] for c in driven.commands] == ["13.5", "12.5"]
    small = drive(flow_of(ROUTE).run(message({"id": 1, "total": 1, "customer": {"id": 1}, "lines": []})))
    assert small.finished.stopped == "small"


SPLIT = """
  - split: lines
    parallel: 3
    as: moved
    steps:
      - call: store.decrease
        with: {sku: sku, by: quantity}
        as: stock
      - filter: stock.left > 0
      - set: {left: stock.left, order: quantity}
  - log: f"{len(moved)} lines"
"""


def test_split_runs_items_together_and_gathers_in_order(flow_of, message, drive):
    flow = flow_of(SPLIT)
    driven = drive(
        flow.run(message()), {"0.split[0].0.call": Done({"left": 5}), "0.split[1].0.call": Done({"left": 1})}
    )
    first = driven.commands[0]
    assert isinstance(first, All)
    assert first.parallel == 3
    assert [c.path for c in first.commands] == ["0.split[0].0.call", "0.split[1].0.call"]
    assert driven.commands[1] == Note(path="1.log", level="info", text="2 lines")
    one = drive(flow.run(message()), {"0.split[0].0.call": Done({"left": 0}), "0.split[1].0.call": Done({"left": 1})})
    assert one.commands[1].text == "1 lines"


def test_split_of_plain_values_names_them_item(flow_of, message, drive):
    flow = flow_of(
        "  - split: tags\n    steps:\n      - call: store.increase\n        with: {sku: item, by: parent.id}\n"
    )
    driven = drive(flow.run(message({"id": 7, "total": 1, "customer": {"id": 1}, "lines": [], "tags": ["x", "y"]})))
    assert [c.arguments for c in driven.commands[0].commands] == [{"sku": "x", "by": 7}, {"sku": "y", "by": 7}]
    assert drive(flow.run(message())).commands == []  # no tags at all


NESTED = """
  - split: lines
    steps:
      - split: parent.lines
        steps:
          - call: store.increase
            with: {sku: sku, by: 1}
"""


def test_a_split_in_a_split_goes_out_flat(flow_of, message, drive):
    driven = drive(flow_of(NESTED).run(message()))
    assert [c.path for c in driven.commands[0].commands] == [
        f"0.split[{i}].0.split[{j}].0.call" for i in range(2) for j in range(2)
    ]


def test_split_resolves_references_of_all_items_at_once(flow_of, message, drive):
    flow = flow_of(
        "  - split: lines\n    steps:\n"
        "      - call: store.increase\n"
        '        with: {sku: \'coalesce(ref(sku, of="shop.customers", to="crm.clients"), "none")\', by: 1}\n'
    )
    driven = drive(flow.run(message()), {("shop.customers", "A", "crm.clients"): "C"})
    assert isinstance(driven.commands[0], Resolve)
    assert len(driven.commands[0].queries) == 2
    assert [c.arguments["sku"] for c in driven.commands[1].commands] == ["C", "none"]


def test_enrich_merges_an_answer_or_gives_it_a_name(flow_of, message, drive):
    flow = flow_of("  - enrich: store.stock\n    with: {sku: '\"A\"'}\n  - filter: left > 3\n")
    driven = drive(flow.run(message()), {"0.enrich": Done({"left": 4})})
    assert driven.commands == [
        Call(path="0.enrich", system="store", operation="stock", arguments={"sku": "A"}, is_read_only=True)
    ]
    assert driven.finished.record["left"] == 4
    named = flow_of("  - enrich: store.facts\n    with: {sku: '\"A\"'}\n    into: facts\n")
    assert drive(named.run(message()), {"0.enrich": Done({"x": 1})}).finished.record["facts"] == {"x": 1}


def test_enrich_by_key_fetches_a_typed_record(flow_of, message, drive):
    flow = flow_of("  - enrich: crm.clients\n    key: customer.id\n    as: client\n  - log: text(client.since)\n")
    driven = drive(flow.run(message()), {"0.enrich": Done({"id": "3", "name": "Ada", "since": "2020-01-02"})})
    assert driven.commands[0] == Fetch(path="0.enrich", entity="crm.clients", key="3")
    assert driven.commands[1].text == "2020-01-02"


def test_an_answer_of_the_wrong_shape_is_refused_with_its_path(flow_of, message, drive):
    flow = flow_of("  - enrich: store.stock\n    with: {sku: '\"A\"'}\n")
    driven = drive(flow.run(message()), {"0.enrich": Done({"left": "many"})})
    assert driven.rejected.step == "0.enrich"
    assert "left" in driven.rejected.problem.path


def test_respond_encodes_exactly(flow_of, message, drive):
    flow = flow_of("  - respond: {status: 201, body: {total: total, at: message.time}}\n")
    assert flow.has_respond
    command = drive(flow.run(message())).commands[0]
    assert command == Respond(path="0.respond", status=201, body=b'{"total":12.5,"at":"2026-03-01T12:00:00Z"}')


def test_dedupe_stops_what_was_seen(flow_of, message, drive):
    flow = flow_of("  - dedupe: id\n    scope: orders\n")
    assert drive(flow.run(message())).commands == [Mark(path="0.dedupe", scope="orders", id="7")]
    assert "orders" in drive(flow.run(message()), {"0.dedupe": False}).finished.stopped


def test_dedupe_with_newest_marks_the_version(flow_of, message, drive):
    flow = flow_of("  - dedupe: id\n    newest: message.time\n")
    (mark,) = drive(flow.run(message())).commands
    assert mark.version == version_text(message().time)
    assert "older than what was already processed" in drive(flow.run(message()), {"0.dedupe": False}).finished.stopped


def test_a_version_that_is_too_long_is_refused_with_its_place(flow_of, message, drive):
    flow = flow_of("  - dedupe: id\n    newest: coalesce(note, '-')\n")
    rejected = drive(
        flow.run(message(msgspec.json.encode({**msgspec.json.decode(message().body), "note": "x" * 1001})))
    ).rejected
    assert (rejected.step, rejected.problem.code) == ("0.dedupe", "flow.bad-version")


def test_delays_add_up_from_the_time_of_acceptance(flow_of, message, drive):
    flow = flow_of("  - delay: 1h\n  - delay: 30m\n  - delay: {until: message.time}\n")
    waits = [c.until for c in drive(flow.run(message())).commands]
    start = message().time
    assert waits == [start + dt.timedelta(hours=1), start + dt.timedelta(minutes=90), start]
    assert isinstance(drive(flow.run(message())).commands[0], Wait)


def test_a_log_line_with_personal_data_is_masked(flow_of, message, drive):
    flow = flow_of('  - log: f"mail to {email}"\n')
    assert drive(flow.run(message())).commands == [Note(path="0.log", level="info", text="***")]


def test_when_passes_a_step_over_and_leaves_its_name_null(flow_of, message, drive):
    flow = flow_of(
        "  - call: store.decrease\n    when: total > 100\n    with: {sku: '\"A\"', by: 1}\n    as: stock\n"
        "  - log: text(coalesce(stock.left, -1))\n"
    )
    assert drive(flow.run(message())).commands == [Note(path="1.log", level="info", text="-1")]


def test_continue_goes_on_after_a_refusal(flow_of, message, drive):
    flow = flow_of(
        "  - call: store.decrease\n    with: {sku: '\"A\"', by: 1}\n    as: stock\n    on_error: {then: continue, attempts: 2}\n"
        "  - log: text(coalesce(stock.left, -1))\n"
    )
    driven = drive(flow.run(message()), {"0.call": Reject("none left")})
    assert driven.commands[0].policy.attempts == 2
    assert driven.commands[1].text == "-1"


def test_a_refused_effect_is_a_rejection_of_its_step(flow_of, message, drive):
    flow = flow_of("  - call: store.increase\n    with: {sku: '\"A\"', by: 1}\n")
    driven = drive(flow.run(message()), {"0.call": Reject("unknown sku", "sku", "http.422")})
    assert driven.rejected.step == "0.call"
    assert (driven.rejected.problem.code, driven.rejected.problem.path) == ("http.422", "sku")


def test_further_fields_do_no_harm_to_mappings_and_are_left_out_of_writes(flow_of, message, drive):
    flow = flow_of(
        "  - set: {big: total > 10, note: '\"x\"'}\n  - write: books.invoices\n    mapping: order-to-invoice\n"
        "  - map: order-to-client\n  - set: {checked: true}\n  - write: crm.clients\n"
    )
    writes = [c for c in drive(flow.run(message())).commands if isinstance(c, Write)]
    assert writes[0].record["number"] == "R7"
    assert writes[1].record == {"id": "3", "name": "n"}
