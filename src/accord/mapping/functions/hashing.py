"""Hashing, encoding and masking. Hashes and masks are no longer personal data in messages."""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid

from accord.mapping.functions.signature import Rejected
from accord.mapping.functions.table import builtin


@builtin("string -> string", 'left(sha256("abc"), 8) == "ba7816bf"', clears_personal=True)
def sha256(text: str) -> str:
    """SHA-256 of the text's UTF-8 bytes, 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


@builtin("string, string -> string", 'left(hmac_sha256("abc", "key"), 8) == "9c196e32"', clears_personal=True)
def hmac_sha256(text: str, key: str) -> str:
    """HMAC-SHA-256 of the text under a key, 64 hex digits: a pseudonym nobody without the key can compute."""
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


@builtin("string -> string", 'md5("abc") == "900150983cd24fb0d6963f7d28e17f72"')
def md5(text: str) -> str:
    """MD5, 32 hex digits: only for systems that ask for it, it protects nothing."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


@builtin("string, string -> string", 'uuid5("shop", "1001") == uuid5("shop", "1001")')
def uuid5(namespace: str, name: str) -> str:
    """A UUID that is always the same for the same namespace and name."""
    return str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, namespace), name))


@builtin("string -> string", 'base64_encode("abc") == "YWJj"')
def base64_encode(text: str) -> str:
    """The text's UTF-8 bytes in base64."""
    return base64.b64encode(text.encode()).decode()


@builtin("string -> string", 'base64_decode("YWJj") == "abc"')
def base64_decode(text: str) -> str:
    """Base64 of UTF-8 text as text."""
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        raise Rejected("this is no base64 of UTF-8 text", text) from None


@builtin("string, integer -> string", 'mask("4111111111111111", 4) == "************1111"', clears_personal=True)
def mask(text: str, keep: int = 0) -> str:
    """Stars for all but the last ``keep`` characters; never shows more than half."""
    keep = min(max(keep, 0), len(text) // 2)
    return "*" * (len(text) - keep) + (text[-keep:] if keep else "")


@builtin("string -> string", 'mask_email("ada@example.com") == "a***@example.com"', clears_personal=True)
def mask_email(text: str) -> str:
    """An e-mail address with only the first letter of the name."""
    name, at, domain = text.partition("@")
    return f"{name[:1]}***{at}{domain}" if at else "***"
