"""A flow interrupted anywhere goes on where it was: the property the guarantees rest on."""

from __future__ import annotations

import json
import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accord.flow.commands import All, Call, Resolve, Write, effect_id
from accord.record import Done

STEPS = """
  - enrich: store.stock
    with: {sku: '"A"'}
  - split: lines
    as: moved
    steps:
      - call: store.decrease
        with: {sku: sku, by: quantity}
        as: stock
        undo: {call: store.increase, with: {sku: sku, by: quantity}}
      - filter: stock.left >= 0
      - route:
          - when: stock.left > 2
            steps:
              - call: store.increase
                with: {sku: sku, by: stock.left}
          - otherwise:
              - write: books.lines
                with: {sku: sku}
  - write: books.invoices
    mapping: order-to-invoice
    as: invoice
    undo: {write: books.invoices, mode: delete, with: {number: invoice.number}}
  - call: store.increase
    with: {sku: invoice.number, by: len(moved)}
"""


def answer_to(command):
    if isinstance(command, Resolve):
        return ["C-1"] * len(command.queries)
    if isinstance(command, Call) and command.operation in ("decrease", "stock"):
        return Done({"left": sum(command.path.encode()) % 6 - 1})
    return Done({"number": "N-1"} if isinstance(command, Write) and command.entity == "books.invoices" else None)


def is_effect(command):
    return isinstance(command, Write) or (isinstance(command, Call) and not command.is_read_only)


def drive(running, journal, stop_after):
    """Answers from the journal what is in it; carries out at most ``stop_after`` further effects, then dies. True: finished."""
    carried_out = []
    answer = None
    while True:
        try:
            command = running.send(answer)
        except StopIteration:
            return True, carried_out
        answers = []
        for one in command.commands if isinstance(command, All) else (command,):
            if is_effect(one) and one.path not in journal:
                if len(carried_out) == stop_after:
                    return False, carried_out
                carried_out.append(one)
                journal[one.path] = answer_to(one)
            answers.append(journal[one.path] if is_effect(one) else answer_to(one))
        answer = answers if isinstance(command, All) else answers[0]


orders = st.fixed_dictionaries(
    {
        "id": st.integers(1, 10**6),
        "total": st.integers(0, 1000),
        "customer": st.fixed_dictionaries({"id": st.integers(1, 9)}),
        "lines": st.lists(
            st.fixed_dictionaries({"sku": st.sampled_from("ABCDEF"), "quantity": st.integers(1, 5)}), max_size=6
        ),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(orders, st.lists(st.integers(0, 4), max_size=8))
def test_every_effect_happens_once_with_the_same_id_however_often_it_is_interrupted(flow_of, message, order, deaths):
    flow = flow_of(STEPS)
    mail = message(json.dumps(order).encode())
    _, undisturbed = drive(flow.run(mail), {}, 10**6)
    journal: dict[str, Done] = {}
    happened = []
    for stop_after in [*deaths, 10**6]:
        is_finished, carried_out = drive(flow.run(mail), journal, stop_after)
        happened += carried_out
        if is_finished:
            break
    assert sorted(happened, key=lambda c: c.path) == sorted(undisturbed, key=lambda c: c.path)
    ids = [effect_id(mail.id, command.path) for command in happened]
    assert len(set(ids)) == len(ids)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(orders, st.integers(0, 20))
def test_undo_undoes_exactly_what_happened_in_reverse(flow_of, message, order, stop_after):
    flow = flow_of(STEPS)
    mail = message(json.dumps(order).encode())
    journal: dict[str, Done] = {}
    _, happened = drive(flow.run(mail), journal, stop_after)
    with_undo = [c.path for c in happened if re.fullmatch(r"1\.split\[\d+\]\.0\.call|2\.write", c.path)]
    _, undone = drive(flow.undo(mail, dict(journal)), {}, 10**6)
    assert [c.path for c in undone] == [f"undo/{path}" for path in reversed(with_undo)]
