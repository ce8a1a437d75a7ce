"""What a batch asks of its surroundings, how odd rows are treated, and what has no column form."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from decimal import Decimal

import polars as pl
import pytest

from accord.errors import Faults
from accord.mapping import (
    Environment,
    FunctionTable,
    Scope,
    compile_contract,
    compile_expression,
    compile_mapping,
    load_functions,
)
from accord.mapping.columns import compile_contract_columns, compile_expression_columns, compile_mapping_columns
from accord.mapping.columns.dtypes import frame_of, records_of
from accord.mapping.columns.forms import names_with_forms
from accord.mapping.spec import Each, Formula, Group, MappingSpec
from accord.record import Entity, Rule
from accord.record import types as t
from accord.record.types import Field

LINE = t.Object({"sku": Field(type=t.String(), references="shop.products"), "price": Field(type=t.Decimal())})
ORDERS = Entity(
    name="shop.orders",
    key=("id",),
    fields={
        "id": Field(type=t.Integer()),
        "customer": Field(type=t.String(), references="shop.customers"),
        "total": Field(type=t.Decimal(), min=Decimal(0)),
        "pieces": Field(type=t.Integer()),
        "lines": Field(type=t.List(LINE), nullable=True),
    },
    rules=(Rule("total < 1000", "too dear"),),
)
RECORDS = [
    {"id": 1, "customer": "a", "total": Decimal("10.00"), "pieces": 2, "lines": [{"sku": "x", "price": Decimal(1)}]},
    {"id": 2, "customer": "b", "total": Decimal("-1"), "pieces": 2, "lines": None},
    {"id": 3, "customer": "a", "total": Decimal("1000"), "pieces": 0, "lines": []},
    {"id": 4, "customer": "c", "total": Decimal("7"), "pieces": 3, "lines": [{"sku": "y", "price": Decimal(2)}]},
]


def mapping_of(fields, target, faults=None):
    entities = {n: Entity(name=n, fields={}) for n in ("shop.customers", "crm.clients", "shop.products", "erp.items")}
    entities |= {ORDERS.name: ORDERS, "a.b": Entity(name="a.b", fields=target)}
    spec = MappingSpec(name="m", source=ORDERS.name, target="a.b", fields=Group(fields))
    faults = Faults()
    made = compile_mapping(spec, entities, FunctionTable.builtin(), None, faults)
    faults.raise_if_any()
    assert made is not None
    return compile_mapping_columns(made)


class Directory:
    """Answers cross-references and counts the questions."""

    def __init__(self, known):
        self.known = known
        self.asked = []

    def __call__(self, entity, to, keys):
        self.asked.append((entity, to, sorted(keys)))
        return {key: self.known[key] for key in keys if key in self.known}


def test_a_contract_keeps_the_good_and_says_why_not():
    contract = compile_contract_columns(compile_contract(ORDERS, FunctionTable.builtin(), Faults()))
    frame, unfit = frame_of(RECORDS, ORDERS.fields)
    checked = contract.check(frame)
    assert not unfit and not contract.row_only
    assert checked.kept.to_list() == [0, 3]
    problems = [(r.row, r.problems[0].code, r.problems[0].path) for r in checked.rejects]
    assert problems == [
        (1, "record.range", "total"),
        (2, "record.rule", ""),
    ]
    assert records_of(checked.frame, ORDERS.fields)[1]["id"] == 4


def test_a_frame_that_lacks_a_required_column_is_refused_row_by_row():
    contract = compile_contract_columns(compile_contract(ORDERS, FunctionTable.builtin(), Faults()))
    frame, _ = frame_of(RECORDS[:1], ORDERS.fields)
    checked = contract.check(frame.drop("customer"))
    assert [p.code for p in checked.rejects[0].problems] == ["record.missing"]


def test_cross_references_are_asked_once_for_a_batch_and_unknown_ones_wait():
    mapping = mapping_of(
        {"client": Formula('ref(customer, to="crm.clients")'), "id": Formula("id")},
        {"client": Field(type=t.String(), nullable=True), "id": Field(type=t.Integer())},
    )
    frame, _ = frame_of(RECORDS, ORDERS.fields)
    directory = Directory({"a": "C-1", "b": None})
    environment = Environment(refs={("shop.customers", "a", "crm.clients"): "known before"})
    made = mapping.apply(frame, environment, resolve=directory)
    assert directory.asked[0] == ("shop.customers", "crm.clients", ["b", "c"])
    assert records_of(made.frame, mapping.mapping.target.fields) == [
        {"client": "known before", "id": 1},
        {"client": None, "id": 2},
        {"client": "known before", "id": 3},
    ]
    assert [(w.row, w.missing) for w in made.waiting] == [(3, (("shop.customers", "c", "crm.clients"),))]
    assert not made.rejects and made.kept.to_list() == [0, 1, 2]


def test_cross_references_of_items_are_asked_once_for_a_batch_too():
    lines = t.List(t.Object({"item": Field(type=t.String(), nullable=True)}))
    mapping = mapping_of(
        {"lines": Each(each=Formula("lines"), fields=Group({"item": Formula('ref(sku, to="erp.items")')}))},
        {"lines": Field(type=lines, nullable=True)},
    )
    assert mapping.is_row_only and "lines" in mapping.row_only
    frame, _ = frame_of(RECORDS, ORDERS.fields)
    directory = Directory({"x": "I-1", "y": "I-2"})
    made = mapping.apply(frame, resolve=directory)
    assert directory.asked == [("shop.products", "erp.items", ["x", "y"])]
    assert [r["lines"] for r in records_of(made.frame, mapping.mapping.target.fields)] == [
        [{"item": "I-1"}],
        None,
        [],
        [{"item": "I-2"}],
    ]


def test_what_a_column_cannot_hold_is_rejected_and_never_rounded():
    mapping = mapping_of({"each": Formula("total / pieces")}, {"each": Field(type=t.Decimal())})
    frame, _ = frame_of(RECORDS, ORDERS.fields)
    made = mapping.apply(frame)
    assert [(r.row, r.problems[0].code) for r in made.rejects] == [(2, "mapping.arithmetic"), (3, "mapping.too-wide")]
    assert [r["each"] for r in records_of(made.frame, mapping.mapping.target.fields)] == [Decimal(5), Decimal("-0.5")]


def test_one_enormous_number_does_not_fail_the_batch():
    mapping = mapping_of({"cubed": Formula("total * total * total")}, {"cubed": Field(type=t.Decimal())})
    frame, _ = frame_of([RECORDS[0] | {"total": Decimal("9" * 28)}, RECORDS[0]], ORDERS.fields)
    made = mapping.apply(frame)
    assert made.kept.to_list() == [1]
    assert made.rejects[0].problems[0].code == "mapping.too-wide"


def test_a_function_without_column_form_runs_on_its_own_column_only():
    mapping = mapping_of(
        {"slug": Formula("slug(customer)"), "id": Formula("id")},
        {"slug": Field(type=t.String()), "id": Field(type=t.Integer())},
    )
    assert mapping.row_only == {"(slug(customer))": "the function slug()"}
    frame, _ = frame_of(RECORDS, ORDERS.fields)
    made = mapping.apply(frame)
    assert made.suspects == 0 and made.frame["slug"].to_list() == ["a", "b", "a", "c"]


def test_the_clock_is_the_batchs():
    expression = compile_expression("today() + days(pieces)", Scope(ORDERS.fields), Faults())
    assert expression is not None
    columns = compile_expression_columns(expression, Scope(ORDERS.fields))
    frame, _ = frame_of(RECORDS, ORDERS.fields)
    for day in (1, 2):
        now = dt.datetime(2024, 2, day, tzinfo=dt.UTC)
        assert columns.evaluate(frame, Environment(now)).values.to_list()[0] == dt.date(2024, 2, day + 2)


def test_an_empty_frame_is_an_empty_frame():
    mapping = mapping_of(
        {"id": Formula("id")}, {"id": Field(type=t.Integer()), "none": Field(type=t.Json(), nullable=True)}
    )
    frame, _ = frame_of([], ORDERS.fields)
    assert mapping.apply(frame).frame.columns == ["id", "none"]
    assert compile_contract_columns(mapping_contract()).check(frame).frame.height == 0


def mapping_contract():
    return compile_contract(ORDERS, FunctionTable.builtin(), Faults())


WITHOUT_POLARS = """
import sys
sys.modules["polars"] = None
import accord.mapping
from accord.errors import AccordError
try:
    import accord.mapping.columns
