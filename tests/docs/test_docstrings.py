"""Every module says what it is; every room what it receives, hands on and never does."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src" / "accord"


def test_every_module_says_what_it_is():
    silent = []
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text("utf-8")
        if text.strip() and not ast.get_docstring(ast.parse(text)):
            silent.append(str(path.relative_to(SOURCE)))
    assert silent == []


def test_every_room_says_what_it_receives_hands_on_and_never_does():
    rooms = [path for path in sorted(SOURCE.glob("*/__init__.py")) if path.parent.name != "connectors"]
    assert len(rooms) > 10
    silent = []
    for path in [*rooms, *sorted((SOURCE / "connectors").glob("*/__init__.py"))]:
        said = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        if not all(word in said for word in ("Receives:", "Hands on:", "Never:")):
            silent.append(str(path.relative_to(SOURCE)))
    assert silent == []
