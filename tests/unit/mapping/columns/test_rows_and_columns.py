"""Law 4: rows and columns give the same values, of the same types, and the same rejects for the same reasons.

``ACCORD_EXAMPLES`` (a number) tries as many examples in each test instead of a few.
"""

from __future__ import annotations

import datetime as dt
import os
from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accord.errors import Faults, RecordError
from accord.mapping import Environment, FunctionTable, Scope, compile_contract, compile_expression, compile_mapping
from accord.mapping.columns import compile_contract_columns, compile_expression_columns, compile_mapping_columns
from accord.mapping.columns.dtypes import frame_of, records_of, series_of, values_of
from accord.mapping.spec import Each, Formula, Group, MappingSpec
from accord.record import Entity, Rule
from accord.record import types as t
from accord.record.types import Field

EXAMPLES = int(os.environ.get("ACCORD_EXAMPLES", "0"))
TABLE = FunctionTable.builtin()
LOOKUPS = {"c": {"a": "b", "DE": "Germany", "7": "seven"}, "n": {"a": 1, "x": 2}, "m": {"a": Decimal("1.5")}}
NOW = dt.datetime(2024, 2, 29, 12, 30, 0, 5, tzinfo=dt.UTC)
ENVIRONMENT = Environment(
    NOW,
    {"id": "1", "key": "k", "source": "s", "topic": "t", "headers": {"x": "y"}, "time": NOW},
    {("shop.customers", "3", "crm.clients"): "C-3", ("shop.orders", "7", "crm.clients"): None},
)


def f(type_, **facts):
    return Field(type=type_, **facts)


LINE = t.Object(
    {
        "sku": f(t.String()),
        "quantity": f(t.Integer()),
        "price": f(t.Decimal()),
        "gift": f(t.Boolean(), nullable=True),
        "on": f(t.Date(), nullable=True),
    }
)
FIELDS = {
    "id": f(t.Integer()),
    "many": f(t.Integer(), nullable=True),
    "name": f(t.String()),
    "email": f(t.String(), nullable=True, personal="contact"),
    "made": f(t.DateTime()),
    "seen": f(t.DateTime(), nullable=True),
    "day_": f(t.Date(), nullable=True),
    "total": f(t.Decimal()),
    "discount": f(t.Decimal(), nullable=True),
    "weight": f(t.Float()),
    "size": f(t.Float(), nullable=True),
    "status": f(t.Enum(("open", "paid", "a"))),
    "paid": f(t.Boolean(), nullable=True),
    "test": f(t.Boolean()),
    "customer": f(
        t.Object({"id": f(t.Integer(), references="shop.customers"), "name": f(t.String(), nullable=True)}),
        nullable=True,
    ),
    "lines": f(t.List(LINE)),
    "tags": f(t.List(t.String(), True), nullable=True),
    "numbers_": f(t.List(t.Integer())),
    "prices": f(t.List(t.Decimal(), True)),
    "extra": f(t.Json(), nullable=True),
    "took": f(t.Duration(), nullable=True),
}
ENTITY = Entity(name="shop.orders", key=("id",), fields=FIELDS)
SCOPE = Scope(FIELDS, {}, TABLE, LOOKUPS, entity="shop.orders", key=("id",))

SPECIAL_TEXTS = [
    "", " ", "a", "A", "ab,c,", "12", "-3", " 7 ", "1.5", "1.234,50", "١٢", "1e3", "2024-05-31", "2024-02-30", "31/05/2024",
    "2024-05-31T10:00:00Z", "2024-05-31T10:00:00+02:00", "2024-03-31 02:30", "24:00", "yes", "No", "ÄÖß", "ǆ", "İ", "ﬁ", "Σς",
    "\x1c x \x85", "a\u00a0b", "😀é", "e\u0301", "a@b.c", "ada@example.com", "+49301234567", "DE", "EUR", "{}", "$1", "a$b",
    "A-1", "\n", "x\n", "P1D", "0001-01-01", "9999-12-31", "\x00",
]  # fmt: skip
texts = st.sampled_from(SPECIAL_TEXTS) | st.text(max_size=8)
integers = st.sampled_from([0, 1, -1, 2, 7, 10**9, 2**31, 2**53 + 1, 2**62, 2**63 - 1, -(2**63), 3]) | st.integers(
    -5, 50
)
DECIMALS = ["0", "1", "-1", "0.01", "2.345", "2.675", "-2.5", "0.0000000001", "12345678901234.56", "9" * 28, "-" + "9" * 28, "1.005",
            "99999999999999.9999999999", "19", "0.125", "100"]  # fmt: skip
