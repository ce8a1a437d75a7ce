"""Is a webhook genuine: signature schemes and their check, in constant time.

The signature covers the raw bytes; nothing of the body is parsed before it is verified.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hmac
from collections.abc import Callable, Mapping
from typing import Annotated, TypeAlias

import msgspec

from accord.sdk.auth import Algorithm, Encoding, basic_header
from accord.sdk.bodies import PLACEHOLDER
from accord.sdk.errors_http import utc_now
from accord.sdk.http import InboundRequest
from accord.settings.secret import Secret

TOLERANCE = dt.timedelta(minutes=5)


class _Scheme(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    pass


class HmacSignature(_Scheme, frozen=True, kw_only=True, tag="hmac"):
    """A keyed hash in ``header``, after ``prefix`` (``sha256=``). ``signs``: what it covers, of ``{body}``, ``{timestamp}``,
    ``{method}``, ``{path}``; with ``timestamp_header`` the request must not be older (or newer) than ``tolerance``.
    ``previous_secret`` is taken as well while a secret is being changed."""

    header: str
    secret: Secret
    previous_secret: Secret | None = None
    algorithm: Algorithm = "sha256"
    encoding: Encoding = "hex"
    prefix: str = ""
    signs: str = "{body}"
    timestamp_header: str = ""
    tolerance: dt.timedelta = TOLERANCE

    def __post_init__(self) -> None:
        unknown = set(PLACEHOLDER.findall(self.signs)) - {"body", "timestamp", "method", "path"}
        if unknown:
            raise ValueError(f"`signs` knows body, timestamp, method, path, not {', '.join(sorted(unknown))}")
        if "{body}" not in self.signs:
            raise ValueError("`signs` must cover {body}: otherwise anybody can change it")
        if ("{timestamp}" in self.signs) != bool(self.timestamp_header):
            raise ValueError(
                "`timestamp_header` and {timestamp} in `signs` go together: an unsigned time proves nothing"
            )


class TimestampedSignature(_Scheme, frozen=True, kw_only=True, tag="timestamped"):
    """Time and signatures share one header: ``t=1700000000,v1=5257a8…``. The signed text is ``{timestamp}.{body}``; any of
    several ``v1`` may fit (the sender is changing its secret)."""

    header: str
    secret: Secret
    previous_secret: Secret | None = None
    algorithm: Algorithm = "sha256"
    encoding: Encoding = "hex"
    timestamp_key: Annotated[str, msgspec.Meta(min_length=1)] = "t"
    signature_key: Annotated[str, msgspec.Meta(min_length=1)] = "v1"
    tolerance: dt.timedelta = TOLERANCE


class TokenSignature(_Scheme, frozen=True, kw_only=True, tag="token"):
    """A shared token in a header: who knows it can send anything. ``prefix`` stands before it (``Bearer ``)."""

    header: str
    token: Secret
    prefix: str = ""


class BasicSignature(_Scheme, frozen=True, kw_only=True, tag="basic"):
    """User and password in the Authorization header."""

    user: str
    password: Secret


class NoSignature(_Scheme, frozen=True, kw_only=True, tag="none"):
    """Anybody may send. Only for systems that offer nothing, behind a network that keeps strangers out."""


Signature: TypeAlias = HmacSignature | TimestampedSignature | TokenSignature | BasicSignature | NoSignature
Verify: TypeAlias = Callable[[InboundRequest], str]


def verifier(scheme: Signature, *, now: Callable[[], dt.datetime] = utc_now) -> Verify:
    """A function that gives '' for a genuine request, otherwise the reason it is refused (for the log; it names no secret)."""
    match scheme:
        case HmacSignature():
            return _HmacVerifier(scheme, now)
        case TimestampedSignature():
            return _TimestampedVerifier(scheme, now)
        case TokenSignature():
            return _Constant(scheme.header.lower(), scheme.prefix + scheme.token.reveal())
        case BasicSignature():
            return _Constant("authorization", basic_header(scheme.user, scheme.password.reveal()))
        case _:
            return lambda request: ""


def is_same(given: str, wanted: str) -> bool:
    """Compares in constant time, whatever characters the sender used."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), wanted.encode())


