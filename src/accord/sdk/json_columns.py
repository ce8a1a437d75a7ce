"""JSON objects, one a text, to columns by one pattern: texts that all have the same keys in the same order, as programs write them.

The pattern is made of the entity's types and of the keys as the first objects have them, and is narrower than JSON: no code points in
escapes, no exponents, no spaces but one behind a colon or comma. So a text that matches is an object of these types whose values are
its captures, exact to the last digit. Every other text, and every value its column does not hold, is left to the decoder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from accord.record import Field
from accord.record import types as t
from accord.record.columns import dtype_of, schema_of
from accord.sdk import texts

if TYPE_CHECKING:
    import polars as pl

CAPTURES_MAX = 12  # of one pattern: with twenty, the engine leaves its quick way for one ten times slower
ROWS_AT_ONCE = 10_000  # texts taken apart at once: bounds what lies beside the columns
SAMPLES = 20  # texts that are looked at for the order of keys
TRIES = 3  # batches of which most texts did not match, before the pattern is given up
_NUMBER = r"-?(?:0|[1-9][0-9]{0,27})(?:\.[0-9]{1,10})?"
_TEXT = r'(?:[^"\\\x00-\x1f]|\\["\\/bfnrt])*'
_ESCAPES = {r"\"": '"', r"\\": "\\", r"\/": "/", r"\b": "\b", r"\f": "\f", r"\n": "\n", r"\r": "\r", r"\t": "\t"}
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_ .:-]*\Z")
_IGNORED = rf'(?:null|true|false|{_NUMBER}|"{_TEXT}")'
_SCALARS = (t.String, t.Enum, t.Integer, t.Decimal, t.Float, t.Boolean, t.Date, t.DateTime)
_EXACT = (t.String, t.Enum, t.Integer, t.Decimal, t.Boolean)  # whatever their pattern takes, their column holds


class _Part(msgspec.Struct, frozen=True):
    """One key of the object: ``pattern`` with ``captures``; of an object or a list the ``inner`` fields in the order of their captures;
    of a list the pattern of an ``item`` with its captures, and of ``items`` without."""

    pattern: str
    captures: int = 0
    field: str = ""
    inner: tuple[str, ...] = ()
    item: str = ""
    items: str = ""


class JsonColumns:
    """``names``: the JSON key of each field where it is called differently. Not for several threads at once."""

    def __init__(self, fields: Mapping[str, Field], names: Mapping[str, str]) -> None:
        self._fields = dict(fields)
        self._field_of = {names.get(name, name): name for name in fields}
        self._groups: list[list[_Part]] = []
        self._left = TRIES if all(_is_plain(field.type) for field in fields.values()) else 0

    def read(self, raws: Sequence[bytes]) -> tuple[pl.DataFrame, pl.Series] | None:
        """The frame of the texts that match, and which they are. None where there is no pattern."""
        import polars as pl

        if not self._left or not raws:
            return None
        self._groups = self._groups or _grouped(self._learned(raws[:SAMPLES]))
        if not self._groups:
            self._left -= 1
            return None
        try:
            made = [self._part_of(raws[at : at + ROWS_AT_ONCE]) for at in range(0, len(raws), ROWS_AT_ONCE)]
        except pl.exceptions.PolarsError:  # a pattern too large for the engine: the decoder reads them all
            self._left = 0
            return None
        is_sure = pl.concat([one for _, one in made])
        if int(is_sure.sum()) * 2 < len(raws):
            self._groups, self._left = [], self._left - 1
        return pl.concat([frame for frame, _ in made], rechunk=True), is_sure

    def _part_of(self, raws: Sequence[bytes]) -> tuple[pl.DataFrame, pl.Series]:
        import polars as pl

        lines = pl.Series("t", raws, dtype=pl.Binary).cast(pl.String, strict=False)
        is_sure, captured = self._captured(lines)
        columns, is_sure = self._typed(captured, is_sure)
        schema = schema_of(self._fields)
        nothing = pl.Series([None] * len(lines))
        made = [columns.get(name, nothing).cast(dtype).alias(name) for name, dtype in schema.items()]
        return pl.DataFrame(made, schema=schema).filter(is_sure), is_sure

    def _learned(self, raws: Sequence[bytes]) -> list[_Part]:
        """Nothing where the pattern cannot say what the texts hold."""
        try:
            found = [one for one in map(msgspec.json.decode, raws) if isinstance(one, dict)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return []
        parts: list[_Part] = []
        for key in found[0] if found else ():
            values = [one[key] for one in found if one.get(key) is not None]
            name = self._field_of.get(key, "")
            part = _part(name, self._fields[name].type, values) if name else _ignored(values)
            if part is None or not _KEY.match(key):
                return []
            parts.append(msgspec.structs.replace(part, pattern=f'"{re.escape(key)}": ?{part.pattern}'))
        return parts if any(part.field for part in parts) else []

    def _captured(self, lines: pl.Series) -> tuple[pl.Series, dict[str, pl.Series]]:
        """Which texts match, and the captures by ``field.number``."""
        captured: dict[str, pl.Series] = {}
        rest = lines
        is_sure: pl.Series | None = None
        for at, group in enumerate(self._groups):
            begin, end = r"^(\{)" if at == 0 else r"^(, ?)", r"\}[ \t\r]*$" if group is self._groups[-1] else "(,.*)$"
            found = rest.str.extract_groups(begin + ", ?".join(part.pattern for part in group) + end).struct.unnest()
            columns = iter(found.get_columns())
            matched = next(columns).is_not_null()
            is_sure = matched if is_sure is None else is_sure & matched
            for part in group:
                captured.update({f"{part.field}.{n}": next(columns) for n in range(part.captures)})
            rest = next(columns, rest)
        assert is_sure is not None
        return is_sure, captured

    def _typed(self, captured: Mapping[str, pl.Series], is_sure: pl.Series) -> tuple[dict[str, pl.Series], pl.Series]:
        """Columns by field, and which texts are still sure."""
        made: dict[str, pl.Series] = {}
        for part in (part for group in self._groups for part in group if part.field):
            first = captured[f"{part.field}.0"]
            match self._fields[part.field].type:
                case t.List(item=t.Object(fields=fields)):
                    made[part.field] = _list(first, part, fields)
                case t.Object(fields=fields):
                    inside = {n: captured[f"{part.field}.{at}"] for at, n in enumerate(part.inner, 1)}
                    made[part.field] = _object(first, inside, fields)
                case type_:
                    column = made[part.field] = _column(type_, first)
                    if column.null_count() != first.null_count():
                        is_sure = is_sure & (column.is_not_null() | first.is_null())
        return made, is_sure


def _is_plain(type_: t.Type) -> bool:
    inner = type_.item if isinstance(type_, t.List) else type_
    if isinstance(inner, t.Object):
        few = len(inner.fields) < CAPTURES_MAX
        return few and all(isinstance(field.type, _EXACT) for field in inner.fields.values())
    return isinstance(type_, _SCALARS)


def _scalar(type_: t.Type) -> str:
    match type_:
        case t.Integer():
            made = "(0|-?[1-9][0-9]{0,17})"
        case t.Boolean():
            made = "(true|false)"
        case t.Decimal():
            made = f'({_NUMBER}|"{_NUMBER}")'
        case t.Float():
            made = f"({_NUMBER})"
        case _:
            made = f'"({_TEXT})"'
    return f"(?:null|{made})"


def _ignored(values: Sequence[Any]) -> _Part | None:
    return None if any(isinstance(value, dict | list) for value in values) else _Part(_IGNORED)


def _part(name: str, type_: t.Type, values: Sequence[Any]) -> _Part | None:
    """None for a nested value whose keys cannot be told."""
    if not isinstance(type_, t.List | t.Object):
        return _Part(_scalar(type_), 1, name)
    of = type_.item if isinstance(type_, t.List) else type_
    if isinstance(type_, t.List):
        values = [item for value in values if isinstance(value, list) for item in value]
    keys = next((list(value) for value in values if isinstance(value, dict)), [])
    if not keys or not isinstance(of, t.Object) or not all(_KEY.match(key) for key in keys):
        return None
    inner = [f'"{re.escape(key)}": ?{_scalar(of.fields[key].type) if key in of.fields else _IGNORED}' for key in keys]
    known = tuple(key for key in keys if key in of.fields)
    body = ", ?".join(inner)
    if isinstance(type_, t.Object):
        return _Part(rf"(?:null|(\{{){body}\}})", 1 + len(known), name, known)
    item = rf"\{{{body}\}}"
    plain = re.sub(r"\((?!\?)", "(?:", item)  # its groups no captures; no key and no pattern holds a bracket of its own
    return _Part(rf"(?:null|\[((?:{plain}(?:, ?{plain})*)?)\])", 1, name, known, item, plain)


def _grouped(parts: Sequence[_Part]) -> list[list[_Part]]:
    groups: list[list[_Part]] = []
    count = CAPTURES_MAX + 1
    for part in parts:
        if count + part.captures > CAPTURES_MAX:
            groups.append([])
            count = 0
        groups[-1].append(part)
        count += part.captures
    return groups


def _column(type_: t.Type, found: pl.Series) -> pl.Series:
    match type_:
        case t.Decimal():
            return texts.decimals(found.str.strip_chars('"').alias("t"))
        case t.Float():
            return texts.floats(found.alias("t"))
        case t.Date():
            return texts.dates(found.alias("t"))
        case t.DateTime():
            return texts.instants(found.alias("t"))
        case _:
            return found.to_frame("v").select(_exact(type_, _col("v"), is_escaped=_has_escapes(found))).to_series()


def _col(name: str) -> pl.Expr:
    import polars as pl

    return pl.col(name)


def _exact(type_: t.Type, text: pl.Expr, *, is_escaped: bool = False) -> pl.Expr:
    """Of the types whose column holds whatever their pattern takes."""
    match type_:
        case t.String() | t.Enum() if is_escaped:
            return text.str.replace_many(list(_ESCAPES), list(_ESCAPES.values()))  # from left to right, each once
        case t.Decimal():
            return text.str.strip_chars('"').cast(dtype_of(type_))
        case t.Boolean():
            return text == "true"
        case _:
            return text.cast(dtype_of(type_))


def _has_escapes(found: pl.Series) -> bool:
    return bool(found.str.contains("\\", literal=True).any())


def _object(begins: pl.Series, inside: Mapping[str, pl.Series], fields: Mapping[str, Field]) -> pl.Series:
    import polars as pl

    frame = pl.DataFrame([begins.alias("{"), *(column.alias(f"v{n}") for n, column in inside.items())])
    struct = pl.struct(
        _exact(field.type, _col(f"v{n}"), is_escaped=_has_escapes(inside[n])).alias(n)
        if n in inside
        else pl.lit(None, dtype_of(field.type)).alias(n)
        for n, field in fields.items()
    )
    return frame.select(pl.when(_col("{").is_not_null()).then(struct)).to_series()


def _list(found: pl.Series, part: _Part, fields: Mapping[str, Field]) -> pl.Series:
    import polars as pl

    one = pl.element()
    split = one.str.extract_groups(part.item).struct.rename_fields(list(part.inner))
    is_escaped = _has_escapes(found)
    struct = pl.struct(
        _exact(field.type, one.struct.field(n), is_escaped=is_escaped).alias(n)
        if n in part.inner
        else pl.lit(None, dtype_of(field.type)).alias(n)
        for n, field in fields.items()
    )
    items = found.str.extract_all(part.items).alias("v").to_frame()
    return items.select(_col("v").list.eval(split)).select(_col("v").list.eval(struct)).to_series()
