"""Every code has its page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCE = "\n".join(p.read_text() for p in (ROOT / "src/accord/mapping").rglob("*.py"))
CODES = set(re.findall(r'"(mapping\.[a-z-]+|record\.[a-z-]+)"', SOURCE))
CODES |= {
    f"record.{code}"
    for code in ("enum", "format", "length", "missing", "no-zone", "number", "pattern", "range", "type")
}


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_code_has_a_heading(code):
    room, _, what = code.partition(".")
    assert f"\n## {what}\n" in (ROOT / f"docs/errors/{room}.md").read_text()


def test_the_codes_were_found():
    assert {"mapping.unknown-name", "record.malformed", "record.rule"} <= CODES
