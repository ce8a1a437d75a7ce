"""Checksums of what was written: of the rows, not of their order or of how they were cut into chunks."""

from __future__ import annotations

import polars as pl

from accord.engine.bulk.writing import joined_sums, sum_and_order_of, sum_of

FRAME = pl.DataFrame({"id": list(range(1_000)), "name": [f"n{number}" for number in range(1_000)]})


def test_a_checksum_is_the_sum_of_all_rows_hashes_in_64_bits():
    hashes = FRAME.hash_rows(seed=0).to_list()
    assert sum(hashes) > 2**64, "else nothing shows that the sum does not overflow"
    assert sum_of(FRAME) == f"{sum(hashes) % 2**64:x}"


def test_order_and_chunks_do_not_count():
    turned = FRAME.reverse()
    assert joined_sums(sum_of(turned[:300]), sum_of(turned[300:])) == sum_of(FRAME)


def test_the_order_shows_in_a_checksum_of_its_own():
    checksum, order = sum_and_order_of(FRAME)
    turned, other = sum_and_order_of(FRAME.reverse())
    assert checksum == turned == sum_of(FRAME)
    assert order != other
    assert sum_and_order_of(FRAME) == (checksum, order)


def test_no_rows_change_nothing():
    assert sum_and_order_of(FRAME[:0]) == ("0", "")
    assert joined_sums("ab", sum_of(FRAME[:0])) == "ab"
