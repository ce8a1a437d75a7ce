"""Messages of PostgreSQL's replication protocol: bytes recorded from a real server, and what must not be taken for a message."""

from __future__ import annotations

import pytest

from accord.connectors.sql.pgoutput import (
    UNCHANGED,
    Begin,
    Column,
    Commit,
    Keepalive,
    ProtocolError,
    Relation,
    Row,
    Truncate,
    WalData,
    decode_frame,
    decode_message,
    encode_status,
    lsn_of,
    lsn_text,
)

RECORDED = {
    "begin": "420000000001528a60000303e692fc4372000002d7",
    "relation": "52000040007075626c6963007468696e6773006400030169640000000017"
    "ffffffff006e616d650000000019ffffffff006269670000000019ffffffff",
    "insert": "49000040004e00037400000001317400000003c3a40a6e",
    "commit": "43000000000001528a600000000001528a90000303e692fc4372",
    "update with a large value": "55000040004e000374000000013274000000036e657775",
    "update of the key": "55000040004b00037400000001316e6e4e00037400000001377400000003c3a40a6e",
    "delete": "44000040004b00037400000001376e6e",
    "update with identity full": "55000040004f000374000000013274000000036e65777400000fa0"
    + "7a" * 4_000
    + "4e000374000000013274000000056e6577657275",
    "truncate": "54000000010000004000",
}
"""By name, as PostgreSQL 15 sent them (`w` frames without their head): a table `things(id int primary key, name text, big text)`."""


def recorded(name: str) -> bytes:
    return bytes.fromhex(RECORDED[name])


def test_a_transaction_is_read() -> None:
    begin, commit = decode_message(recorded("begin")), decode_message(recorded("commit"))
    assert isinstance(begin, Begin)
    assert isinstance(commit, Commit)
    assert begin.final_lsn == commit.lsn < commit.end_lsn


def test_a_relation_is_read() -> None:
    relation = decode_message(recorded("relation"))
    assert isinstance(relation, Relation)
    assert (relation.schema, relation.table, relation.identity) == ("public", "things", "d")
    assert relation.columns == (
        Column("id", 23, -1, True),
        Column("name", 25, -1, False),
        Column("big", 25, -1, False),
    )


def test_rows_are_read() -> None:
    oid = decode_message(recorded("relation")).oid  # type: ignore[union-attr]
    assert decode_message(recorded("insert")) == Row("I", oid, [b"1", "ä\n".encode(), None], None)
    assert decode_message(recorded("update with a large value")) == Row("U", oid, [b"2", b"new", UNCHANGED], None)
    assert decode_message(recorded("update of the key")) == Row(
        "U", oid, [b"7", "ä\n".encode(), None], [b"1", None, None], True
    )
    assert decode_message(recorded("delete")) == Row("D", oid, None, [b"7", None, None], True)
    assert decode_message(recorded("truncate")) == Truncate((oid,))


def test_the_old_row_comes_whole_when_the_identity_is_full() -> None:
    row = decode_message(recorded("update with identity full"))
    assert isinstance(row, Row)
    assert row.old is not None
    assert not row.old_is_key
    assert row.old[:2] == [b"2", b"new"]
    assert isinstance(row.old[2], bytes)
    assert len(row.old[2]) == 4_000
    assert row.new == [b"2", b"newer", UNCHANGED]


def test_frames_are_read() -> None:
    assert decode_frame(b"w" + (5).to_bytes(8) + (9).to_bytes(8) + bytes(8) + b"B..") == WalData(5, 9, b"B..")
    assert decode_frame(b"k" + (9).to_bytes(8) + bytes(8) + b"\x01") == Keepalive(9, True)


def test_a_status_says_what_was_flushed() -> None:
    status = encode_status(12, 10, now_us=946_684_800_000_007)
    assert status == b"r" + (12).to_bytes(8) + (10).to_bytes(8) * 2 + (7).to_bytes(8) + b"\x00"


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_no_truncated_message_is_taken_for_a_whole_one(name: str) -> None:
    whole = recorded(name)
    for end in range(1, min(len(whole), 200)):
        try:
            found = decode_message(whole[:end])
        except ProtocolError:
            continue
        assert found != decode_message(whole)


@pytest.mark.parametrize(
    "data", [b"", b"Z", b"I\x00\x00\x00\x01X\x00\x00", b"I\x00\x00\x00\x01N\x00\x01b\x00\x00\x00\x00"]
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_message(data)
    with pytest.raises(ProtocolError):
        decode_frame(data)


@pytest.mark.parametrize("text", ["0/0", "16/B374D848", "FFFFFFFF/1"])
def test_positions_read_as_they_are_written(text: str) -> None:
    assert lsn_text(lsn_of(text)) == text
