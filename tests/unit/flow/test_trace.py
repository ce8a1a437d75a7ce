"""The story told of a message equals what ran: over flows of every kind of step, and wherever it stopped."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accord.flow.commands import All, Call, Command, Mark, Resolve, Write
from accord.flow.running import StepRejected
from accord.flow.trace import NotKnown, Trace, trace_of
from accord.record import Done, Reject

MANY = """
  - validate: shop.orders
  - set: {note: '"new"'}
  - route:
      - when: total > 100
        steps:
          - {write: crm.clients, mapping: order-to-client, as: client}
      - otherwise:
          - split: lines
            steps:
              - filter: quantity > 1
              - call: store.decrease
                with: {sku: sku, by: quantity}
                as: left
  - {dedupe: text(id)}
  - {write: books.invoices, mapping: order-to-invoice, mode: upsert, as: invoice, on_error: {then: continue}}
  - {log: '"done"', when: total > 1000}
  - {map: order-to-client}
  - {write: crm.clients, mode: upsert}
"""
ORDERS = {"email": "ada@example.com", "customer": {"id": 3}}


def order(id_: int, total: float, quantities: list[int]) -> dict[str, Any]:
    lines = [{"sku": f"S{n}", "quantity": quantity} for n, quantity in enumerate(quantities)]
    return {"id": id_, "total": total, "lines": lines, **ORDERS}


class Real:
    """A run with no tracer, its answers kept as the journal keeps them."""

    def __init__(self, flow: Any, message: Any, refused: frozenset[str], stop_after: int) -> None:
        self.answers: dict[str, Any] = {}
        self.commands: list[Command] = []
        self.end: Any = None
        self.refused, self.stop_after = refused, stop_after
        running, answer = flow.run(message), None
        try:
            while True:
                answer = self.answer(running.send(answer))
        except StopIteration as end:
            self.end = end.value
        except (StepRejected, NotKnown) as error:
            self.end = error

    def answer(self, command: Command) -> Any:
        match command:
            case Resolve(queries=queries):
                return [None for _ in queries]
            case All(commands=commands):
                return [self.answer(each) for each in commands]
            case Mark():
                return True
            case Write() | Call():
                if len(self.answers) >= self.stop_after:
                    raise NotKnown
                self.commands.append(command)
                is_refused = command.path in self.refused
                self.answers[command.path] = Reject("no") if is_refused else Done({"left": 1})
                return self.answers[command.path]
        return None


def told(flow: Any, message: Any, answers: dict[str, Any]) -> Trace:
    def answering(command: Command) -> Any:
        if isinstance(command, Mark):
            return True
        if isinstance(command, Write | Call):
            if command.path not in answers:
                raise NotKnown
            return answers[command.path]
        return None

    refs: dict[Any, str | None] = {}
    while (trace := trace_of(flow, message, answering, refs)).missing:
        refs.update(dict.fromkeys(trace.missing))
    return trace


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    total=st.sampled_from([1.0, 50.0, 500.0, 5000.0]),
    quantities=st.lists(st.integers(1, 3), max_size=3),
    stop_after=st.integers(0, 8),
    refuses=st.booleans(),
)
def test_what_is_told_is_what_ran(
    flow_of: Any, message: Any, total: float, quantities: list[int], stop_after: int, refuses: bool
) -> None:
    flow = flow_of(MANY)
    given_message = message(order(7, total, quantities))
    real = Real(flow, given_message, frozenset({"4.write"} if refuses else ()), stop_after)
    trace = told(flow, given_message, real.answers)
    assert [one.command for one in trace.asked.values() if one.is_known and isinstance(one.command, Write | Call)] == (
        real.commands
    )
    if isinstance(real.end, NotKnown):
        assert trace.unknown and trace.finished is None
        assert any(step.outcome == "open" for step in trace.steps)
    else:
        assert trace.finished == real.end
        assert all(step.outcome != "open" for step in trace.steps)
    assert all(step.static in flow.shapes for step in trace.steps)


def test_each_step_has_its_input_output_and_what_it_decided(flow_of: Any, message: Any) -> None:
    flow = flow_of(MANY)
    given_message = message(order(7, 50, [1, 2]))
    trace = told(flow, given_message, Real(flow, given_message, frozenset({"4.write"}), 100).answers)
    steps = {step.path: step for step in trace.steps}
    assert steps["1.set"].before.get("note") is None and steps["1.set"].after["note"] == "new"
    assert steps["2.route[1].0.split[0].0.filter"].outcome == "ended"
    assert steps["2.route[1].0.split[1].1.call"].names == {"left": {"left": 1}}
    assert "2.route[0].0.write" not in steps
    assert (steps["5.log"].outcome, steps["4.write"].names) == ("passed over", {"invoice": None})
    assert steps["6.map"].after == {"id": "3", "name": "n"}
    mapping = flow.shapes["6.map"].mapping
    assert mapping is not None and mapping.name == "order-to-client"
    assert flow.shapes["2.route[1].0.split[].0.filter"].written == {"filter": "quantity > 1"}


def test_a_refused_record_shows_where(flow_of: Any, message: Any) -> None:
    trace = told(flow_of("  - {map: order-to-invoice}\n"), message({"id": 1}), {})
    assert trace.rejected is not None and trace.rejected.step == "start"
    flow = flow_of("  - {set: {note: 'text(1 / (id - 7))'}}\n")
    trace = told(flow, message(), {})
    assert (trace.steps[0].outcome, trace.steps[0].problems != ()) == ("refused", True)


@pytest.mark.parametrize("field", ["email", "note"])
def test_shapes_carry_the_marks_of_derived_fields(flow_of: Any, field: str) -> None:
    flow = flow_of(f"  - {{set: {{shout: 'upper({field})'}}}}\n")
    assert bool(flow.shapes["0.set"].after["shout"].personal) is (field == "email")