decimals = st.sampled_from([Decimal(d) for d in DECIMALS]) | st.integers(-10_000, 10_000).map(
    lambda n: Decimal(n) / 100
)
floats = st.sampled_from([0.0, -0.0, 1.5, -2.5, 1e308, 0.1, 2.0**53, 5e-324, 3.0]) | st.floats(
    allow_nan=False, allow_infinity=False
)
dates = (
    st.sampled_from(
        [
            dt.date(1, 1, 1),
            dt.date(9999, 12, 31),
            dt.date(2024, 2, 29),
            dt.date(2024, 1, 31),
            dt.date(999, 5, 5),
            dt.date(1970, 1, 1),
        ]
    )
    | st.dates()
)
times = st.sampled_from(
    [
        dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999), dt.datetime(2024, 3, 31, 1), dt.datetime(2024, 10, 27, 0, 30),
        dt.datetime(1969, 12, 31, 23, 59, 59, 999999), dt.datetime(2050, 7, 1), dt.datetime(2024, 7, 1, 22, 30),
    ]
).map(lambda d: d.replace(tzinfo=dt.UTC)) | st.datetimes(timezones=st.just(dt.UTC))  # fmt: skip
durations = st.sampled_from(
    [dt.timedelta(0), dt.timedelta(days=1), dt.timedelta(microseconds=-1), dt.timedelta(days=100_000_000)]
) | (st.timedeltas(dt.timedelta(days=-400), dt.timedelta(days=400)))
json_values = st.recursive(
    st.none() | st.booleans() | integers | texts | st.sampled_from([Decimal("1.5"), Decimal("2.0")]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
).filter(lambda v: v is not None)


def values(type_):
    match type_:
        case t.List(item=item):
            inner = values(item)
            return st.lists(st.none() | inner if type_.is_item_nullable else inner, max_size=3)
        case t.Object(fields=fields):
            return st.fixed_dictionaries({n: optional(field) for n, field in fields.items()})
        case t.Enum(values=names):
            return st.sampled_from(names)
        case _:
            return {
                t.String: texts, t.Boolean: st.booleans(), t.Integer: integers, t.Decimal: decimals, t.Float: floats, t.Date: dates,
                t.DateTime: times, t.Duration: durations, t.Json: json_values,
            }[type(type_)]  # fmt: skip


def optional(field):
    return st.none() | values(field.type) if field.nullable else values(field.type)


record_of = {name: optional(field) for name, field in FIELDS.items()}
records = st.lists(st.fixed_dictionaries(record_of), min_size=3, max_size=8)


LEAVES = """
id | many | name | email | made | seen | day_ | total | discount | weight | size | status | paid | test | customer.id | customer.name
extra.a | extra | tags | lines | numbers_ | prices | took | 1 | 0 | -7 | 2.5 | 'a' | '7' | null | true | record.name | today() | now()
"""
UNARY = """
-{0} | not {0} | {0} is null | {0} is not null | text({0}) | decimal({0}) | integer({0}) | float_({0}) | [x for x in {0}]
[x for x in {0} if x is not null] | [x.sku for x in {0}] | sum(x.price * x.quantity for x in {0}) | any(x.gift for x in {0})
count(x.quantity > 1 for x in {0}) | all(x.gift for x in {0}) | [upper(x) for x in {0}] | [x * 2 for x in {0}] | [id for x in {0}]
upper({0}) | lower({0}) | title({0}) | trim({0}) | trim({0}, ' a') | squeeze({0}) | replace({0}, 'a', 'bb') | replace({0}, '$', '$1')
split({0}, ',') | join({0}, '-') | words({0}, name) | words(email, {0}) | left({0}, 2) | right({0}, 2) | before({0}, '@') | after({0}, '@')
pad({0}, 5, '0') | pad_right({0}, 5, '.') | shorten({0}, 4) | shorten({0}, 3, '...') | slug({0}) | ascii({0}) | boolean({0})
starts_with({0}, 'a') | ends_with({0}, 'a') | contains({0}, 'a') | matches({0}, '[A-Z]+-[0-9]+')
matches({0}, '\\\\w+') | matches({0}, '^[^@ ]+@(a|b)*.?$')
extract({0}, '([0-9]+)') | extract({0}, 'a|b') | replace_matches({0}, '[^0-9]', '$')
extract_all({0}, 'a') | replace_matches({0}, '\\\\s+', '') | matches({0}, '(?=a)a.*') | len({0})
first({0}) | last({0}) | sort({0}) | sort({0}, true)
reverse({0}) | unique({0}) | compact({0}) | take({0}, 2) | flatten([{0}, {0}]) | min({0}) | max({0}) | sum({0})
round({0}) | round({0}, 2) | round({0}, 1, 'half_even') | round({0}, 2, 'up') | round({0} / 3, 2) | percent({0}, 19) | percent({0}, 7.5, 4)
abs({0}) | allocate({0}, 3) | parse_decimal({0}, ',', '.') | parse_decimal({0}) | f'{{{0}}}' | f'<{{{0}}}|{{name}}>' | f'{{{0}:.2f}}'
date({0}) | date({0}, '%d/%m/%Y') | date({0}, zone='Europe/Berlin') | datetime({0}, zone='Europe/Berlin') | datetime({0})
datetime({0}, '%Y-%m-%d %H:%M', 'Europe/Berlin') | days({0}) | hours({0}) | weeks({0}) | minutes({0}) | seconds({0}) | total_seconds({0})
duration({0}) | in_zone({0}, 'Europe/Berlin') | in_zone({0}, 'America/New_York') | utc({0}) | unix_time({0}) | format({0}, '%d.%m.%Y')
format({0}, '%Y%m%d%H%M%S') | format({0}, '%A %j') | year({0}) | month({0}) | day({0}) | hour({0}) | minute({0}) | weekday({0})
add_months({0}, 1) | add_months({0}, -13) | add_workdays({0}, 3) | start_of({0}, 'week') | start_of({0}, 'quarter') | start_of({0}, 'year')
end_of({0}, 'month') | end_of({0}, 'week') | end_of({0}, 'quarter') | end_of({0}, 'year') | {0}[0] | {0}[-1] | {0}[5] | {0}[1:3] | {0}[:2]
{0}[2:] | {0}[-2:] | {0}[:-1] | require({0}) | require({0}, 'must be there') | lookup('c', {0}) | lookup('c', {0}, default='?')
lookup('n', {0}) | lookup('m', {0}, 0) | parse_json({0}) | json_text({0})
keys({0}) | sha256({0}) | md5({0}) | base64_encode({0}) | base64_decode({0})
mask({0}, 2) | mask_email({0}) | uuid5('a', {0}) | hmac_sha256({0}, 'k') | ref({0}, of='shop.customers', to='crm.clients')
ref({0}, to='crm.clients') | numbers(1, {0}) | {0} in ['open', 'paid'] | {0} not in ['a', ''] | {0} in [1, 2] | {0} in 'abc'
case({0}, 'y', 'n') | case(test, {0}, paid, {0}) | {0}.a | message.topic == {0} | {0} == 'a' | {0} == 1 | {0} < 10
"""
BINARY = """
({0} + {1}) | ({0} - {1}) | ({0} * {1}) | ({0} / {1}) | ({0} % {1}) | ({0} // {1}) | ({0} == {1}) | ({0} != {1}) | ({0} < {1})
({0} >= {1}) | ({0} < {1} < {0}) | ({0} and {1}) | ({0} or {1})
({0} in {1}) | ({0} not in {1}) | coalesce({0}, {1}) | [{0}, {1}] | max({0}, {1})
min({0}, {1}) | [x + {0} for x in {1}] | [y for x in {0} for y in {1}] | contains({0}, {1}) | starts_with({0}, {1}) | date({0}) + {1}
days({0}) + {1} | f'{{{0}}}-{{{1}}}' | round({0} * {1}, 2) | percent({0}, {1})
"""


def forms(text):
    return st.sampled_from([form.strip() for line in text.strip().splitlines() for form in line.split(" | ")])


def combined(inner):
    return st.one_of(
        st.tuples(forms(UNARY), inner).map(lambda p: p[0].format(p[1])),
        st.tuples(forms(BINARY), inner, inner).map(lambda p: p[0].format(p[1], p[2])),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]} if {p[1]} else {p[2]})"),
    )


