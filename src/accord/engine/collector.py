"""The garbage collector of a process that runs for months."""

from __future__ import annotations

import gc

YOUNG_MAX = 10_000  # containers more than were freed before the young are looked at: some 500 orders under way are not walked 20 times


def calm_collector() -> None:
    """What is loaded by now stays for good and is not looked at again (nor written to, so forked processes share it); messages end by
    reference count, so cycles are rare."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, *gc.get_threshold()[1:])
