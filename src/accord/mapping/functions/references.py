"""Cross-references: which record there is this record here."""

from __future__ import annotations

import ast
from typing import Any

from accord.errors import did_you_mean
from accord.mapping.check import Compiler
from accord.mapping.functions.signature import Function
from accord.mapping.functions.table import builtin
from accord.mapping.hints import conversion_hint
from accord.mapping.value import TEXTS, Value, replace, shown
from accord.record.types import Integer, String


def _ref(c: Compiler, function: Function, node: ast.Call) -> Value:
    named = {k.arg: k.value for k in node.keywords}
    usage = 'For example ref(customer.id, to="crm.clients").'
    if len(node.args) != 1 or set(named) - {"to", "of"} or "to" not in named:
        c.fail(
            "mapping.arguments", 'ref() takes a key, to="system.entity", and of="system.entity" where needed.', usage
        )
    to = _entity(c, named["to"], "to")
    key = c.compile(node.args[0])
    said = c.says(node.args[0])
    of = _entity(c, named["of"], "of") if "of" in named else key.references
    if not of:
        c.fail("mapping.reference", f"It is not known which entity's key '{said}' is.",
               f"Say so: ref({said}, of=\"shop.customers\", to=\"{to}\"), or declare 'references:' at the field.")  # fmt: skip
    if isinstance(key.type, Integer):
        key = c.strict([key], lambda x: f"str({x})", String())
    if not isinstance(key.type, TEXTS) and not key.is_null:
        c.fail(
            "mapping.arguments",
            f"A key must be text or integer, but '{said}' is {shown(key.type)}.",
            conversion_hint(key.type, String(), said),
        )
    c.uses_refs = c.uses_environment = True
    made = c.strict([key], lambda x: f"e.ref({of!r}, {x}, {to!r})", String(), nullable=True)
    return replace(made, references=to)


def _entity(c: Compiler, node: ast.expr, name: str) -> str:
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        c.fail(
            "mapping.arguments",
            f"The argument '{name}' of ref() must be literal text.",
            'For example to="crm.clients".',
        )
    entity: str = node.value
    known = c.scope.entities
    if (known is not None and entity not in known) or "." not in entity:
        c.fail(
            "mapping.reference",
            f"There is no entity '{entity}'.",
            did_you_mean(entity, known or ()) or "Write system.entity.",
        )
    return entity


@builtin(
    "string|integer, const, const? -> string?", 'ref("7", of="shop.customers", to="crm.clients") == "C-7"', special=_ref
)
def ref(key: Any, to: str, of: str | None = None) -> str | None:
    """The key in another system of the record whose key this is; null when none is known. ``of`` names the entity the key
    belongs to, where the field does not declare ``references``."""
    raise NotImplementedError("compiled as Environment.ref")
