"""The garbage collector of a process that runs for months."""

from __future__ import annotations

import gc

COLLECT_AFTER = 20_000  # allocations; the default of 700 costs about a twentieth of the throughput


def calm_collector() -> None:
    """What is loaded by now stays for good and is not looked at again (nor written to, so forked processes share it); messages end by
    reference count, so cycles are rare."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 50)
