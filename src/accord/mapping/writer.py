"""Writes the function of a whole mapping: fields, nested objects and lists, each line tied to its target field."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from accord.errors import NOWHERE, Place, did_you_mean
from accord.mapping.assign import assign, constrain
from accord.mapping.check import CheckFailed, Compiler
from accord.mapping.emit import Code, Site
from accord.mapping.expression import compile_into
from accord.mapping.loops import as_list
from accord.mapping.spec import Each, FieldSpec, Formula, Group
from accord.mapping.value import Null, Value, merged, outward, shown
from accord.record.types import Field, Json, List, Object

_ANYTHING = Field(type=Json(), nullable=True)


class Origin(msgspec.Struct, frozen=True):
    """Where a target field comes from: the expression and the source fields it reads (``line_items[].sku``)."""

    text: str
    sources: tuple[str, ...]
    place: Place = NOWHERE


class Writer:
    """One use writes one function. ``is_careful``: every top-level field is tried, and failures are returned as a list."""

    def __init__(self, compiler: Compiler, *, is_careful: bool = False) -> None:
        self.c = compiler
        self.e = compiler.emitter
        self.is_careful = is_careful
        self.origins: dict[str, Origin] = {}

    def write(self, name: str, group: Group, target: Mapping[str, Field], to: str) -> Code:
        """The whole function. Faults were added to the compiler's list; what could not be compiled is left out."""
        if self.is_careful:
            self.e.add("p = []")
            self._entries(group, target, "", "", f"'{to}'")
            return self.e.build(f"{name}, carefully", "r, n, e", "p")
        result = self._dict(group, target, "", "", f"'{to}'")
        return self.e.build(name, "r, n, e", result)

    def _dict(self, group: Group, target: Mapping[str, Field] | None, path: str, site: str, owner: str) -> str:
        entries = self._entries(group, target, path, site, owner)
        name = self.e.fresh("d")
        self.e.add(f"{name} = {{")
        for line_site, text in entries:
            with self.e.at(line_site):
                self.e.add(text)
        self.e.add("}")
        return name

    def _entries(
        self, group: Group, target: Mapping[str, Field] | None, path: str, site: str, owner: str
    ) -> list[tuple[Site, str]]:
        if target is not None:
            self._check_names(group, target, path, owner)
        entries: list[tuple[Site, str]] = []
        for name, spec in group.fields.items():
            field = _ANYTHING if target is None else target.get(name)
            where = f"{path}.{name}" if path else name
            inner = f"{site}.{_escaped(name)}" if site else _escaped(name)
            if field is None:
                field = _ANYTHING  # the unknown name is a fault already; its expression is checked all the same
            top = self.is_careful and not path
            if top:
                self.e.add("try:")
                self.e.indent += 1
            start = len(self.e.lines)
            try:
                value, line_site = self._field(spec, field, where, inner)
                if top:
                    with self.e.at(line_site):
                        self.e.add(f"_ = {value.code}")
                else:
                    entries.append((line_site, f"{name!r}: {value.code},"))
            except CheckFailed:
                del self.e.lines[start:]
            if top:
                if len(self.e.lines) == start:
                    self.e.add("pass")
                self.e.indent -= 1
                self.e.add("except Exception as x: p.append(x)")
        return entries

    def _check_names(self, group: Group, target: Mapping[str, Field], path: str, owner: str) -> None:
        for name in group.fields:
            if name not in target:
                place = group.key_places.get(name, group.place)
                self.c.faults.add(
                    "mapping.unknown-target", place, f"{owner} has no field '{name}'.", did_you_mean(name, target)
                )
        for name, field in target.items():
            if not field.nullable and name not in group.fields:
                shown_path = f"{path}.{name}" if path else name
                self.c.faults.add(
                    "mapping.missing-field",
                    group.place,
                    f"{owner} requires the field '{shown_path}' ({shown(field.type)}), which the mapping does not fill.",
                    f"Add '{name}: …', or declare it optional with '?'.",
                )

    def _field(self, spec: FieldSpec, field: Field, path: str, site: str) -> tuple[Value, Site]:
        start = len(self.e.lines)
        match spec:
            case Formula():
                with self.e.at(Site(site, spec.text, True)):
                    made = compile_into(self.c, spec.text, spec.place)
                    self.origins[path] = Origin(spec.text, made.sources, spec.place)
                    made = assign(self.c, made, field, path, spec.text.strip())
                settled = Site(site, spec.text.strip(), made.personal or bool(field.personal))
            case Group():
                self.c.place, self.c.text = spec.place, ""
                made = self._group(spec, field, path, site)
                settled = Site(site, "", True)
            case Each():
                made = self._each(spec, field, path, site)
                settled = Site(site, spec.each.text, True)
        if isinstance(spec, Formula):
            self.e.lines[start:] = [(i, text, settled) for i, text, _ in self.e.lines[start:]]
        return made, settled

    def _group(self, spec: Group, field: Field, path: str, site: str) -> Value:
        match field.type:
            case Object(fields=fields):
                code = self._dict(spec, fields, path, site, f"'{path}'")
            case Json():
                code = self._dict(spec, None, path, site, f"'{path}'")
            case _:
                self.c.fail(
                    "mapping.type",
                    f"'{path}' is {shown(field.type)}, but nested fields are given.",
                    "Write one expression.",
                )
        return Value(code=code, type=field.type, is_atom=True)

    def _each(self, spec: Each, field: Field, path: str, site: str) -> Value:
        if not isinstance(field.type, List | Json):
            self.c.place, self.c.text = spec.place, ""
            self.c.fail(
                "mapping.type", f"'{path}' is {shown(field.type)}, but 'each' makes a list.", "Write one expression."
            )
        with self.e.at(Site(site, spec.each.text, True)):
            source = compile_into(self.c, spec.each.text, spec.each.place)
            source = self.c.atom(as_list(self.c, source, spec.each.text))
        if isinstance(source.type, Null):
            self.c.fail("mapping.type", "'each' walks the literal null.", "Name a list field.")
        if source.nullable and not field.nullable:
            self.c.fail(
                "mapping.nullable",
                f"'{path}' is required, but the list '{spec.each.text}' may be null.",
                f"Walk an empty list then: each: coalesce({spec.each.text}, []).",
            )
        self.origins[path] = Origin(spec.each.text, source.sources, spec.place)
        out = self.e.fresh("l")
        self.e.add(f"{out} = None" if source.nullable else f"{out} = []")
        if source.nullable:
            with self.e.block(f"if {source.code} is not None:"):
                self.e.add(f"{out} = []")
                self._items(spec, field, source, out, path, site)
        else:
            self._items(spec, field, source, out, path, site)
        made = Value(code=out, type=field.type, nullable=source.nullable, is_atom=True, **merged([source]))
        with self.e.at(Site(site, spec.each.text, True)):
            return constrain(self.c, made, field)

    def _items(self, spec: Each, field: Field, source: Value, out: str, path: str, site: str) -> None:
        variable = self.e.fresh("v")
        item = Value(
            code=variable,
            type=source.type.item,
            is_atom=True,
            personal=source.personal,
            sources=tuple(f"{s}[]" for s in source.sources[:1]),
        )
        self.c.roots.append(item)
        try:
            with self.e.block(f"for {variable} in {source.code}:"):
                if source.type.is_item_nullable:
                    self.e.add(f"if {variable} is None: continue")
                inner_path, inner_site = f"{path}[]", f"{site}[{{{out}}}]"
                if spec.when is not None:
                    self._when(spec.when, inner_site)
                target = (
                    Field(type=field.type.item, nullable=field.type.is_item_nullable)
                    if isinstance(field.type, List)
                    else _ANYTHING
                )
                what = spec.fields if spec.fields is not None else spec.value
                assert what is not None
                value, line_site = self._field(what, target, inner_path, inner_site)
                with self.e.at(line_site):
                    self.e.add(f"{out}.append({value.code})")
        finally:
            self.c.roots.pop()

    def _when(self, when: Formula, site: str) -> None:
        with self.e.at(Site(site, when.text, True)):
            test = compile_into(self.c, when.text, when.place)
            if shown(outward(test.type)) not in ("boolean", "json") or (isinstance(test.type, Json)):
                self.c.fail(
                    "mapping.type",
                    f"'when' must be boolean, but '{when.text}' is {shown(test.type)}.",
                    "Compare it with something.",
                )
            self.e.add(f"if not {test.code}: continue")


def _escaped(name: str) -> str:
    return name.replace("{", "{{").replace("}", "}}")
