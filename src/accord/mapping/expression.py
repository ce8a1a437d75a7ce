"""Compiling and evaluating one expression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accord.errors import NOWHERE, Faults, Place, RecordError
from accord.mapping.assign import assign
from accord.mapping.check import CheckFailed, Compiler
from accord.mapping.emit import Code, Emitter, Site
from accord.mapping.environment import Environment
from accord.mapping.failure import problem_of
from accord.mapping.scope import Scope
from accord.mapping.support import GLOBALS
from accord.mapping.syntax import parse_expression
from accord.mapping.value import Value
from accord.record.types import Field

_NO_NAMES: dict[str, Any] = {}


class Expression:
    """A compiled expression. ``field`` is the type of its value; ``sources`` the dotted paths it reads; ``text`` as written.
    ``uses_environment``: it depends on clock, message or cross-references."""

    __slots__ = ("_code", "_site", "field", "place", "sources", "text", "uses_environment", "uses_refs")

    def __init__(
        self,
        text: str,
        field: Field,
        code: Code,
        sources: tuple[str, ...],
        uses_refs: bool,
        uses_environment: bool,
        place: Place,
    ) -> None:
        self.text = text
        self.field = field
        self.sources = sources
        self.uses_refs = uses_refs
        self.uses_environment = uses_environment
        self.place = place
        self._code = code
        self._site = Site("", text, bool(field.personal))

    def evaluate(
        self, record: Mapping[str, Any], names: Mapping[str, Any] | None = None, environment: Environment | None = None
    ) -> Any:
        """The value for one record. Raises RecordError with one Problem; with cross-references still missing it gives None instead."""
        environment = environment if environment is not None else Environment()
        try:
            return self._code.run(record, names if names is not None else _NO_NAMES, environment)
        except Exception as error:
            if environment.missing:
                return None
            raise RecordError([problem_of(error, self._code, self._site)]) from error

    @property
    def source(self) -> str:
        """The generated Python, for learning and debugging."""
        return self._code.source

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


def compile_expression(
    text: str,
    scope: Scope,
    faults: Faults,
    place: Place = NOWHERE,
    expected: Field | None = None,
    *,
    what: str = "the value",
) -> Expression | None:
    """Checks and compiles an expression; None when faults were added.

    ``expected``: the field its value must fit (integer becomes decimal; constraints of the field are checked at run time).
    ``what`` names the value in messages.
    """
    emitter = Emitter()
    emitter.globals.update(GLOBALS)
    compiler = Compiler(scope, emitter, faults, place)
    try:
        value = compile_into(compiler, text, place)
        personal = value.personal or bool(expected and expected.personal)
        emitter.site = Site("", text.strip(), personal)
        emitter.lines = [(indent, line, emitter.site) for indent, line, _ in emitter.lines]
        if expected is not None:
            value = assign(compiler, value, expected, what, text.strip())
        code = emitter.build(_short(text), "r, n, e", value.code)
    except CheckFailed:
        return None
    except RecursionError:
        faults.add("mapping.too-large", place, "The expression nests too deep.", "Split it with a function.")
        return None
    return Expression(text, value.field(), code, value.sources, compiler.uses_refs, compiler.uses_environment, place)


def compile_into(compiler: Compiler, text: str, place: Place) -> Value:
    """Compiles an expression as part of a larger function. Raises CheckFailed."""
    tree = parse_expression(text, compiler.faults, place)
    if tree is None:
        raise CheckFailed
    compiler.text = " ".join(text.split())[:120]
    compiler.source = f"({text.strip()}\n)"
    compiler.place = place
    value = compiler.compile(tree)
    if type(value.type).__name__ in ("Message", "Headers"):
        compiler.fail(
            "mapping.type",
            f"'{text.strip()}' is no value.",
            "Name a part, for example message.id; a field called message is record.message.",
        )
    return value


def _short(text: str) -> str:
    return " ".join(text.split())[:60]
