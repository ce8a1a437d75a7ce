"""Law 4 for what columns do not keep: zeros at a decimal's end, zones of times. Records as they stand in JSON, by rows and by columns."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.mapping.columns.test_rows_and_columns import (
    BINARY,
    ENVIRONMENT,
    FIELDS,
    LOOKUPS,
    TABLE,
    UNARY,
    by_rows,
    f,
    forms,
    quick,
    same,
)

from accord.errors import Faults
from accord.mapping import Scope, compile_contract, compile_expression
from accord.mapping.columns import compile_expression_columns
from accord.mapping.columns.dtypes import series_of, values_of
from accord.mapping.spec import Each, Formula, Group
from accord.mapping.written import shown_by, shown_by_field
from accord.record import Entity
from accord.record import types as t
from accord.sdk import texts
from accord.sdk.frames import Framer
from accord.sdk.http import encode_json
from accord.sdk.json_frames import JsonFramer

NAMES = ("id", "name", "made", "seen", "total", "discount", "lines", "prices", "took", "test")
SOME = {name: FIELDS[name] for name in NAMES}
ENTITY = Entity(name="shop.orders", key=("id",), fields=SOME)
SCOPE = Scope(SOME, {}, TABLE, LOOKUPS, entity="shop.orders", key=("id",))
CONTRACT = compile_contract(ENTITY, None, Faults())

numbers = st.sampled_from(["0", "0.0", "-0.00", "1.10", "1.1", "100", "100.00", "-2.50", "0.125", "19.990"])
moments = st.sampled_from(
    ["2024-05-31T23:30:00Z", "2024-05-31T23:30:00+00:00", "2024-06-01T01:30:00+02:00", "2024-05-31T20:00:00.500000-03:30"]
) | st.datetimes(dt.datetime(1980, 1, 1), dt.datetime(2030, 1, 1), timezones=st.sampled_from(
    [dt.UTC, ZoneInfo("Europe/Berlin"), dt.timezone(dt.timedelta(hours=-5))])).map(dt.datetime.isoformat)  # fmt: skip
line = st.fixed_dictionaries({"sku": st.sampled_from("ab"), "quantity": st.integers(0, 3), "price": numbers})
raws = st.fixed_dictionaries(
    {
        "id": st.integers(0, 9), "name": st.sampled_from(["a", "x y"]), "made": moments, "seen": st.none() | moments, "total": numbers,
        "discount": st.none() | numbers, "lines": st.lists(line, max_size=2), "prices": st.lists(st.none() | numbers, max_size=2),
        "took": st.none() | st.just("P1D"), "test": st.booleans(),
    }
)  # fmt: skip
batches = st.lists(raws, min_size=1, max_size=5)
LEAVES = "made | seen | total | discount | prices | lines | total | made | name | id | 1 | 2.50 | test | record.total | days(1)"
ITEMS = """
[text(x.price) for x in lines] | sum(x.price * x.quantity for x in lines) | [x.sku for x in lines if text(x.price) == '1.10']
join([f'{x.price:.2f}' for x in lines], ',') | lines[0].price | text(lines[0].price * 2) | [text(p) for p in prices]
join([x.sku for x in lines], '')
"""


def combined(inner):
    return st.one_of(
        st.tuples(forms(UNARY), inner).map(lambda p: p[0].format(p[1])),
        st.tuples(forms(BINARY), inner, inner).map(lambda p: p[0].format(p[1], p[2])),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]} if {p[1]} else {p[2]})"),
    )


expressions = st.recursive(forms(LEAVES) | forms(ITEMS), combined, max_leaves=3)


@quick(400)
@given(expressions, batches)
def test_an_expression_over_written_values_means_the_same(text, batch):
    expression = compile_expression(text, SCOPE, Faults())
    if expression is None:
        return
    records = [CONTRACT.decode(encode_json(one)) for one in batch]
    good, bad, waiting = by_rows(records, lambda record, environment: expression.evaluate(record, {}, environment))
    framer = JsonFramer(SOME, as_written=shown_by([text], SOME))
    frame, odd = framer.rows([encode_json(one) for one in batch])
    sure = [index for index in range(len(batch)) if index not in odd]
    made = compile_expression_columns(expression, SCOPE).evaluate(frame, ENVIRONMENT)
    got = dict(zip(sure, values_of(made.values, expression.field.type), strict=True))
    expected, unfit = series_of([good.get(i) for i in range(len(batch))], expression.field.type)
    wanted = values_of(expected, expression.field.type)
    for index in sure:
        if index in good and index not in unfit:
            assert same(got[index], wanted[index]), (text, batch[index], got[index], wanted[index])
    rejects = {sure[reject.row]: reject.problems for reject in made.rejects if sure[reject.row] not in unfit}
    assert rejects == {index: problems for index, problems in bad.items() if index in got}, text
    assert {sure[one.row] for one in made.waiting} == waiting & got.keys()


EACH = f(t.List(t.Object({"sku": f(t.String()), "price": f(t.Decimal())})))


@pytest.mark.parametrize(
    ("spec", "target", "shown"),
    [
        (Formula("total * 2"), f(t.Decimal()), set()),
        (Formula("made"), f(t.DateTime()), set()),
        (Formula("date(made, zone='Europe/Berlin')"), f(t.Date()), set()),
        (Formula("f'{total:.2f} {name}'"), f(t.String()), set()),
        (Formula("date(made)"), f(t.Date()), {"made"}),
        (Formula("f'{made:%H}'"), f(t.String()), {"made"}),
        (Formula("upper(name) + text(total)"), f(t.String()), {"total"}),
        (Formula("text(record.total)"), f(t.String()), {"made", "seen", "total", "discount", "lines", "prices"}),
        (Formula("total"), f(t.Json()), {"total"}),
        (Each(each=Formula("lines"), fields=Group({"sku": Formula("upper(sku)"), "price": Formula("price")})), EACH, set()),
        (Each(each=Formula("lines"), fields=Group({"sku": Formula("text(price)")})), EACH, {"lines"}),
        (Each(each=Formula("lines"), value=Formula("upper(sku) + text(parent.total)")), f(t.List(t.String())),
         {"made", "seen", "total", "discount", "lines", "prices"}),
    ],
)  # fmt: skip
def test_only_what_shows_a_form_asks_for_it(spec, target, shown):
    assert shown_by_field(spec, target, SOME) == shown


@pytest.mark.parametrize("comma", [False, True])
def test_texts_a_column_keeps_whole(comma):
    given = ["1.10", "1.1", "0", "-0", "0.0", "-0.5", "100", "10.", ".5", "+7", "-10", None]
    kept = ["1.1", "0", "-0.5", "100", ".5", "+7", "-10"]
    column = pl.Series([one if one is None or not comma else one.replace(".", ",") for one in given])
    found = texts.as_kept(column, t.Decimal(), comma=comma).drop_nulls().to_list()
    assert [one.replace(",", ".") for one in found] == kept


def test_times_a_column_keeps_whole():
    given = pl.Series(
        [
            "2024-01-01T00:00:00Z",
            "2024-01-01T00:00:00+00:00",
            "2024-01-01 00:00",
            "2024-01-01",
            "2024-01-01T00:00:00-05:00",
        ]
    )
    assert texts.as_kept(given, t.DateTime()).null_count() == 1
    assert texts.as_kept(given, t.DateTime(), zone="Europe/Berlin").null_count() == 3


def test_records_with_decimals_are_told_apart_too():
    fields = {"total": f(t.Decimal())}
    rows = [{"total": Decimal(text)} for text in ("1.5", "1.50", "1E+2", "100")]
    assert Framer(fields).frame(rows)[1] == set()
    assert Framer(fields, as_written={"total"}).frame(rows)[1] == {1, 2}
