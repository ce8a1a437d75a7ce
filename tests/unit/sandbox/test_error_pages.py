"""Every error code the sandbox raises has a section in docs/errors/sandbox.md."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_code_has_a_section() -> None:
    sources = [*(ROOT / "src/accord/sandbox").rglob("*.py"), ROOT / "src/accord/cli/sandbox.py"]
    codes = {code for path in sources for code in re.findall(r'code="?\s?=?\s?"sandbox\.([\w-]+)"', path.read_text())}
    sections = set(re.findall(r"^## (\S+)$", (ROOT / "docs/errors/sandbox.md").read_text(), re.MULTILINE))
    assert len(codes) >= 6
    assert codes | {"error"} == sections
