"""What must hold for any bytes, any schema, any text."""

from __future__ import annotations

import importlib.util
import json
from decimal import Decimal
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accord.errors import Faults, RecordError
from accord.mapping import Environment, FunctionTable, Scope, compile_contract, compile_expression
from accord.mapping.contract import _parse
from accord.mapping.walker import Walker
from accord.record import Entity
from accord.record import types as t
from accord.record.types import Field

_spec = importlib.util.spec_from_file_location("mapping_shapes", Path(__file__).with_name("shapes.py"))
assert _spec is not None and _spec.loader is not None
shapes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(shapes)

TABLE = FunctionTable.builtin()
SCOPE = Scope(shapes.ORDER.fields, {}, TABLE, {"c": {"a": "b"}}, entity="shop.orders", key=("id",))
MESSAGE = {"id": "1", "key": "", "source": "", "topic": "", "headers": {}, "time": Environment().now}
CONTRACT = compile_contract(shapes.ORDER, TABLE, Faults())
QUIET = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["2024-05-31", "1e9", "12", "P1D", "NaN"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=12,
)
field_names = st.sampled_from(list(shapes.ORDER.fields))


@QUIET
@given(st.binary(max_size=60))
def test_any_bytes_are_a_record_or_a_record_error(raw):
    try:
        assert isinstance(CONTRACT.decode(raw), dict)
    except RecordError as error:
        assert error.problems


@QUIET
@given(st.dictionaries(field_names, json_values, max_size=8))
def test_any_json_is_a_record_or_a_record_error(value):
    try:
        assert isinstance(CONTRACT.decode(json.dumps(value).encode()), dict)
    except RecordError as error:
        assert all(p.path or p.code == "record.malformed" for p in error.problems)


scalars = st.sampled_from(
    [
        t.String(),
        t.Boolean(),
        t.Integer(),
        t.Decimal(),
        t.Float(),
        t.Date(),
        t.DateTime(),
        t.Duration(),
        t.Json(),
        t.Enum(("12", "a")),
    ]
)
types = st.recursive(
    scalars,
    lambda inner: (
        st.builds(t.List, inner, st.booleans())
        | st.builds(
            t.Object,
            st.dictionaries(st.sampled_from("abcd"), st.builds(Field, type=inner, nullable=st.booleans()), max_size=3),
        )
    ),
    max_leaves=5,
)
plain_fields = st.dictionaries(
    st.sampled_from("abcd"), st.builds(Field, type=types, nullable=st.booleans()), max_size=4
)
texts = st.sampled_from(
    [
        "2024-05-31T10:00:00Z",
        "2024-05-31T10:00:00",
        "2024-05-31",
        "P1D",
        "12",
        "1.5",
        "1e400000",
        "inf",
        "a",
        "",
        " 1 ",
        "1_0",
    ]
)
likely = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.just(1.5) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plain_fields, st.dictionaries(st.sampled_from("abcd"), likely, max_size=4))
def test_the_fast_decoder_and_the_walker_agree(fields, value):
    raw = json.dumps(value).encode()
    contract = compile_contract(Entity(name="a.b", fields=fields), TABLE, Faults())
    walker = Walker(is_wire=True, types_only=False)
    slow = walker.record(fields, _parse(raw), "", False)
    try:
        fast = contract._decoder.decode(raw)
        accepted = contract._is_good is None or contract._is_good(fast)
    except Exception:  # noqa: BLE001 - it may fail in any way; it only must not accept what the walker refuses
        accepted, fast = False, None
    assert accepted == (not walker.problems), walker.problems
    if accepted:
        assert fast == slow


words = st.sampled_from(
    [*shapes.ORDER.fields, *TABLE.names(), "x", "1", "2.5", "'a'", "null", "true", "message", "record", "for", "in", "if", "else",
     "and", "or", "not", "is", "==", "<", "+", "-", "*", "/", "//", "%", "(", ")", "[", "]", ".", ",", ":", "f'{name}'", "lambda", "**"]
)  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.text(max_size=30), st.lists(words, max_size=12).map(" ".join)))
def test_any_text_compiles_or_is_a_fault_and_what_compiles_runs(text):
    faults = Faults()
    expression = compile_expression(text, SCOPE, faults)
    assert (expression is None) == bool(faults.errors)
    if expression is not None:
        run_both(expression)


