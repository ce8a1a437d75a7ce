"""The project's own functions: Python files of a folder, typed by annotations.

::

    from accord.mapping import function

    @function('vat_number("de 12") == "DE12"')
    def vat_number(text: str) -> str:
        \"\"\"A VAT number without blanks, in capitals.\"\"\"
        return text.replace(" ", "").upper()
"""

from __future__ import annotations

import datetime as dt
import importlib.util
import inspect
import sys
import types
import typing
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from accord.errors import Faults, Place, did_you_mean
from accord.mapping.functions.signature import Function, Parameter, Pattern, Signature
from accord.mapping.functions.table import FunctionTable

_Call = TypeVar("_Call", bound=Callable[..., Any])
_MARK = "__accord_function__"
_KINDS: dict[Any, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    Decimal: "decimal",
    float: "float",
    dt.datetime: "datetime",
    dt.date: "date",
    dt.timedelta: "duration",
    Any: "json",
    dict: "json",
}


def function(
    example: str = "", *, name: str = "", columns: Callable[..., Any] | None = None
) -> Callable[[_Call], _Call]:
    """Marks a function of ``functions/*.py`` for use in mappings. ``example`` is an expression that is true.

    ``columns``, for bulk flows: the same over Polars expressions, one for each parameter, to be null where the row form would
    not be called or refuses; without it the function runs row by row on its own columns.

    A parameter annotated ``X | None`` is called with null too; else null gives null and the function is not called.
    Raise ``accord.mapping.functions.Rejected(reason, value)`` for values it cannot work on.
    """
    if callable(example):
        raise TypeError("write @function('my_function(1) == 2'), with an example")

    def mark(call: _Call) -> _Call:
        setattr(call, _MARK, (name or call.__name__, example, columns))
        return call

    return mark


def load_functions(folder: Path, table: FunctionTable, faults: Faults, *, shown_as: str = "functions") -> None:
    """Runs the folder's Python files, adds what ``@function`` marks to the table, and tries every example.

    Faults name file and line: a file that does not run, a name that is taken, an unknown annotation, a missing doc or
    example, an example that is not true. ``shown_as`` stands for the folder in places.
    """
    if not folder.is_dir():
        return
    added: list[Function] = []
    for path in sorted(folder.glob("*.py")):
        module = _run_file(path, f"{shown_as}/{path.name}", faults)
        if module is None:
            continue
        for call in list(vars(module).values()):
            if inspect.isfunction(call) and hasattr(call, _MARK) and call.__module__ == module.__name__:
                made = _read(call, f"{shown_as}/{path.name}", table, faults)
                if made is not None:
                    table.add(made)
                    added.append(made)
    for made in added:
        _try_example(made, table, faults)


def _run_file(path: Path, shown: str, faults: Faults) -> types.ModuleType | None:
    name = f"accord_project_functions_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        faults.add("mapping.function-file", Place(shown), "The file cannot be loaded as Python.")
        return None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001 - a stranger's file may raise anything; it becomes a fault with its line
        del sys.modules[name]
        faults.add(
            "mapping.function-file",
            Place(shown, _line_of(error, str(path))),
            f"The file does not run: {type(error).__name__}: {error}.",
            "Run it with python to see where.",
        )
        return None
    return module


def _line_of(error: BaseException, file: str) -> int:
    if isinstance(error, SyntaxError):
        return error.lineno or 0
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _read(call: Callable[..., Any], file: str, table: FunctionTable, faults: Faults) -> Function | None:
    name, example, columns = getattr(call, _MARK)
    place = Place(file, call.__code__.co_firstlineno)
    if name in table:
        faults.add("mapping.function-name", place, f"There is already a function '{name}'.", "Choose another name.")
        return None
    if not (call.__doc__ or "").strip() or not example:
        lack = "example" if not example else "docstring"
        mend = f"@function('{name}(…) == …')" if not example else "Say in a docstring what it does."
        faults.add("mapping.function-doc", place, f"The function '{name}' has no {lack}.", mend)
    try:
        hints = typing.get_type_hints(call)
    except Exception as error:  # noqa: BLE001 - annotations are a stranger's code
        faults.add("mapping.function-type", place, f"The annotations of '{name}' cannot be read: {error}.")
        return None
    parameters: list[Parameter] = []
    for p in inspect.signature(call).parameters.values():
        pattern = _pattern(hints.get(p.name)) if p.kind is not inspect.Parameter.VAR_KEYWORD else None
        if pattern is None:
            _bad_type(name, p.name, place, faults)
            return None
        parameters.append(Parameter(p.name, pattern, p.default, p.kind is inspect.Parameter.VAR_POSITIONAL))
    result = _pattern(hints.get("return"))
    if result is None:
        _bad_type(name, "return", place, faults)
        return None
    return Function(
        name=name,
        family="project",
        signature=Signature(tuple(parameters), result),
        doc=inspect.getdoc(call) or "",
        example=example,
        call=call,
        columns=columns,
        is_project=True,
        file=file,
        line=place.line,
    )


def _bad_type(name: str, where: str, place: Place, faults: Faults) -> None:
    known = "str, bool, int, Decimal, float, date, datetime, timedelta, list[…], Any (json)"
    what = "result" if where == "return" else f"parameter '{where}'"
    faults.add(
        "mapping.function-type",
        place,
        f"The {what} of '{name}' has no annotation of the language.",
        f"Use {known}, or … | None.",
    )


def _pattern(hint: Any) -> Pattern | None:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        parts = [h for h in typing.get_args(hint) if h is not type(None)]
        inner = _pattern(parts[0]) if len(parts) == 1 else None
        return Pattern(inner.kind, True, inner.parts) if inner is not None else None
    if typing.get_origin(hint) is list:
        item = _pattern(typing.get_args(hint)[0])
        return Pattern("list", False, (item,)) if item is not None else None
    if typing.get_origin(hint) is dict:
        hint = dict
    try:
        kind = _KINDS.get(hint)
    except TypeError:
        return None
    return Pattern(kind) if kind is not None else None


def _try_example(made: Function, table: FunctionTable, faults: Faults) -> None:
    from accord.errors import RecordError
    from accord.mapping.expression import compile_expression
    from accord.mapping.scope import Scope

    place = Place(made.file, made.line)
    if not made.example:
        return
    expression = compile_expression(made.example, Scope({}, {}, table), faults, place)
    if expression is None:
        return
    try:
        value = expression.evaluate({})
    except RecordError as error:
        faults.add(
            "mapping.function-example",
            place,
            f"The example of '{made.name}' fails: {error}.",
            "Mend function or example.",
        )
        return
    if value is not True:
        faults.add(
            "mapping.function-example", place, f"The example '{made.example}' is not true.", "Mend function or example."
        )


def known_function(name: str, table: FunctionTable) -> str:
    """A hint for an unknown function name."""
    return did_you_mean(name, table.names())