except AccordError as error:
    print(error)
"""


def test_without_polars_the_core_works_and_columns_say_what_to_install():
    done = subprocess.run([sys.executable, "-c", WITHOUT_POLARS], capture_output=True, text=True, check=True)
    assert "pip install 'accord-integration[bulk]'" in done.stdout and "[mapping.no-columns]" in done.stdout


@pytest.mark.parametrize(
    "value", [Decimal("1.50"), Decimal("1E+3"), Decimal("-0.0000000001"), Decimal("0E-30"), Decimal("9" * 28)]
)
def test_decimals_come_back_with_the_digits_they_need(value):
    fields = {"d": Field(type=t.Decimal())}
    frame, unfit = frame_of([{"d": value}], fields)
    back = records_of(frame, fields)[0]["d"]
    assert not unfit and back == value and "E" not in format(back, "f") and not str(back).endswith(".0")


@pytest.mark.parametrize(
    "value", [Decimal("0.00000000001"), Decimal("9" * 29), Decimal("1E-30"), Decimal("NaN"), 1.5, "1"]
)
def test_what_does_not_fit_a_decimal_column_is_told(value):
    assert frame_of([{"d": value}, {"d": Decimal(1)}], {"d": Field(type=t.Decimal())})[1] == [0]


PROJECT_FUNCTION = '''
import polars as pl
from accord.mapping import function
from accord.mapping.functions import Rejected


def _columns(code: pl.Expr) -> pl.Expr:
    return pl.when(code.str.len_chars() == 1).then("C-" + code)


@function('client_code("a") == "C-a"', columns=_columns)
def client_code(code: str) -> str:
    """A client's code."""
    if len(code) != 1:
        raise Rejected("no code", code)
    return "C-" + code