expressions = st.recursive(forms(LEAVES), combined, max_leaves=4)


def quick(few):
    health = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    return settings(max_examples=EXAMPLES or few, deadline=None, suppress_health_check=health)


def by_rows(rows, apply):
    """What the row form gives: values by row, problems by row, rows that wait."""
    good, bad, waiting = {}, {}, set()
    for index, record in enumerate(rows):
        environment = Environment(ENVIRONMENT.now, ENVIRONMENT.message, ENVIRONMENT.refs)
        try:
            value = apply(record, environment)
        except RecordError as error:
            bad[index] = error.problems
            continue
        if environment.missing:
            waiting.add(index)
        else:
            good[index] = value
    return good, bad, waiting


def same(a, b):
    """Equal, of the same Python types; nan is nan, and -0.0 is not 0.0."""
    if isinstance(a, float) and isinstance(b, float):
        return repr(a) == repr(b)
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return set(a) | set(b) == {k for k in set(a) | set(b) if same(a.get(k), b.get(k))}
    return a == b


@quick(170)
@given(expressions, records)
def test_an_expression_means_the_same(text, rows):
    expression = compile_expression(text, SCOPE, Faults())
    if expression is None:
        return
    frame, _ = frame_of(rows, FIELDS)
    rows = records_of(frame, FIELDS)
    good, bad, waiting = by_rows(rows, lambda record, environment: expression.evaluate(record, {}, environment))
    made = compile_expression_columns(expression, SCOPE).evaluate(frame, ENVIRONMENT)
    got = values_of(made.values, expression.field.type)
    expected, unfit = series_of([good.get(i) for i in range(len(rows))], expression.field.type)
    wanted = values_of(expected, expression.field.type)
    for index in good:
        if index not in unfit:
            assert same(got[index], wanted[index]), (text, rows[index], got[index], wanted[index])
    rejects = {reject.row: reject.problems for reject in made.rejects}
    assert {i: p for i, p in rejects.items() if i not in unfit} == bad, text
    assert set(unfit) <= set(rejects)
    assert {w.row for w in made.waiting} == waiting, text


