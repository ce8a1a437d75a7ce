"""Every code of settings, wherever it is reported, has its section in docs/errors/settings.md, and every section its code."""

from __future__ import annotations

import re
from pathlib import Path

import accord.settings

ROOM = Path(accord.settings.__file__).parent
PAGE = Path(__file__).parents[3] / "docs" / "errors" / "settings.md"
BUILT = re.compile(r'self\.bad\(\s*"([a-z0-9-]+)"')


def test_codes_and_sections_agree() -> None:
    used: set[str] = set()
    for path in ROOM.parent.rglob("*.py"):
        text = path.read_text("utf-8")
        used |= set(re.findall(r'"settings\.([a-z0-9-]+)"', text))
        used |= set(BUILT.findall(text)) if path.is_relative_to(ROOM) else set()
    sections = re.findall(r"^## ([a-z0-9-]+)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert len(used) > 25
    assert sorted(sections) == sorted(used | {"error"})
