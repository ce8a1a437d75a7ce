"""Every error code has its section in docs/errors/<room>.md, every section its code."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

_spec = importlib.util.spec_from_file_location("docs_codes", Path(__file__).with_name("codes.py"))
assert _spec is not None and _spec.loader is not None
codes = importlib.util.module_from_spec(_spec)
sys.modules["docs_codes"] = codes
_spec.loader.exec_module(codes)


def test_every_code_has_its_section():
    found = codes.codes_in_source()
    sections = codes.sections()
    missing = {code: place for code, place in found.items() if code not in sections}
    assert missing == {}
    assert len(found) > 180


def test_every_code_that_is_given_is_a_room_and_what():
    given = codes.codes_given()
    assert {code: place for code, place in given.items() if code not in codes.sections()} == {}
    assert len(given) > 100


def test_every_section_has_its_code():
    found = set(codes.codes_in_source())
    built, words = codes.built_codes(), codes.words_in_source()
    unknown = []
    for section in sorted(codes.sections() - found):
        matches = [match for pattern in built if (match := pattern.fullmatch(section))]
        if not any(all(word in words for word in match.groups()) for match in matches):
            unknown.append(section)
    assert unknown == []


def test_every_section_says_something():
    for page in codes.PAGES.glob("*.md"):
        parts = re.split(r"^## .+$", page.read_text("utf-8"), flags=re.MULTILINE)
        assert page.read_text("utf-8").startswith("# ")
        assert all(len(part.split()) >= 8 for part in parts[1:]), page.name
