"""Formats of text: what each accepts, and how it says no. All checks are linear in the length of the text."""

from __future__ import annotations

import re
from collections.abc import Callable

from accord.mapping.codes import COUNTRIES, CURRENCIES

# A practical subset of RFC 5321 addresses: dot-atom local part, domain of letters, digits and hyphens; international allowed.
# Atoms hold no dot and labels no dot, so there is one way only to match and no backtracking between them.
_ATOM = r"[^\s@\"(),.:;<>\[\\\]\x00-\x1f]+"
_LABEL = r"[^\W_](?:[\w-]{0,62}(?<![-_]))?"
_EMAIL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+{_LABEL}")
_URI = re.compile(
    r"[A-Za-z][A-Za-z0-9+.\-]{0,40}:[^\s\x00-\x1f<>\"{}|\\^`]{1,8000}"
)  # RFC 3986: a scheme, then no blanks
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")  # RFC 9562
_PHONE = re.compile(r"\+[1-9][0-9]{1,14}")  # E.164: plus, country code, at most 15 digits


def is_email(text: str) -> bool:
    return len(text) <= 320 and _EMAIL.fullmatch(text) is not None


def is_uri(text: str) -> bool:
    if _URI.fullmatch(text) is None:
        return False
    scheme, _, rest = text.partition(":")
    return scheme.lower() not in ("http", "https") or (
        rest.startswith("//") and len(rest) > 2 and rest[2] not in "/?#:"
    )


def is_uuid(text: str) -> bool:
    return _UUID.fullmatch(text) is not None


def is_phone(text: str) -> bool:
    return _PHONE.fullmatch(text) is not None


CHECKS: dict[str, tuple[Callable[[str], bool], str]] = {
    "email": (is_email, "must be an e-mail address such as name@example.com"),
    "uri": (is_uri, "must be an address such as https://example.com/page"),
    "uuid": (is_uuid, "must be a UUID such as 123e4567-e89b-12d3-a456-426614174000"),
    "country": (COUNTRIES.__contains__, "must be a two-letter country code (ISO 3166-1), such as DE"),
    "currency": (CURRENCIES.__contains__, "must be a three-letter currency code (ISO 4217), such as EUR"),
    "phone": (is_phone, "must be a phone number in international form (E.164), such as +4930123456"),
}
