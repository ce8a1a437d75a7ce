"""From text to a syntax tree, against a whitelist: what is not listed here cannot run."""

from __future__ import annotations

import ast
import re

from accord.errors import Faults, Place

TEXT_LENGTH_MAX = 8_000  # characters of one expression
DEPTH_MAX = 60  # levels of nesting
NODES_MAX = 1_500
CHOICE_HINT = "Write 'x if condition else y'."
_CHOICE_FIRST = re.compile(r"(?:^|[-+*/%(,=<>\[]|\b(?:and|or|not|else))\s*(?:if\b|case\s+when\b)", re.IGNORECASE)

_ALLOWED: tuple[type[ast.AST], ...] = (
    ast.Expression, ast.Name, ast.Load, ast.Store, ast.Constant, ast.Attribute, ast.Subscript, ast.Slice,
    ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod,
    ast.UnaryOp, ast.UAdd, ast.USub, ast.Not, ast.BoolOp, ast.And, ast.Or,
    ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Is, ast.IsNot,
    ast.IfExp, ast.Call, ast.keyword, ast.List, ast.Tuple, ast.ListComp, ast.GeneratorExp, ast.comprehension,
    ast.JoinedStr, ast.FormattedValue,
)  # fmt: skip

_NAMES = {
    "Lambda": "a function without a name",
    "Dict": "a dict",
    "Set": "a set",
    "SetComp": "a set comprehension",
    "DictComp": "a dict comprehension",
    "Await": "'await'",
    "Yield": "'yield'",
    "NamedExpr": "an assignment",
    "Starred": "'*'",
    "Pow": "the operator '**'",
    "MatMult": "the operator '@'",
    "LShift": "the operator '<<'",
    "RShift": "the operator '>>'",
    "BitOr": "the operator '|'",
    "BitAnd": "the operator '&'",
    "BitXor": "the operator '^'",
    "Invert": "the operator '~'",
}
_MEND = {
    "BitOr": "Use 'or'.",
    "BitAnd": "Use 'and'.",
    "Invert": "Use 'not'.",
    "Dict": "Write nested fields in the mapping's YAML.",
    "Lambda": "Use a comprehension, or a function in functions/*.py.",
}


def parse_expression(text: str, faults: Faults, place: Place) -> ast.expr | None:
    """The tree of an expression; None (and faults) when it is not one, is too large, or uses what is not allowed."""
    if len(text) > TEXT_LENGTH_MAX:
        faults.add(
            "mapping.too-large",
            place,
            f"The expression is longer than {TEXT_LENGTH_MAX} characters.",
            "Move parts of it into a function in functions/*.py.",
        )
        return None
    source = text.strip()
    if not source:
        faults.add(
            "mapping.syntax", place, "The expression is empty.", "Write null for no value, '\"\"' for empty text."
        )
        return None
    try:
        tree = ast.parse(f"({source}\n)", mode="eval")
    except (SyntaxError, ValueError) as error:
        reason = getattr(error, "msg", None) or str(error)
        faults.add("mapping.syntax", place, f"'{_short(source)}' is not an expression: {reason}.", _hint(source))
        return None
    except (RecursionError, MemoryError):
        faults.add("mapping.too-large", place, "The expression nests too deep.", "Split it with a function.")
        return None
    return tree.body if _is_allowed(tree.body, source, faults, place) else None


def _is_allowed(root: ast.expr, source: str, faults: Faults, place: Place) -> bool:
    count = 0
    pending: list[tuple[ast.AST, int]] = [(root, 0)]
    good = True
    while pending:
        node, depth = pending.pop()
        count += 1
        if depth > DEPTH_MAX or count > NODES_MAX:
            what = f"nests deeper than {DEPTH_MAX} levels" if depth > DEPTH_MAX else f"has over {NODES_MAX} parts"
            faults.add(
                "mapping.too-large", place, f"The expression '{_short(source)}' {what}.", "Split it with a function."
            )
            return False
        if not isinstance(node, _ALLOWED):
            kind = type(node).__name__
            faults.add(
                "mapping.not-allowed",
                place,
                f"{_NAMES.get(kind, kind)} is not part of the mapping language (in '{_short(source)}').",
                _MEND.get(kind, ""),
            )
            good = False
            continue
        pending.extend((child, depth + 1) for child in ast.iter_child_nodes(node))
    return good


def _hint(source: str) -> str:
    if source.startswith("="):
        return "Leave out the '='."
    if "&&" in source or "||" in source:
        return "Write 'and' and 'or'."
    if "? " in source or _CHOICE_FIRST.search(source):
        return CHOICE_HINT
    if source.count("'") % 2 or source.count('"') % 2:
        return "A quotation mark is missing."
    return "Constant text stands in quotes inside the quotes: \"'paid'\"."


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 80 else flat[:77] + "…"