TARGETS = st.builds(
    Field,
    type=st.sampled_from(
        [
            t.String(), t.Integer(), t.Decimal(), t.Float(), t.Boolean(), t.Date(), t.DateTime(), t.Duration(), t.Json(),
            t.Enum(("a", "paid")), t.List(t.String()), t.List(t.Decimal()), t.List(t.Integer(), True),
            t.List(t.Object({"sku": f(t.String(), length_max=2), "price": f(t.Decimal(), nullable=True, max=Decimal(100))})),
        ]
    ),
    nullable=st.booleans(),
)  # fmt: skip
EACH = Each(
    each=Formula("lines"),
    when=Formula("quantity > 1 or gift"),
    fields=Group(
        {
            "sku": Formula("upper(sku) + '-' + text(quantity)"),
            "worth": Formula("price * quantity"),
            "day": Formula("coalesce(on, date('2024-01-01'))"),
            "inner": Group({"price": Formula("round(price, 1)")}),
        }
    ),
)
LINES = f(
    t.List(
        t.Object(
            {
                "sku": f(t.String(), length_max=8),
                "worth": f(t.Decimal(), min=Decimal(0)),
                "day": f(t.Date()),
                "inner": f(t.Object({"price": f(t.Decimal()), "none": f(t.Integer(), nullable=True)})),
            }
        )
    ),
    length_max=2,
)
PARENT = Each(each=Formula("lines"), value=Formula("sku + parent.name"))


