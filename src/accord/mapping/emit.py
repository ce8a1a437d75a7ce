"""Writes the source of one generated Python function and remembers which line serves which target field.

Nothing is spent at run time to know where a failure happened: a failing line is looked up afterwards in ``Code.sites``.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec


class Site(msgspec.Struct, frozen=True):
    """What a generated line works for. ``path`` is the target field, with ``{o3}`` where the length of local list ``o3`` is
    the index; ``text`` the expression; ``personal``: values of it are masked."""

    path: str = ""
    text: str = ""
    personal: bool = False


class Code(msgspec.Struct, frozen=True):
    """A compiled function, with the site of each of its lines (index 0 is line 1)."""

    run: Callable[..., Any]
    sites: tuple[Site, ...]
    source: str


class Emitter:
    """Collects lines. Every local name it hands out is new, so that blocks never shadow each other."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, str, Site]] = []
        self.indent = 1
        self.site = Site()
        self.globals: dict[str, Any] = {}
        self._names: dict[int, str] = {}
        self._keep: list[Any] = []
        self._count = 0
        self.environment_used = False

    def fresh(self, prefix: str = "t") -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def add(self, text: str) -> None:
        self.lines.append((self.indent, text, self.site))

    def constant(self, value: Any, prefix: str = "k") -> str:
        """The global name under which the generated code sees ``value``."""
        name = self._names.get(id(value))
        if name is None:
            self._count += 1
            name = f"{prefix}{self._count}"
            self._names[id(value)] = name
            self._keep.append(value)
            self.globals[name] = value
        return name

    @contextmanager
    def captured(self) -> Iterator[list[tuple[int, str, Site]]]:
        """Lines added inside go into the yielded list (indented one deeper) and are not part of the function until spliced."""
        outer, self.lines = self.lines, []
        self.indent += 1
        try:
            inner = self.lines
            yield inner
        finally:
            self.lines = outer
            self.indent -= 1

    def splice(self, lines: list[tuple[int, str, Site]], deeper: int = 0) -> None:
        self.lines.extend((indent + deeper, text, site) for indent, text, site in lines)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        self.add(head)
        self.indent += 1
        before = len(self.lines)
        try:
            yield
        finally:
            if len(self.lines) == before:
                self.add("pass")
            self.indent -= 1

    @contextmanager
    def at(self, site: Site) -> Iterator[None]:
        outer, self.site = self.site, site
        try:
            yield
        finally:
            self.site = outer

    def build(self, name: str, parameters: str, result: str) -> Code:
        """Compiles ``def _run(parameters): …; return result``. ``name`` appears in tracebacks."""
        body = [(0, f"def _run({parameters}):", Site()), *self.lines, (1, f"return {result}", self.site)]
        source = "\n".join("    " * indent + text for indent, text, _ in body) + "\n"
        file = f"<accord {name}>"
        namespace = dict(self.globals)
        exec(compile(source, file, "exec"), namespace)  # noqa: S102 - the source is generated from a whitelisted tree
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        return Code(namespace["_run"], tuple(site for _, _, site in body), source)
