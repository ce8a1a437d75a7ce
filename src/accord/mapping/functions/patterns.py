"""Regular expressions, bounded: literal patterns of bounded size, no nested repetition, input of bounded length."""

from __future__ import annotations

import importlib
import re
from typing import Any

from accord.mapping.functions.signature import Rejected
from accord.mapping.functions.table import builtin

# The standard library's own parser of patterns, to look for repetition inside repetition.
_sre: Any = importlib.import_module("re._constants")
_sre_parser: Any = importlib.import_module("re._parser")

PATTERN_LENGTH_MAX = 300  # characters
INPUT_LENGTH_MAX = 20_000  # characters


def prepare_pattern(pattern: str) -> re.Pattern[str]:
    """Compiles a pattern. Raises ValueError for one that is faulty, long, or may take exponential time."""
    if len(pattern) > PATTERN_LENGTH_MAX:
        raise ValueError(f"a pattern has at most {PATTERN_LENGTH_MAX} characters")
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"it is no regular expression ({error})") from None
    _look(_sre_parser.parse(pattern), 0)
    return compiled


def _look(tree: Any, repeats: int) -> None:
    for op, argument in tree:
        if op in (_sre.MAX_REPEAT, _sre.MIN_REPEAT):
            low, high, inner = argument
            is_open = high > 20 and high != low
            if is_open and repeats:
                raise ValueError("a repetition inside a repetition can take exponential time; write it without nesting")
            _look(inner, repeats + (1 if is_open else 0))
        elif op is _sre.SUBPATTERN:
            _look(argument[3], repeats)
        elif op is _sre.BRANCH:
            for branch in argument[1]:
                _look(branch, repeats)
        elif op in (_sre.ASSERT, _sre.ASSERT_NOT):
            _look(argument[1], repeats)
        elif op is _sre.GROUPREF:
            raise ValueError("a reference to a group is not allowed")


def _bounded(text: str) -> str:
    if len(text) > INPUT_LENGTH_MAX:
        raise Rejected(f"the text is longer than {INPUT_LENGTH_MAX} characters, too long for a pattern")
    return text


@builtin("string, const -> boolean", 'matches("AB-12", "[A-Z]+-[0-9]+")', prepare={"pattern": prepare_pattern})
def matches(text: str, pattern: re.Pattern[str]) -> bool:
    """Whether the whole text matches the pattern."""
    return pattern.fullmatch(_bounded(text)) is not None


@builtin(
    "string, const -> string?", 'extract("order 4711!", "([0-9]+)") == "4711"', prepare={"pattern": prepare_pattern}
)
def extract(text: str, pattern: re.Pattern[str]) -> str | None:
    """The first match of the pattern (its first group if it has one); null when there is none."""
    found = pattern.search(_bounded(text))
    if found is None:
        return None
    return found.group(1) if pattern.groups else found.group(0)


@builtin(
    "string, const -> list[string]",
    'extract_all("a1b22", "[0-9]+") == ["1", "22"]',
    prepare={"pattern": prepare_pattern},
)
def extract_all(text: str, pattern: re.Pattern[str]) -> list[str]:
    """Every match of the pattern (its first group if it has one)."""
    return [m.group(1 if pattern.groups else 0) or "" for m in pattern.finditer(_bounded(text))]


@builtin(
    "string, const, string -> string",
    'replace_matches("+49 (30) 12", "[^0-9+]", "") == "+493012"',
    prepare={"pattern": prepare_pattern},
)
def replace_matches(text: str, pattern: re.Pattern[str], new: str) -> str:
    """Every match of the pattern replaced by the plain text ``new``."""
    if len(new) > 1000:
        raise Rejected("the replacement is longer than 1000 characters", new)
    return pattern.sub(lambda _: new, _bounded(text))