def run_both(expression):
    for record in (shapes.RECORD, shapes.EMPTY):
        try:
            value = expression.evaluate(record, {}, Environment(message=MESSAGE))
        except RecordError as error:
            assert error.problems[0].code != "mapping.failed", (expression.text, expression.source, error.__cause__)
        else:
            assert value is not None or expression.field.nullable, (expression.text, expression.source)


LEAVES = """
id | name | email | total | discount | weight | status | paid | test | customer.id | customer.name | extra.a | extra | tags
line_items | day | took | created_at | 1 | 0 | 2.5 | 'a' | '7' | null | true
"""


UNARY = """
-{0} | not {0} | {0} is null | text({0}) | decimal({0}) | integer({0}) | [x for x in {0}] | [x for x in {0} if x is not null]
upper({0}) | len({0}) | first({0}) | sum({0}) | round({0}) | f'{{{0}}}' | date({0}) | days({0}) | {0}[0] | require({0})
lookup('c', {0})
"""
BINARY = """
({0} + {1}) | ({0} - {1}) | ({0} * {1}) | ({0} / {1}) | ({0} % {1}) | ({0} == {1}) | ({0} < {1}) | ({0} and {1})
({0} or {1}) | ({0} in {1}) | coalesce({0}, {1}) | [{0}, {1}] | max({0}, {1}) | [x + {0} for x in {1}]
[[y, x] for x in {0} for y in {1}]
"""


def forms(text):
    return st.sampled_from([form.strip() for line in text.strip().splitlines() for form in line.split(" | ")])


def combined(inner):
    return st.one_of(
        st.tuples(forms(UNARY), inner).map(lambda p: p[0].format(p[1])),
        st.tuples(forms(BINARY), inner, inner).map(lambda p: p[0].format(p[1], p[2])),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]} if {p[1]} else {p[2]})"),
    )


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.recursive(forms(LEAVES), combined, max_leaves=6))
def test_what_passes_the_check_never_fails_for_its_types(text):
    expression = compile_expression(text, SCOPE, Faults())
    if expression is not None:
        run_both(expression)


@QUIET
@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20))
def test_decimals_pass_unchanged_through_decode_and_map(number):
    contract = compile_contract(Entity(name="a.b", fields={"d": Field(type=t.Decimal())}), TABLE, Faults())
    if number.adjusted() < -90:
        return
    for raw in (f'{{"d": "{number}"}}', f'{{"d": {number:f}}}'):
        assert contract.decode(raw.encode())["d"] == number
    assert isinstance(contract.check({"d": number})["d"], Decimal)


expected_fields = st.builds(
    Field,
    type=scalars
    | st.sampled_from(
        [
            t.List(t.Decimal()),
            t.List(t.String(), True),
            t.List(
                t.Object(
                    {"sku": Field(type=t.String(), length_max=1), "price": Field(type=t.Decimal(), max=Decimal(7))}
                )
            ),
            t.Object({"id": Field(type=t.Decimal())}),
        ]
    ),
    nullable=st.booleans(),
)


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.recursive(forms(LEAVES), combined, max_leaves=4), expected_fields)
def test_a_value_for_a_field_satisfies_the_field(text, expected):
    expression = compile_expression(text, SCOPE, Faults(), expected=expected)
    if expression is None:
        return
    for record in (shapes.RECORD, shapes.EMPTY):
        try:
            value = expression.evaluate(record, {}, Environment(message=MESSAGE))
        except RecordError:
            continue
        walker = Walker(is_wire=False, types_only=False)
        walker.record({"x": expected}, {"x": value}, "", False)
        assert not walker.problems, (text, expression.source)
