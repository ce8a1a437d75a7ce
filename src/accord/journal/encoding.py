"""How stores write values: times as whole microseconds since 1970 UTC, structures as msgpack, dedupe marks as digests.

Messages and letters are msgpack of the frozen values, with field names, so fields can be added without a migration.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from accord.journal.operations import DeadLetter
from accord.journal.search import InDoubt
from accord.record import Message

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)

encode = msgspec.msgpack.Encoder().encode
decode_message = msgspec.msgpack.Decoder(Message).decode
decode_letter = msgspec.msgpack.Decoder(DeadLetter).decode
decode_results = msgspec.msgpack.Decoder(dict[str, bytes]).decode
decode_paths = msgspec.msgpack.Decoder(frozenset[str]).decode


def to_us(moment: dt.datetime) -> int:
    """Whole microseconds since 1970 UTC; raises TypeError for a datetime without a zone."""
    return (moment - _EPOCH) // _MICROSECOND


def from_us(us: int) -> dt.datetime:
    return _EPOCH + us * _MICROSECOND


def mark_digest(kind: str, scope: str, source: str, id_: str) -> bytes:
    """16 bytes that stand for a dedupe mark; lengths keep ("a", "bc") and ("ab", "c") apart."""
    return blake2b(f"{kind}/{len(scope)}:{scope}/{len(source)}:{source}/{id_}".encode(), digest_size=16).digest()


def in_doubt_of(rows: Iterable[Sequence[Any]]) -> list[InDoubt]:
    """Of rows (flow, encoded paths, count); the same paths may stand in several orders."""
    found: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for flow, paths, count in rows:
        found[flow, tuple(sorted(decode_paths(paths)))] += count
    return [InDoubt(flow, paths, count) for (flow, paths), count in sorted(found.items())]
