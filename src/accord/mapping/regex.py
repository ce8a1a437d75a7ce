"""Regular expressions of declarations, bounded so that no text can make them run for long.

Python's engine backtracks. A repetition inside a repetition can take exponential time and is refused; several repetitions in
a row take a power of the text's length, so the more there are the shorter a text may be. The declaration's author chooses the
pattern, a stranger the text.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Any

PATTERN_LENGTH_MAX = 300  # characters
REPEATS_MAX = 8  # unbounded or wide repetitions in one pattern
FIXED_REPEATS_MAX = 1000
_INPUT_LENGTH_MAX = (100_000, 10_000, 2_000, 500)  # characters, by number of wide repetitions; the last for more
_WIDE = 3  # a repetition that may vary by more than so many times

# The standard library's own parser of patterns, to look for repetition inside repetition.
_sre: Any = importlib.import_module("re._constants")
_sre_parser: Any = importlib.import_module("re._parser")


class Bounded:
    """A pattern that is safe for texts of at most ``length_max`` characters."""

    __slots__ = ("length_max", "regex")

    def __init__(self, regex: re.Pattern[str], length_max: int) -> None:
        self.regex = regex
        self.length_max = length_max


def bounded_pattern(pattern: str) -> Bounded:
    """Compiles a pattern. Raises ValueError for one that is faulty, long, or may take exponential time."""
    if len(pattern) > PATTERN_LENGTH_MAX:
        raise ValueError(f"a pattern has at most {PATTERN_LENGTH_MAX} characters")
    try:
        compiled = re.compile(pattern)
        repeats = _count(_sre_parser.parse(pattern), False)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"it is no regular expression ({error})") from None
    if repeats > REPEATS_MAX:
        raise ValueError(f"a pattern has at most {REPEATS_MAX} repetitions (*, + or wide {{m,n}})")
    return Bounded(compiled, _INPUT_LENGTH_MAX[min(repeats, len(_INPUT_LENGTH_MAX) - 1)])


def matcher(pattern: str) -> Callable[[str], bool]:
    """Says whether a whole text matches; a text too long to be tried does not. Raises ValueError as bounded_pattern."""
    made = bounded_pattern(pattern)
    match, length_max = made.regex.fullmatch, made.length_max

    def is_match(text: str) -> bool:
        return len(text) <= length_max and match(text) is not None

    return is_match


def _count(tree: Any, is_inside: bool) -> int:
    """The wide repetitions of a parsed pattern. Raises ValueError for one inside another."""
    found = 0
    for op, argument in tree:
        if op in (_sre.MAX_REPEAT, _sre.MIN_REPEAT, _sre.POSSESSIVE_REPEAT):
            low, high, inner = argument
            is_wide = high - low > _WIDE
            if is_wide and is_inside:
                raise ValueError("a repetition inside a repetition can take exponential time; write it without nesting")
            if not is_wide and high > FIXED_REPEATS_MAX:
                raise ValueError(f"a part is repeated more than {FIXED_REPEATS_MAX} times")
            inside = _count(inner, is_inside or is_wide)
            found += is_wide + inside * max(1, min(int(high), REPEATS_MAX))
        elif op is _sre.SUBPATTERN:
            found += _count(argument[3], is_inside)
        elif op is _sre.ATOMIC_GROUP:
            found += _count(argument, is_inside)
        elif op is _sre.BRANCH:
            found += max(_count(branch, is_inside) for branch in argument[1])
        elif op in (_sre.ASSERT, _sre.ASSERT_NOT):
            found += _count(argument[1], is_inside)
        elif op in (_sre.GROUPREF, _sre.GROUPREF_EXISTS):
            raise ValueError("a reference to a group is not allowed")
    return found
