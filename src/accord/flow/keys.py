"""Keys of records as text: the ordering key of a message, the two ends of a cross-reference."""

from __future__ import annotations

from typing import Any

SEPARATOR = "/"


def key_text(record: Any, key: tuple[str, ...]) -> str:
    """The key fields' values as text, joined with '/' in the key's order; '' when one of them is absent or null.

    Works on typed records and on plain JSON data alike: integers and text become themselves.
    """
    if not isinstance(record, dict) or not key:
        return ""
    values = [record.get(name) for name in key]
    if any(value is None for value in values):
        return ""
    return SEPARATOR.join(value if isinstance(value, str) else str(value) for value in values)
