"""The project's own functions."""

from __future__ import annotations

import pytest

from accord.errors import Faults, RecordError
from accord.mapping import FunctionTable, Scope, compile_expression, load_functions

GOOD = '''
from decimal import Decimal
from accord.mapping import function
from accord.mapping.functions import Rejected


@function('vat_number("de 12") == "DE12"')
def vat_number(text: str) -> str:
    """A VAT number without blanks."""
    if text.startswith("xx"):
        raise Rejected("no VAT number", text)
    return text.replace(" ", "").upper()


@function("or_zero(null) == 0")
def or_zero(value: Decimal | None, other: int = 0) -> Decimal:
    """Null as zero."""
    return Decimal(other) if value is None else value


@function('total_of([1.5, 2]) == 3.5')
def total_of(values: list[Decimal]) -> Decimal:
    """A sum."""
    return sum(values, Decimal(0))
'''


BREAKS = '''

@function('len(breaks("a")) == 1')
def breaks(a: str) -> str:
    """Breaks."""
    if len(a) > 1:
        raise RuntimeError(a)
    return a
'''


def load(tmp_path, **files):
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    table, faults = FunctionTable.builtin(), Faults()
    load_functions(tmp_path, table, faults)
    return table, faults


def test_functions_are_typed_by_annotations_and_used_like_built_in_ones(tmp_path):
    table, faults = load(tmp_path, vat=GOOD)
    assert not faults.found

    def run(text):
        expression = compile_expression(text, Scope({}, {}, table), faults)
        assert expression is not None, faults.found
        return expression.evaluate({})

    assert run('vat_number("fr 1")') == "FR1"
    assert run("vat_number(null)") is None
    assert run("or_zero(null, other=4)") == 4
    assert str(table.get("or_zero").signature) == "(value: decimal?, other: integer = 0) -> decimal"
    with pytest.raises(RecordError, match="no VAT number, in: vat_number"):
        run('vat_number("xx")')
    assert compile_expression("vat_number(1)", Scope({}, {}, table), faults) is None
    assert faults.found[0].code == "mapping.arguments"


DECORATED = """
from accord.mapping import function

@function({example})
def {name}(a{note}) -> {result}:
    {doc}
    return {body}
"""


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"example": "'odd(1) == 5'"}, "function-example"),
        ({"example": "'odd(1, 2) == 5'"}, "arguments"),
        ({"body": "1 / 0"}, "function-example"),
        ({"note": ""}, "function-type"),
        ({"note": ": object"}, "function-type"),
        ({"note": ": Nowhere"}, "function-file"),
        ({"note": ": 'Nowhere'"}, "function-type"),
        ({"doc": "pass"}, "function-doc"),
        ({"example": ""}, "function-doc"),
        ({"name": "upper"}, "function-name"),
        ({"body": ")"}, "function-file"),
        ({"result": "list"}, "function-type"),
    ],
)
def test_a_faulty_function_is_told_with_file_and_line(tmp_path, changes, code):
    parts = {
        "example": "'odd(1) == 1'",
        "name": "odd",
        "note": ": int",
        "result": "int",
        "doc": '"""Doc."""',
        "body": "a",
    }
    _, faults = load(tmp_path, mine=DECORATED.format(**(parts | changes)))
    assert [x.code for x in faults.found] == [f"mapping.{code}"]
    assert faults.found[0].place.file == "functions/mine.py"
    assert faults.found[0].place.line > 0


def test_a_function_that_breaks_rejects_the_record_without_telling_its_value(tmp_path):
    text = GOOD + BREAKS
    table, faults = load(tmp_path, mine=text)
    assert not faults.found
    expression = compile_expression('breaks("secret")', Scope({}, {}, table), faults)
    assert expression is not None
    with pytest.raises(RecordError) as caught:
        expression.evaluate({})
    assert caught.value.problems[0].reason == 'the expression failed with RuntimeError, in: breaks("secret")'


def test_no_folder_is_no_fault(tmp_path):
    faults = Faults()
    load_functions(tmp_path / "nowhere", FunctionTable.builtin(), faults)
    assert not faults.found
