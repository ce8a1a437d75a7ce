"""The table of functions, and the decorator built-in families register with."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from accord.mapping.functions.signature import Function, read_signature

_Call = TypeVar("_Call", bound=Callable[..., Any])
_BUILTIN: dict[str, Function] = {}
FAMILIES = ("text", "patterns", "numbers", "dates", "lists", "conditions", "json_", "hashing", "references")


def builtin(
    signature: str,
    example: str,
    *,
    name: str = "",
    inline: str = "",
    special: Callable[..., Any] | None = None,
    prepare: Mapping[str, Callable[[Any], Any]] | None = None,
    needs_environment: bool = False,
    clears_personal: bool = False,
) -> Callable[[_Call], _Call]:
    """Registers a built-in function; its family is the module, its doc the docstring, its name the function's unless given."""

    def register(call: _Call) -> _Call:
        key = name or call.__name__
        if key in _BUILTIN:
            raise TypeError(f"function {key} is registered twice")
        _BUILTIN[key] = Function(
            name=key,
            family=call.__module__.rpartition(".")[2].rstrip("_"),
            signature=read_signature(signature, call, skip=1 if needs_environment else 0),
            doc=(call.__doc__ or "").strip(),
            example=example,
            call=call,
            inline=inline,
            special=special,
            prepare=prepare or {},
            needs_environment=needs_environment,
            clears_personal=clears_personal,
        )
        return call

    return register


class FunctionTable:
    """Functions by name. Start from ``FunctionTable.builtin()``; project functions are added to that copy."""

    def __init__(self, functions: Mapping[str, Function] | None = None) -> None:
        self._functions: dict[str, Function] = dict(functions or {})

    @classmethod
    def builtin(cls) -> FunctionTable:
        """A new table with every built-in function."""
        for family in FAMILIES:
            importlib.import_module(f"accord.mapping.functions.{family}")
        return cls(_BUILTIN)

    def add(self, function: Function) -> None:
        """Adds a function; the caller has made sure the name is free."""
        self._functions[function.name] = function

    def get(self, name: str) -> Function | None:
        return self._functions.get(name)

    def names(self) -> list[str]:
        return sorted(self._functions)

    def __contains__(self, name: str) -> bool:
        return name in self._functions

    def __iter__(self) -> Iterator[Function]:
        return iter(self._functions.values())

    def __len__(self) -> int:
        return len(self._functions)
