"""Finds the error codes in the source and on the pages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "accord"
PAGES = ROOT / "docs" / "errors"
ROOMS = sorted(page.stem for page in PAGES.glob("*.md"))
_CODE = re.compile(rf"({'|'.join(ROOMS)})\.([a-z][a-z0-9-]*[a-z0-9])")
_IS_CODE = re.compile(r"[a-z]+\.[a-z0-9-]+")
_FILES = {"accord.yaml", "engine.json", "journal.db", "sandbox.env", "sandbox.json"}


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield path, ast.parse(path.read_text("utf-8"))


def codes_in_source() -> dict[str, str]:
    """Code → the first place it is written out at."""
    found: dict[str, str] = {}
    for path, tree in trees():
        ignored = {id(node) for parent in ast.walk(tree) for node in _not_codes(parent)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in ignored:
                match = _CODE.fullmatch(node.value)
                if match and node.value not in _FILES and not _is_module(match):
                    found.setdefault(node.value, f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


def _is_module(match: re.Match[str]) -> bool:
    return match[1] == "accord" and match[2] != "error"


def _not_codes(node: ast.AST) -> Iterator[ast.AST]:
    """Names of events (a class's ``name``), of counters, and what is asked of mappings by key."""
    if isinstance(node, ast.ClassDef):
        for line in node.body:
            if isinstance(line, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "name" for t in line.targets):
                yield line.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "count":
        yield from node.args
    if isinstance(node, ast.Subscript):
        yield node.slice


def built_codes() -> list[re.Pattern[str]]:
    """Codes put together in the source: ``f"flow.unknown-{noun}"`` as a pattern."""
    found = []
    for _path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [re.escape(p.value) if isinstance(p, ast.Constant) else "([a-z0-9-]+)" for p in node.values]
                pattern = "".join(parts)
                if any(pattern.startswith(rf"{room}\.") for room in ROOMS) and " " not in pattern:
                    found.append(re.compile(pattern))
    return found


def words_in_source() -> set[str]:
    return {
        node.value
        for _path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def sections() -> set[str]:
    """Every code that has a heading on a page."""
    return {
        f"{page.stem}.{heading}"
        for page in PAGES.glob("*.md")
        for heading in re.findall(r"^## (\S+)$", page.read_text("utf-8"), re.MULTILINE)
    }


def codes_given() -> dict[str, str]:
    """Codes by the place where one is given: ``code=…`` of a call or a class, and what is told to faults and problems."""
    found: dict[str, str] = {}
    for path, tree in trees():
        for node in ast.walk(tree):
            is_generator = "mapping" in path.parts and isinstance(
                node, ast.Call
            )  # its `code=` is Python that is written
            for each in () if is_generator and any(k.arg == "code" for k in node.keywords) else _given(node):
                if isinstance(each, ast.Constant) and isinstance(each.value, str) and _IS_CODE.fullmatch(each.value):
                    found.setdefault(each.value, f"{path.relative_to(ROOT)}:{each.lineno}")
    return found


def _given(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Call):
        yield from (keyword.value for keyword in node.keywords if keyword.arg == "code")
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        on_faults = (
            isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "faults" and name == "add"
        )
        if (on_faults or name in ("Fault", "Problem")) and node.args:
            yield node.args[0]
    if isinstance(node, ast.ClassDef):
        for line in node.body:
            if isinstance(line, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "code" for t in line.targets):
                yield line.value