'''


def test_a_function_of_the_project_can_bring_its_column_form(tmp_path):
    (tmp_path / "codes.py").write_text(PROJECT_FUNCTION)
    table, faults = FunctionTable.builtin(), Faults()
    load_functions(tmp_path, table, faults)
    scope = Scope(ORDERS.fields, functions=table)
    expression = compile_expression("client_code(customer)", scope, faults)
    assert expression is not None and not faults.found
    columns = compile_expression_columns(expression, scope)
    frame, _ = frame_of([RECORDS[0], RECORDS[1] | {"customer": "bb"}], ORDERS.fields)
    made = columns.evaluate(frame)
    assert not columns.row_only and made.values.to_list() == ["C-a", None]
    assert [(r.row, r.problems[0].reason) for r in made.rejects] == [(1, "no code, in: client_code(customer)")]


def test_case_is_the_same_for_all_latin_letters():
    letters = pl.Series([chr(code) for code in range(0x180)])
    assert letters.str.to_uppercase().to_list() == [letter.upper() for letter in letters]
    assert letters.str.to_lowercase().to_list() == [letter.lower() for letter in letters]


ROW_ONLY = """
add_workdays allocate ascii base64_decode base64_encode duration extract_all flatten hmac_sha256 json_text keys mask mask_email md5
numbers parse_json sha256 slug title uuid5
"""


def test_every_function_has_a_column_form_or_is_known_to_run_by_rows():
    assert sorted(set(FunctionTable.builtin().names()) - names_with_forms()) == ROW_ONLY.split()