@quick(50)
@given(st.dictionaries(st.sampled_from("abc"), st.tuples(expressions, TARGETS), min_size=1), st.booleans(), records)
def test_a_mapping_means_the_same(chosen, has_lists, rows):
    specs = {
        n: Formula(text)
        for n, (text, field) in chosen.items()
        if compile_expression(text, SCOPE, Faults(), expected=field)
    }
    fields = {n: chosen[n][1] for n in specs} | {"left_out": f(t.List(t.String()), nullable=True)}
    if has_lists:
        specs |= {"lines": EACH, "parents": PARENT}
        fields |= {"lines": LINES, "parents": f(t.List(t.String()))}
    target = Entity(name="a.target", fields=fields)
    spec = MappingSpec(name="m", source=ENTITY.name, target=target.name, fields=Group(specs))
    faults = Faults()
    mapping = compile_mapping(spec, ENTITIES | {target.name: target}, TABLE, SCOPE.lookups, faults)
    if mapping is None:
        return
    frame, _ = frame_of(rows, FIELDS)
    rows = records_of(frame, FIELDS)
    good, bad, waiting = by_rows(rows, lambda record, environment: mapping.apply(record, {}, environment))
    made = compile_mapping_columns(mapping).apply(frame, ENVIRONMENT)
    wanted, unfit = frame_of(list(good.values()), target.fields)
    kept = [row for index, row in enumerate(good) if index not in unfit]
    assert made.frame.schema == wanted.schema
    assert made.kept.to_list() == kept
    pairs = zip(records_of(made.frame, target.fields), records_of(wanted, target.fields), strict=True)
    assert all(same(a, b) for a, b in pairs), specs
    late = {list(good)[index] for index in unfit}
    assert {r.row: r.problems for r in made.rejects if r.row not in late} == bad, specs
    assert late <= {r.row for r in made.rejects}
    assert {w.row for w in made.waiting} == waiting


ENTITIES = {ENTITY.name: ENTITY} | {n: Entity(name=n, fields={}) for n in ("shop.customers", "crm.clients")}
PATTERNS = ["[A-Z]+", r"\d{2,}", "^a.*$", "(?=a).*", r"[^@\s]+@.+", "a|b|"]
DEMANDS = {
    t.String: st.fixed_dictionaries(
        {},
        optional={
            "length_min": st.integers(0, 3),
            "length_max": st.integers(0, 6),
            "pattern": st.sampled_from(PATTERNS),
            "format": st.sampled_from(t.FORMATS),
        },
    ),
    t.Integer: st.fixed_dictionaries({}, optional={"min": st.integers(-3, 3), "max": st.integers(0, 2**62)}),
    t.Decimal: st.fixed_dictionaries({}, optional={"min": st.just(Decimal("0.01")), "max": st.just(Decimal(2)) | st.just(Decimal("1e50"))}),
    t.Float: st.fixed_dictionaries({}, optional={"min": st.just(-1.5), "max": st.just(2.5)}),
    t.Date: st.fixed_dictionaries({}, optional={"min": st.just(dt.date(1970, 1, 1))}),
    t.DateTime: st.fixed_dictionaries({}, optional={"max": st.just(NOW)}),
    t.List: st.fixed_dictionaries({}, optional={"length_min": st.integers(0, 2), "length_max": st.integers(0, 2)}),
}  # fmt: skip


def demanding(type_):
    return st.builds(
        lambda nullable, facts: Field(type=type_, nullable=nullable, **facts),
        st.booleans(),
        DEMANDS.get(type(type_), st.just({})),
    )


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
        t.Enum(("", "a")),
    ]
)
shapes = st.recursive(
    scalars,
    lambda inner: (
        st.builds(t.List, inner, st.booleans())
        | st.dictionaries(st.sampled_from("xyz"), inner.flatmap(demanding), min_size=1, max_size=2).map(t.Object)
    ),
    max_leaves=4,
)
RULES = ["a is not null", "a == b", "len(text(a)) > 1", "a > 1 or b is null"]


@quick(110)
@given(st.data())
def test_a_contract_refuses_the_same_for_the_same_reasons(data):
    fields = data.draw(st.dictionaries(st.sampled_from("abc"), shapes.flatmap(demanding), min_size=1))
    rules = tuple(
        Rule(r)
        for r in data.draw(st.lists(st.sampled_from(RULES), max_size=2))
        if compile_expression(r, Scope(fields), Faults())
    )
    contract = compile_contract(
        Entity(name="a.b", fields=fields, rules=rules), TABLE, Faults(), types_only=data.draw(st.booleans())
    )
    loose = {name: st.none() | values(field.type) for name, field in fields.items()}
    frame, _ = frame_of(data.draw(st.lists(st.fixed_dictionaries(loose), min_size=2, max_size=8)), fields)
    rows = records_of(frame, fields)
    good, bad, _ = by_rows(rows, lambda record, _: contract.check(record))
    made = compile_contract_columns(contract).check(frame)
    assert {r.row: r.problems for r in made.rejects} == bad
    assert made.kept.to_list() == list(good)
    assert made.frame.equals(frame[list(good)])
