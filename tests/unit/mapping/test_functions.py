"""Every documented example of every function is a test, and the guide lists exactly the functions there are."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from accord.errors import Faults
from accord.mapping import Environment, FunctionTable, Scope, compile_expression
from accord.mapping.regex import bounded_pattern, matcher

TABLE = FunctionTable.builtin()
GUIDE = Path(__file__).parents[3] / "docs/guides/mapping.md"


@pytest.mark.parametrize("function", list(TABLE), ids=lambda f: f.name)
def test_the_example_of_a_function_is_true(function):
    scope = Scope({}, {}, TABLE, {"example": {"de": "Germany"}})
    faults = Faults()
    expression = compile_expression(function.example, scope, faults)
    assert expression is not None, faults.found
    refs = {("shop.customers", "7", "crm.clients"): "C-7"}
    assert expression.evaluate({}, {}, Environment(refs=refs)) is True
    assert function.doc
    assert function.name in function.example


@pytest.mark.parametrize("function", list(TABLE), ids=lambda f: f.name)
def test_the_guide_shows_the_function_as_it_is(function):
    cells = (f"`{function.name}{function.signature}`", function.doc, f"`{function.example}`")
    row = "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
    assert row in GUIDE.read_text().splitlines(), f"docs/guides/mapping.md needs this row: {row}"


def test_the_guide_lists_no_function_that_is_not_there():
    names = re.findall(r"^\| `(\w+)\(", GUIDE.read_text(), re.MULTILINE)
    assert sorted(names) == TABLE.names()


def test_a_table_is_a_copy_of_its_own():
    one = FunctionTable.builtin()
    one.add(next(iter(TABLE)))
    assert one is not TABLE
    assert len(FunctionTable.builtin()) == len(TABLE)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+",
        "(a*)*b",
        "((ab)+c*)+",
        r"(a)\1",
        "[",
        "x" * 400,
        "(?:a+|b)+",
        "(a{1,9}){1,9}",
        "a{2000}",
        ".*" * 9,
        "(?>a+)*",
    ],
)
def test_a_pattern_that_may_run_for_ever_is_refused(pattern):
    with pytest.raises(ValueError):
        bounded_pattern(pattern)


@pytest.mark.parametrize("pattern", ["a+b*", "(?:ab){2,5}", "^[A-Z]{2}[0-9]+$", "(a|b)+x"])
def test_an_ordinary_pattern_is_taken(pattern):
    assert bounded_pattern(pattern).regex.pattern == pattern


def test_the_slowest_pattern_that_is_taken_is_quick_on_the_longest_text_it_takes():
    for pattern, letters in (("a*a*b", "a"), ("a*a*a*b", "a"), (".*x.*y", "x"), ("(a+b?){3}c", "a")):
        bounded = bounded_pattern(pattern)
        start = time.process_time()
        assert bounded.regex.fullmatch(letters * bounded.length_max) is None
        assert time.process_time() - start < 5
        assert not matcher(pattern)(letters * (bounded.length_max + 1))
