"""What systems answer, as typed values: declared once, converted by a contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from accord.errors import Problem, RecordError
from accord.flow.step import StepContext
from accord.mapping.contract import compile_contract
from accord.record import Entity, Field
from accord.sdk.http import encode_json


def answer_reader(
    name: str, fields: Mapping[str, Field] | None, at: StepContext, *, is_partial: bool = False
) -> Callable[[Any], Any]:
    """A function from a system's plain answer to typed values of ``fields`` (None: json, taken as it is).

    ``is_partial``: every field may be absent. The function raises RecordError with paths that begin with ``name``.
    """
    if fields is None:
        return _as_it_is
    wanted = nullable(fields) if is_partial else dict(fields)
    contract = compile_contract(Entity(name=name, fields=wanted), at.parts.functions, at.faults, types_only=True)

    def read(value: Any) -> Any:
        try:
            return contract.decode(encode_json({} if value is None else value))
        except RecordError as error:
            raise RecordError(
                [
                    Problem(p.code, f"{name}: {p.path}", f"the system's answer: {p.reason}", p.value)
                    for p in error.problems
                ]
            ) from error

    return read


def _as_it_is(value: Any) -> Any:
    return value


def nullable(fields: Mapping[str, Field]) -> dict[str, Field]:
    """The same fields, each of which may be absent."""
    return {name: msgspec.structs.replace(field, nullable=True) for name, field in fields.items()}
