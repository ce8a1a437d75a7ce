"""Regular expressions on text, bounded: literal patterns without nested repetition, texts of bounded length."""

from __future__ import annotations

from accord.mapping.functions.signature import Rejected
from accord.mapping.functions.table import builtin
from accord.mapping.regex import Bounded, bounded_pattern


def _bounded(text: str, pattern: Bounded) -> str:
    if len(text) > pattern.length_max:
        raise Rejected(f"the text is longer than {pattern.length_max} characters, too long for this pattern")
    return text


@builtin("string, const -> boolean", 'matches("AB-12", "[A-Z]+-[0-9]+")', prepare={"pattern": bounded_pattern})
def matches(text: str, pattern: Bounded) -> bool:
    """Whether the whole text matches the pattern."""
    return pattern.regex.fullmatch(_bounded(text, pattern)) is not None


@builtin(
    "string, const -> string?", 'extract("order 4711!", "([0-9]+)") == "4711"', prepare={"pattern": bounded_pattern}
)
def extract(text: str, pattern: Bounded) -> str | None:
    """The first match of the pattern (its first group if it has one); null when there is none."""
    found = pattern.regex.search(_bounded(text, pattern))
    if found is None:
        return None
    return found.group(1) if pattern.regex.groups else found.group(0)


@builtin(
    "string, const -> list[string]",
    'extract_all("a1b22", "[0-9]+") == ["1", "22"]',
    prepare={"pattern": bounded_pattern},
)
def extract_all(text: str, pattern: Bounded) -> list[str]:
    """Every match of the pattern (its first group if it has one)."""
    return [m.group(1 if pattern.regex.groups else 0) or "" for m in pattern.regex.finditer(_bounded(text, pattern))]


@builtin(
    "string, const, string -> string",
    'replace_matches("+49 (30) 12", "[^0-9+]", "") == "+493012"',
    prepare={"pattern": bounded_pattern},
)
def replace_matches(text: str, pattern: Bounded, new: str) -> str:
    """Every match of the pattern replaced by the plain text ``new``."""
    if len(new) > 1000:
        raise Rejected("the replacement is longer than 1000 characters", new)
    return pattern.regex.sub(lambda _: new, _bounded(text, pattern))