class _Constant:
    def __init__(self, header: str, wanted: str) -> None:
        self._header = header
        self._wanted = wanted

    def __call__(self, request: InboundRequest) -> str:
        given = request.headers.get(self._header)
        if given is None:
            return f"the header {self._header} is missing"
        return "" if is_same(given, self._wanted) else f"the header {self._header} is wrong"


class _HmacVerifier:
    def __init__(self, scheme: HmacSignature, now: Callable[[], dt.datetime]) -> None:
        self._scheme = scheme
        self._now = now
        self._header = scheme.header.lower()
        self._keyed = _keyed(scheme.secret, scheme.previous_secret, scheme.algorithm)
        self._covers_body_only = scheme.signs == "{body}"
        self._parts = PLACEHOLDER.split(scheme.signs.replace("\\n", "\n"))

    def __call__(self, request: InboundRequest) -> str:
        scheme = self._scheme
        given = request.headers.get(self._header, "")
        if not given:
            return f"the header {self._header} is missing"
        if not given.startswith(scheme.prefix):
            return f"the header {self._header} does not start with {scheme.prefix}"
        stamp = ""
        if scheme.timestamp_header:
            stamp = request.headers.get(scheme.timestamp_header.lower(), "")
            stale = _stale(stamp, scheme.tolerance, self._now())
            if stale:
                return stale
        signature = _decoded(given[len(scheme.prefix) :], scheme.encoding)
        message = request.body if self._covers_body_only else self._message(request, stamp)
        return "" if _fits_any(self._keyed, message, signature) else "the signature does not fit the body"

    def _message(self, request: InboundRequest, stamp: str) -> bytes:
        values: Mapping[str, bytes] = {
            "body": request.body,
            "timestamp": stamp.encode(),
            "method": request.method.encode(),
            "path": request.path.encode(),
        }
        return b"".join(values[part] if i % 2 else part.encode() for i, part in enumerate(self._parts))


class _TimestampedVerifier:
    def __init__(self, scheme: TimestampedSignature, now: Callable[[], dt.datetime]) -> None:
        self._scheme = scheme
        self._now = now
        self._keyed = _keyed(scheme.secret, scheme.previous_secret, scheme.algorithm)

    def __call__(self, request: InboundRequest) -> str:
        scheme = self._scheme
        header = request.headers.get(scheme.header.lower(), "")
        if not header:
            return f"the header {scheme.header} is missing"
        pairs = [part.strip().partition("=") for part in header[:4096].split(",")]
        stamp = next((value for name, _, value in pairs if name == scheme.timestamp_key), "")
        stale = _stale(stamp, scheme.tolerance, self._now())
        if stale:
            return stale
        message = stamp.encode() + b"." + request.body
        for name, _, value in pairs[:10]:
            signature = _decoded(value, scheme.encoding)
            if name == scheme.signature_key and _fits_any(self._keyed, message, signature):
                return ""
        return "the signature does not fit the body"


def _keyed(secret: Secret, previous: Secret | None, algorithm: Algorithm) -> tuple[hmac.HMAC, ...]:
    """Of each secret a digest that has taken in the key: its copies need not do that again for every request."""
    return tuple(hmac.new(s.reveal().encode(), digestmod=algorithm) for s in (secret, previous) if s is not None)


def _fits_any(keyed: tuple[hmac.HMAC, ...], message: bytes, signature: bytes) -> bool:
    for key in keyed:
        digest = key.copy()
        digest.update(message)
        if hmac.compare_digest(digest.digest(), signature):
            return True
    return False


def _decoded(text: str, encoding: Encoding) -> bytes:
    """The signature's bytes; empty (and so never equal) when it is malformed."""
    try:
        return bytes.fromhex(text) if encoding == "hex" else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return b""


def _stale(stamp: str, tolerance: dt.timedelta, now: dt.datetime) -> str:
    if not stamp.isascii() or not stamp.isdigit() or len(stamp) > 13:
        return "the timestamp is missing or malformed"
    seconds = int(stamp) / (1000 if len(stamp) == 13 else 1)
    age_s = abs(now.timestamp() - seconds)
    return "" if age_s <= tolerance.total_seconds() else f"the timestamp is {age_s:.0f} s off"
